"""What the portal needs to know of the layers: titles, fields, drawing and legend, all from the declarations."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from gis.errors import ConfigError
from gis.settings import CityConfig
from layers.access import sees_place, visible_fields
from layers.declaration import FieldDeclaration, LayerDeclaration
from maps.style import families, legend_html, style_classes
from maps.style_maplibre import maplibre_layers
from maps.themes import DRAWING_ORDER, by_theme, theme_title

__all__ = ["maplibre_file", "portal_configuration"]

_UNLISTED = {"src_crs", "geom_repaired", "classification", "valid_from", "valid_to", "positional_acc_m"}
#: Drawn in this order, ground first: background, areas, lines, points.
_HEIGHT = {"fill": 1, "line": 2, "point": 3}


def maplibre_file(name: str) -> Path:
    """A file of MapLibre GL as the package ``maplibre`` ships it.

    Raises
    ------
    ConfigError
        The package is missing or has no such file.
    """
    if name not in ("maplibre-gl.js", "maplibre-gl.css"):
        raise ConfigError(f"No such file of MapLibre: {name}", zh=f"MapLibre 没有文件 {name}")
    path = Path(str(resources.files("maplibre").joinpath("srcjs", name)))
    if not path.is_file():
        raise ConfigError("The package maplibre is missing or changed.", zh="缺少软件包 maplibre，或其内容已变。")
    return path


def _field(field: FieldDeclaration) -> dict[str, Any]:
    terms = {str(term.value): [term.zh, term.en] for term in field.domain}
    if field.type == "bool":
        terms = {"true": ["是", "Yes"], "false": ["否", "No"]}
    return {
        "name": field.name,
        "zh": field.title_zh,
        "en": field.title_en,
        "type": field.type,
        "unit": field.unit,
        "terms": terms or None,
        "integer": field.is_integer_domain or field.type == "int",
        "share": field.type == "num" and not field.unit and field.minimum == 0 and field.maximum == 1,
        "chainage": field.unit == "m" and (field.name.startswith("chainage") or field.name in ("start_m", "end_m")),
        "listed": field.name not in _UNLISTED and field.type not in ("geometry", "uuid", "ref"),
        "references": field.references,
    }


def _layer(layer: LayerDeclaration, role: str) -> dict[str, Any]:
    seen = set(visible_fields(layer, role))
    kinds = families(layer) if sees_place(layer, role) else ()
    base = DRAWING_ORDER.index(layer.name) if layer.name in DRAWING_ORDER else None
    return {
        "name": layer.name,
        "zh": layer.title_zh,
        "en": layer.title_en,
        "about": [layer.description_zh, layer.description_en],
        "theme": layer.theme,
        "kind": layer.kind,
        "classification": layer.classification,
        "families": list(kinds),
        "height": base if base is not None else 100 * _HEIGHT[kinds[0]] + (50 if layer.kind == "result" else 0) if kinds else 0,
        "visible": layer.style.visible and base is not None,
        "minZoom": layer.style.min_zoom,
        "by": layer.style.by,
        "label": layer.label,
        "search": [name for name in layer.search if name in seen],
        "fields": [_field(field) for field in layer.all_fields if field.name in seen],
        "classes": [
            {"key": c.key, "zh": c.title_zh, "en": c.title_en, "color": c.color, "low": c.low, "high": c.high, "unknown": c.unknown}
            for c in style_classes(layer)
        ],
        "drawing": maplibre_layers(layer, source=layer.name, source_layer=layer.name) if kinds else [],
        "legend": legend_html(layer) if kinds else "",
    }


def portal_configuration(layers: Mapping[str, LayerDeclaration], *, role: str, city: CityConfig) -> dict[str, Any]:
    """The portal's description of the platform for a role: without hidden columns; JSON-able.

    Parameters
    ----------
    layers : mapping of str to LayerDeclaration
        All layers of the database.
    role : str
        ``public``, ``viewer``, ``officer``, ``planner`` or ``admin``.
    """
    shown = [layer for layer in layers.values() if role != "public" or layer.classification == "public"]
    return {
        "city": {"zh": city.name_zh, "en": city.name_en, "bounds": list(city.bounds), "river": [city.river_zh, city.river_en]},
        "role": role,
        "quality": [limit.model_dump(mode="json") for limit in city.water_quality],
        "inspection": city.inspection.model_dump(mode="json"),
        "themes": [
            {"name": theme, "zh": theme_title(theme, "zh"), "en": theme_title(theme, "en"), "layers": [layer.name for layer in group]}
            for theme, group in by_theme(shown).items()
        ],
        "layers": [_layer(layer, role) for layer in shown],
    }
