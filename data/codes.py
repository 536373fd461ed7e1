"""Administrative codes of China, 12 digits: 2 province, 2 city, 2 county, 3 street or town, 3 community or village."""

import csv
import io
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path

from gis.errors import InputError, UnreadableFile

__all__ = ["AdminCode", "CodeBook", "CodeFault", "admin_code"]

_LENGTHS = {"province": 2, "city": 4, "county": 6, "street": 9, "community": 12}
_CODE_HEADERS = ("code", "ext_id", "id", "adcode", "admin_code", "行政区划代码", "区划代码", "代码")
_NAME_HEADERS = ("ext_name", "name", "name_zh", "名称", "全称")
#: Columns that name a parent, by its level, as the sources call them.
_PARENT_HEADERS = {
    "provinceCode": "province", "cityCode": "city", "areaCode": "county", "streetCode": "street", "pid": None, "parent_code": None, "上级代码": None,
}  # fmt: skip


@lru_cache(maxsize=1)
def _ranges() -> tuple[tuple[str, int, int, str], ...]:
    text = resources.files("data").joinpath("code_ranges.toml").read_text(encoding="utf-8")
    return tuple((r["digits"], r["first"], r["last"], r["kind"]) for r in tomllib.loads(text)["range"])


def _kind(digits: str, number: int) -> str | None:
    for name, first, last, kind in _ranges():
        if name == digits and first <= number <= last:
            return kind
    return None


@dataclass(frozen=True, order=True)
class AdminCode:
    """A code, padded to 12 digits."""

    digits: str

    @property
    def level(self) -> str:
        """``province``, ``city``, ``county``, ``street`` or ``community``: the last part that is not zero."""
        for level, length in reversed(_LENGTHS.items()):
            if int(self.digits[:length][-3 if length > 6 else -2 :]) != 0:
                return level
        return "province"

    @property
    def short(self) -> str:
        """The code without the zeros below its level: 2, 4, 6, 9 or 12 digits."""
        return self.digits[: _LENGTHS[self.level]]

    @property
    def parent(self) -> "AdminCode | None":
        """The unit above; None for a province."""
        levels = list(_LENGTHS)
        above = levels.index(self.level) - 1
        return None if above < 0 else AdminCode(self.digits[: _LENGTHS[levels[above]]].ljust(12, "0"))

    @property
    def street_kind(self) -> str | None:
        """``street``, ``town``, ``township`` or ``other``, by digits 7–9; None above that level or outside every range."""
        return _kind("street", int(self.digits[6:9])) if self.level in ("street", "community") else None

    @property
    def committee_kind(self) -> str | None:
        """``residents`` or ``villagers``, by digits 10–12; None above that level or outside every range."""
        return _kind("community", int(self.digits[9:])) if self.level == "community" else None

    def __str__(self) -> str:
        return self.digits


def admin_code(text: str | int) -> AdminCode:
    """Read a code of 2, 4, 6, 9 or 12 digits.

    Raises
    ------
    InputError
        Another number of digits, or a part that is missing between others (``420500001000`` has a street without a county).

    Examples
    --------
    >>> code = admin_code("420502001003")
    >>> code.level, str(code.parent), code.street_kind, code.committee_kind, admin_code("4205").level
    ('community', '420502001000', 'street', 'residents', 'city')
    """
    digits = str(text).strip()
    if not re.fullmatch(r"[0-9]{2}|[0-9]{4}|[0-9]{6}|[0-9]{9}|[0-9]{12}", digits) or digits.startswith("0"):
        raise InputError(
            f"{digits[:40]!r} is not an administrative code: it has 2, 4, 6, 9 or 12 digits.",
            zh=f"{digits[:40]!r} 不是行政区划代码：应为 2、4、6、9 或 12 位数字。",
        )
    code = AdminCode(digits.ljust(12, "0"))
    parts = [code.digits[:2], code.digits[2:4], code.digits[4:6], code.digits[6:9]]
    depth = list(_LENGTHS).index(code.level)
    # A city governed directly has county 00 above its streets (Dongguan); any other gap is an error.
    gaps = [name for name, part in zip(("province", "city", "county", "street"), parts, strict=True) if int(part) == 0][
        :depth
    ]
    if any(list(_LENGTHS).index(name) < depth and name != "county" for name in gaps) or (
        "county" in gaps and not code.digits[2:4] > "00"
    ):
        raise InputError(f"{digits!r} skips a level: {gaps[0]} is zero.", zh=f"{digits!r} 缺少上级：中间部分为零。")
    return code


@dataclass(frozen=True)
class CodeFault:
    """Something wrong with a code: ``reason`` is ``malformed``, ``double``, ``orphan``, ``parent_differs`` or ``no_range``."""

    code: str
    reason: str
    en: str
    zh: str


@dataclass
class CodeBook:
    """Codes and names from one or several tables, each checked against its parents.

    Attributes
    ----------
    names : dict
        12-digit code → name.
    faults : list of CodeFault
    """

    names: dict[str, str] = field(default_factory=dict)
    faults: list[CodeFault] = field(default_factory=list)
    _stated: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, paths: Iterable[Path]) -> "CodeBook":
        """Read CSV tables with a code column (``code``, ``ext_id``, ``行政区划代码`` …), a name column and maybe columns of parents' codes.

        Raises
        ------
        UnreadableFile
            Missing, not UTF-8 or GBK, or without such columns.
        """
        book = cls()
        for path in paths:
            book._read(path)
        return book

    def _read(self, path: Path) -> None:
        rows = _rows(path)
        headers = list(rows[0]) if rows else []
        # Codes of some tables come twice, short and full; the first known header that holds 12 digits, else the first known.
        known = [header for header in _CODE_HEADERS if header in headers]
        name_column = next((header for header in _NAME_HEADERS if header in headers), None)
        if not known or name_column is None:
            raise UnreadableFile(
                f"{path.name} has no column of codes and names ({', '.join(_CODE_HEADERS[:4])} …; {', '.join(_NAME_HEADERS[:2])} …).",
                zh=f"{path.name} 没有代码列和名称列。",
            )
        parents = [header for header in _PARENT_HEADERS if header in headers]
        for row in rows:
            self.add(
                row[known[0]], row[name_column], parents={header: row[header] for header in parents if row[header]}
            )

    def add(self, text: str, name: str, *, parents: Mapping[str, str] | None = None) -> None:
        """Add one code; ``parents`` are codes of units above as the source states them, by header."""
        try:
            code = admin_code(text)
        except InputError as error:
            self.faults.append(CodeFault(text[:40], "malformed", error.message, error.zh))
            return
        if code.digits in self.names:
            if self.names[code.digits] != name:
                self.faults.append(
                    CodeFault(
                        code.digits, "double", f"also named {self.names[code.digits]}", f"又名{self.names[code.digits]}"
                    )
                )
            return
        self.names[code.digits] = name
        if parents:
            self._stated[code.digits] = dict(parents)

    def check(self, *, prefix: str = "") -> list[CodeFault]:
        """All faults: those found while reading, and of each code whether its parents exist and are the stated ones, and its range is known.

        Parameters
        ----------
        prefix : str
            The city's code prefix: units above it need not be in the tables.
        """
        faults = list(self.faults)
        for digits in sorted(self.names):
            code = AdminCode(digits)
            parent = code.parent
            if (
                parent is not None
                and len(parent.short) >= max(len(prefix), 2)
                and parent.digits not in self.names
                and parent.short != prefix
            ):
                faults.append(
                    CodeFault(
                        digits, "orphan", f"its parent {parent.short} is not listed", f"上级 {parent.short} 不存在"
                    )
                )
            if prefix and not digits.startswith(prefix):
                faults.append(CodeFault(digits, "orphan", f"it does not begin with {prefix}", f"不以 {prefix} 开头"))
            for header, stated in self._stated.get(digits, {}).items():
                level = _PARENT_HEADERS[header]
                expected = digits[: _LENGTHS[level]] if level else (parent.short if parent else "")
                if stated.strip().ljust(12, "0") != expected.ljust(12, "0"):
                    faults.append(
                        CodeFault(digits, "parent_differs", f"{header} says {stated}", f"{header} 为 {stated}")
                    )
            if (code.level == "community" and code.committee_kind is None) or (
                code.level == "street" and code.street_kind is None
            ):
                faults.append(CodeFault(digits, "no_range", "its last part is in no known range", "末段不在已知区间"))
        return faults

    def count(self, level: str) -> int:
        """How many codes of a level there are."""
        return sum(AdminCode(digits).level == level for digits in self.names)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UnreadableFile(f"{path.name} cannot be opened.", zh=f"无法打开 {path.name}。") from error
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        reader = csv.DictReader(io.StringIO(text, newline=""), restval="")
        try:
            return [{key: value for key, value in row.items() if key is not None} for row in reader]
        except csv.Error as error:
            raise UnreadableFile(f"{path.name} is not a CSV table.", zh=f"{path.name} 不是 CSV 表。") from error
    raise UnreadableFile(f"{path.name} is neither UTF-8 nor GBK.", zh=f"{path.name} 既不是 UTF-8 也不是 GBK 编码。")
