"""The standalone pages: which layers stand on which, how much each may weigh, and what the page says of itself.

Everything here is a function of GeoDataFrames and declarations; `maps.reading` fetches them from a database.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import folium
import geopandas as gpd
import numpy as np

from layers.access import sees_place
from layers.catalogue import built_in
from layers.declaration import LayerDeclaration, Role
from maps.encoding import Packed, pack_layer
from maps.leaflet import PageText, offline_map
from maps.style import legend_html, style_classes
from maps.themes import DRAWING_ORDER

__all__ = [
    "PAGES",
    "MapFacts",
    "Page",
    "build_page",
    "coverage_map",
    "first_view",
    "page_map",
    "run_title",
    "selected",
]

#: A page stays well below 15 MB with Leaflet and markup.
PAGE_BYTES = 13_500_000
#: No base layer takes more than this of it.
_BASE_BYTES = 2_200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One standalone page.

    Attributes
    ----------
    layers : tuple of str
        From the ground up, above the base.
    focus : tuple of str
        Layers whose extent is the first view; the first that has features.
    shown : tuple of str
        Layers switched on at first; the declaration's choice for all when empty.
    only : mapping
        Layer → field and the values of it that belong on the page, for layers that hold several things.
    """

    name: str
    title_zh: str
    title_en: str
    about_zh: str
    about_en: str
    layers: tuple[str, ...]
    focus: tuple[str, ...]
    shown: tuple[str, ...] = ()
    only: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)


PAGES: dict[str, Page] = {
    page.name: page
    for page in (
        Page(
            name="coverage",
            title_zh="视频覆盖与缺口",
            title_en="Camera coverage and gaps",
            about_zh="各网格的覆盖率、看不到的地方及其原因、摄像机点位和建议点位。",
            about_en="Coverage by grid cell, what is not seen and why, camera sites and proposed sites.",
            layers=("coverage_by_grid", "key_area", "camera_view", "coverage_gap", "bank_coverage", "camera_site", "outfall_watch",
                    "school_coverage", "site_proposal"),
            focus=("coverage_by_grid", "camera_site"),
            shown=("coverage_by_grid", "coverage_gap", "bank_coverage", "site_proposal"),
            only={"coverage_by_grid": ("unit_kind", ("grid",))},
        ),
        Page(
            name="outfalls",
            title_zh="入河排污口",
            title_en="Outfalls",
            about_zh="排污口分类与阶段、值守状态、水源保护区、岸线和规则核查发现。",
            about_en="Outfalls by class and stage, who watches them, water-source zones, the banks and the findings of rule checks.",
            layers=("river_mgmt_area", "water_function_zone", "water_source_zone", "shoreline_zone", "riverbank", "river_axis",
                    "bank_coverage", "river_works", "key_area", "pollution_source", "exhaust_station", "water_intake", "outfall_watch",
                    "outfall", "rule_finding"),
            focus=("outfall", "river_axis"),
            shown=("water_source_zone", "river_axis", "riverbank", "water_intake", "outfall", "rule_finding"),
            only={"rule_finding": ("object_layer", ("outfall", "key_area", "pollution_source", "river_works", "exhaust_station"))},
        ),
        Page(
            name="layout",
            title_zh="一圈十片百格千点",
            title_en="Ring, zones, grids and points",
            about_zh="布局各层级、单元网格、社区和布局检查发现的问题。",
            about_en="The layout at its four levels, grid cells, communities, and the faults that the check found.",
            layers=("community", "grid_cell", "layout_unit", "layout_fault", "grid_event", "patrol"),
            focus=("layout_unit", "grid_cell"),
            shown=("layout_unit", "layout_fault", "grid_cell"),
        ),
        Page(
            name="schools",
            title_zh="校园周边",
            title_en="Schools and their zones",
            about_zh="学校、校门、周边区域及其视频覆盖，受管行业。",
            about_en="Schools, their entrances and zones, video coverage around them, and regulated trades.",
            layers=("school_zone", "crossing", "shop", "kitchen", "camera_site", "school", "school_coverage", "rule_finding"),
            focus=("school_zone", "school"),
            shown=("school_zone", "school", "school_coverage", "shop"),
            only={"rule_finding": ("object_layer", ("school", "shop", "crossing", "school_zone"))},
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class MapFacts:
    """What is known of the data behind a page.

    Attributes
    ----------
    runs : sequence of (str, str, str)
        Kind, id and time of the analysis runs that results come from.
    made_at : datetime
        When the page was made.
    """

    city_zh: str = ""
    city_en: str = ""
    runs: Sequence[tuple[str, str, str]] = ()
    made_at: dt.datetime | None = None


_RUN_KINDS = {
    "coverage": ("覆盖分析", "Coverage run"), "gaps": ("缺口分析", "Gap run"), "layout-check": ("布局检查", "Layout check"),
    "rules-check": ("规则核查", "Rules check"), "rules": ("规则核查", "Rules check"),
    "layout-plan": ("布局规划", "Layout plan"), "propose-sites": ("点位建议", "Site proposals"),
}  # fmt: skip


def _facts(facts: MapFacts, runs: set[str]) -> list[tuple[str, str]]:
    said = [(facts.city_zh, facts.city_en)] if facts.city_zh else []
    for kind, identifier, when in facts.runs:
        if identifier in runs:
            zh, en = run_title(kind)
            said.append((f"{zh} {identifier[:8]}（{when}）", f"{en} {identifier[:8]} ({when})"))
    made = (facts.made_at or dt.datetime.now(dt.UTC)).astimezone().strftime("%Y-%m-%d %H:%M")
    return [*said, (f"制图 {made}", f"Made {made}")]


def _notices(frames: Mapping[str, gpd.GeoDataFrame], declarations: Mapping[str, LayerDeclaration]) -> list[tuple[str, str, str]]:
    found = []
    if any("synthetic" in frame and bool(frame["synthetic"].fillna(False).any()) for frame in frames.values()):
        zh = "合成数据：街道、建筑、设备和结果均为虚构，不是真实情况"
        found.append(("synthetic", zh, "Synthetic data: streets, buildings, devices and results are invented"))
    if any(declarations[name].classification != "public" and len(frame) for name, frame in frames.items()):
        found.append(("internal", "内部资料，请勿外传", "Internal: do not pass on"))
    return found


def first_view(page: Page, frames: Mapping[str, gpd.GeoDataFrame]) -> tuple[float, float, float, float] | None:
    """West, south, east, north in degrees of the layers that a page is about; None when there is nothing."""
    for name in (*page.focus, *frames):
        frame = frames.get(name)
        if frame is None or not len(frame):
            continue
        if frame.crs is not None and not frame.crs.is_geographic:
            frame = frame.to_crs(4490)
        boxes = frame.geometry.bounds.to_numpy()
        boxes = boxes[np.isfinite(boxes).all(axis=1)]
        if not len(boxes):
            continue
        # Middle 96 %: one stray feature must not decide the view.
        low, high = np.percentile(boxes[:, :2], 2, axis=0), np.percentile(boxes[:, 2:], 98, axis=0)
        return float(low[0]), float(low[1]), float(max(high[0], low[0])), float(max(high[1], low[1]))
    return None


def _fitted(packed: list[Packed], repack: Mapping[str, tuple[LayerDeclaration, gpd.GeoDataFrame]], total: int, role: Role) -> list[Packed]:
    """Give each layer the same ceiling, as high as the page allows, and pack again those above it."""
    low, high = 0, total
    while high - low > 10_000:
        cap = (low + high) // 2
        if sum(min(p.size_bytes, cap) for p in packed) <= total:
            low = cap
        else:
            high = cap
    return [p if p.size_bytes <= low or low == 0 else pack_layer(*repack[p.name], budget_bytes=low, role=role) for p in packed]


def build_page(
    page: Page,
    frames: Mapping[str, gpd.GeoDataFrame],
    *,
    declarations: Mapping[str, LayerDeclaration] | None = None,
    facts: MapFacts | None = None,
    languages: tuple[str, ...] = ("zh", "en"),
    role: Role = "planner",
    home: str = "",
    page_bytes: int = PAGE_BYTES,
    ground: dict[str, Packed] | None = None,
) -> folium.Map:
    """Make a page from frames.

    Parameters
    ----------
    frames : mapping of str to GeoDataFrame
        By layer name; base layers among them are drawn below. Layers that the page does not name are left out.
    declarations : mapping, optional
        By layer name; the built-in ones by default.
    role : Role
        For whom the page is: columns hidden from it are left out, and for ``public`` all layers but public ones.
    page_bytes : int
        What the packed data may weigh; layers above their part are simplified, then thinned, and the page says so.
    ground : dict, optional
        Base layers already packed for the same role, by name; those packed here are put into it.

    Raises
    ------
    CRSMismatch
        A frame has no reference system.
    """
    known = declarations or built_in()
    wanted = [name for name in (*DRAWING_ORDER, *page.layers) if name in frames and name in known]
    wanted = [name for n, name in enumerate(wanted) if name not in wanted[:n]]
    wanted = [name for name in wanted if sees_place(known[name], role)]
    if role == "public":
        wanted = [name for name in wanted if known[name].classification == "public"]
    base: list[Packed] = []
    above: list[Packed] = []
    sources: dict[str, tuple[LayerDeclaration, gpd.GeoDataFrame]] = {}
    for name in wanted:
        layer, frame = known[name], frames[name]
        frame = selected(page, name, frame)
        if role == "public" and "classification" in frame:
            frame = frame[frame["classification"] == "public"]
        is_base = name in DRAWING_ORDER and name not in page.layers
        if page.shown and not is_base:
            layer = layer.model_copy(update={"style": layer.style.model_copy(update={"visible": name in page.shown})})
        if is_base:
            names = [f for f in (layer.style.label,) if f]
            layer = layer.model_copy(update={"kind": "base"})
            known_ground = ground if ground is not None else {}
            if name not in known_ground:
                known_ground[name] = pack_layer(layer, frame, budget_bytes=_BASE_BYTES, tolerance_m=2.0, role=role, names=names)
            base.append(known_ground[name])
        else:
            if layer.kind == "base":
                layer = layer.model_copy(update={"kind": "register"})
            above.append(pack_layer(layer, frame, budget_bytes=page_bytes, role=role))
            sources[name] = (layer, frame)
    above = _fitted(above, sources, page_bytes - sum(p.size_bytes for p in base), role)
    packed = [*base, *above]
    used = {name: frames[name] for name in wanted}
    runs = {str(value) for frame in used.values() if "run_id" in frame for value in frame["run_id"].dropna().unique()}
    text = PageText(
        title_zh=page.title_zh,
        title_en=page.title_en,
        facts=_facts(facts or MapFacts(), runs),
        notices=_notices(used, known),
        languages=languages,
        home=home,
    )
    legends = {p.name: legend_html(known[p.name], keys=_present(known[p.name], p)) for p in packed}
    return offline_map(packed, text, bounds=first_view(page, used), legends=legends)


def selected(page: Page, name: str, frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """The features of a layer that belong on a page: those with a place, and with the values that the page is limited to."""
    given = page.only.get(name)
    frame = frame[frame.geometry.notna()]
    if given is None or given[0] not in frame:
        return frame
    return frame[frame[given[0]].isin(given[1])]


def run_title(kind: str) -> tuple[str, str]:
    """Titles of a kind of run in Chinese and English."""
    return _RUN_KINDS.get(kind, (f"运行 {kind}", f"Run {kind}"))


def _present(layer: LayerDeclaration, packed: Packed) -> set[str]:
    """Keys of the classes that occur; of a ramp all, so that the scale can be read."""
    classes = style_classes(layer)
    occurring = {classes[n].key for n in set(packed.data["cls"])}
    return occurring | {c.key for c in classes if layer.style.ramp and not c.unknown}


def page_map(name: str, frames: Mapping[str, gpd.GeoDataFrame], **options: object) -> folium.Map:
    """The page called ``name`` (a key of `PAGES`) from frames; further options as in `build_page`."""
    return build_page(PAGES[name], frames, **options)  # type: ignore[arg-type]


def coverage_map(
    frames: Mapping[str, gpd.GeoDataFrame], *, title_zh: str = "", title_en: str = "", facts: MapFacts | None = None
) -> folium.Map:
    """A map of coverage and gaps as a ``folium.Map``, to be shown in a notebook or saved; needs no network.

    Parameters
    ----------
    frames : mapping of str to GeoDataFrame
        By layer name (``coverage_gap``, ``camera_site``, ``road``, …), as `layers.frames.read_frame` returns them or made by hand.

    Examples
    --------
    >>> import geopandas, shapely
    >>> cameras = geopandas.GeoDataFrame({"net_status": ["on"]}, geometry=[shapely.Point(111.29, 30.69)], crs=4490)
    >>> type(coverage_map({"camera_site": cameras})).__name__
    'Map'
    """
    page = PAGES["coverage"]
    if title_zh or title_en:
        page = replace(page, title_zh=title_zh or title_en, title_en=title_en or title_zh)
    return build_page(page, frames, facts=facts)
