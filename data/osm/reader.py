"""Read an OpenStreetMap extract with pyosmium: points, lines and areas with their tags, and what is missing at its edges."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import osmium
import shapely

from data.osm.notes import Notes
from data.osm.privacy import is_personal
from gis.errors import UnreadableFile

__all__ = ["Extract", "OsmObject", "read_extract"]

log = logging.getLogger(__name__)

Bounds = tuple[float, float, float, float]

#: Objects with none of these keys are of no use to any layer and never leave the C++ side.
KEYS = (
    "building", "highway", "railway", "waterway", "natural", "water", "amenity", "man_made", "landuse", "leisure", "boundary",
    "entrance", "barrier", "harbour", "industrial", "healthcare", "place", "building:part",
)  # fmt: skip
_GATES = frozenset(
    {"gate", "lift_gate", "swing_gate", "sliding_gate", "entrance", "full-height_turnstile", "turnstile"}
)
_NOT_GATES = frozenset({"no", "emergency"})
_SCHOOLS = frozenset({"school", "kindergarten", "college", "university"})
_WORDS = {"n": "nodes", "w": "ways", "r": "relations"}
_PROGRESS_EVERY = 20_000


@dataclass(frozen=True, slots=True)
class OsmObject:
    """A node, way or relation with its shape, longitude and latitude in WGS 84."""

    kind: Literal["node", "way", "relation"]
    id: int
    tags: dict[str, str]
    geometry: Any
    node_ids: tuple[int, ...] = ()

    @property
    def ref(self) -> str:
        """Identifier in the source: ``osm:way/123``."""
        return f"osm:{self.kind}/{self.id}"


@dataclass
class Extract:
    """What was read.

    Attributes
    ----------
    points, lines, areas : list of OsmObject
        Nodes as Point, ways as LineString, closed ways and multipolygon relations as (Multi)Polygon. A closed way can be in both.
    gates : dict
        Entrances and gates: node id → longitude, latitude.
    rivers : dict
        Relations of type ``waterway``: relation id → tags and ids of the member ways of the main stream.
    counts : Counter
        Objects in the file that can matter: nodes, ways, relations.
    missing_nodes, lines_cut, areas_cut : int
        Node references without a node; lines of which only a part, and areas of which nothing, could be drawn because of them.
    relations_incomplete : int
        Multipolygon and boundary relations that could not be closed: most lie across the edge of the extract.
    timestamp : str
        State of the data as the file's header says, or empty.
    """

    points: list[OsmObject] = field(default_factory=list)
    lines: list[OsmObject] = field(default_factory=list)
    areas: list[OsmObject] = field(default_factory=list)
    gates: dict[int, tuple[float, float]] = field(default_factory=dict)
    rivers: dict[int, tuple[dict[str, str], tuple[int, ...]]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    missing_nodes: int = 0
    lines_cut: int = 0
    areas_cut: int = 0
    relations_incomplete: int = 0
    timestamp: str = ""
    bounds: Bounds | None = None


class _Reading:
    """The state of one pass over the file."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.found = Extract()
        self._wkb = osmium.geom.WKBFactory()
        self._wkbs: dict[str, list[str]] = {"points": [], "lines": [], "areas": []}
        self._objects: dict[str, list[tuple[Any, ...]]] = {"points": [], "lines": [], "areas": []}
        self._expected: set[int] = set()

    def _tags(self, thing: Any, *, seen_before: bool = False) -> dict[str, str]:
        tags = {}
        for tag in thing.tags:
            if is_personal(tag.k):
                self.notes.personal[tag.k] += not seen_before
            else:
                tags[tag.k] = tag.v
        return tags

    def node(self, node: Any) -> None:
        self.found.counts["node"] += 1
        tags = self._tags(node)
        lon, lat = node.location.lon, node.location.lat
        if tags.get("entrance", "no") not in _NOT_GATES or tags.get("barrier") in _GATES:
            self.found.gates[node.id] = (lon, lat)
        self._objects["points"].append(("node", node.id, tags))
        self._wkbs["points"].append(self._wkb.create_point(node))

    def way(self, way: Any) -> None:
        self.found.counts["way"] += 1
        shape: str | None
        try:
            shape = self._wkb.create_linestring(way)
        except (RuntimeError, osmium.InvalidLocationError):
            shape = self._partial(way)
        if shape is not None:
            self._objects["lines"].append(("way", way.id, self._tags(way)))
            self._wkbs["lines"].append(shape)

    def _partial(self, way: Any) -> str | None:
        """The longest unbroken part of a way of which nodes are missing."""
        runs: list[list[tuple[float, float]]] = [[]]
        missing = 0
        for node in way.nodes:
            if node.location.valid():
                runs[-1].append((node.lon, node.lat))
            else:
                missing += 1
                runs.append([])
        self.found.missing_nodes += missing
        if missing and way.is_closed():
            self.found.areas_cut += 1
            return None
        best = max(runs, key=len)
        if len(set(best)) < 2:
            self.notes.skip("*", "way without a drawable part")
            return None
        if missing:
            self.found.lines_cut += 1
        return str(shapely.to_wkb(shapely.LineString(best), hex=True))

    def relation(self, relation: Any) -> None:
        self.found.counts["relation"] += 1
        kind = relation.tags.get("type", "")
        if kind in ("multipolygon", "boundary"):
            self._expected.add(relation.id)
        elif kind == "waterway":
            ways = tuple(m.ref for m in relation.members if m.type == "w" and m.role in ("", "main_stream"))
            self.found.rivers[relation.id] = (self._tags(relation), ways)

    def area(self, area: Any) -> None:
        kind = "way" if area.from_way() else "relation"
        try:
            shape = self._wkb.create_multipolygon(area)
        except RuntimeError:
            self.found.areas_cut += 1
            return
        tags = self._tags(area, seen_before=area.from_way())
        nodes: tuple[int, ...] = ()
        if tags.get("amenity") in _SCHOOLS:
            nodes = tuple(node.ref for ring in area.outer_rings() for node in ring)
        if kind == "relation":
            self._expected.discard(area.orig_id())
        self._objects["areas"].append((kind, area.orig_id(), tags, nodes))
        self._wkbs["areas"].append(shape)

    def finish(self) -> Extract:
        for name in ("points", "lines", "areas"):
            shapes = shapely.from_wkb(np.array(self._wkbs[name], dtype=object))
            target: list[OsmObject] = getattr(self.found, name)
            for values, shape in zip(self._objects[name], shapes, strict=True):
                target.append(OsmObject(values[0], values[1], values[2], shape, *values[3:]))
        self.found.relations_incomplete = len(self._expected)
        return self.found


def _within(objects: Iterable[OsmObject], area: Bounds) -> list[OsmObject]:
    listed = list(objects)
    if not listed:
        return listed
    box = shapely.box(*area)
    shapely.prepare(box)
    kept = shapely.intersects(box, np.array([thing.geometry for thing in listed], dtype=object))
    return [thing for thing, keep in zip(listed, kept, strict=True) if keep]


def read_extract(
    path: Path, notes: Notes, *, area: Bounds | None = None, on_progress: Callable[[int], None] | None = None
) -> Extract:
    """Read all objects that a layer can use, with complete geometry.

    Parameters
    ----------
    path : Path
        ``.osm.pbf``, ``.osm`` or another file that libosmium reads.
    notes : Notes
        Receives what was dropped.
    area : tuple of float, optional
        West, south, east, north in degrees: objects that do not touch it are left out.
    on_progress : callable, optional
        Called now and then with the number of objects read.

    Raises
    ------
    UnreadableFile
        Missing, empty, truncated or not OpenStreetMap data; the message says how much of it could be read.
    """
    if not path.is_file():
        raise UnreadableFile(f"{path.name} cannot be opened.", zh=f"无法打开 {path.name}。")
    if path.stat().st_size == 0:
        raise UnreadableFile(f"{path.name} is empty.", zh=f"{path.name} 是空文件。")
    reading = _Reading(notes)
    try:
        with osmium.io.Reader(str(path)) as reader:
            header = reader.header()
            reading.found.timestamp = str(header.get("osmosis_replication_timestamp") or "")
            box = header.box()
            if box.valid():
                reading.found.bounds = (box.bottom_left.lon, box.bottom_left.lat, box.top_right.lon, box.top_right.lat)
        processor = (
            osmium.FileProcessor(str(path)).with_locations().with_areas().with_filter(osmium.filter.KeyFilter(*KEYS))
        )
        take = {"n": reading.node, "w": reading.way, "a": reading.area, "r": reading.relation}
        for number, thing in enumerate(processor, start=1):
            take[thing.type_str()](thing)
            if on_progress and number % _PROGRESS_EVERY == 0:
                on_progress(number)
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    found = reading.finish()
    if not found.counts:
        notes.remark("*", "the file holds nothing that any layer keeps")
    elif not found.counts["way"]:
        notes.remark("*", "the file holds no ways: it may have been cut off")
    if area is not None:
        before = len(found.points) + len(found.lines) + len(found.areas)
        found.points, found.lines, found.areas = (
            _within(part, area) for part in (found.points, found.lines, found.areas)
        )
        outside = before - len(found.points) - len(found.lines) - len(found.areas)
        if outside:
            notes.skipped["*", "outside the area"] += outside
    return found


def _unreadable(path: Path, error: RuntimeError) -> UnreadableFile:
    """Say how far the file can be read: a second pass without areas counts what stands before the break."""
    seen: Counter[str] = Counter()
    try:
        for thing in osmium.FileProcessor(str(path)):
            seen[_WORDS[thing.type_str()]] += 1
    except RuntimeError:
        log.debug("second pass over %s ended as the first", path.name)
    log.debug("osmium: %s", error)
    if not seen:
        return UnreadableFile(
            f"{path.name} is not OpenStreetMap data, or is damaged from its start.",
            zh=f"{path.name} 不是 OSM 数据或已损坏。",
        )
    shown = ", ".join(f"{seen[kind]:,} {kind}" for kind in _WORDS.values())
    return UnreadableFile(
        f"{path.name} breaks off or is damaged: {shown} could be read before the fault, then it ends. Nothing was loaded;"
        " download it again.",
        zh=f"{path.name} 已截断或损坏：故障之前可读 {shown}。未加载任何数据，请重新下载。",
    )
