"""Pages as text: nothing from elsewhere, nothing run that was data, and what they say of their data."""

import datetime as dt
import json
import re
from pathlib import Path

import folium
import geopandas as gpd
import numpy as np
import pytest
import shapely

from gis.errors import InputError
from layers.catalogue import built_in
from maps import coverage_map, page_map
from maps.encoding import pack_layer
from maps.gallery import build_gallery, layers_needed
from maps.pages import PAGES, MapFacts

RUN = "8d4f3c1e-0000-4000-8000-000000000001"
NASTY = "{{ 7*7 }}{% raw %}</script><script>alert(1)</script>\u2028"


def frames(n: int = 30) -> dict[str, gpd.GeoDataFrame]:
    """A little of everything around Yichang."""
    at = np.array([111.29, 30.70]) + np.random.default_rng(2).normal(size=(n, 2)) * 0.02
    points = shapely.points(at)
    made = {
        "camera_site": {"name_zh": [NASTY] * n, "net_status": ["on"] * n, "device_code": ["42050200001320000001"] * n, "synthetic": True},
        "outfall": {"name_zh": [f"排口{i}" for i in range(n)], "cat1": ["industrial"] * n},
        "school": {"school_kind": ["primary"] * n},
    }
    found = {name: gpd.GeoDataFrame(columns, geometry=points, crs=4490) for name, columns in made.items()}
    areas = shapely.buffer(points, 0.002)
    found["coverage_gap"] = gpd.GeoDataFrame({"cause": "building", "rank": range(1, n + 1), "run_id": RUN}, geometry=areas, crs=4490)
    found["coverage_by_grid"] = gpd.GeoDataFrame({"online_overview": np.linspace(0, 1, n), "run_id": RUN}, geometry=areas, crs=4490)
    found["layout_unit"] = gpd.GeoDataFrame({"level": "grid", "code": [str(i) for i in range(n)]}, geometry=areas, crs=4490)
    found["water"] = gpd.GeoDataFrame({"name_zh": ["长江"]}, geometry=[shapely.box(111.2, 30.6, 111.25, 30.8)], crs=4490)
    return found


def embedded(page: str) -> dict[str, object]:
    text = re.search(r'<script type="application/json" id="[^"]+">(.*?)</script>', page, re.DOTALL)
    assert text is not None
    loaded = json.loads(text.group(1))
    assert isinstance(loaded, dict)
    return loaded


@pytest.mark.parametrize("name", PAGES)
def test_page_asks_nothing_of_another_host(name: str) -> None:
    page = page_map(name, frames()).get_root().render()
    loads = re.findall(r"""(?:src|href)\s*=\s*["']([^"']+)["']""", page)
    assert [url for url in loads if not url.startswith(("data:", "index.html", "#", "javascript"))] == [
        url for url in loads if url == "https://leafletjs.com"
    ]
    assert not re.search(r"//[\w.-]*(cdn|unpkg|jsdelivr|googleapis)", page) and "@import" not in page
    assert not [url for url in re.findall(r"url\(\s*['\"]?([^)'\"]+)", page) if not url.startswith(("data:", "#"))]


def test_data_is_not_run_as_template_or_markup() -> None:
    page = coverage_map(frames()).get_root().render()
    assert page.count("<script>alert") == 0 and "49" not in str(embedded(page)["zh"])
    layer = next(entry for entry in embedded(page)["layers"] if entry["name"] == "camera_site")  # type: ignore[attr-defined]
    assert layer["columns"][[f["name"] for f in layer["fields"]].index("name_zh")]["d"] == [NASTY]


def test_page_says_run_date_and_what_it_is() -> None:
    facts = MapFacts(city_zh="宜昌市", city_en="Yichang", runs=[("coverage", RUN, "2026-03-04")], made_at=dt.datetime(2026, 3, 5, tzinfo=dt.UTC))
    data = embedded(coverage_map(frames(), facts=facts).get_root().render())
    said = json.dumps([data["facts"], data["notices"]], ensure_ascii=False)
    assert "8d4f3c1e" in said and "2026-03-04" in said and "合成数据" in said and "Internal" in said


def test_public_page_has_only_public_layers() -> None:
    from maps.pages import build_page

    data = embedded(build_page(PAGES["coverage"], frames(), role="public").get_root().render())
    names = {entry["name"] for entry in data["layers"]}  # type: ignore[attr-defined]
    assert names == {"water", "coverage_by_grid"}
    assert not [notice for notice in data["notices"] if notice[0] == "internal"]  # type: ignore[attr-defined]


def test_budget_of_a_page_is_shared() -> None:
    from maps.pages import build_page

    n = 6000
    at = np.array([111.29, 30.70]) + np.random.default_rng(2).normal(size=(n, 2)) * 0.1
    many = gpd.GeoDataFrame({"name_zh": [f"点{i}" for i in range(n)]}, geometry=shapely.points(at), crs=4490)
    given = {**frames(), "camera_site": many}
    drawn = build_page(PAGES["coverage"], given, page_bytes=120_000)
    data = embedded(drawn.get_root().render())
    shown = {e["name"]: (len(e["cls"]), e["total"]) for e in data["layers"]}  # type: ignore[attr-defined]
    assert shown["camera_site"][0] < shown["camera_site"][1] == n
    assert shown["coverage_gap"] == (30, 30)
    assert len(json.dumps(data["layers"], ensure_ascii=False).encode()) < 200_000


def test_map_goes_on_as_a_folium_map(tmp_path: Path) -> None:
    made = coverage_map(frames())
    assert isinstance(made, folium.Map)
    folium.CircleMarker([30.7, 111.29]).add_to(made)
    made.save(str(tmp_path / "with_more.html"))
    assert "L.circleMarker" in (tmp_path / "with_more.html").read_text(encoding="utf-8")
    assert "iframe" in made._repr_html_()


def test_gallery_lists_what_it_wrote(tmp_path: Path) -> None:
    written = build_gallery(tmp_path, frames(), declarations=built_in(), facts=MapFacts(city_zh="宜昌市", city_en="Yichang"))
    assert set(written) == {"index", *PAGES}
    index = written["index"].read_text(encoding="utf-8")
    assert all(f'href="{name}.html"' in index for name in PAGES)
    assert "http" not in index.replace("http-equiv", "")
    assert "合成数据" in index
    only_schools = build_gallery(tmp_path / "b", {"school": frames()["school"]}, declarations=built_in(), facts=MapFacts())
    assert set(only_schools) == {"index", "schools"}
    with pytest.raises(InputError):
        build_gallery(tmp_path / "c", {}, declarations=built_in(), facts=MapFacts())


def test_pages_name_layers_that_exist() -> None:
    assert set(layers_needed()) <= set(built_in())
    for page in PAGES.values():
        assert set(page.focus) | set(page.shown) <= set(page.layers)
        for name in page.layers:
            pack_layer(built_in()[name], gpd.GeoDataFrame({"id": []}, geometry=[], crs=4490))
