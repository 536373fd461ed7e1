"""A city's day at the server: ``python -m benchmarks.load [--clients 200] [--seconds 60] [--minutes N --rate R]``.

`baige serve --workers 2` on the small reference city in an embedded database of its own; clients of mixed use in this process: tiles, pages
and single features, the portal with what it loads, and officers who add, change, read back and remove features. Each client waits for its
answer and then thinks (0.5 to 1.5 s). No answer may be an error; every edit is read back. With ``--minutes`` it is a soak instead: a
low rate for a long time, with the memory of each process sampled.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from benchmarks.api import tile

PORT = 8179
BASE = f"http://127.0.0.1:{PORT}"
LAYERS = ["camera_site", "outfall", "school", "building", "road", "grid_cell"]
PUBLIC = ["school", "building", "road", "admin_area"]
#: Of a hundred clients, how many do what.
MIX = {"tiles": 45, "items": 30, "portal": 10, "edits": 15}


class Day:
    """What happened: times by kind, and whatever was not as it should be."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.times: dict[str, list[float]] = defaultdict(list)
        self.wrong: Counter[str] = Counter()
        self.ends = 0.0

    async def ask(self, client: httpx.AsyncClient, kind: str, method: str, path: str, good: tuple[int, ...] = (200,), **more: Any) -> httpx.Response:
        """Send a request, take its time, and note an answer that is not good."""
        begun = time.perf_counter()
        try:
            answer = await client.request(method, path, **more)
        except httpx.HTTPError as error:
            self.wrong[f"{type(error).__name__} {method} {path.split('?')[0][:60]}"] += 1
            return httpx.Response(599)
        self.times[kind].append(time.perf_counter() - begun)
        if answer.status_code not in good:
            self.wrong[f"{answer.status_code} {method} {path.split('?')[0][:60]}"] += 1
        return answer


async def tiles(day: Day, client: httpx.AsyncClient, rng: random.Random) -> None:
    """A map that is moved: four tiles at once."""
    z = rng.choice([11, 12, 13, 14, 15])
    x, y = tile(z, 111.25 + rng.random() * 0.12, 30.66 + rng.random() * 0.1)
    layer = rng.choice(PUBLIC)
    here = [f"/collections/{layer}/tiles/WebMercatorQuad/{z}/{y + j}/{x + i}" for i in (0, 1) for j in (0, 1)]
    await asyncio.gather(*(day.ask(client, "tile", "GET", path, (200, 204)) for path in here))


async def items(day: Day, client: httpx.AsyncClient, rng: random.Random) -> None:
    """A page by box, and one feature of it."""
    layer = rng.choice(LAYERS)
    west, south = 111.2 + rng.random() * 0.15, 30.6 + rng.random() * 0.12
    box = f"{west:.4f},{south:.4f},{west + 0.03:.4f},{south + 0.03:.4f}"
    page = await day.ask(client, "items", "GET", f"/collections/{layer}/items?limit=50&bbox={box}", headers={"X-API-Key": day.key})
    found = page.json()["features"] if page.status_code == 200 else []
    if found:
        one = rng.choice(found)["id"]
        again = await day.ask(client, "item", "GET", f"/collections/{layer}/items/{one}", headers={"X-API-Key": day.key})
        if again.status_code == 200 and again.json()["id"] != one:
            day.wrong["another feature than was asked for"] += 1


async def portal(day: Day, client: httpx.AsyncClient, rng: random.Random) -> None:
    """The portal's first page and the collections."""
    for path in ("/portal/", "/collections?f=json", "/?f=json"):
        await day.ask(client, "portal", "GET", path)


async def edits(day: Day, client: httpx.AsyncClient, rng: random.Random) -> None:
    """An outfall is added, changed, read back and removed."""
    headers = {"X-API-Key": day.key, "Content-Type": "application/geo+json"}
    body = {"type": "Feature", "id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            "geometry": {"type": "Point", "coordinates": [111.3, 30.7]},
            "properties": {"name_zh": "压测排口", "admin_code": "420502001001"}}  # fmt: skip
    here = f"/collections/place/items/{body['id']}"
    made = await day.ask(client, "edit", "POST", "/collections/place/items", (201,), headers=headers, content=json.dumps(body))
    if made.status_code != 201:
        return
    name = f"改名{rng.randrange(1000)}"
    patch = {**headers, "Content-Type": "application/merge-patch+json"}
    await day.ask(client, "edit", "PATCH", here, (204,), headers=patch, content=json.dumps({"properties": {"name_zh": name}}))
    read = await day.ask(client, "item", "GET", here, headers={"X-API-Key": day.key})
    if read.status_code == 200 and read.json()["properties"]["name_zh"] != name:
        day.wrong["an acknowledged edit was not read back"] += 1
    await day.ask(client, "edit", "DELETE", here, (204,), headers=headers)


USES: dict[str, Callable[[Day, httpx.AsyncClient, random.Random], Awaitable[None]]] = {
    "tiles": tiles, "items": items, "portal": portal, "edits": edits,
}  # fmt: skip


async def one_client(day: Day, number: int, kind: str, think: tuple[float, float]) -> None:
    rng = random.Random(number)
    limits = httpx.Limits(max_connections=4)
    async with httpx.AsyncClient(base_url=BASE, timeout=60, limits=limits) as client:
        await asyncio.sleep(rng.uniform(0, think[1]))
        while time.monotonic() < day.ends:
            await USES[kind](day, client, rng)
            await asyncio.sleep(rng.uniform(*think))


def kinds(count: int) -> list[str]:
    """Uses of so many clients, in the proportions of the mix."""
    names = [name for name, share in MIX.items() for _ in range(share)]
    random.Random(1).shuffle(names)
    return [names[i % len(names)] for i in range(count)]


def processes(root: int) -> dict[int, str]:
    """The process and all below it, by their command."""
    children: dict[int, list[int]] = defaultdict(list)
    names = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            children[int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])].append(int(entry.name))
            names[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    found, queue = {}, [root]
    while queue:
        pid = queue.pop()
        if "resource_tracker" not in names.get(pid, ""):
            found[pid] = "worker" if " worker" in names.get(pid, "") else "server process" if "spawn_main" in names.get(pid, "") else "parent"
        queue += children[pid]
    return found


def resident_mb(pid: int) -> float:
    """Memory that a process holds for itself: resident, less what it shares."""
    resident, shared = (Path(f"/proc/{pid}/statm")).read_text().split()[1:3]
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def watch_memory(day: Day, server: int, samples: list[dict[str, Any]], every_s: float, report: Path) -> None:
    begun = time.monotonic()
    known = processes(server)
    while time.monotonic() < day.ends:
        found = {f"{name} {pid}": round(resident_mb(pid), 1) for pid, name in known.items() if Path(f"/proc/{pid}").exists()}
        samples.append({"s": round(time.monotonic() - begun), **found})
        answers = sum(len(v) for v in day.times.values())
        report.write_text(json.dumps({"answers": answers, "wrong": day.wrong, "memory_mb": samples}, indent=1), encoding="utf-8")
        await asyncio.sleep(every_s)


@contextlib.contextmanager
def city() -> Any:
    """The small city in a database of its own, served; key of a planner, process of the server."""
    home = Path(tempfile.mkdtemp(prefix="bgl-"))
    home.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BAIGE_")}
    environment = {**kept, "BAIGE_HOME": str(home / "baige")}

    def baige(*words: str) -> str:
        return subprocess.run([sys.executable, "-m", "api.cli", *words], env=environment, capture_output=True, text=True, check=True).stdout

    server = None
    try:
        baige("city", "build", "--scale", "small")
        key = baige("key", "add", "--role", "planner").split()[-1]
        words = [sys.executable, "-m", "api.cli", "serve", "--port", str(PORT), "--workers", "2"]
        server = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=(home / "log").open("wb"))
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{BASE}/readyz", timeout=30).status_code == 200:
                    break
            if time.monotonic() > deadline:
                raise RuntimeError("the server did not start")
            time.sleep(0.2)
        time.sleep(3)  # the other process
        yield key, server.pid
    finally:
        if server is not None:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(60)
            server.kill()
            server.wait()
        with contextlib.suppress(subprocess.CalledProcessError):
            baige("db", "drop", "--yes")
        shutil.rmtree(home, ignore_errors=True)


def table(day: Day, seconds: float) -> None:
    """Print what was measured."""
    print("| what | requests | a second | median ms | p95 | p99 | most |\n|---|---|---|---|---|---|---|")
    every = [t for times in day.times.values() for t in times]
    for name, times in [*sorted(day.times.items()), ("all", every)]:
        cut = statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else times * 99
        row = [f"{1000 * v:.0f}" for v in (cut[49], cut[94], cut[98], max(times))]
        print(f"| {name} | {len(times):,} | {len(times) / seconds:.0f} | {' | '.join(row)} |")
    print(f"errors: {dict(day.wrong) or 'none'}; load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


async def drive(options: argparse.Namespace, key: str, server: int) -> Day:
    soak = options.minutes is not None
    warm = Day(key)
    warm.ends = time.monotonic() + (0 if soak else 10)
    day = Day(key)
    think = (options.clients / options.rate * 1.5, options.clients / options.rate * 3) if soak else (0.5, 1.5)
    if not soak:  # caches and plans as on any day but the first
        await asyncio.gather(*(one_client(warm, n, kind, think) for n, kind in enumerate(kinds(20))))
    day.ends = time.monotonic() + (options.minutes * 60 if soak else options.seconds)
    samples: list[dict[str, Any]] = []
    more = [watch_memory(day, server, samples, 15.0, options.report)] if soak else []
    await asyncio.gather(*(one_client(day, 1000 + n, kind, think) for n, kind in enumerate(kinds(options.clients))), *more)
    if soak:
        first, last = samples[len(samples) // 6], samples[-1]
        for name in last.keys() & first.keys() - {"s"}:
            most = max(sample.get(name, 0) for sample in samples)
            print(f"{name}: {first[name]} MB after {first['s'] / 60:.0f} min, {last[name]} MB after {last['s'] / 60:.0f} min, most {most}")
    return day


def main() -> None:
    """Exit with 1 where an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--minutes", type=float, help="soak for so long instead")
    parser.add_argument("--rate", type=float, default=5.0, help="turns a second of all clients together in a soak")
    parser.add_argument("--report", type=Path, default=Path("out/soak.json"))
    options = parser.parse_args()
    options.report.parent.mkdir(parents=True, exist_ok=True)
    with city() as (key, server):
        begun = time.monotonic()
        day = asyncio.run(drive(options, key, server))
        table(day, time.monotonic() - begun)
    sys.exit(1 if day.wrong else 0)


if __name__ == "__main__":
    main()
