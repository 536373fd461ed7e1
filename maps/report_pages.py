"""The report as PDF: A4 across, letters embedded, a heading and a foot on every page."""

import contextlib
import os
import unicodedata
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from gis.errors import ConfigError, InputError
from maps.report import Report
from maps.report_maps import draw_map
from maps.report_tables import Column, Table

__all__ = ["cell_text", "chinese_font", "write_pdf"]

#: Width and height of a page in inches, margins and steps in parts of an inch.
_PAGE = (11.69, 8.27)
_MARGIN, _TOP, _BOTTOM = 0.55, 7.45, 0.62
_INK, _PALE, _ACCENT = "#1d2733", "#5b6672", "#0b5c8e"
#: Fonts with Chinese letters in the order of preference.
_FONTS = (
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "Noto Sans SC",
    "WenQuanYi Micro Hei",
    "Noto Sans CJK JP",
)


def chinese_font() -> str:
    """Name of an installed font with Chinese letters.

    Raises
    ------
    ConfigError
        There is none; the message names the package to install.
    """
    for _ in range(2):
        known = {font.name for font in font_manager.fontManager.ttflist}
        for name in _FONTS:
            if name in known:
                return name
        # Installed after matplotlib wrote its list of fonts: look again.
        for path in font_manager.findSystemFonts():
            if any(part in Path(path).name for part in ("CJK", "SourceHanSans", "NotoSansSC", "wqy")):
                font_manager.fontManager.addfont(path)
    raise ConfigError(
        "No font with Chinese letters is installed; install the package fonts-noto-cjk ('apt install fonts-noto-cjk').",
        zh="系统没有中文字体，请安装软件包 fonts-noto-cjk（apt install fonts-noto-cjk）。",
    )


def _font_type(name: str) -> int:
    """42 (TrueType) where the font can be; outlines of OpenType CFF fonts such as Noto's cannot, they are embedded as Type 3."""
    with open(font_manager.findfont(name), "rb") as file:
        head = file.read(4)
        if head == b"ttcf":
            file.seek(12)
            file.seek(int.from_bytes(file.read(4), "big"))
            head = file.read(4)
    return 3 if head == b"OTTO" else 42


def _ems(text: str) -> float:
    """Width of a text in units of its size."""
    return sum(
        1.0 if unicodedata.east_asian_width(c) in "WF" else 0.66 if c.isupper() or c in "%m@—" else 0.56 for c in text
    )


def _wrapped(text: str, ems: float) -> list[str]:
    """Lines no wider than ``ems``: broken at spaces in Latin text, anywhere in Chinese, within a word only if it must be."""
    tokens: list[str] = []
    for char in " ".join(text.split()):
        wide = unicodedata.east_asian_width(char) in "WF"
        latin = (
            not wide
            and char != " "
            and tokens
            and tokens[-1] != " "
            and unicodedata.east_asian_width(tokens[-1][-1]) not in "WF"
        )
        if latin or (tokens and char in "，。；：、）”！？"):
            tokens[-1] += char
        else:
            tokens.append(char)
    lines = [""]
    for token in tokens:
        if _ems(lines[-1] + token) <= ems:
            lines[-1] += token
            continue
        if token == " ":
            continue
        lines.append("")
        for char in token:
            if _ems(lines[-1] + char) > ems:
                lines.append("")
            lines[-1] += char
    return [line for line in lines if line] or [""]


def cell_text(value: Any, column: Column) -> str:
    """A cell as it is printed; a missing value as a dash.

    Examples
    --------
    >>> cell_text(0.1234, Column("", "share")), cell_text(12345, Column("", "int")), cell_text(None, Column("", "num"))
    ('12.3 %', '12,345', '–')
    """
    if value is None:
        return "–"
    if column.kind == "share":
        return f"{100 * value:.1f} %"
    if isinstance(value, (bool, str)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}" if column.kind == "num" else f"{value:,.10g}"
    return str(value)


class _Pages:
    """Pages being filled from the top."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.figures: list[Figure] = []
        self.y = 0.0

    def page(self, heading: str = "") -> Figure:
        """Begin a page."""
        figure = Figure(figsize=_PAGE)
        self.figures.append(figure)
        self.y = _TOP
        if heading:
            self.text(_MARGIN, 7.62, heading, size=15, weight="bold", color=_ACCENT)
        return figure

    def text(self, x: float, y: float, text: str, *, size: float = 9.5, **look: Any) -> None:
        """Write one line with its foot at ``x``, ``y`` inches."""
        look.setdefault("color", _INK)
        self.figures[-1].text(x / _PAGE[0], y / _PAGE[1], text, fontsize=size, parse_math=False, **look)

    def rule(self, y: float, *, color: str = "#c9d1d8", width: float = 0.6) -> None:
        """Draw a line across the page."""
        from matplotlib.lines import Line2D

        ends = [_MARGIN / _PAGE[0], 1 - _MARGIN / _PAGE[0]]
        self.figures[-1].add_artist(Line2D(ends, [y / _PAGE[1]] * 2, color=color, linewidth=width))

    def room(self, height: float, heading: str) -> None:
        """Begin another page under the same heading if ``height`` inches are no more left."""
        if self.y - height < _BOTTOM:
            self.page(heading)

    def paragraph(self, text: str, *, heading: str = "", size: float = 9.5, mark: str = "", color: str = _INK) -> None:
        """Write a text over as many lines as it needs."""
        indent = 0.18 if mark else 0.0
        for n, line in enumerate(_wrapped(text, (_PAGE[0] - 2 * _MARGIN - indent) * 72 / size)):
            self.room(size * 1.7 / 72, heading)
            self.y -= size * 1.7 / 72
            if mark and n == 0:
                self.text(_MARGIN, self.y, mark, size=size, color=_ACCENT)
            self.text(_MARGIN + indent, self.y, line, size=size, color=color)
        self.y -= 0.06

    def table(
        self, table: Table, *, size: float = 8.5, width: float = _PAGE[0] - 2 * _MARGIN, titled: bool = False
    ) -> None:
        """Write a table; its head again on each page that it goes on."""
        heading = table.title + self.report.text("（续）", " (continued)")
        parts = sum(column.width for column in table.columns)
        widths = [width * column.width / parts for column in table.columns]
        lefts = [_MARGIN + sum(widths[:n]) for n in range(len(widths))]
        step = size * 1.45 / 72

        def lines_of(texts: list[str], size: float = size) -> list[list[str]]:
            return [_wrapped(text, (w - 0.12) * 72 / size) for text, w in zip(texts, widths, strict=True)]

        def write(cells: list[list[str]], size: float = size, **look: Any) -> None:
            for lines, column, left, w in zip(cells, table.columns, lefts, widths, strict=True):
                right = column.kind != "text"
                for n, line in enumerate(lines):
                    x = left + w - 0.1 if right else left + 0.04
                    self.text(x, self.y - step * (n + 0.8), line, size=size, ha="right" if right else "left", **look)
            self.y -= step * max(len(lines) for lines in cells) + 0.05

        head = lines_of([column.title for column in table.columns], 0.9 * size)

        def write_head() -> None:
            write(head, 0.9 * size, weight="bold", color=_ACCENT)
            self.edge(width)

        if titled:
            self.y -= 0.24
            self.text(_MARGIN, self.y, table.title, size=11.5, weight="bold")
            self.y -= 0.08
        if table.note:  # before the rows: after them it could be left alone on a page
            self.paragraph(table.note, heading=heading, size=8, color=_PALE)
        if table.rows:
            write_head()
        for row in table.rows:
            cells = lines_of([cell_text(value, column) for value, column in zip(row, table.columns, strict=True)])
            if self.y - step * max(len(lines) for lines in cells) - 0.05 < _BOTTOM:
                self.page(heading)
                write_head()
            write(cells)
            self.edge(width, color="#e4e8ec")

    def edge(self, width: float, *, color: str = "#8a97a3") -> None:
        """Draw the line under a row."""
        from matplotlib.lines import Line2D

        y = (self.y + 0.025) / _PAGE[1]
        self.figures[-1].add_artist(
            Line2D([_MARGIN / _PAGE[0], (_MARGIN + width) / _PAGE[0]], [y, y], color=color, linewidth=0.5)
        )

    def feet(self) -> None:
        """Write the foot of each page."""
        report = self.report
        said = [
            f"{report.city}{' · ' + report.area if report.area else ''}",
            report.title,
            report.text("运行 ", "Run ") + report.run_id,
        ]
        said.append(report.text("密级：", "Classification: ") + report.classification_title)
        if report.synthetic:
            said.append(report.text("合成数据", "Synthetic data"))
        every = self.figures
        for n, figure in enumerate(every, start=1):
            foot: dict[str, Any] = {"fontsize": 7.5, "color": _PALE, "parse_math": False}
            figure.text(_MARGIN / _PAGE[0], 0.32 / _PAGE[1], " · ".join(said), **foot)
            figure.text(1 - _MARGIN / _PAGE[0], 0.32 / _PAGE[1], f"{n} / {len(every)}", ha="right", **foot)


def _title_page(pages: _Pages) -> None:
    report = pages.report
    pages.page()
    pages.text(_MARGIN + 0.3, 5.9, report.title, size=32, weight="bold", color=_ACCENT)
    pages.text(_MARGIN + 0.3, 5.3, report.city + (f" · {report.area}" if report.area else ""), size=20)
    pages.rule(5.05, color=_ACCENT, width=1.4)
    when = report.finished_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    facts = [
        (report.text("计算完成", "Computed"), when),
        (report.text("运行编号", "Run"), report.run_id),
        (report.text("软件", "Software"), report.software),
        (report.text("密级", "Classification"), report.classification_title),
    ]
    y = 4.6
    for name, value in facts:
        pages.text(_MARGIN + 0.3, y, name, size=11, color=_PALE)
        pages.text(_MARGIN + 2.0, y, value, size=11)
        y -= 0.32
    if report.synthetic:
        notice = report.text(
            "合成数据：含有虚构的要素，不是真实情况。",
            "Synthetic data: it contains made-up places and is not the real state of affairs.",
        )
        box = {"facecolor": "#fff4d6", "edgecolor": "#d9a514", "boxstyle": "round,pad=0.5"}
        pages.text(_MARGIN + 0.38, y - 0.28, notice, size=12, color="#5c4300", bbox=box)


def _body(pages: _Pages) -> None:
    report = pages.report
    tables = {table.key: table for table in report.tables}
    pages.page(tables["summary"].title)
    pages.table(tables.pop("summary"), width=7.4)
    if "density" in tables:
        pages.table(tables.pop("density"), width=7.4, titled=True)
    beside = [tables.pop(key) for key in ("states", "causes") if key in tables]
    if beside:
        pages.page(report.text("覆盖状态与原因", "States and causes"))
        for table in beside:
            pages.room(0.9, report.text("覆盖状态与原因", "States and causes"))
            pages.table(table, width=7.4, titled=True)
    even = [tables.pop(key) for key in ("evenness", "urban_rural") if key in tables]
    if even:
        pages.page(even[0].title)
        for table in even:
            pages.room(0.9, even[0].title)
            pages.table(table, titled=table is not even[0])
    for sheet in report.maps:
        figure = pages.page(sheet.layer.title(report.lang))
        draw_map(figure, sheet, report)
    last = [tables.pop(key) for key in ("parameters", "inputs") if key in tables]
    for table in tables.values():
        pages.page(table.title)
        pages.table(table)
    heading = report.text("方法与局限", "Method and limits")
    pages.page(heading)
    for note in report.notes:
        pages.paragraph(note, heading=heading, mark="•")
    heading = report.text("来源", "Provenance")
    pages.page(heading)
    for table in last:
        pages.room(0.9, heading)
        pages.table(table, width=8.6, titled=True)


@contextlib.contextmanager
def _written(path: Path) -> Iterator[Path]:
    """A file beside ``path`` that takes its place when all has gone well."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}", zh=f"无法写入 {path}：{error.strerror}"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # gone, or its folder never was
            part.unlink()


def write_pdf(report: Report, path: Path) -> int:
    """Write a report as PDF and return the number of its pages.

    Raises
    ------
    ConfigError
        No font with Chinese letters is installed.
    InputError
        The file cannot be written.
    """
    font = chinese_font()
    look: Any = {
        "font.family": [font, "DejaVu Sans"],
        "pdf.fonttype": _font_type(font),
        "axes.unicode_minus": False,
        "hatch.linewidth": 0.4,
    }
    about = {
        "Title": f"{report.city} · {report.title}",
        "Subject": report.run_id,
        "Author": report.software,
        "Creator": report.software,
        "Keywords": report.classification_title,
    }
    with matplotlib.rc_context(look):
        pages = _Pages(report)
        _title_page(pages)
        _body(pages)
        pages.feet()
        with _written(path) as part, PdfPages(part, metadata=about) as book:
            for figure in pages.figures:
                book.savefig(figure, dpi=200)
    return len(pages.figures)
