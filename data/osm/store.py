"""An OpenStreetMap extract into the layers of a database, with an account of everything that happened to it."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.osm.frames import layer_frames
from data.osm.notes import Notes
from data.osm.reader import Bounds, Extract, read_extract
from gis.errors import InputError
from gis.settings import CityConfig
from layers.access import SYSTEM, Principal
from layers.database import Database
from layers.loading.bulk import FrameSource
from layers.loading.engine import load_source
from layers.loading.options import LoadOptions
from layers.loading.report import LoadReport

__all__ = ["OsmReport", "load_osm"]

log = logging.getLogger(__name__)

#: Called with a stage (``read``, or the name of a layer), units done, and units in all (0: not known).
Progress = Callable[[str, int, int], None]


@dataclass
class OsmReport:
    """What became of an extract.

    Attributes
    ----------
    counts : dict
        Nodes, ways and relations in the file that carry a key which matters here.
    layers : dict
        Report of the load of each layer.
    """

    file_name: str
    timestamp: str
    area: Bounds
    dry_run: bool
    counts: dict[str, int]
    missing_nodes: int
    lines_cut: int
    areas_cut: int
    relations_incomplete: int
    notes: Notes
    layers: dict[str, LoadReport] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "file": self.file_name,
            "data_of": self.timestamp or None,
            "area": list(self.area),
            "dry_run": self.dry_run,
            "read": self.counts,
            "missing_nodes": self.missing_nodes,
            "lines_cut": self.lines_cut,
            "areas_cut": self.areas_cut,
            "relations_incomplete": self.relations_incomplete,
            "layers": {name: report.as_json() for name, report in self.layers.items()},
            **self.notes.as_dict(),
        }


def _nothing_here(extract: Extract, name: str, area: Bounds) -> InputError:
    west, south, east, north = area
    box = extract.bounds
    lies = "" if box is None else f" The file covers {box[0]:g}, {box[1]:g} to {box[2]:g}, {box[3]:g}."
    covers = "" if box is None else f"文件范围为 {box[0]:g}, {box[1]:g} – {box[2]:g}, {box[3]:g}。"
    return InputError(
        f"{name} has nothing in {west:g}, {south:g} to {east:g}, {north:g}.{lies} Give --area, or the city file of that place in BAIGE_CITY.",
        zh=f"{name} 在 {west:g}, {south:g} – {east:g}, {north:g} 范围内没有数据。{covers}请用 --area 指定范围，或用 BAIGE_CITY 指定城市文件。",
    )


def load_osm(
    database: Database,
    path: Path,
    city: CityConfig,
    *,
    area: Bounds | None = None,
    dry_run: bool = False,
    principal: Principal = SYSTEM,
    on_progress: Progress | None = None,
) -> OsmReport:
    """Read an extract and load every layer that it can fill; each layer in one transaction.

    An object keeps its identifier (``osm:way/123``) in ``source_ref``: loading a later extract updates it. What has gone from the source
    stays in the layer.

    Parameters
    ----------
    area : tuple of float, optional
        West, south, east, north in degrees: what does not touch it is left out. The city's bounds by default.
    dry_run : bool
        Do everything, then take it back.

    Raises
    ------
    UnreadableFile
        The file is missing, empty, truncated or not OpenStreetMap data; nothing was loaded.
    InputError
        It has nothing in the area.
    """
    notes = Notes()
    box = area or city.bounds

    def reading(done: int) -> None:
        if on_progress:
            on_progress("read", done, 0)

    extract = read_extract(path, notes, area=box, on_progress=reading)
    frames = layer_frames(extract, city, notes)
    if not frames:
        raise _nothing_here(extract, path.name, box)
    report = OsmReport(
        path.name,
        extract.timestamp,
        box,
        dry_run,
        dict(extract.counts),
        extract.missing_nodes,
        extract.lines_cut,
        extract.areas_cut,
        extract.relations_incomplete,
        notes,
    )
    with path.open("rb") as stream:
        checksum = hashlib.file_digest(stream, "sha256").hexdigest()
    # Objects that reach over the edge of the area are wanted whole, so the loader need not look at the bounds again.
    options = LoadOptions(dry_run=dry_run, allow_outside=True, note=path.name)
    for layer, frame in frames.items():
        total = len(frame)

        def loading(done: int, layer: str = layer, total: int = total) -> None:
            if on_progress:
                on_progress(layer, done, total)

        loading(0)
        report.layers[layer] = load_source(
            database,
            layer,
            FrameSource(frame, crs="4326"),
            file_name=path.name,
            options=options,
            city=city,
            principal=principal,
            file_sha256=checksum,
            progress=loading,
        )
        log.info("%s: %d rows", layer, total)
    return report
