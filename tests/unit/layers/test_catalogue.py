"""The declarations against the domain's own list of layers and attributes, written out here by hand."""

import re
from collections import Counter
from pathlib import Path

import pytest

from layers.catalogue import built_in
from layers.catalogue.reference import reference_page
from layers.declaration import LayerDeclaration

#: Layer → its attributes in the domain reference. ``limit`` is a parameter of OGC API, so samples call it ``limit_value``.
DOMAIN = {
    "grid_cell": "grid_code grid_kind household_count population urban_rural code_status",
    "layout_unit": "level parent_id code",
    "camera_site": "device_code point_class common_name ptz_type room_type fill_light direction azimuth_deg hfov_deg vfov_deg tilt_deg "
    "view_dist_m res_w_px mount_height_m mount_kind net_status device_state retention_days filing_date in_use_date sign_posted owner_org",
    "outfall": "code_national code_local cat1 cat2 cat3 receiving_water chainage_m bank_side entry_mode discharge_mode wfz1 wfz2 wq_target "
    "approval_kind workflow_stage remediation responsible_org permit_no",
    "outfall_sample": "outfall_id pollutant value unit limit_value sampled_at",
    "outfall_inspection": "outfall_id inspected_at discharging colour turbidity odour note",
    "river_axis": "reach_code chief_level is_major_trib axis_version",
    "riverbank": "bank_side start_m end_m",
    "shoreline_zone": "zone_type side start_m end_m restraints",
    "river_mgmt_area": "basis",
    "water_source_zone": "level",
    "school": "school_kind boundary entrances",
    "school_zone": "school_id zone_kind distance_m",
    "key_area": "kind",
    "pollution_source": "kind source_count",
    "exhaust_station": "kind lane_count",
    "kitchen": "kind camera_count",
    "medical_site": "kind bed_count",
    "smart_community": "kind household_count",
    "grid_event": "category reported_at closed_at state",
    "grid_statistic": "period indicator value",
    "patrol": "route grid_code mode done_at",
    "sensitive_place": "place_kind",
    "admin_area": "level",
    "community": "household_count",
    "road": "road_class bridge tunnel",
    "railway": "rail_class",
    "building": "height_m",
    "water": "water_kind",
    "camera_view": "camera_id run_id",
    "coverage_gap": "cause need area_m2 run_id",
    "coverage_by_grid": "grid_id run_id",
    "bank_coverage": "bank_side start_m end_m run_id",
    "outfall_watch": "outfall_id run_id",
    "school_coverage": "school_id run_id",
    "rule_finding": "rule_id rule_version verdict distance_m accuracy_m found_at run_id",
    "site_proposal": "rank run_id",
}
VALUES = {
    ("grid_cell", "grid_kind"): {"unit", "management", "community", "dedicated"},
    ("grid_cell", "urban_rural"): {"111", "112", "121", "122", "123", "210", "220"},
    ("grid_cell", "code_status"): {"valid", "void"},
    ("layout_unit", "level"): {"ring", "zone", "grid", "point"},
    ("camera_site", "point_class"): {1, 2, 3, 9},
    ("camera_site", "ptz_type"): set(range(1, 8)),
    ("camera_site", "direction"): set(range(1, 9)),
    ("camera_site", "net_status"): {"on", "off", "unknown"},
    ("outfall", "bank_side"): {"L", "R"},
    ("outfall", "entry_mode"): {"open_channel", "pipe", "pump", "culvert", "box_culvert", "other"},
    ("outfall", "approval_kind"): {"approved", "registered", "none"},
    ("outfall", "workflow_stage"): {"surveyed", "monitored", "traced", "remediating", "closed", "supervised"},
    ("outfall", "remediation"): {"ban", "merge", "standardise"},
    ("outfall", "wq_target"): {"I", "II", "III", "IV", "V"},
    ("outfall_inspection", "discharging"): {1, 0, -1},
    ("shoreline_zone", "zone_type"): {1, 2, 3, 4},
    ("river_mgmt_area", "basis"): {"dike", "historic_flood", "design_flood"},
    ("water_source_zone", "level"): {"1", "2", "quasi"},
    ("school", "school_kind"): {"kindergarten", "primary", "secondary", "special", "college"},
    ("school_zone", "zone_kind"): {"traffic", "safety"},
    ("grid_event", "category"): {"city_management", "safety_hazard"},
    ("patrol", "mode"): {"field", "video"},
    ("rule_finding", "verdict"): {"V", "R", "indeterminate"},
    ("coverage_gap", "cause"): {
        "no_camera", "wrong_angle", "terrain", "building", "blind_zone", "low_density", "offline", "direction_unknown",
        "status_unknown", "ground_unknown",
    },
}  # fmt: skip
#: Words of attributes that would hold a person or a way into a device.
PERSONAL = re.compile(
    r"contact|person|phone|mobile|tel(ephone)?$|login|password|passwd|user|^ip|_ip$|^mac|_mac$|id_?card|identity|face|"
    r"联系|电话|手机|姓名|责任人|负责人|账号|口令|密码|身份证|人脸|地址$"
)
LAYERS = list(built_in().values())


@pytest.mark.parametrize("name", sorted(DOMAIN))
def test_domain_is_declared(name: str) -> None:
    declared = {field.name for field in built_in()[name].all_fields}
    assert set(DOMAIN[name].split()) <= declared


@pytest.mark.parametrize(("layer", "field"), sorted(VALUES), ids=".".join)
def test_values_of_a_domain(layer: str, field: str) -> None:
    assert {term.value for term in built_in()[layer].field(field).domain} == VALUES[layer, field]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda d: d.name)
def test_titles_in_both_languages(layer: LayerDeclaration) -> None:
    chinese = re.compile(r"[\u4e00-\u9fff]")
    assert chinese.search(layer.title_zh) and chinese.search(layer.description_zh)
    assert not chinese.search(layer.title_en + layer.description_en) and layer.description_en
    for field in layer.all_fields:
        assert chinese.search(field.title_zh), field.name
        assert field.title_en and not chinese.search(field.title_en + field.description_en), field.name
        assert bool(field.description_zh) == bool(field.description_en), field.name
        for term in field.domain:
            assert term.zh and term.en and not chinese.search(term.en), (field.name, term)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda d: d.name)
def test_no_header_or_value_has_two_meanings(layer: LayerDeclaration) -> None:
    """A spreadsheet's header leads to one attribute, and a spelling to one value."""
    headers = Counter(
        spelling
        for field in layer.all_fields
        for spelling in {text.casefold() for text in (field.name, field.title_zh, field.title_en, *field.aliases)}
    )
    assert [header for header, times in headers.items() if times > 1] == []
    for field in layer.fields:
        spellings = Counter(
            spelling
            for term in field.domain
            for spelling in {text.casefold() for text in (str(term.value), term.zh, term.en, *term.aliases)}
        )
        assert [spelling for spelling, times in spellings.items() if times > 1] == [], field.name


@pytest.mark.parametrize("layer", LAYERS, ids=lambda d: d.name)
def test_no_personal_attribute(layer: LayerDeclaration) -> None:
    for field in layer.all_fields:
        for text in (field.name, field.title_zh, *field.aliases):
            assert not PERSONAL.search(text), (field.name, text)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda d: d.name)
def test_references_and_style(layer: LayerDeclaration) -> None:
    for field in layer.fields:
        if field.references:
            assert field.references in built_in(), field.name
            assert layer.kind != "result", f"{field.name}: a result outlives the features it speaks of, so it keeps a plain uuid"
    if layer.style.by is None:
        return
    by = layer.field(layer.style.by)
    if by.type == "enum":
        assert set(layer.style.colors) == {str(term.value) for term in by.domain}
    elif by.type == "bool":
        assert set(layer.style.colors) == {"true", "false"}
    else:
        assert layer.style.breaks == tuple(sorted(layer.style.breaks)) != ()
    assert layer.style.unknown not in {colour for value, colour in layer.style.colors.items() if value not in {"unknown", "off"}}


def test_what_the_public_may_not_see() -> None:
    layers = built_in()
    for name in ("camera_site", "camera_view", "outfall", "water_source_zone", "key_area", "coverage_gap", "site_proposal", "rule_finding"):
        assert layers[name].classification != "public", name
    for name in ("sensitive_place", "water_intake"):
        assert layers[name].classification == "restricted", name
    for name in ("road", "water", "building", "admin_area", "community", "railway", "coverage_by_grid"):
        assert layers[name].classification == "public", name
    assert "device_code" in layers["camera_site"].hidden["public"]


def test_reference_page_is_current() -> None:
    page = Path(__file__).parents[3] / "docs" / "layers.md"
    assert page.read_text(encoding="utf-8") == reference_page(), "run: python -m layers.catalogue.reference > docs/layers.md"
