"""Dates and times in the many spellings of tables: ISO, slashes, dots, 2024年3月1日, Chinese numerals, Excel serial numbers."""

import datetime as dt
import re
import unicodedata

__all__ = ["CHINA", "EARLIEST", "LATEST", "excel_date", "parse_date", "parse_datetime"]

#: The zone of times that name none.
CHINA = dt.timezone(dt.timedelta(hours=8), "UTC+8")

#: A date outside these is taken for a mistake (1899 and 9999 are how programs write "none").
EARLIEST = dt.date(1900, 1, 2)
LATEST = dt.date(2100, 12, 31)

_NUMERALS = {**dict(zip("〇零一二三四五六七八九", [0, 0, *range(1, 10)], strict=True)), "○": 0}
_MONTHS = {name: number for number, name in enumerate(
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1)}  # fmt: skip
_YMD = re.compile(r"^(\d{4})\s*[-/.年]\s*(\d{1,2})\s*[-/.月]\s*(\d{1,2})\s*[日号]?$")
_COMPACT = re.compile(r"^(\d{4})(\d{2})(\d{2})$")
_DMY = re.compile(r"^(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})$")
_NAMED = re.compile(r"^(?:(\d{1,2})[ -]([A-Za-z]{3,9})\.?,?[ -](\d{4})|([A-Za-z]{3,9})\.?[ -](\d{1,2}),?[ -](\d{4}))$")
_TIME = re.compile(
    r"^(.*?\S)[T\s]\s*(\d{1,2})\s*[:时]\s*(\d{1,2})\s*(?:[:分]\s*(\d{1,2})(?:\.(\d{1,9}))?\s*秒?|分)?\s*(Z|UTC|[+-]\d{2}:?\d{2}|[+-]\d{2})?$",
    re.IGNORECASE,
)
_SERIAL = re.compile(r"^\d{5}(\.\d+)?$")


def excel_date(serial: float) -> dt.datetime:
    """The moment that a serial number of a spreadsheet (1900 system) stands for."""
    return dt.datetime(1899, 12, 30, tzinfo=CHINA) + dt.timedelta(days=serial)


def _numeral(text: str) -> str:
    """Chinese numerals of years, months and days as digits: 二〇二四年十二月三十一日 → 2024年12月31日."""

    def number(match: re.Match[str]) -> str:
        digits = match.group(0)
        if "十" not in digits:
            return "".join(str(_NUMERALS[digit]) for digit in digits)
        tens, units = digits.split("十", 1)
        return str((_NUMERALS[tens] if tens else 1) * 10 + (_NUMERALS[units] if units else 0))

    return re.sub("[〇零○一二三四五六七八九十]+", number, text)


def _checked(year: int, month: int, day: int) -> dt.date | str:
    try:
        date = dt.date(year, month, day)
    except ValueError:
        return "not_a_date"
    return date if EARLIEST <= date <= LATEST else "date_out_of_range"


def _plain_date(text: str) -> dt.date | str:
    match = _YMD.match(text) or _COMPACT.match(text)
    if match:
        return _checked(*(int(part) for part in match.groups()))
    match = _DMY.match(text)
    if match:
        first, second, year = int(match[1]), int(match[2]), int(match[3])
        if first <= 12 and second <= 12 and first != second:
            return "ambiguous_date"
        return _checked(year, min(first, second), max(first, second))
    match = _NAMED.match(text)
    if match:
        day, word, named_year = (match[1], match[2], match[3]) if match[1] else (match[5], match[4], match[6])
        month = _MONTHS.get(word[:3].lower())
        return _checked(int(named_year), month, int(day)) if month else "not_a_date"
    if _SERIAL.match(text):
        return _checked(*excel_date(float(text)).timetuple()[:3])
    return "not_a_date"


def parse_datetime(text: str) -> dt.datetime | str:
    """Read a moment; without a zone it is taken as China's time, without a time of day as midnight.

    Returns
    -------
    datetime or str
        With its zone; or the code of the reason why not.

    Examples
    --------
    >>> parse_datetime("2024年3月1日 08:05").isoformat()
    '2024-03-01T08:05:00+08:00'
    """
    text = unicodedata.normalize("NFKC", text).strip()
    if "年" in text:
        text = _numeral(text)
    if _SERIAL.match(text):
        moment = excel_date(float(text))
        return moment if EARLIEST <= moment.date() <= LATEST else "date_out_of_range"
    match = _TIME.match(text)
    date = _plain_date(match[1].strip() if match else text)
    if isinstance(date, str):
        return date
    if not match:
        return dt.datetime.combine(date, dt.time(), CHINA)
    zone = CHINA
    if match[6]:
        mark = match[6].upper()
        if mark in ("Z", "UTC"):
            zone = dt.UTC
        else:
            digits = mark[1:].replace(":", "").ljust(4, "0")
            offset = dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
            if offset >= dt.timedelta(hours=24):
                return "not_a_date"
            zone = dt.timezone(-offset if mark[0] == "-" else offset)
    try:
        clock = dt.time(
            int(match[2]), int(match[3]), int(match[4] or 0), int((match[5] or "0").ljust(6, "0")[:6]), zone
        )
    except ValueError:
        return "not_a_date"
    return dt.datetime.combine(date, clock)


def parse_date(text: str) -> dt.date | str:
    """Read a day; a time of day behind it is left away.

    Returns
    -------
    date or str
        The day; or the code of the reason why not.

    Examples
    --------
    >>> [str(parse_date(t)) for t in ("2024年3月1日", "2024/3/1 00:00:00", "45352", "9999-12-31")]
    ['2024-03-01', '2024-03-01', '2024-03-01', 'date_out_of_range']
    """
    moment = parse_datetime(text)
    return moment if isinstance(moment, str) else moment.date()
