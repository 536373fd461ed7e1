"""Clients of every kind, each a thread with a seeded will of its own. They write down what they were told."""

import json
import random
import threading
import time
import uuid
from collections.abc import Callable

import httpx

from tests.reliability.ledger import Feature, Ledger

__all__ = ["Client", "Editor", "Queuer", "Reader", "Rival"]

LAYER = "trial"
ITEMS = f"/collections/{LAYER}/items"
GEO = {"Content-Type": "application/geo+json"}


class Client(threading.Thread):
    """Works until ``stop``; waits while ``pause`` is set, saying so by ``idle``."""

    def __init__(self, name: str, url: str, key: str, ledger: Ledger, seed: str) -> None:
        super().__init__(name=name, daemon=True)
        self.url, self.ledger, self.rng = url, ledger, random.Random(seed)
        self.client = httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=30)
        self.pausing, self.idle, self.stopping = threading.Event(), threading.Event(), threading.Event()

    def run(self) -> None:
        while not self.stopping.is_set():
            if self.pausing.is_set():
                self.idle.set()
                time.sleep(0.02)
                continue
            self.idle.clear()
            self.act()
            time.sleep(self.rng.uniform(0.0, 0.1))
        self.client.close()

    def act(self) -> None:
        raise NotImplementedError

    def ask(self, method: str, path: str, *, good: tuple[int, ...], body: object = None, **headers: str) -> httpx.Response | None:
        """Send; None where the answer is lost, 503, or not what it should be (then it is noted)."""
        content = None if body is None else json.dumps(body)
        try:
            answer = self.client.request(method, path, content=content, headers={**GEO, **headers} if body is not None else headers)
        except httpx.HTTPError:
            self.ledger.count("broken")
            return None
        if answer.status_code == 503:
            self.ledger.count("unavailable")
            if "retry-after" not in answer.headers:
                self.ledger.wrong(f"503 without Retry-After: {method} {path}")
            return None
        if answer.status_code not in good:
            self.ledger.wrong(f"{answer.status_code} for {method} {path}: {answer.text[:200]}")
            return None
        return answer


class Editor(Client):
    """Adds, changes and removes features of its own."""

    def __init__(self, *words: object) -> None:
        super().__init__(*words)  # type: ignore[arg-type]
        self.own: list[Feature] = []
        self.last = 0

    def act(self) -> None:
        self.last += 1
        content = self.last
        living = [f for f in self.own if f.known is not None and not f.open]
        choice = self.rng.random()
        if not living or choice < 0.4:
            self._create(content)
        elif choice < 0.85:
            self._change(self.rng.choice(living), content)
        else:
            self._remove(self.rng.choice(living))

    def _write(self, feature: Feature, content: int | None, send: Callable[[], httpx.Response | None]) -> None:
        feature.open.append(content)  # from now on it may be there
        answer = send()
        if answer is None:
            self.ledger.count("writes_open")
            return
        feature.acknowledged(content)
        self.ledger.count("writes_acknowledged")

    def _create(self, content: int) -> None:
        feature = Feature(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        self.own.append(feature)
        with self.ledger.lock:
            self.ledger.features[feature.id] = feature
        body = {**_body(self.name, content), "id": str(feature.id)}
        self._write(feature, content, lambda: self.ask("POST", ITEMS, good=(201,), body=body))

    def _change(self, feature: Feature, content: int) -> None:
        body = {"properties": {"rank": content}}
        media = {"Content-Type": "application/merge-patch+json"}
        self._write(feature, content, lambda: self.ask("PATCH", f"{ITEMS}/{feature.id}", good=(204,), body=body, **media))

    def _remove(self, feature: Feature) -> None:
        self._write(feature, None, lambda: self.ask("DELETE", f"{ITEMS}/{feature.id}", good=(204,)))

    def settle(self, found: dict[uuid.UUID, int]) -> None:
        """Take over what open writes came to, so that the features can be written again."""
        for feature in self.own:
            if feature.open:
                feature.known, feature.open = found.get(feature.id), []


class Rival(Client):
    """One of two that raise the same counter by ``If-Match``: an acknowledged step is a step, none gets lost."""

    shared: uuid.UUID
    steps = 0
    steps_open = 0

    def act(self) -> None:
        read = self.ask("GET", f"{ITEMS}/{self.shared}", good=(200,))
        if read is None:
            return
        value = read.json()["properties"]["rank"]
        media = {"Content-Type": "application/merge-patch+json", "If-Match": read.headers["etag"]}
        answer = self.ask("PATCH", f"{ITEMS}/{self.shared}", good=(204, 412), body={"properties": {"rank": value + 1}}, **media)
        if answer is None:
            self.steps_open += 1
        elif answer.status_code == 204:
            self.steps += 1
        else:
            self.ledger.count("conflicts")


class Reader(Client):
    """Reads pages and tiles; each must be whole."""

    def act(self) -> None:
        if self.rng.random() < 0.5:
            limit = self.rng.choice([1, 10, 200])
            answer = self.ask("GET", f"{ITEMS}?limit={limit}", good=(200,))
            if answer is not None and len(answer.json()["features"]) != answer.json()["numberReturned"]:
                self.ledger.wrong("a page that is not whole")
        else:
            z = self.rng.choice([8, 11, 13])
            lon, lat = 111.3, 30.7
            x, y = int((lon + 180) / 360 * 2**z), {8: 104, 11: 839, 13: 3357}[z] + self.rng.randrange(2)
            assert lat
            answer = self.ask("GET", f"/collections/{LAYER}/tiles/WebMercatorQuad/{z}/{y}/{x}", good=(200, 204))
        if answer is not None:
            self.ledger.count("reads")


class Queuer(Client):
    """Queues exports."""

    def act(self) -> None:
        body = {"inputs": {"collection": LAYER, "format": "csv"}}
        media = {"Content-Type": "application/json", "Prefer": "respond-async"}
        answer = self.ask("POST", "/processes/export/execution", good=(201,), body=body, **media)
        if answer is None:
            self.ledger.count("jobs_open")
        else:
            with self.ledger.lock:
                self.ledger.jobs[answer.json()["jobID"]] = "accepted"
        self.pausing.wait(self.rng.uniform(2.0, 5.0))


def _body(who: str, content: int) -> dict[str, object]:
    return {
        "type": "Feature", "geometry": {"type": "Point", "coordinates": [111.3, 30.7]},
        "properties": {"admin_code": "420502001001", "label": who, "rank": content},
    }  # fmt: skip
