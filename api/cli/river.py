"""``baige river``: stations along the river, what lies upstream and downstream, registers compared with the axis."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from api.cli.context import AppContext, pass_app
from gis.errors import InputError

if TYPE_CHECKING:
    from grids.river import River, RiverPlace

__all__ = ["command"]

_version = click.option(
    "--axis-version",
    "version",
    type=click.IntRange(min=1),
    default=None,
    help="Version of the axes; the newest without it. 轴线版本。",
)
_reach = click.option("--reach", default=None, help="Code or name of the reach. 河段编码或名称。")


@click.group()
def command() -> None:
    """Stations along the river, upstream and downstream. 河道桩号与上下游查询。"""


def _point(app: AppContext, lon: float, lat: float, crs: str) -> Any:
    import numpy as np
    import shapely

    from gis.crs import source_crs, transform_geometries

    return transform_geometries(
        np.array([shapely.Point(lon, lat)]), source_crs(crs), app.settings.city_config.analysis_srid
    )[0]


def _lonlat(river: "River", shape: Any) -> tuple[float, float]:
    from gis.crs import SourceCRS, transform_geometries

    spot = transform_geometries([shape], SourceCRS(str(river.srid)), 4326)[0]
    return round(spot.x, 8), round(spot.y, 8)


def _shown(app: AppContext, place: "RiverPlace") -> str:
    side = {"L": app.text("left", "左岸"), "R": app.text("right", "右岸")}.get(
        place.side, app.text("on the axis", "轴线上")
    )
    beyond = app.text("  (beyond the end of the axis)", "（超出轴线端点）") if place.beyond else ""
    return (
        f"{app.text(place.reach.name_en, place.reach.name_zh)}  {place.station}  {side}  {place.offset_m:.1f} m{beyond}"
    )


@command.command("list")
@_version
@pass_app
def list_(app: AppContext, version: int | None) -> None:
    """The reaches: from where to where, into what they flow. 列出河段。"""
    from gis.chainage import format_station
    from grids.river import read_river

    with app.database(pool_size=1).begin(readonly=True) as connection:
        river = read_river(connection, srid=app.settings.city_config.analysis_srid, version=version)
    rows = [
        {"reach": r.code, "name_zh": r.name_zh, "name_en": r.name_en, "axis_version": r.version, "main_stem": r.main_stem,
         "start": format_station(r.axis.start_m), "end": format_station(r.axis.end_m), "into": r.into,
         "into_at": format_station(r.into_m) if r.into else None}
        for r in river.reaches
    ]  # fmt: skip
    lines = [
        f"{r['reach']:<8} {app.text(str(r['name_en']), str(r['name_zh']))}  {r['start']} – {r['end']}"
        + (f"  → {r['into']} {r['into_at']}" if r["into"] else "")
        for r in rows
    ]
    app.emit(rows, "\n".join(lines))


@command.command("locate")
@click.argument("lon", type=float)
@click.argument("lat", type=float)
@click.option("--crs", default="wgs84", show_default=True, help="Reference system of the point. 坐标系。")
@_reach
@_version
@pass_app
def locate_(app: AppContext, lon: float, lat: float, crs: str, reach: str | None, version: int | None) -> None:
    """Station, side and offset of a point (x, y). 由坐标求桩号、岸别与偏距。"""
    from grids.river import read_river

    with app.database(pool_size=1).begin(readonly=True) as connection:
        river = read_river(connection, srid=app.settings.city_config.analysis_srid, version=version)
    place = river.locate([_point(app, lon, lat, crs)], reach=river.reach(reach).code if reach else None)[0]
    app.emit(place.plain(), _shown(app, place))


@command.command()
@click.argument("station")
@click.option(
    "--offset",
    "offset_m",
    type=float,
    default=0.0,
    help="Metres to the left of the flow, negative to the right. 偏距（左正右负）。",
)
@_reach
@_version
@pass_app
def at(app: AppContext, station: str, offset_m: float, reach: str | None, version: int | None) -> None:
    """Point at a station such as K12+345, longitude first. 由桩号求坐标。"""
    from grids.river import read_river

    with app.database(pool_size=1).begin(readonly=True) as connection:
        river = read_river(connection, srid=app.settings.city_config.analysis_srid, version=version)
    lon, lat = _lonlat(river, river.at(station, reach=reach, offset_m=offset_m))
    app.emit({"reach": river.reach(reach).code, "station": station, "lon": lon, "lat": lat}, f"{lon:.8f} {lat:.8f}")


def _along(
    app: AppContext, place: str, reach: str | None, of: str, layer: str, version: int | None, within_m: float | None
) -> None:
    """Features upstream (``within_m`` given) or downstream of a station or feature."""
    from grids.river import read_river
    from grids.river_places import along_river, place_of
    from layers.access import SYSTEM

    with app.database(pool_size=1).begin(readonly=True) as connection:
        river = read_river(connection, srid=app.settings.city_config.analysis_srid, version=version)
        if place[:1] in "Kk":
            start = river.locate([river.at(place, reach=reach)], reach=river.reach(reach).code)[0]
        else:
            start = place_of(connection, river, of, place, SYSTEM)
        along = along_river(connection, river, layer, SYSTEM)
    found = (
        river.downstream(start, along.places, ends_m=along.ends_m)
        if within_m is None
        else river.upstream(start, along.places, within_m=within_m)
    )
    rows = [along.plain(travel) for travel in found]
    lines = [_shown(app, start)]
    for row in rows:
        name = app.text(row["name_en"] or "", row["name_zh"] or "")
        lines.append(
            f"{row['travel_m']:>10,.0f} m  {row['station']:>10}  {row['side'] or '-'}  {row['code'] or ''}  {name}"
        )
    app.emit({"place": start.plain(), "features": rows}, "\n".join(lines))


@command.command()
@click.argument("place")
@click.option(
    "--of", default="water_intake", show_default=True, help="Layer of PLACE where it is an id. PLACE 为标识时所属图层。"
)
@click.option("--layer", default="outfall", show_default=True, help="What is looked for. 查找的图层。")
@click.option(
    "--within",
    "within_m",
    type=click.FloatRange(min=0),
    default=None,
    help="At most so many metres upstream. 上游距离上限（米）。",
)
@_reach
@_version
@pass_app
def upstream(
    app: AppContext, place: str, of: str, layer: str, within_m: float | None, reach: str | None, version: int | None
) -> None:
    """What lies upstream of a station or feature, in the order in which its water arrives. 上游要素，按到达次序。"""
    _along(app, place, reach, of, layer, version, float("inf") if within_m is None else within_m)


@command.command()
@click.argument("place")
@click.option(
    "--of", default="outfall", show_default=True, help="Layer of PLACE where it is an id. PLACE 为标识时所属图层。"
)
@click.option("--layer", default="water_intake", show_default=True, help="What is looked for. 查找的图层。")
@_reach
@_version
@pass_app
def downstream(app: AppContext, place: str, of: str, layer: str, reach: str | None, version: int | None) -> None:
    """What the water of a station or feature comes to, the nearest first. 下游要素，由近及远。"""
    _along(app, place, reach, of, layer, version, None)


@command.command()
@click.option(
    "--layer",
    "layers",
    multiple=True,
    default=("outfall", "water_intake"),
    show_default=True,
    help="Layers to compare. 核对的图层。",
)
@click.option(
    "--tolerance",
    "tolerance_m",
    type=click.FloatRange(min=0),
    default=50.0,
    show_default=True,
    help="Metres that a chainage may be off. 桩号容差（米）。",
)
@_version
@pass_app
def check(app: AppContext, layers: tuple[str, ...], tolerance_m: float, version: int | None) -> None:
    """Registered chainages and banks against where things stand. 核对登记的桩号与岸别。"""
    from grids.river import read_river
    from grids.river_places import along_river, compare_registers
    from layers.access import SYSTEM

    if not layers:
        raise InputError("Name a layer.", zh="请指定图层。")
    with app.database(pool_size=1).begin(readonly=True) as connection:
        river = read_river(connection, srid=app.settings.city_config.analysis_srid, version=version)
        found = [
            m
            for layer in layers
            for m in compare_registers(along_river(connection, river, layer, SYSTEM), tolerance_m=tolerance_m)
        ]
    words = {"chainage": ("chainage", "桩号"), "side": ("bank", "岸别")}
    lines = [
        app.text(
            f"{m.layer} {m.code or m.id}: {words[m.what][0]} {m.registered} registered, {m.found} found",
            f"{m.layer} {m.code or m.id}：登记{words[m.what][1]} {m.registered}，实为 {m.found}",
        )
        for m in found
    ]
    app.emit([asdict(m) for m in found], "\n".join(lines) if lines else app.text("All agree.", "全部相符。"))
