"""Dates and times in the spellings of tables."""

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layers.loading.dates import CHINA, EARLIEST, LATEST, excel_date, parse_date, parse_datetime

MARCH = dt.date(2024, 3, 1)


@pytest.mark.parametrize(
    "text",
    [
        "2024-03-01", "2024-3-1", "2024/3/1", "2024.03.01", "20240301", "2024年3月1日", "2024年03月01号", "2024 年 3 月 1 日", "２０２４年３月１日",
        "二〇二四年三月一日", "二零二四年三月一日", "2024-03-01 00:00:00", "2024-03-01T08:30:00+08:00", "2024/3/1 0:00",
        "1 March 2024", "Mar 1, 2024",
        "45352", "45352.5", "1/1/2024 "[:0] + "2024-03-01 12:00",
    ],
)  # fmt: skip
def test_spellings_of_one_day(text: str) -> None:
    assert parse_date(text) == MARCH


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("9999-12-31", "date_out_of_range"), ("9999年12月31日", "date_out_of_range"), ("1899-12-30", "date_out_of_range"),
        ("1900-01-01", "date_out_of_range"), ("2024-02-30", "not_a_date"), ("2024-13-01", "not_a_date"), ("24-03-01", "not_a_date"),
        ("昨天", "not_a_date"), ("2024", "not_a_date"), ("2024年3月", "not_a_date"), ("03/04/2024", "ambiguous_date"), ("", "not_a_date"),
        ("0000-00-00", "not_a_date"), ("99999", "date_out_of_range"), ("2024-03-01 25:00", "not_a_date"),
        ("2024-03-01 08:00+99:00", "not_a_date"), ("20240230", "not_a_date"),
    ],
)  # fmt: skip
def test_what_is_no_day_says_why(text: str, reason: str) -> None:
    assert parse_date(text) == reason


def test_day_and_month_that_can_be_told_apart() -> None:
    assert parse_date("13/04/2024") == parse_date("04/13/2024") == dt.date(2024, 4, 13)
    assert parse_date("05/05/2024") == dt.date(2024, 5, 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024年3月1日 08:05", dt.datetime(2024, 3, 1, 8, 5, tzinfo=CHINA)),
        ("2024-03-01 8时5分", dt.datetime(2024, 3, 1, 8, 5, tzinfo=CHINA)),
        ("2024-03-01 8时5分30秒", dt.datetime(2024, 3, 1, 8, 5, 30, tzinfo=CHINA)),
        ("2024-03-01T00:05:00Z", dt.datetime(2024, 3, 1, 8, 5, tzinfo=CHINA)),
        ("2024-03-01T02:05:00.250+02:00", dt.datetime(2024, 3, 1, 8, 5, 0, 250_000, tzinfo=CHINA)),
        ("2024-02-29T19:05:00-0500", dt.datetime(2024, 3, 1, 8, 5, tzinfo=CHINA)),
        ("2024-03-01", dt.datetime(2024, 3, 1, tzinfo=CHINA)),
    ],
)
def test_moments(text: str, expected: dt.datetime) -> None:
    assert parse_datetime(text) == expected


@settings(deadline=None)
@given(st.dates(EARLIEST, LATEST))
def test_every_day_is_read_back_from_each_spelling(day: dt.date) -> None:
    chinese = f"{day.year}年{day.month}月{day.day}日"
    for text in (day.isoformat(), f"{day:%Y%m%d}", f"{day.year}/{day.month}/{day.day}", chinese, f"{day} 23:59:59"):
        assert parse_date(text) == day


@settings(deadline=None)
@given(st.dates(dt.date(1950, 1, 1), LATEST))
def test_excel_serials_count_days(day: dt.date) -> None:
    assert excel_date((day - dt.date(1899, 12, 30)).days).date() == day


@settings(deadline=None)
@given(st.text(max_size=30))
def test_no_text_breaks_the_reader(text: str) -> None:
    assert isinstance(parse_datetime(text), (str, dt.datetime))
