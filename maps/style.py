"""One style per layer, read from its declaration: what is told apart, in which colours, under which titles.

Everything that draws starts from the `StyleClass` list of a layer, so that a gap is the same red on the portal, in a folium page, in
QGIS and on paper. The writers of each notation are `maps.style_maplibre`, `maps.style_qgis` and `maps.style_sld`.
"""

import html
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from layers.declaration import FieldDeclaration, LayerDeclaration

__all__ = ["PALETTE", "Family", "StyleClass", "class_of", "families", "folium_style", "leaflet_path", "legend_html", "style_classes"]

Family = Literal["fill", "line", "point"]

#: Colours for values that a declaration leaves without one: Okabe and Ito (2008), told apart by colour-blind eyes.
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6bb1", "#999933", "#332288", "#882255")

_FAMILIES: Mapping[str, tuple[Family, ...]] = {
    "Point": ("point",),
    "MultiPoint": ("point",),
    "LineString": ("line",),
    "MultiLineString": ("line",),
    "LineStringM": ("line",),
    "Polygon": ("fill",),
    "MultiPolygon": ("fill",),
    "Geometry": ("fill", "line", "point"),
    "none": (),
}
_UNKNOWN = ("未知", "Unknown")


@dataclass(frozen=True, slots=True)
class StyleClass:
    """One look of a layer.

    Attributes
    ----------
    key : str
        Value of the field as text (``true``/``false`` for truth values), ``low..high`` for an interval, ``*`` for the only class.
    low, high : float or None
        Interval ``low <= value < high`` of a number; None is open.
    unknown : bool
        Whether it stands for a missing value: drawn hollow and dashed, never in the colour of a known one.
    """

    key: str
    title_zh: str
    title_en: str
    color: str
    low: float | None = None
    high: float | None = None
    unknown: bool = False

    def title(self, lang: str) -> str:
        """Title in ``lang`` (``zh`` or ``en``)."""
        return self.title_zh if lang.startswith("zh") else self.title_en


def families(layer: LayerDeclaration) -> tuple[Family, ...]:
    """The kinds of drawing that a layer's geometries need."""
    return _FAMILIES[layer.geometry]


def _number(value: float, field: FieldDeclaration) -> str:
    if field.unit == "" and field.minimum == 0 and field.maximum == 1:
        return f"{value * 100:g} %"
    return f"{value:g}" + (f" {field.unit}" if field.unit else "")


def _intervals(layer: LayerDeclaration, field: FieldDeclaration) -> list[StyleClass]:
    style = layer.style
    edges: list[float | None] = [None, *style.breaks, None]
    found = []
    for low, high, color in zip(edges[:-1], edges[1:], style.ramp, strict=True):
        if low is None and high is None:
            zh, en = "全部", "All"
        elif low is None:
            zh, en = f"低于 {_number(high or 0, field)}", f"Below {_number(high or 0, field)}"
        elif high is None:
            zh, en = f"{_number(low, field)} 及以上", f"{_number(low, field)} and more"
        else:
            zh = en = f"{_number(low, field)} – {_number(high, field)}"
        key = f"{'' if low is None else f'{low:g}'}..{'' if high is None else f'{high:g}'}"
        found.append(StyleClass(key, zh, en, color, low, high))
    return found


def _values(layer: LayerDeclaration, field: FieldDeclaration) -> list[StyleClass]:
    style = layer.style
    titles: dict[str, tuple[str, str]]
    if field.type == "bool":
        titles = {"true": ("是", "Yes"), "false": ("否", "No")}
    elif field.domain:
        titles = {str(term.value): (term.zh, term.en) for term in field.domain}
    else:
        titles = {key: (key, key) for key in style.colors}
    found = []
    for n, (key, (zh, en)) in enumerate(titles.items()):
        color = style.colors.get(key, PALETTE[n % len(PALETTE)])
        found.append(StyleClass(key, zh, en, color, unknown=color.lower() == style.unknown.lower()))
    return found


def style_classes(layer: LayerDeclaration) -> list[StyleClass]:
    """The looks of a layer in the order of its legend; the last stands for missing values where there are several.

    Examples
    --------
    >>> from layers.catalogue import built_in
    >>> [c.key for c in style_classes(built_in()["rule_finding"])]
    ['V', 'R', 'indeterminate', '']
    """
    style = layer.style
    if style.by is None:
        return [StyleClass("*", layer.title_zh, layer.title_en, style.color)]
    field = layer.field(style.by)
    found = _intervals(layer, field) if style.ramp else _values(layer, field)
    if not any(c.unknown for c in found):
        found.append(StyleClass("", *_UNKNOWN, style.unknown, unknown=True))
    return found


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or _text(value) in ("", "nan", "NaT", "<NA>")


def class_of(classes: list[StyleClass], value: Any) -> int:
    """Index of the class that ``value`` falls into; a value that no class knows falls into the unknown one (the last if none is)."""
    if len(classes) == 1 and classes[0].key == "*":
        return 0
    unknown = next((n for n, c in enumerate(classes) if c.unknown), len(classes) - 1)
    if _missing(value):
        return unknown
    text = _text(value)
    for n, c in enumerate(classes):
        if c.low is None and c.high is None:
            if c.key == text:
                return n
        elif isinstance(value, (int, float)) and (c.low is None or value >= c.low) and (c.high is None or value < c.high):
            return n
    return unknown


def folium_style(layer: LayerDeclaration) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """A ``style_function`` for ``folium.GeoJson``: Leaflet path options of a GeoJSON feature of this layer."""
    classes, style = style_classes(layer), layer.style

    def style_of(feature: Mapping[str, Any]) -> dict[str, Any]:
        properties = feature.get("properties") or {}
        found = classes[class_of(classes, properties.get(style.by) if style.by else None)]
        return leaflet_path(layer, found, (feature.get("geometry") or {}).get("type", ""))

    return style_of


def leaflet_path(layer: LayerDeclaration, look: StyleClass, geometry_type: str = "") -> dict[str, Any]:
    """Leaflet path options for one class of a layer; ``geometry_type`` (GeoJSON's) decides where a layer holds several kinds."""
    style = layer.style
    kinds = families(layer)
    is_line = geometry_type.endswith("LineString") if geometry_type else kinds == ("line",)
    is_point = geometry_type.endswith("Point") if geometry_type else kinds == ("point",)
    options: dict[str, Any]
    if is_line:
        options = {"color": look.color, "weight": style.size, "opacity": max(style.opacity, 0.6), "fill": False}
        if style.dash or look.unknown:
            options["dashArray"] = " ".join(f"{d:g}" for d in (style.dash or (2, 4)))
    else:
        options = {
            "color": look.color if look.unknown or (style.by and not is_point) else style.outline,
            "weight": 1.5 if look.unknown else (1.0 if is_point else min(style.size, 2.0)),
            "opacity": 0.9,
            "fillColor": look.color,
            "fillOpacity": 0.08 if look.unknown else style.opacity,
        }
        if is_point:
            options["radius"] = style.size
        elif style.dash or look.unknown:
            options["dashArray"] = " ".join(f"{d:g}" for d in (style.dash or (2, 4)))
    return options


def _swatch(layer: LayerDeclaration, look: StyleClass) -> str:
    style = layer.style
    fill = "none" if look.unknown else look.color
    dash = ' stroke-dasharray="2 2"' if look.unknown else ""
    kind = families(layer)[-1] if layer.geometry != "Geometry" else "fill"
    if kind == "line":
        dashes = style.dash or ((2, 3) if look.unknown else ())
        given = f' stroke-dasharray="{" ".join(f"{d:g}" for d in dashes)}"' if dashes else ""
        shape = f'<line x1="1" y1="7" x2="21" y2="7" stroke="{look.color}" stroke-width="{max(style.size, 1.5):g}"{given}/>'
    elif kind == "point":
        edge = look.color if look.unknown else style.outline
        shape = f'<circle cx="11" cy="7" r="{min(max(style.size, 3), 6):g}" fill="{fill}" stroke="{edge}" stroke-width="1"{dash}/>'
    else:
        edge = look.color if style.by or look.unknown else style.outline
        opacity = max(style.opacity, 0.3)
        shape = (
            f'<rect x="2" y="2" width="18" height="10" fill="{fill}" fill-opacity="{opacity:g}" stroke="{edge}" stroke-width="1.2"{dash}/>'
        )
    return f'<svg class="swatch" width="22" height="14" viewBox="0 0 22 14" aria-hidden="true">{shape}</svg>'


def legend_html(layer: LayerDeclaration, *, keys: set[str] | None = None) -> str:
    """Legend entries of a layer as HTML list items, titles in both languages (``<span lang="zh">`` and ``<span lang="en">``).

    Parameters
    ----------
    keys : set of str, optional
        Only the classes with these keys; all by default.
    """
    rows = []
    for look in style_classes(layer):
        if keys is not None and look.key not in keys:
            continue
        zh, en = html.escape(look.title_zh), html.escape(look.title_en)
        rows.append(f'<li>{_swatch(layer, look)}<span lang="zh">{zh}</span><span lang="en">{en}</span></li>')
    return "".join(rows)
