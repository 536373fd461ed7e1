"""Every layer's style in every notation says the same: the same classes in the same colours."""

import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layers.catalogue import built_in
from layers.declaration import LayerDeclaration
from maps.style import class_of, families, folium_style, legend_html, style_classes
from maps.style_maplibre import maplibre_layers
from maps.style_qgis import qml_document
from maps.style_sld import sld_document
from maps.themes import THEMES, by_theme

LAYERS = list(built_in().values())
DRAWN = [layer for layer in LAYERS if layer.has_geometry]
SLD = {"s": "http://www.opengis.net/sld", "ogc": "http://www.opengis.net/ogc"}


def evaluate(expression: Any, properties: dict[str, Any]) -> Any:
    """The few MapLibre expressions that styles use, after the style specification."""
    if not isinstance(expression, list):
        return expression
    op, *rest = expression
    if op == "get":
        return properties.get(rest[0])
    if op == "has":
        return rest[0] in properties
    if op == "!=":
        return evaluate(rest[0], properties) != evaluate(rest[1], properties)
    if op == "all":
        return all(evaluate(part, properties) for part in rest)
    if op == "to-number":
        return float(evaluate(rest[0], properties) or 0)
    if op == "to-string":
        value = evaluate(rest[0], properties)
        return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    if op == "case":
        return evaluate(rest[1] if evaluate(rest[0], properties) else rest[2], properties)
    if op == "step":
        value, answer = evaluate(rest[0], properties), rest[1]
        for edge, then in zip(rest[2::2], rest[3::2], strict=True):
            if value >= edge:
                answer = then
        return answer
    if op == "match":
        value = evaluate(rest[0], properties)
        for label, then in zip(rest[1:-1:2], rest[2:-1:2], strict=True):
            if value in label:
                return then
        return rest[-1]
    raise AssertionError(f"unknown expression {op}")


def probes(layer: LayerDeclaration) -> list[Any]:
    """Values on both sides of every edge, of every class, unknown to all, and missing."""
    style = layer.style
    if style.by is None:
        return [None]
    if style.breaks:
        return [None, *(b + d for b in style.breaks for d in (-0.01, 0.0, 0.01))]
    field = layer.field(style.by)
    if field.type == "bool":
        return [None, True, False]
    return [None, *(term.value for term in field.domain)]


@pytest.mark.parametrize("layer", DRAWN, ids=lambda d: d.name)
def test_same_colour_on_portal_and_in_folium(layer: LayerDeclaration) -> None:
    drawn = next(entry for entry in maplibre_layers(layer, source="s") if entry["type"] in ("fill", "line", "circle"))
    key = {"fill": "fill-color", "line": "line-color", "circle": "circle-color"}[drawn["type"]]
    geometry = {"fill": "Polygon", "line": "LineString", "circle": "Point"}[drawn["type"]]
    classes = style_classes(layer)
    for value in probes(layer):
        properties = {} if layer.style.by is None or value is None else {layer.style.by: value}
        shown = evaluate(drawn["paint"][key], properties)
        path = folium_style(layer)({"properties": properties, "geometry": {"type": geometry}})
        assert shown == classes[class_of(classes, value)].color, value
        assert shown in (path["color"], path.get("fillColor")), value


@pytest.mark.parametrize("layer", DRAWN, ids=lambda d: d.name)
def test_documents_hold_every_class(layer: LayerDeclaration) -> None:
    classes = style_classes(layer)
    titles = [c.title("zh") for c in classes]
    for family in families(layer):
        qml = ET.fromstring(qml_document(layer, family=family, lang="zh").split("\n", 1)[1])
        renderer = qml.find("renderer-v2")
        assert renderer is not None
        colours = {",".join(str(int(c.color[n : n + 2], 16)) for n in (1, 3, 5)) for c in classes}
        found = {",".join(p.attrib["v"].split(",")[:3]) for p in renderer.iter("prop") if p.attrib["k"] in ("color", "line_color")}
        assert found == colours
        assert len(renderer.findall("symbols/symbol")) == len(classes)
        labels = [e.attrib["label"] for e in renderer.iter() if "label" in e.attrib]
        assert labels == ([] if layer.style.by is None else titles)
    aliases = {e.attrib["field"]: e.attrib["name"] for e in qml.iter("alias")}
    assert list(aliases) == [f.name for f in layer.all_fields]
    sld = ET.fromstring(sld_document(layer))
    assert [e.text for e in sld.iterfind(".//s:Rule/s:Title", SLD)] == titles * len(families(layer))


def test_value_maps_of_qgis_show_terms() -> None:
    qml = ET.fromstring(qml_document(built_in()["camera_site"], lang="en").split("\n", 1)[1])
    field = next(f for f in qml.iter("field") if f.attrib["name"] == "net_status")
    pairs = {o.attrib["name"]: o.attrib["value"] for o in field.iter("Option") if o.attrib.get("value")}
    assert pairs == {"Online": "on", "Offline": "off", "Unknown": "unknown"}


@pytest.mark.parametrize("layer", DRAWN, ids=lambda d: d.name)
def test_unknown_never_looks_like_known(layer: LayerDeclaration) -> None:
    classes = style_classes(layer)
    if len(classes) == 1:
        return
    unknown = [c for c in classes if c.unknown]
    assert len(unknown) == 1
    assert unknown[0].color not in {c.color for c in classes if not c.unknown}
    entry = next(e for e in maplibre_layers(layer, source="s") if e["type"] in ("fill", "line", "circle"))
    if entry["type"] != "line":
        opacity = entry["paint"]["fill-opacity" if entry["type"] == "fill" else "circle-opacity"]
        assert evaluate(opacity, {}) < 0.1


@given(st.one_of(st.none(), st.floats(), st.integers(), st.booleans(), st.text()))
def test_any_value_has_a_class(value: Any) -> None:
    for name in ("coverage_by_grid", "rule_finding", "camera_site", "water"):
        classes = style_classes(built_in()[name])
        assert 0 <= class_of(classes, value) < len(classes)


def test_legend_is_text_even_where_a_title_is_markup() -> None:
    layer = built_in()["outfall"]
    field = layer.field("cat1")
    terms = tuple(t.model_copy(update={"zh": "<b>x</b>"}) for t in field.domain)
    changed = tuple(f.model_copy(update={"domain": terms}) if f.name == "cat1" else f for f in layer.fields)
    page = legend_html(layer.model_copy(update={"fields": changed}))
    assert "<b>" not in page and "&lt;b&gt;" in page
    assert len(re.findall(r'<span lang="zh">', page)) == len(re.findall(r'<span lang="en">', page)) == len(field.domain) + 1


def test_every_theme_is_titled() -> None:
    assert {layer.theme for layer in LAYERS} <= set(THEMES)
    assert sum(len(group) for group in by_theme(LAYERS).values()) == len(LAYERS)
