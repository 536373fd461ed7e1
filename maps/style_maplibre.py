"""A layer's style as MapLibre layers (style specification 8)."""

from typing import Any

from layers.declaration import LayerDeclaration
from maps.style import Family, StyleClass, families, style_classes

__all__ = ["maplibre_layers"]

_EDGES_LATER = 1.5
_GEOMETRIES: dict[Family, str] = {"fill": "Polygon", "line": "LineString", "point": "Point"}


def _by_class(layer: LayerDeclaration, classes: list[StyleClass], known: Any, unknown: Any) -> Any:
    """An expression that is ``known(class)`` for each class, and ``unknown`` for missing values."""
    style = layer.style
    if style.by is None:
        return known(classes[0])
    given = ["get", style.by]
    if style.ramp:
        steps: list[Any] = ["step", ["to-number", given], known(classes[0])]
        for c in classes[1:]:
            if c.low is not None:
                steps += [c.low, known(c)]
        # A ramp of one colour has no step at all.
        chosen = steps if len(steps) > 3 else known(classes[0])
        return ["case", ["all", ["has", style.by], ["!=", given, None]], chosen, unknown]
    field = layer.field(style.by)
    # For QGIS, whose tile styles know neither "to-string" nor a label outside a list: it would draw every feature as unknown.
    matched: list[Any] = ["match", given if field.domain or field.type in ("text", "code") else ["to-string", given]]
    for c in classes:
        if c.key:
            matched += [[int(c.key) if field.is_integer_domain else c.key], unknown if c.unknown else known(c)]
    return [*matched, unknown]


def _paint(layer: LayerDeclaration, family: Family, opacity: float) -> dict[str, Any]:
    style, classes = layer.style, style_classes(layer)
    color = _by_class(layer, classes, lambda c: c.color, style.unknown)
    if family == "line":
        paint: dict[str, Any] = {
            "line-color": color,
            "line-opacity": max(opacity, 0.6),
            "line-width": ["interpolate", ["exponential", 1.4], ["zoom"], 8, style.size * 0.5, 14, style.size, 18, style.size * 3],
        }
        if style.dash:
            paint["line-dasharray"] = [d / max(style.size, 1.0) for d in style.dash]
        return paint
    if family == "point":
        return {
            "circle-color": color,
            "circle-opacity": _by_class(layer, classes, lambda c: 0.08 if c.unknown else max(opacity, 0.85), 0.08),
            "circle-radius": ["interpolate", ["linear"], ["zoom"], 9, style.size * 0.6, 14, style.size, 18, style.size * 1.8],
            "circle-stroke-color": _by_class(layer, classes, lambda c: c.color if c.unknown else style.outline, style.unknown),
            "circle-stroke-width": _by_class(layer, classes, lambda c: 2.0 if c.unknown else 1.0, 2.0),
        }
    return {
        "fill-color": color,
        "fill-opacity": _by_class(layer, classes, lambda c: 0.08 if c.unknown else opacity, 0.08),
        "fill-antialias": False,  # a line of its own is drawn around; without a graphics card a second pass over all edges is dear
    }


def maplibre_layers(layer: LayerDeclaration, *, source: str, source_layer: str | None = None) -> list[dict[str, Any]]:
    """MapLibre layers that draw a layer, bottom first.

    Parameters
    ----------
    source : str
        Name of the source in the style document.
    source_layer : str, optional
        Layer inside the vector tiles; None for a GeoJSON source.

    Returns
    -------
    list of dict
        Ids are ``<layer>-fill``, ``-outline``, ``-line``, ``-point``, ``-label``.
    """
    style = layer.style
    kinds = families(layer)
    common: dict[str, Any] = {"source": source, "minzoom": style.min_zoom}
    if source_layer is not None:
        common["source-layer"] = source_layer

    def drawn(suffix: str, type_: str, family: Family, paint: dict[str, Any]) -> dict[str, Any]:
        entry: dict[str, Any] = {"id": f"{layer.name}-{suffix}", "type": type_, **common, "paint": paint}
        if len(kinds) > 1:
            entry["filter"] = ["==", ["geometry-type"], _GEOMETRIES[family]]
        return entry

    found = []
    if "fill" in kinds:
        found.append(drawn("fill", "fill", "fill", _paint(layer, "fill", style.opacity)))
        classes = style_classes(layer)
        edge = _by_class(layer, classes, lambda c: c.color, style.unknown) if style.by else style.outline
        outline: dict[str, Any] = {"line-color": edge, "line-width": min(style.size, 2.0), "line-opacity": 0.9}
        if style.dash:
            outline["line-dasharray"] = [d / max(min(style.size, 2.0), 1.0) for d in style.dash]
        edged = drawn("outline", "line", "fill", outline)
        if style.min_zoom:  # thousands of small areas, such as buildings: a pixel or two wide when they appear, all edge
            edged["minzoom"] = style.min_zoom + _EDGES_LATER
        found.append(edged)
    if "line" in kinds:
        entry = drawn("line", "line", "line", _paint(layer, "line", style.opacity))
        entry["layout"] = {"line-cap": "butt" if style.dash else "round", "line-join": "round"}
        found.append(entry)
    if "point" in kinds:
        found.append(drawn("point", "circle", "point", _paint(layer, "point", style.opacity)))
    if style.label and kinds:
        is_line = kinds == ("line",)
        found.append(
            {
                "id": f"{layer.name}-label",
                "type": "symbol",
                **common,
                "minzoom": max(style.min_zoom, 14 if is_line else 8),
                "layout": {
                    "text-field": ["get", style.label],
                    "text-size": 12,
                    "symbol-placement": "line" if is_line else "point",
                    "text-offset": [0, 0] if is_line or "fill" in kinds else [0, 1.1],
                },
                "paint": {"text-color": "#2b2b2b", "text-halo-color": "#ffffff", "text-halo-width": 1.4},
            }
        )
    return found
