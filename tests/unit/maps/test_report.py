"""Parts of the report that need no database: words, codes, line breaks, pages, letters, cells."""

import re
from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
import openpyxl
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import font_manager

from gis.cameras import Assumed, describe_assumed
from gis.errors import ConfigError, InputError
from gis.settings import CameraDefaults
from layers.catalogue import built_in
from maps.report import MapSheet, Report, area_prefix
from maps.report_maps import _bar_length_m
from maps.report_pages import _ems, _wrapped, chinese_font, write_pdf
from maps.report_sheets import write_xlsx
from maps.report_tables import Column, Table
from maps.report_words import assumption

CJK = re.compile("[\u4e00-\u9fff]")


def report(lang: str = "zh", *, name: str = "西陵区", rows: int = 3, cells: int = 4) -> Report:
    """A small report made by hand."""
    columns = (Column("名称"), Column("数", "int"), Column("占比", "share"))
    squares = [shapely.box(500_000 + 100 * n, 3_396_000, 500_090 + 100 * n, 3_396_090) for n in range(cells)]
    values = [None, 0.01, 0.3, 0.9, 0.05] * cells
    frame = gpd.GeoDataFrame({"online_overview": values[:cells]}, geometry=squares, crs=4546)
    return Report(
        lang=lang,
        city="宜昌市",
        area="",
        run_id="00000000-0000-0000-0000-000000000001",
        finished_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        software="baige 0",
        synthetic=True,
        classification="internal",
        classification_title="内部",
        srid=4546,
        tables=[
            Table(
                "summary", "主要结果", (Column("指标"), Column("数值", "any"), Column("单位")), [("摄像机", 12, "台")]
            ),
            Table("county", "按县区统计", columns, [(name, n, None) for n in range(rows)], "说明"),
        ],
        maps=[MapSheet(built_in()["coverage_by_grid"], frame)],
        base={},
        notes=["说明一"],
    )


def pages_of(path: Path) -> int:
    return len(re.findall(rb"/Type /Page\b", path.read_bytes()))


@pytest.mark.parametrize(
    ("code", "digits"),
    [
        ("420500000000", "4205"),
        ("420502000000", "420502"),
        ("420510000000", "420510"),
        ("420502010000", "420502010"),
        ("420502001", "420502001"),
        ("420502001010", "420502001010"),
        ("42", "42"),
        ("420000", "42"),
    ],
)
def test_the_digits_of_a_code_that_tell(code: str, digits: str) -> None:
    assert area_prefix(code) == digits


@pytest.mark.parametrize("code", ["", "4", "x1", "42050200100", "000000", "42%", "4205020010010"])
def test_what_is_no_code_is_refused(code: str) -> None:
    with pytest.raises(InputError):
        area_prefix(code)


def test_every_assumption_about_cameras_has_chinese_words() -> None:
    said = describe_assumed(dict.fromkeys(Assumed, 3), 9, 2, CameraDefaults())
    assert len(said) == len(Assumed) + 1
    for text in said:
        zh = assumption(text, "zh")
        assert CJK.search(zh)
        assert not re.search("[a-z]{3}", zh), zh
        assert re.findall(r"\b[39]\b", zh) == re.findall(r"\b[39]\b", text)[::-1] or "2" in zh
        assert assumption(text, "en") == text
    assert assumption("something new", "zh") == "something new"


@given(st.text(alphabet="ab c，。（）宜昌市岸线K12+300-", max_size=80), st.floats(2.5, 30))
def test_broken_lines_lose_no_letter(text: str, ems: float) -> None:
    lines = _wrapped(text, ems)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(_ems(line.strip()) <= ems + 1e-9 for line in lines)


@given(st.floats(10, 1e6))
def test_the_scale_bar_is_round_and_fits(width_m: float) -> None:
    length = _bar_length_m(width_m)
    assert f"{length:e}"[0] in "125"
    assert width_m / 5 / 2.5 - 1e-9 <= length <= width_m / 5


def test_pages_and_letters_are_in_the_file(tmp_path: Path) -> None:
    told = write_pdf(report(rows=90, name="含 $x^2$ 和 <b> 的名称"), tmp_path / "deep" / "r.pdf")
    raw = (tmp_path / "deep" / "r.pdf").read_bytes()
    assert raw.startswith(b"%PDF-")
    assert pages_of(tmp_path / "deep" / "r.pdf") == told == 9  # title, figures, map, county over four, notes, sources
    fonts = re.findall(rb"/Type /Font\b(.*?)\nendobj", raw, re.DOTALL)
    assert fonts
    assert b"CJK" in raw or b"Han" in raw or b"WenQuanYi" in raw
    for font in fonts:  # outlines are inside: as procedures, as a file, or through the font it descends from
        assert b"/CharProcs" in font or b"/FontDescriptor" in font or b"/DescendantFonts" in font
    assert raw.count(b"/ToUnicode") >= 1
    assert not [p for p in (tmp_path / "deep").iterdir() if p.suffix == ".part"]


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError):
        write_pdf(report(), tmp_path / "file" / "r.pdf")
    with pytest.raises(InputError):
        write_xlsx(report(), tmp_path / "file" / "r.xlsx")


def test_a_machine_without_chinese_letters_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chinese_font()
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    with pytest.raises(ConfigError, match="fonts-noto-cjk") as caught:
        chinese_font()
    assert "fonts-noto-cjk" in caught.value.zh


def test_a_map_without_features_is_a_page_all_the_same(tmp_path: Path) -> None:
    assert write_pdf(report("en", cells=0), tmp_path / "r.pdf") == pages_of(tmp_path / "r.pdf")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", '=HYPERLINK("http://x")', "坏\x01字"])
def test_no_cell_is_a_formula(tmp_path: Path, name: str) -> None:
    write_xlsx(report(name=name), tmp_path / "r.xlsx")
    cell = openpyxl.load_workbook(tmp_path / "r.xlsx")["按县区统计"]["A2"]
    assert cell.data_type == "s"
    assert cell.value == name.replace("\x01", "")
    assert cell.quotePrefix == name.startswith(("=", "+", "-", "@", "\t"))
