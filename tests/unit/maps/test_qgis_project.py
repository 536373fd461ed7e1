"""The QGIS project as XML: every layer once, grouped, with titles; addresses that could break out of the data source are refused."""

import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from gis.errors import InputError
from layers.catalogue import built_in
from maps.qgis_project import qgis_project, write_qgis_project

BOUNDS = (110.0, 29.5, 112.2, 31.6)


def project(lang: str = "zh") -> ET.Element:
    return ET.fromstring(qgis_project(built_in(), server="http://127.0.0.1:8080", title="百格", bounds=BOUNDS, lang=lang).split("\n", 1)[1])


def test_every_layer_once_in_tree_and_list() -> None:
    root = project()
    in_tree = [e.attrib["id"] for e in root.iter("layer-tree-layer") if e.attrib["providerKey"] == "OAPIF"]
    tiled = [e.findtext("id") for e in root.iter("maplayer") if e.attrib["type"] == "vector-tile"]
    assert sorted(map(str, tiled)) == ["tiles_building", "tiles_land_use", "tiles_railway", "tiles_road", "tiles_water"]
    listed = [e.findtext("id") for e in root.iter("maplayer") if e.attrib["type"] == "vector"]
    assert sorted(in_tree) == sorted(f"baige_{name}" for name in built_in())
    assert sorted(map(str, listed)) == sorted(in_tree)
    assert next(e.attrib["name"] for e in root.findall("layer-tree-group/layer-tree-group")) == "分析结果"
    for made in root.iter("maplayer"):
        if made.attrib["type"] == "vector-tile":
            continue
        assert f"typename='{str(made.findtext('id')).removeprefix('baige_')}'" in str(made.findtext("datasource"))
        assert (made.find("renderer-v2") is None) == (made.attrib["geometry"] == "No geometry")


def test_points_lie_above_areas_and_base_at_the_bottom() -> None:
    order = [str(e.attrib["id"]) for e in project().iterfind("layerorder/layer")]
    assert order.index("baige_outfall") < order.index("baige_riverbank") < order.index("baige_coverage_by_grid") < order.index("baige_road")
    assert order.index("baige_road") < order.index("baige_water") < order.index("baige_land_use")


def test_titles_in_either_language() -> None:
    for lang, title, value in (("zh", "一级分类", "工业排污口"), ("en", "Category, level 1", "Industrial")):
        made = next(m for m in project(lang).iter("maplayer") if m.findtext("id") == "baige_outfall")
        assert title in {a.attrib["name"] for a in made.iter("alias")}
        assert value in {o.attrib.get("name") for o in made.iter("Option")}


@pytest.mark.parametrize("server", ["ftp://x", "http://x' typename='y", "file:///etc", "http://x y"])
def test_address_that_is_none_is_refused(server: str) -> None:
    with pytest.raises(InputError):
        qgis_project(built_in(), server=server, title="t", bounds=BOUNDS)


def test_qgz_is_a_zip_with_one_project(tmp_path: Path) -> None:
    text = qgis_project(built_in(), server="http://127.0.0.1:8080", title="t", bounds=BOUNDS)
    write_qgis_project(tmp_path / "a" / "b.qgz", text)
    with zipfile.ZipFile(tmp_path / "a" / "b.qgz") as archive:
        assert archive.namelist() == ["b.qgs"]
        assert archive.read("b.qgs").decode() == text
