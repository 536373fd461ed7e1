"""How fast an OpenStreetMap extract becomes tables: a drawn town of 200,000 buildings and 40,000 streets.

Run: ``python -m benchmarks.load_osm [BUILDINGS]``. Asserts that every building arrives with its height.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import osmium

from data.osm.frames import layer_frames
from data.osm.notes import Notes
from data.osm.reader import read_extract
from gis.settings import load_city

_SIDE_DEG = 0.0001


def draw(path: Path, buildings: int) -> None:
    """Write a town of square houses in rows, each with levels, and a street below every fifth."""
    across = int(buildings**0.5) + 1
    writer = osmium.SimpleWriter(str(path), overwrite=True)
    ways, node = [], 0
    for number in range(buildings):
        x, y = 111.0 + (number % across) * 2 * _SIDE_DEG, 30.6 + (number // across) * 2 * _SIDE_DEG
        corners = [(x, y), (x + _SIDE_DEG, y), (x + _SIDE_DEG, y + _SIDE_DEG), (x, y + _SIDE_DEG)]
        for corner in corners:
            node += 1
            writer.add_node(osmium.osm.mutable.Node(id=node, version=1, location=corner))
        ring = [node - 3, node - 2, node - 1, node, node - 3]
        ways.append((ring, {"building": "yes", "building:levels": str(1 + number % 30)}))
        if number % 5 == 0:
            ways.append((ring[:2], {"highway": "residential"}))
    for number, (refs, tags) in enumerate(ways, start=1):
        writer.add_way(osmium.osm.mutable.Way(id=number, version=1, nodes=refs, tags=tags))
    writer.close()


def main() -> None:
    """Draw, read, tabulate, and print the figures."""
    buildings = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "town.osm.pbf"
        draw(path, buildings)
        size_mb = path.stat().st_size / 1e6
        start, start_cpu = time.perf_counter(), time.process_time()
        extract = read_extract(path, Notes(), area=(110.0, 30.0, 113.0, 32.0))
        read_s = time.perf_counter() - start
        frames = layer_frames(extract, load_city(), Notes())
        total_s, cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
    houses = frames["building"]
    assert len(houses) == buildings
    assert len(frames["road"]) == -(-buildings // 5)
    expected = {f"osm:way/{n + n // 5 + 1 + (n % 5 != 0)}": 3.0 * (1 + n % 30) for n in range(0, buildings, 997)}
    stored = houses.set_index("source_ref")["height_m"]
    assert all(stored[ref] == height for ref, height in expected.items()), "heights went astray"
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{buildings:,} buildings, {len(frames['road']):,} streets, {size_mb:.1f} MB of PBF")
    print(
        f"read {read_s:.1f} s, with tables {total_s:.1f} s ({cpu_s:.1f} s of processor), peak memory {peak_mb:.0f} MB"
    )


if __name__ == "__main__":
    main()
