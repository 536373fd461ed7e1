"""The report that an office hands on: what the newest coverage run found, in figures, tables and maps, with where it comes from.

`read_report` gathers it from the database; `maps.report_pages` writes it as PDF, `maps.report_sheets` as XLSX.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import geopandas as gpd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.errors import InputError, NotFound
from gis.settings import CityConfig
from layers.declaration import LayerDeclaration
from layers.frames import read_frame
from layers.registry import catalogue, declaration_of
from layers.runs import latest_run
from maps.report_tables import Table, all_tables

__all__ = ["DEFAULT_MAPS", "MapSheet", "Report", "area_prefix", "read_report"]

#: Layers drawn when none are named.
DEFAULT_MAPS = ("coverage_by_grid", "bank_coverage", "outfall_watch")

_RESULTS: dict[str, tuple[str, ...]] = {
    "coverage_by_grid": (
        "unit_kind", "urban_rural", "name_zh", "name_en", "admin_code", "area_m2", "public_m2",
        *(f"{kind}_{level}" for level in ("overview", "outline", "discern") for kind in ("confirmed", "possible", "online")),
        "road_confirmed", "road_possible", "road_m", "crossings", "crossings_confirmed", "cameras", "cameras_online",
    ),
    "bank_coverage": ("name_zh", "admin_code", "state", "length_m"),
    "outfall_watch": ("name_zh", "admin_code", "watch_state"),
    "school_coverage": ("name_zh", "admin_code", "state"),
    "coverage_gap": (
        "name_zh", "name_en", "admin_code", "target_kind", "cause", "cause_share", "need", "rank", "stationing",
        "bank_side", "grid_code",
    ),
    "rule_finding": ("admin_code", "rule_id", "verdict", "name_zh", "name_en", "source", "article", "waived"),
}  # fmt: skip
_BASE = ("water", "admin_area", "road")
_STRICTNESS = ("public", "internal", "restricted")


@dataclass(frozen=True)
class MapSheet:
    """One map: a layer's declaration and its rows in the analysis system."""

    layer: LayerDeclaration
    frame: gpd.GeoDataFrame


@dataclass(frozen=True)
class Report:
    """What a report says.

    Attributes
    ----------
    tables : list of Table
        In the order of the report.
    maps : list of MapSheet
        Rows in EPSG ``srid``.
    base : dict
        Layers drawn under each map, by name, in EPSG ``srid``.
    notes : list of str
        Method and limits, in ``lang``.
    classification : str
        The strictest of all rows shown.
    """

    lang: str
    city: str
    area: str
    run_id: str
    finished_at: datetime
    software: str
    synthetic: bool
    classification: str
    classification_title: str
    srid: int
    tables: list[Table]
    maps: list[MapSheet]
    base: dict[str, MapSheet] = field(repr=False)
    notes: list[str] = field(default_factory=list)

    def text(self, zh: str, en: str) -> str:
        """The one of two texts that is in the report's language."""
        return zh if self.lang.startswith("zh") else en

    @property
    def title(self) -> str:
        """What the report is called."""
        return self.text("视频覆盖报告", "Video coverage report")


def area_prefix(code: str) -> str:
    """The digits of an administrative code that tell: without the zeros that fill it up.

    Raises
    ------
    InputError
        It is not a code of 2, 4, 6, 9 or 12 digits.

    Examples
    --------
    >>> area_prefix("420502000000"), area_prefix("420502004000"), area_prefix("4205")
    ('420502', '420502004', '4205')
    """
    if not re.fullmatch(r"\d{2}|\d{4}|\d{6}|\d{9}|\d{12}", code) or code.startswith("00"):
        raise InputError(
            f"{code!r} is not an administrative code of 2, 4, 6, 9 or 12 digits.",
            zh=f"{code!r} 不是 2、4、6、9 或 12 位的行政区划代码。",
        )
    for width, group in ((12, 3), (9, 3), (6, 2), (4, 2)):
        if len(code) == width and code.endswith("0" * group):
            code = code[: width - group]
    return code


def read_report(
    connection: Connection, city: CityConfig, *, layers: Sequence[str] = (), area: str | None = None, lang: str = "zh"
) -> Report:
    """Gather the report of the newest coverage run.

    Parameters
    ----------
    layers : sequence of str, optional
        Layers to draw; `DEFAULT_MAPS` without them. Layers without rows are drawn only when named.
    area : str, optional
        Administrative code: only rows whose code begins with its digits.
    lang : str
        ``zh`` or ``en``.

    Raises
    ------
    NotFound
        There is no coverage run, it has no results, or no place has the code ``area``.
    InputError
        ``area`` is not a code, or a layer has no places to draw.
    """
    identifier = latest_run(connection, "coverage")
    if identifier is None:
        raise NotFound(
            "There is no coverage run to report on; start one with 'baige coverage run'.",
            zh="尚无覆盖计算，无从生成报告；请先运行 baige coverage run。",
        )
    run = dict(
        connection.execute(sa.text("SELECT * FROM baige_sys.run WHERE id = :id"), {"id": identifier})
        .mappings()
        .one()
        .items()
    )
    prefix = area_prefix(area) if area else ""
    where = sa.text("admin_code LIKE :prefix").bindparams(prefix=f"{prefix}%") if prefix else None

    def rows(name: str, columns: Sequence[str]) -> gpd.GeoDataFrame:
        wanted = dict.fromkeys([*columns, "classification", "synthetic"])
        declared = {f.name for f in declaration_of(connection, name).all_fields}
        wanted.update(dict.fromkeys(c for c in ("run_id",) if c in declared))
        return read_frame(connection, name, columns=list(wanted), srid=city.analysis_srid, where=where)

    named = catalogue(connection)
    results = {name: rows(name, columns) for name, columns in _RESULTS.items() if name in named}
    analysed = [name for name in results if name != "rule_finding"]
    if not any(len(results[name]) for name in analysed):
        if prefix:
            raise NotFound(
                f"The coverage run has no results in the area {area}; 'baige report' without --area covers the whole city.",
                zh=f"区划代码 {area} 范围内没有覆盖计算结果；不带 --area 运行 baige report 可生成全市报告。",
            )
        raise NotFound(
            "The newest coverage run has no results; load cameras and places first, then call 'baige coverage run' again.",
            zh="最近一次覆盖计算没有结果；请先载入摄像机和要素，再运行 baige coverage run。",
        )
    places = read_frame(
        connection, "admin_area", columns=["name_zh", "name_en", "admin_code", "level"], srid=city.analysis_srid
    )
    names = _names(places, results["coverage_by_grid"], lang)
    maps, missing = _maps(connection, named, layers, results, rows)
    base = {
        name: MapSheet(named[name], _base(connection, name, city.analysis_srid, places))
        for name in _BASE
        if name in named
    }
    shown = [*results.values(), *(sheet.frame for sheet in maps)]
    classification = max(
        (str(value) for frame in shown for value in frame["classification"].dropna().unique()),
        key=_STRICTNESS.index,
        default="internal",
    )
    term = next(t for t in named["coverage_by_grid"].field("classification").domain if t.value == classification)
    zh = lang.startswith("zh")
    tables, notes = all_tables(
        connection,
        {str(k): v for k, v in run.items()},
        results,
        named,
        names=names,
        prefix=prefix,
        lang=lang,
        missing=missing,
    )
    return Report(
        lang=lang,
        city=city.name_zh if zh else city.name_en,
        area="" if area is None else names.get(prefix, area),
        run_id=str(run["id"]),
        finished_at=run["finished_at"],
        software=str(run["software"]),
        synthetic=bool(run["synthetic"]) or any(bool(frame["synthetic"].fillna(False).any()) for frame in shown),
        classification=classification,
        classification_title=term.zh if zh else term.en,
        srid=city.analysis_srid,
        tables=tables,
        maps=maps,
        base=base,
        notes=notes,
    )


def _names(places: gpd.GeoDataFrame, units: gpd.GeoDataFrame, lang: str) -> dict[str, str]:
    """Names of areas by the telling digits of their codes."""
    found: dict[str, str] = {}
    for frame in (units[units["unit_kind"].isin(["community", "street", "county"])], places):
        for zh, en, code in zip(frame["name_zh"], frame["name_en"], frame["admin_code"], strict=True):
            name = zh if lang.startswith("zh") else en or zh
            if code and name and re.fullmatch(r"\d{12}|\d{9}|\d{6}|\d{4}", str(code)):
                found[area_prefix(str(code))] = str(name)
    return found


def _maps(
    connection: Connection,
    named: dict[str, LayerDeclaration],
    layers: Sequence[str],
    results: dict[str, Any],
    rows: Any,
) -> tuple[list[MapSheet], list[str]]:
    """Maps to draw, and names of default ones that have no rows."""
    found, missing = [], []
    for name in dict.fromkeys(layers or DEFAULT_MAPS):
        layer = declaration_of(connection, name)
        if not layer.has_geometry:
            raise InputError(
                f"Layer {name!r} has no places and cannot be drawn.", zh=f"图层 {name!r} 没有空间位置，无法成图。"
            )
        by = [layer.style.by] if layer.style.by else []
        frame = results[name] if name in results and set(by) <= set(results[name].columns) else rows(name, by)
        if name == "coverage_by_grid":
            frame = frame[frame["unit_kind"] == "grid"]
        if len(frame) or layers:
            found.append(MapSheet(layer, frame))
        else:
            missing.append(name)
    return found, missing


def _base(connection: Connection, name: str, srid: int, places: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    if name == "admin_area":
        return places
    if name == "road":
        main = sa.text("road_class IN ('motorway', 'trunk', 'primary')")
        return read_frame(connection, name, columns=["road_class"], srid=srid, where=main)
    return read_frame(connection, name, columns=["name_zh"], srid=srid)
