"""Maps of the report: a layer in its own colours over water, main roads and boundaries, with legend, scale bar and north arrow."""

import math
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.path import Path

from layers.declaration import LayerDeclaration
from maps.report import MapSheet, Report
from maps.style import StyleClass, class_of, families, style_classes

__all__ = ["draw_map"]

#: More shapes than this go into the page as a picture, so that it opens quickly.
_VECTORS_MAX = 3000
#: Where the map stands on the page: left, bottom, width, height as parts of it.
_BOX = (0.045, 0.085, 0.715, 0.80)
_PX_PT = 0.75


def _polygon_path(shape: Any) -> Path:
    """All rings of a polygon or multipolygon as one path."""
    vertices, codes = [], []
    for part in shapely.get_parts(shape):
        for ring in shapely.get_rings(part):
            at = shapely.get_coordinates(ring)
            vertices.append(at)
            codes.append(np.r_[Path.MOVETO, np.full(len(at) - 2, Path.LINETO), Path.CLOSEPOLY])
    return Path(np.concatenate(vertices), np.concatenate(codes).astype(Path.code_type))


def _draw_shapes(
    axes: Axes,
    shapes: Any,
    layer: LayerDeclaration,
    look: StyleClass,
    *,
    order: float,
    picture: bool,
    base: bool = False,
) -> None:
    """Add shapes of one class: areas, lines and points each as one collection."""
    style = layer.style
    kinds = shapely.get_dimensions(shapes)
    areas, lines, points = shapes[kinds == 2], shapes[kinds == 1], shapes[kinds == 0]
    dash = style.dash or ((2.0, 2.0) if look.unknown else ())
    if len(areas):
        edge = look.color if style.by or look.unknown else style.outline
        axes.add_collection(
            PathCollection(
                [_polygon_path(shape) for shape in areas],
                facecolors="none" if look.unknown else (look.color, style.opacity),
                edgecolors=(edge, 0.9),
                linewidths=0.15 if picture else min(style.size, 2.0) * _PX_PT * 0.5,
                hatch="////" if look.unknown else None,
                zorder=order,
                rasterized=picture,
            )
        )
    if len(lines):
        parts = shapely.get_parts(lines)
        drawn = LineCollection(
            [shapely.get_coordinates(part) for part in parts],
            colors=look.color,
            linewidths=style.size * _PX_PT * (0.4 if base else 0.7),
            zorder=order + 1,
            rasterized=picture,
            capstyle="butt",  # rounded ends would make short stretches look longer
        )
        if dash:
            drawn.set_linestyle((0, dash))
        axes.add_collection(drawn)
    if len(points):
        at = shapely.get_coordinates(points)
        axes.scatter(
            at[:, 0],
            at[:, 1],
            s=(style.size * 1.3) ** 2 if len(points) <= 500 else (style.size * 0.7) ** 2,
            facecolors="none" if look.unknown else look.color,
            edgecolors=look.color if look.unknown else style.outline,
            linewidths=1.0 if look.unknown else 0.5,
            zorder=order + 2,
            rasterized=picture,
        )


def _window(frame: gpd.GeoDataFrame, page: tuple[float, float]) -> tuple[float, float, float, float]:
    """The ground that the map shows: what is drawn and a margin, in the shape of its place on the page."""
    west, south, east, north = (float(v) for v in frame.total_bounds)
    width, height = max(east - west, 200.0) * 1.08, max(north - south, 200.0) * 1.08
    ratio = page[0] / page[1]
    width, height = max(width, height * ratio), max(height, width / ratio)
    x, y = (west + east) / 2, (south + north) / 2
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _bar_length_m(width_m: float) -> float:
    """A round length of 1, 2 or 5 that takes about a fifth of the map."""
    power = 10 ** math.floor(math.log10(width_m / 5))
    return float(max(step * power for step in (1, 2, 5) if step * power <= width_m / 5))


def _scale_bar(axes: Axes, window: tuple[float, float, float, float]) -> float:
    """Draw the bar at the lower left and return its length in metres."""
    west, south, east, north = window
    length = _bar_length_m(east - west)
    x, y, thick = west + (east - west) * 0.025, south + (north - south) * 0.03, (north - south) * 0.008
    back = (west + (east - west) * 0.012, south + (north - south) * 0.014)
    axes.add_patch(
        Rectangle(
            back,
            length + (east - west) * 0.07,
            (north - south) * 0.065,
            facecolor="white",
            alpha=0.85,
            edgecolor="none",
            zorder=20,
        )
    )
    for n in range(4):
        shade = "#1d2733" if n % 2 == 0 else "white"
        axes.add_patch(
            Rectangle(
                (x + n * length / 4, y),
                length / 4,
                thick,
                facecolor=shade,
                edgecolor="#1d2733",
                linewidth=0.5,
                zorder=21,
            )
        )
    kilo = length >= 1000
    for part in (0.0, 0.5, 1.0):
        value = length * part / (1000 if kilo else 1)
        unit = (" km" if kilo else " m") if part == 1 else ""
        axes.text(
            x + length * part, y + thick * 1.6, f"{value:g}{unit}", fontsize=7, ha="center", va="bottom", zorder=22
        )
    return length


def _north_arrow(axes: Axes, letter: str) -> None:
    axes.annotate(
        letter,
        xy=(0.965, 0.975),
        xytext=(0.965, 0.885),
        xycoords="axes fraction",
        ha="center",
        va="center",
        fontsize=11,
        fontweight="bold",
        zorder=22,
        arrowprops={"arrowstyle": "-|>", "linewidth": 1.6, "color": "#1d2733", "shrinkA": 7, "shrinkB": 0},
        bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "boxstyle": "circle,pad=0.15"},
    )


def _handle(layer: LayerDeclaration, look: StyleClass, label: str) -> Any:
    style = layer.style
    family = families(layer)[0]
    if family == "fill":
        edge = look.color if style.by or look.unknown else style.outline
        return Patch(
            facecolor="none" if look.unknown else (look.color, style.opacity),
            edgecolor=edge,
            hatch="////" if look.unknown else None,
            label=label,
        )
    if family == "line":
        return Line2D(
            [],
            [],
            color=look.color,
            linewidth=max(style.size * _PX_PT, 1.5),
            linestyle="--" if look.unknown else "-",
            label=label,
        )
    return Line2D(
        [], [], marker="o", linestyle="none", markersize=7, markerfacecolor="none" if look.unknown else look.color,
        markeredgecolor=look.color if look.unknown else style.outline, label=label,
    )  # fmt: skip


def draw_map(figure: Figure, sheet: MapSheet, report: Report) -> None:
    """Draw a sheet onto a page that has its heading already.

    The legend counts the features of each class; of a ramp it shows every interval, of other classes those that occur.
    """
    layer, frame = sheet.layer, sheet.frame
    axes = figure.add_axes(_BOX)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("#f7f6f2")
    shapes = frame.geometry.to_numpy() if len(frame) else np.array([], dtype=object)
    keep = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    if not keep.any():
        axes.text(
            0.5,
            0.5,
            report.text("该图层没有要素", "This layer has no features"),
            transform=axes.transAxes,
            ha="center",
            va="center",
            fontsize=14,
        )
        return
    page = figure.get_size_inches()
    inches = (_BOX[2] * page[0], _BOX[3] * page[1])
    window = _window(frame[keep], inches)
    finest = (window[2] - window[0]) / 3000
    inside = shapely.box(*window)
    for order, name in enumerate(("water", "road", "admin_area"), start=1):
        ground = report.base.get(name)
        if ground is None or name == layer.name or not len(ground.frame):
            continue
        seen = ground.frame.geometry.to_numpy()
        seen = seen[shapely.intersects(inside, seen)]
        if name == "admin_area":
            boundary = shapely.get_parts(shapely.boundary(shapely.simplify(seen, finest)))
            lines = [shapely.get_coordinates(part) for part in boundary]
            axes.add_collection(
                LineCollection(lines, colors="#7b8794", linewidths=0.5, linestyles=(0, (4, 2)), zorder=12)
            )
            continue
        classes = style_classes(ground.layer)
        by = ground.layer.style.by
        look = classes[0] if by is None else StyleClass("*", "", "", ground.layer.style.color)
        _draw_shapes(axes, shapely.simplify(seen, finest), ground.layer, look, order=order, picture=False, base=True)
    classes, by = style_classes(layer), layer.style.by
    values = frame[by].tolist() if by else [None] * len(frame)
    belongs = np.array([class_of(classes, value) for value in values])
    simple = shapely.simplify(shapes, finest)
    picture = int(keep.sum()) > _VECTORS_MAX
    handles = []
    for n, look in enumerate(classes):
        chosen = keep & (belongs == n)
        count = int((belongs == n).sum())
        if chosen.any():
            # Where shapes lie on one another, the classes that the legend names first are on top.
            above = (len(classes) - n) / len(classes) if by and not layer.style.ramp else 0.0
            _draw_shapes(axes, simple[chosen], layer, look, order=5 + above, picture=picture)
        if count or (look.low is not None or look.high is not None):
            handles.append(_handle(layer, look, f"{look.title(report.lang)}  ({count:,})"))
    axes.set_xlim(window[0], window[2])
    axes.set_ylim(window[1], window[3])
    _scale_bar(axes, window)
    _north_arrow(axes, report.text("北", "N"))
    field = layer.field(by).title(report.lang) if by else layer.title(report.lang)
    legend = figure.legend(
        handles=handles, title=field, loc="upper left", bbox_to_anchor=(_BOX[0] + _BOX[2] + 0.012, _BOX[1] + _BOX[3]), fontsize=8.5,
        title_fontsize=9.5, frameon=False, alignment="left", borderaxespad=0,
    )  # fmt: skip
    for text in [*legend.get_texts(), legend.get_title()]:
        text.set_parse_math(False)
    scale = (window[2] - window[0]) / (inches[0] * 0.0254)
    facts = [
        report.text(f"要素 {len(frame):,} 个", f"{len(frame):,} features"),
        report.text(f"比例尺约 1:{_rounded(scale):,}（A4）", f"About 1:{_rounded(scale):,} on A4"),
        report.text(f"坐标系 EPSG:{report.srid}，箭头指坐标北", f"EPSG:{report.srid}; the arrow is grid north"),
    ]
    for n, fact in enumerate(reversed(facts)):
        figure.text(_BOX[0] + _BOX[2] + 0.012, _BOX[1] + 0.004 + n * 0.024, fact, fontsize=7.5, color="#46515c")


def _rounded(scale: float) -> int:
    power = 10 ** max(math.floor(math.log10(scale)) - 1, 0)
    return int(round(scale / power) * power)
