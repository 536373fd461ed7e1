"""Columns to the types of fields."""

import datetime as dt
import uuid

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layers.declaration import FieldDeclaration, Term
from layers.loading.converting import Converted, as_text, convert
from layers.loading.rules import check, expectation


def field(kind: str, **more: object) -> FieldDeclaration:
    return FieldDeclaration.model_validate({"name": "some", "type": kind, "title_zh": "某", "title_en": "Some", **more})


ENUM = field(
    "enum",
    domain=[
        {"value": 1, "zh": "球机", "en": "PTZ dome", "aliases": ["云台球机"]},
        {"value": 2, "zh": "半球", "en": "Dome"},
    ],
)


def marked(column: Converted) -> dict[str, list[int]]:
    return {code: np.flatnonzero(mask).tolist() for code, mask in column.faults.items()}


@pytest.mark.parametrize(
    ("kind", "values", "expected", "faults"),
    [
        ("int", ["1", " 2 ", "３", "1,234", "+5", "6.0", "", None, "-", "无"], [1, 2, 3, 1234, 5, 6, None, None, None, None], {}),
        ("int", ["1.5", "abc", "99999999999999999999", "7"], [None, None, None, 7], {"not_an_integer": [0], "not_a_number": [1], "too_large": [2]}),
        ("num", ["1.5", "１．５", "1,234.5", "1e3", "-.5", "NaN", "inf", "-Infinity", "12m"],
        [1.5, 1.5, 1234.5, 1000.0, -0.5, None, None, None, None],
         {"not_finite": [6, 7], "not_a_number": [8]}),
        ("bool", ["是", "否", "TRUE", "no", "1", "0", "√", "×", "有", "maybe", ""],
        [True, False, True, False, True, False, True, False, True, None, None],
         {"not_a_bool": [9]}),
        ("date", ["2024年3月1日", "9999-12-31", "", "x"], [dt.date(2024, 3, 1), None, None, None], {"date_out_of_range": [1], "not_a_date": [3]}),
        ("text", ["　沿江大道　", "NULL", "", "#N/A", "无"], ["沿江大道", None, None, None, "无"], {}),
        ("text[]", ["a；b, c", "", "x"], [["a", "b", "c"], None, ["x"]], {}),
    ],
)  # fmt: skip
def test_text_to_type(
    kind: str, values: list[str | None], expected: list[object], faults: dict[str, list[int]]
) -> None:
    out = convert(field(kind), pa.array(values, pa.string()))
    assert out.values.to_pylist() == expected
    assert marked(out) == faults


def test_enum_by_value_title_and_alias_in_both_languages() -> None:
    out = convert(
        ENUM, pa.array(["1", "1.0"[:1], "球机", "ptz DOME", "云台球机", "２", "Ｄｏｍｅ", "枪机", "未知", None])
    )
    assert out.values.to_pylist() == [1, 1, 1, 1, 1, 2, 2, None, None, None]
    assert marked(out) == {"not_in_domain": [7]}


def test_enum_from_numbers_of_a_workbook() -> None:
    out = convert(ENUM, pa.array([1.0, 2.0, 3.0, None]))
    assert out.values.to_pylist() == [1, 2, None, None]
    assert marked(out) == {"not_in_domain": [2]}


def test_a_term_called_unknown_is_a_term() -> None:
    declared = field(
        "enum",
        domain=[{"value": "on", "zh": "在线", "en": "Online"}, {"value": "unknown", "zh": "未知", "en": "Unknown"}],
    )
    assert convert(declared, pa.array(["未知", "在线", "-"])).values.to_pylist() == ["unknown", "on", None]


def test_a_code_stored_as_a_number_has_lost_digits() -> None:
    code = field("code", length=20, pattern="^[0-9]{20}$")
    out = convert(code, pa.array([42050200001310000001.0, None]))
    assert marked(out) == {"digits_lost": [0]}
    text = convert(code, pa.array(["4.2050200001310000E+19", "42050200001310000001"]))
    check(code, text)
    assert marked(text) == {"digits_lost": [0]}
    assert text.values.to_pylist() == [None, "42050200001310000001"]


def test_nineteen_digits_are_the_wrong_length() -> None:
    code = field("code", length=20, pattern="^[0-9]{20}$")
    for array in (pa.array(["4205020000131000001"]), pa.array([4205020000131000001], pa.int64())):
        out = convert(code, array)
        check(code, out)
        assert marked(out) == {"wrong_length": [0]}
    assert expectation(code) == ("20 位", "20 characters")


def test_whole_floats_become_plain_text() -> None:
    assert as_text(pa.array([420502.0, 1.5, None])).values.to_pylist() == ["420502", "1.5", None]


def test_nul_character_is_refused() -> None:
    out = as_text(pa.array(["a\x00b", "c"]))
    assert marked(out) == {"bad_character": [0]}


def test_dates_that_come_as_dates() -> None:
    out = convert(field("date"), pa.array([dt.date(2024, 3, 1), dt.date(9999, 12, 31), None], pa.date32()))
    assert marked(out) == {"date_out_of_range": [1]}
    utc = pa.array([dt.datetime(2024, 2, 29, 20, 0, tzinfo=dt.UTC)], pa.timestamp("us", tz="UTC"))
    assert convert(field("date"), utc).values.to_pylist() == [dt.date(2024, 3, 1)]
    naive = convert(field("datetime"), pa.array([dt.datetime(2024, 3, 1, 8, 0)], pa.timestamp("ms")))  # noqa: DTZ001 - without a zone on purpose
    assert naive.values.to_pylist() == [dt.datetime(2024, 3, 1, 0, 0, tzinfo=dt.UTC)]


def test_unsigned_and_clamped_integers() -> None:
    assert convert(field("int"), pa.array([2**63 + 5], pa.uint64())).faults.keys() == {"too_large"}
    # The largest integer is what GDAL makes of a number too large for it.
    assert marked(convert(field("text"), pa.array([2**63 - 1, 7], pa.int64()))) == {"digits_lost": [0]}


def test_uuids() -> None:
    value = uuid.uuid4()
    out = convert(field("uuid"), pa.array([str(value), "{" + str(value) + "}", "x", ""]))
    assert out.values.to_pylist() == [value.bytes, value.bytes, None, None]
    assert marked(out) == {"not_a_uuid": [2]}


def test_rules_of_value() -> None:
    number = field("num", minimum=0, maximum=360, unit="°")
    out = convert(number, pa.array(["-1", "0", "360", "361", ""]))
    check(number, out)
    assert marked(out) == {"too_small": [0], "too_large": [3]}
    text = field("text", length=3, required=True)
    out = convert(text, pa.array(["abc", "四个汉字", "", "ab"]))
    check(text, out)
    assert marked(out) == {"too_long": [1], "missing": [2]}
    lookahead = field("text", pattern="^(?!00)[0-9]{2}$")  # RE2 has no lookahead
    out = convert(lookahead, pa.array(["00", "12", "x"]))
    check(lookahead, out)
    assert marked(out) == {"pattern": [0, 2]}


def test_admin_codes_are_padded() -> None:
    declared = FieldDeclaration(
        name="admin_code",
        type="text",
        title_zh="区划",
        title_en="Code",
        length=12,
        pattern=r"^([0-9]{6}|[0-9]{9}|[0-9]{12})$",
    )
    out = convert(declared, pa.array(["420502", "420502001", "420502001001", "42050", None]))
    check(declared, out)
    assert out.values.to_pylist() == ["420502000000", "420502001000", "420502001001", None, None]
    assert marked(out) == {"pattern": [3]}


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-(2**53) + 1, 2**53 - 1)), min_size=1))
def test_integers_survive_every_form(values: list[int | None]) -> None:
    as_words = pa.array([None if v is None else str(v) for v in values], pa.string())
    for array in (
        pa.array(values, pa.int64()),
        as_words,
        pa.array([None if v is None else float(v) for v in values], pa.float64()),
    ):
        out = convert(field("int"), array)
        assert out.values.to_pylist() == values
        assert not out.faults


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=1))
def test_numbers_survive_as_text(values: list[float]) -> None:
    out = convert(field("num"), pa.array([repr(v) for v in values]))
    assert out.values.to_pylist() == values


@settings(deadline=None)
@given(
    st.lists(st.text(), min_size=1),
    st.sampled_from(["int", "num", "bool", "date", "datetime", "uuid", "text", "text[]"]),
)
def test_no_text_breaks_a_conversion(values: list[str], kind: str) -> None:
    out = convert(field(kind), pa.array(values))
    assert len(out.values) == len(values)
    for mask in out.faults.values():
        assert out.values.is_valid().to_numpy(zero_copy_only=False)[mask].sum() == 0


def test_terms_are_told_apart_by_value_before_title() -> None:
    declared = field("enum", domain=[Term(value=1, zh="2", en="one"), Term(value=2, zh="二", en="two")])
    assert convert(declared, pa.array(["2", "1"])).values.to_pylist() == [2, 1]
