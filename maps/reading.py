"""What maps need from the database: layers as frames, and the runs that results come from."""

from collections.abc import Callable, Iterable, Mapping

import geopandas as gpd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.settings import CityConfig
from layers.access import sees_place, visible_fields
from layers.declaration import LayerDeclaration, Role
from layers.frames import read_frame
from layers.registry import catalogue
from maps.pages import MapFacts

__all__ = ["read_declarations", "read_facts", "read_frames"]


def read_declarations(connection: Connection) -> dict[str, LayerDeclaration]:
    """All layers with places, a user's own among them, by name."""
    return {name: layer for name, layer in catalogue(connection).items() if layer.has_geometry}


def read_frames(
    connection: Connection,
    layers: Iterable[str],
    *,
    role: Role = "admin",
    seen: Callable[[str], None] | None = None,
) -> dict[str, gpd.GeoDataFrame]:
    """Layers as frames with the columns that ``role`` may see; layers without places are passed over.

    Parameters
    ----------
    seen : callable, optional
        Told the name of each layer after it has been read.
    """
    declarations = read_declarations(connection)
    found = {}
    for name in layers:
        declaration = declarations.get(name)
        if declaration is None or not sees_place(declaration, role):
            continue
        hidden = {field.name for field in declaration.all_fields if field.type == "geometry"}
        columns = [field for field in visible_fields(declaration, role) if field not in hidden]
        frame = read_frame(connection, name, columns=columns)
        if role == "public":
            frame = frame[frame["classification"] == "public"]
        found[name] = frame
        if seen is not None:
            seen(name)
    return found


def read_facts(connection: Connection, frames: Mapping[str, gpd.GeoDataFrame], city: CityConfig) -> MapFacts:
    """Name of the city, and kind, id and date of the runs that the frames' results come from."""
    identifiers = sorted({str(v) for frame in frames.values() if "run_id" in frame for v in frame["run_id"].dropna().unique()})
    rows: list[tuple[str, str, str]] = []
    if identifiers:
        found = connection.execute(
            sa.text(
                "SELECT kind, id::text, to_char(coalesce(finished_at, started_at), 'YYYY-MM-DD') FROM baige_sys.run"
                " WHERE id = ANY(cast(:ids AS uuid[])) ORDER BY kind"
            ),
            {"ids": identifiers},
        )
        rows = [(str(kind), str(identifier), str(when)) for kind, identifier, when in found]
    return MapFacts(city_zh=city.name_zh, city_en=city.name_en, runs=rows)
