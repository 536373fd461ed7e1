"""A layer's style as QGIS QML: renderer, field aliases and value maps. Written for QGIS 3.22 and newer."""

from xml.etree import ElementTree as ET

from layers.declaration import FieldDeclaration, LayerDeclaration
from maps.style import Family, StyleClass, families, style_classes

__all__ = ["add_fields", "qml_document", "renderer_element", "tile_renderer_element"]

_QGIS_VERSION = "3.22.0"
_SYMBOL_TYPE: dict[Family, str] = {"fill": "fill", "line": "line", "point": "marker"}
#: Pixels to millimetres at 96 dpi: QGIS sizes symbols in millimetres.
_PX_MM = 25.4 / 96


def _rgba(color: str, opacity: float = 1.0) -> str:
    r, g, b = (int(color[n : n + 2], 16) for n in (1, 3, 5))
    return f"{r},{g},{b},{round(opacity * 255)}"


def _options(parent: ET.Element, values: dict[str, str]) -> None:
    """Properties in both notations: 3.22 reads ``prop``, newer versions ``Option``."""
    options = ET.SubElement(parent, "Option", type="Map")
    for name, value in values.items():
        ET.SubElement(options, "Option", type="QString", name=name, value=value)
    for name, value in values.items():
        ET.SubElement(parent, "prop", k=name, v=value)


def _symbol(parent: ET.Element, layer: LayerDeclaration, look: StyleClass, family: Family, name: str) -> None:
    style = layer.style
    dash = style.dash or ((2.0, 4.0) if look.unknown else ())
    symbol = ET.SubElement(parent, "symbol", type=_SYMBOL_TYPE[family], name=name, alpha="1", clip_to_extent="1", force_rhr="0")
    if family == "line":
        values = {
            "line_color": _rgba(look.color, max(style.opacity, 0.6)),
            "line_width": f"{style.size * _PX_MM:.3f}",
            "line_width_unit": "MM",
            "line_style": "solid",
            "capstyle": "flat" if dash else "round",
            "joinstyle": "round",
        }
        if dash:
            values["use_custom_dash"] = "1"
            values["customdash"] = ";".join(f"{d * _PX_MM:.3f}" for d in dash)
            values["customdash_unit"] = "MM"
        kind = "SimpleLine"
    elif family == "point":
        values = {
            "name": "circle",
            "size": f"{style.size * 2 * _PX_MM:.3f}",
            "size_unit": "MM",
            "color": _rgba(look.color, 0.08 if look.unknown else max(style.opacity, 0.85)),
            "outline_color": _rgba(look.color if look.unknown else style.outline),
            "outline_width": "0.4" if look.unknown else "0.2",
            "outline_width_unit": "MM",
            "outline_style": "solid",
        }
        kind = "SimpleMarker"
    else:
        values = {
            "color": _rgba(look.color, style.opacity if not look.unknown else 1.0),
            # A missing value is hatched, so that it cannot be taken for a pale known one.
            "style": "b_diagonal" if look.unknown else "solid",
            "outline_color": _rgba(look.color if style.by or look.unknown else style.outline, 0.9),
            "outline_width": f"{min(style.size, 2.0) * _PX_MM:.3f}",
            "outline_width_unit": "MM",
            "outline_style": "dash" if dash else "solid",
        }
        kind = "SimpleFill"
    _options(ET.SubElement(symbol, "layer", {"class": kind, "enabled": "1", "locked": "0", "pass": "0"}), values)


def renderer_element(layer: LayerDeclaration, family: Family, *, lang: str = "zh") -> ET.Element:
    """The ``renderer-v2`` element: single symbol, categories by value or intervals of a number."""
    style, classes = layer.style, style_classes(layer)
    base = {"forceraster": "0", "symbollevels": "0", "enableorderby": "0"}
    if style.by is None:
        renderer = ET.Element("renderer-v2", {"type": "singleSymbol", **base})
        _symbol(ET.SubElement(renderer, "symbols"), layer, classes[0], family, "0")
        return renderer
    if style.ramp:
        # Rules, not ranges: a graduated renderer leaves missing values undrawn.
        renderer = ET.Element("renderer-v2", {"type": "RuleRenderer", **base})
        rules = ET.SubElement(renderer, "rules", key="root")
        for n, look in enumerate(classes):
            tests = [f'"{style.by}" >= {look.low:g}'] if look.low is not None else []
            tests += [f'"{style.by}" < {look.high:g}'] if look.high is not None else []
            condition = f'"{style.by}" IS NULL' if look.unknown else " AND ".join(tests)
            ET.SubElement(rules, "rule", filter=condition, key=f"rule{n}", label=look.title(lang), symbol=str(n))
    else:
        renderer = ET.Element("renderer-v2", {"type": "categorizedSymbol", "attr": style.by, **base})
        categories = ET.SubElement(renderer, "categories")
        is_integer = layer.field(style.by).is_integer_domain
        for n, look in enumerate(classes):
            kind = "long" if is_integer and look.key else "string"
            if look.key == "":
                kind = "NULL"
            ET.SubElement(
                categories, "category", value=look.key, type=kind, symbol=str(n), label=look.title(lang), render="true"
            )  # fmt: skip
    symbols = ET.SubElement(renderer, "symbols")
    for n, look in enumerate(classes):
        _symbol(symbols, layer, look, family, str(n))
    return renderer


def _condition(layer: LayerDeclaration, look: StyleClass) -> str:
    """A class as an expression of QGIS."""
    by = layer.style.by
    if by is None:
        return ""
    if look.unknown and look.key == "":
        return f'"{by}" IS NULL'
    if look.low is None and look.high is None:
        return f'"{by}" = {look.key}' if layer.field(by).is_integer_domain else f"\"{by}\" = '{look.key}'"
    tests = [f'"{by}" >= {look.low:g}'] if look.low is not None else []
    return " AND ".join(tests + ([f'"{by}" < {look.high:g}'] if look.high is not None else []))


#: Kinds of geometry in QGIS, by family.
_KIND: dict[Family, str] = {"point": "0", "line": "1", "fill": "2"}


def tile_renderer_element(layer: LayerDeclaration, *, lang: str = "zh") -> ET.Element:
    """The ``renderer`` of a vector tile layer: the same classes and looks as of the feature layer."""
    renderer = ET.Element("renderer", type="basic")
    styles = ET.SubElement(renderer, "styles")
    for family in families(layer):
        for look in style_classes(layer):
            attributes = {"name": look.title(lang), "layer": layer.name, "geometry": _KIND[family], "expression": _condition(layer, look)}
            made = ET.SubElement(styles, "style", attributes | {"enabled": "1", "min-zoom": "-1", "max-zoom": "-1"})
            _symbol(ET.SubElement(made, "symbols"), layer, look, family, "0")
    return renderer


def _value_map(field: FieldDeclaration, lang: str) -> dict[str, str]:
    if field.type == "bool":
        return {"是": "true", "否": "false"} if lang.startswith("zh") else {"Yes": "true", "No": "false"}
    return {(term.zh if lang.startswith("zh") else term.en): str(term.value) for term in field.domain}


def add_fields(parent: ET.Element, layer: LayerDeclaration, *, lang: str = "zh") -> None:
    """Add to ``parent`` what QGIS needs to show attributes by their titles and values by their terms."""
    configuration = ET.SubElement(parent, "fieldConfiguration")
    aliases = ET.SubElement(parent, "aliases")
    for n, field in enumerate(layer.all_fields):
        title = field.title(lang) + (f" ({field.unit})" if field.unit else "")
        ET.SubElement(aliases, "alias", index=str(n), field=field.name, name=title)
        entry = ET.SubElement(configuration, "field", name=field.name, configurationFlags="None")
        if field.type in ("enum", "bool"):
            widget = ET.SubElement(entry, "editWidget", type="ValueMap")
            config = ET.SubElement(ET.SubElement(widget, "config"), "Option", type="Map")
            terms = ET.SubElement(config, "Option", name="map", type="List")
            for shown, value in _value_map(field, lang).items():
                ET.SubElement(ET.SubElement(terms, "Option", type="Map"), "Option", name=shown, value=value, type="QString")


def qml_document(layer: LayerDeclaration, *, family: Family | None = None, lang: str = "zh") -> str:
    """The style of a layer as a QML file, labels and aliases in ``lang``.

    Parameters
    ----------
    family : Family, optional
        Kind of drawing where the layer holds several (QGIS shows one per layer); the first one by default.
    """
    qgis = ET.Element("qgis", version=_QGIS_VERSION, styleCategories="Symbology|Labeling|Fields|Forms")
    kinds = families(layer)
    if kinds:
        qgis.append(renderer_element(layer, family or kinds[0], lang=lang))
    add_fields(qgis, layer, lang=lang)
    ET.SubElement(qgis, "previewExpression").text = f'"{layer.label}"'
    ET.indent(qgis)
    return "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n" + ET.tostring(qgis, encoding="unicode") + "\n"
