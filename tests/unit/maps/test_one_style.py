"""One declaration, one look: a class has the same colour in the portal, in folium, in QGIS (features and tiles), in SLD and in the legend."""

import json
from xml.etree import ElementTree as ET

import pytest

from layers.catalogue import built_in
from layers.declaration import LayerDeclaration
from maps.style import families, leaflet_path, legend_html, style_classes
from maps.style_maplibre import maplibre_layers
from maps.style_qgis import renderer_element, tile_renderer_element
from maps.style_sld import sld_document

DRAWN = [layer for layer in built_in().values() if families(layer)]
_KINDS = {"fill": "Polygon", "line": "LineString", "point": "Point"}


def colours_of_qgis(element: ET.Element) -> set[str]:
    """Main colours of all symbols of a renderer, as ``#rrggbb``."""
    found = set()
    for option in element.iter("Option"):
        if option.get("name") in ("color", "line_color", "outline_color"):
            r, g, b = (int(part) for part in str(option.get("value")).split(",")[:3])
            found.add(f"#{r:02x}{g:02x}{b:02x}")
    return found


@pytest.mark.parametrize("layer", DRAWN, ids=lambda layer: layer.name)
def test_a_class_has_one_colour_everywhere(layer: LayerDeclaration) -> None:
    portal = json.dumps(maplibre_layers(layer, source=layer.name, source_layer=layer.name)).lower()
    sld = sld_document(layer).lower()
    legend = legend_html(layer).lower()
    for family in families(layer):
        features, tiles = colours_of_qgis(renderer_element(layer, family)), colours_of_qgis(tile_renderer_element(layer))
        for look in style_classes(layer):
            color = look.color.lower()
            path = leaflet_path(layer, look, _KINDS[family])
            assert color in {str(path.get("color")).lower(), str(path.get("fillColor")).lower()}, look.key
            assert color in features, look.key
            assert color in tiles, look.key
            assert color in portal, look.key
            assert color in sld, look.key
            assert color in legend, look.key


def test_a_gap_is_the_same_red_everywhere_and_only_its_own() -> None:
    """The colours of causes of gaps, written out here by hand for one of them, and no two classes alike."""
    layer = built_in()["coverage_gap"]
    looks = {look.key: look.color.lower() for look in style_classes(layer)}
    assert looks["no_camera"] == "#d55e00"
    assert len(set(looks.values())) == len(looks)
    assert renderer_element(layer, "fill").find(".//category[@value='no_camera']") is not None


def test_tiles_of_qgis_tell_every_class_apart() -> None:
    for layer in DRAWN:
        styles = tile_renderer_element(layer).findall("styles/style")
        assert len(styles) == len(families(layer)) * len(style_classes(layer))
        expressions = [style.get("expression") for style in styles if style.get("geometry") == styles[0].get("geometry")]
        assert len(set(expressions)) == len(expressions)
