"""Administrative codes: parts, parents, kinds by range."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.codes import CodeBook, admin_code
from gis.errors import InputError, UnreadableFile

PARTS = st.tuples(st.integers(11, 65), st.integers(1, 99), st.integers(1, 99), st.integers(1, 599), st.integers(1, 599))


@given(PARTS, st.integers(1, 5))
def test_parents_of_any_code(parts: tuple[int, int, int, int, int], depth: int) -> None:
    widths = (2, 2, 2, 3, 3)
    words = [f"{part:0{width}d}" for part, width in zip(parts, widths, strict=True)]
    code = admin_code("".join(words[:depth]))
    assert len(code.digits) == 12 and code.short == "".join(words[:depth])
    assert code.level == ("province", "city", "county", "street", "community")[depth - 1]
    assert admin_code(code.digits) == code == admin_code(code.short)
    parent = code.parent
    assert (parent is None) == (depth == 1)
    if parent is not None:
        assert parent.short == "".join(words[: depth - 1])
    assert (code.street_kind is None) == (depth < 4)
    assert (code.committee_kind is None) == (depth < 5)


@pytest.mark.parametrize(
    ("text", "street", "committee"),
    [
        ("420502001001", "street", "residents"),
        ("420502099199", "street", "residents"),
        ("420506100200", "town", "villagers"),
        ("420506199399", "town", "villagers"),
        ("420506202500", "township", "villagers"),
        ("420581400400", "other", "residents"),
        ("420581600600", None, None),
    ],
)
def test_kinds(text: str, street: str | None, committee: str | None) -> None:
    code = admin_code(text)
    assert (code.street_kind, code.committee_kind) == (street, committee)


@pytest.mark.parametrize(
    "text", ["", "4", "42050", "abc", "0", "000000", "420502000001", "420000001", "4205020010011", "４２"]
)
def test_what_is_no_code(text: str) -> None:
    with pytest.raises(InputError):
        admin_code(text)


def test_faults_of_a_table(tmp_path: Path) -> None:
    table = tmp_path / "codes.csv"
    rows = (
        "代码,名称,上级代码", "420502,西陵区,4205", "420502001,西陵街道,420503", "420502001000,西陵街道,420502", "420502001001,甲,420502001",
        "420502002001,乙,420502002", "420502001999,丙,420502001", "4205,宜昌市,42", "12345,丁,1", "420502001001,戊,420502001", "110101,东城区,1101",
    )  # fmt: skip
    table.write_bytes("\n".join(rows).encode("gb18030"))
    faults = {(fault.code, fault.reason) for fault in CodeBook.read([table]).check(prefix="4205")}
    assert faults == {
        ("12345", "malformed"), ("420502001000", "parent_differs"), ("420502002001", "orphan"), ("420502001999", "no_range"),
        ("420502001001", "double"), ("110101000000", "orphan"),
    }  # fmt: skip


def test_tables_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="opened"):
        CodeBook.read([tmp_path / "none.csv"])
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(UnreadableFile, match="no column of codes"):
        CodeBook.read([other])
