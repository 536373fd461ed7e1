"""Text tables: CSV and its kin, of any encoding, streamed; a line that is too long is refused before it is read."""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from gis.errors import InputError, LimitExceeded, UnreadableFile
from layers.declaration import LayerDeclaration
from layers.loading.arrays import Mask, mask_array, mask_of, numbers_of, text_array
from layers.loading.chunks import Chunk
from layers.loading.headers import score
from layers.loading.options import LoadOptions
from layers.loading.readers.limits import LINE_MAX_BYTES
from layers.loading.reasons import REASONS, Fault

__all__ = ["TextSource", "header_names", "header_row", "known_encoding", "tell_encoding"]

_BLOCK = 4 * 1024 * 1024
#: Rows at the top among which the header may stand.
_TITLE_ROWS = 20
#: Runs of bytes beyond ASCII that are looked at.
_RUNS = 10_000
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def known_encoding(name: str, *, strict: bool = True) -> str | None:
    """Python's name of an encoding; GBK and GB2312 are read as GB18030, which holds both.

    Raises
    ------
    InputError
        It is not known (with ``strict``; None otherwise).
    """
    folded = name.strip().casefold().replace("_", "-")
    if folded in ("gbk", "gb2312", "gb18030", "cp936", "936", "ansi 936", "ansi-936"):
        return "gb18030"
    if folded in ("65001", "utf8"):
        return "utf-8"
    try:
        return codecs.lookup(folded).name
    except LookupError as error:
        if not strict:
            return None
        raise InputError(
            f"Encoding {name!r} is not known; give utf-8 or gb18030.",
            zh=f"未知的编码 {name!r}；请用 utf-8 或 gb18030。",
        ) from error


def tell_encoding(data: bytes) -> str:
    """UTF-8 or GB18030, whichever reads ``data`` with fewer errors; UTF-8 where both do."""
    faults = {name: data.decode(name, errors="replace").count("\ufffd") for name in ("utf-8", "gb18030")}
    return "utf-8" if faults["utf-8"] <= faults["gb18030"] else "gb18030"


def _survey(path: Path, encoding: str | None) -> str:
    """One pass in blocks: no line longer than allowed, and the encoding if none was given."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    chinese = codecs.getincrementaldecoder("gb18030")()
    is_utf8, is_gb = encoding is None, encoding is None
    runs: list[bytes] = []
    with path.open("rb") as file:
        since = 0
        sample = b""
        while block := file.read(_BLOCK):
            sample = sample or block
            since = _longest(block, since, path)
            if is_utf8:
                is_utf8 = _reads(decoder, block)
            if is_gb and not block.isascii():
                is_gb = _reads(chinese, block)
                if len(runs) < _RUNS:
                    runs += re.findall(rb"[\x80-\xff]+", block)[:_RUNS]
    if encoding is not None:
        return encoding
    for mark, name in _BOMS:
        if sample.startswith(mark):
            return name
    if is_utf8 and not (is_gb and _reads_as_chinese(runs)):
        return "utf-8"
    return "gb18030" if is_gb else tell_encoding(sample)


def _reads_as_chinese(runs: list[bytes]) -> bool:
    """Whether bytes that are valid in both encodings are rather GB18030: pairs in runs, and nothing that takes three bytes in UTF-8.

    Chinese in UTF-8 takes three bytes a character; what takes two is accented Latin, which stands alone between ASCII letters.
    """
    if not runs or any(byte >= 0xE0 for run in runs for byte in run):
        return False
    return sum(len(run) >= 4 for run in runs) * 2 > len(runs)


def _longest(block: bytes, since: int, path: Path) -> int:
    """Bytes since the last line break after ``block``; raises where a line is too long."""
    start = 0
    while True:
        # Jump to the last break within reach: only a gap wider than the limit needs a closer look.
        at = block.rfind(b"\n", start, start + LINE_MAX_BYTES - since) if since < LINE_MAX_BYTES else -1
        if at < 0:
            gap = since + len(block) - start
            if gap > LINE_MAX_BYTES:
                raise LimitExceeded(
                    f"{path.name} has a line of more than {LINE_MAX_BYTES >> 20} MB: it is not a table.",
                    zh=f"{path.name} 有一行超过 {LINE_MAX_BYTES >> 20} MB：不是有效的表格。",
                )
            return gap
        start, since = at + 1, 0


def _reads(decoder: codecs.IncrementalDecoder, block: bytes) -> bool:
    try:
        decoder.decode(block)
    except UnicodeDecodeError:
        return False
    return True


class _Utf8(io.RawIOBase):
    """A file of any encoding read as UTF-8; what cannot be decoded becomes U+FFFD."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        self._left = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = size if size >= 0 else 1 << 62
        while len(self._left) < wanted and not self._ended:
            block = self._file.read(_BLOCK)
            self._ended = not block
            self._left += self._decoder.decode(block, final=self._ended).encode()
        out, self._left = self._left[:wanted], self._left[wanted:]
        return out


def header_names(cells: list[str]) -> list[str]:
    """Headers of a row: trimmed, those without a name numbered."""
    return [cell.replace("\n", " ").strip().strip("\ufeff") or f"#{place}" for place, cell in enumerate(cells, start=1)]


def header_row(declaration: LayerDeclaration, rows: list[list[str]], asked: int | None) -> int:
    """Index of the row among the first ones that is the header: the one asked for (from 1), or the one with most known headers."""
    if asked is not None:
        if not 1 <= asked <= len(rows):
            raise InputError(
                f"--header-row {asked}: the table has no such row near its top.",
                zh=f"--header-row {asked}：表格开头没有这一行。",
            )
        return asked - 1
    scores = [score(declaration, header_names(row)) for row in rows]
    best = max(scores, default=0)
    if best == 0:
        return next((i for i, row in enumerate(rows) if any(cell.strip() for cell in row)), 0)
    return scores.index(best)


class TextSource:
    """A delimited text file; the row of a record is its place in the file, the first row being 1."""

    def __init__(self, path: Path, *, options: LoadOptions, declaration: LayerDeclaration) -> None:
        self._path = path
        self.has_geometry = False
        self.crs: str | None = None
        self.notes: list[tuple[str, str]] = []
        asked = known_encoding(options.encoding) if options.encoding else None
        self._encoding = _survey(path, asked)
        self.format = f"CSV {self._encoding}"
        head = self._head()
        self._delimiter = _delimiter(path, head)
        reader = csv.reader(io.StringIO(head), delimiter=self._delimiter)
        rows: list[list[str]] = []
        self._lines: list[int] = []
        try:
            for row in reader:
                rows.append(row)
                self._lines.append(reader.line_num)
                if len(rows) >= _TITLE_ROWS:
                    break
        except csv.Error as error:
            raise self._too_long() from error
        if not any(cell.strip() for row in rows for cell in row):
            raise UnreadableFile(f"{path.name} is empty.", zh=f"{path.name} 是空文件。")
        self._header = header_row(declaration, rows, options.header_row)
        if self._header:
            self.notes.append((f"表头取自第 {self._header + 1} 行", f"headers taken from row {self._header + 1}"))
        self.headers = header_names(rows[self._header])
        # About as many rows as lines like those at the top; only to tell a large load from a small one.
        self.count: int | None = (
            path.stat().st_size * len(rows) // max(1, len("".join(map("".join, rows)).encode()) * 11 // 10)
        )

    def _head(self) -> str:
        with self._path.open("rb") as file:
            text = _Utf8(file, self._encoding).read(LINE_MAX_BYTES + _BLOCK).decode(errors="ignore")
        return text.removeprefix("\ufeff")

    def _stream(self) -> tuple[BinaryIO, "_Utf8"]:
        """The file behind the header's lines."""
        file = self._path.open("rb")
        stream = _Utf8(file, self._encoding)
        skipped = self._lines[self._header]
        left = b""
        seen = 0
        while seen < skipped:
            block = stream.read(_BLOCK)
            if not block:
                break
            left += block
            seen = left.count(b"\n")
        at = 0
        for _ in range(skipped):
            found = left.find(b"\n", at)
            at = len(left) if found < 0 else found + 1
        stream._left = left[at:] + stream._left
        return file, stream

    def chunks(self) -> Iterator[Chunk]:
        """All records, a block of text at a time."""
        bad: list[tuple[int, int]] = []

        def invalid(row: pacsv.InvalidRow) -> str:
            if row.text.strip():
                bad.append((row.number, row.actual_columns))
            else:
                bad.append((row.number, -1))
            return "skip"

        file, stream = self._stream()
        with file:
            try:
                reader = pacsv.open_csv(
                    pa.PythonFile(stream, mode="r"),
                    read_options=pacsv.ReadOptions(
                        block_size=2 * LINE_MAX_BYTES, use_threads=False, column_names=self.headers
                    ),
                    parse_options=pacsv.ParseOptions(
                        delimiter=self._delimiter,
                        newlines_in_values=True,
                        ignore_empty_lines=False,
                        invalid_row_handler=invalid,
                    ),
                    convert_options=pacsv.ConvertOptions(
                        column_types=dict.fromkeys(self.headers, pa.string()), strings_can_be_null=False
                    ),
                )
            except pa.ArrowInvalid as error:
                if "Empty CSV" in str(error):
                    return
                raise self._broken(error) from error
            following = 1
            taken = 0
            while True:
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    break
                except pa.ArrowInvalid as error:
                    raise self._broken(error) from error
                skipped = np.array(sorted(number for number, _columns in bad), dtype=np.int64)
                numbers = _numbered(following, len(batch), skipped)
                if len(batch):
                    following = int(numbers[-1]) + 1
                yield self._chunk(batch, numbers, bad[taken:])
                taken = len(bad)
            if len(bad) > taken:
                empty = pa.RecordBatch.from_arrays([text_array([]) for _ in self.headers], names=self.headers)
                yield self._chunk(empty, np.zeros(0, dtype=np.int64), bad[taken:])

    def _too_long(self) -> LimitExceeded:
        return LimitExceeded(
            f"{self._path.name}: a record or cell is too long; perhaps a quotation mark is never closed.",
            zh=f"{self._path.name}：有一条记录或单元格过长，可能是引号没有闭合。",
        )

    def _broken(self, error: pa.ArrowInvalid) -> InputError:
        if "straddl" in str(error):
            return self._too_long()
        return UnreadableFile(
            f"{self._path.name} is not a table that can be read.", zh=f"{self._path.name} 不是可读取的表格。"
        )

    def _chunk(
        self, batch: pa.RecordBatch, numbers: np.ndarray[tuple[int], np.dtype[np.int64]], bad: list[tuple[int, int]]
    ) -> Chunk:
        columns = dict(zip(self.headers, batch.columns, strict=True))
        blank = np.ones(len(batch), dtype=bool)
        cells: dict[str, dict[str, Mask]] = {}
        for name, column in columns.items():
            if blank.any():
                blank &= numbers_of(pc.binary_length(column)) == 0
            lost = mask_of(pc.match_substring(column, "\ufffd"))
            if lost.any():
                cells[name] = {"undecodable": lost}
        rows = numbers + self._header + 1
        faults = [
            Fault(
                number + self._header + 1, "", "", None, REASONS["wrong_columns"],
                f"{len(self.headers)} 列", f"{len(self.headers)} columns", str(count),
            )
            for number, count in bad
            if count >= 0
        ]  # fmt: skip
        if blank.any():
            keep = mask_array(~blank)
            columns = {name: column.filter(keep) for name, column in columns.items()}
            cells = {name: {code: mask[~blank] for code, mask in masks.items()} for name, masks in cells.items()}
            rows = rows[~blank]
        return Chunk(rows, columns, cells=cells, lost=faults)


def _numbered(
    first: int, count: int, skipped: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The next ``count`` numbers from ``first`` on that are not among ``skipped`` (ascending)."""
    ahead = skipped[skipped >= first]
    numbers = np.arange(first, first + count, dtype=np.int64)
    for number in ahead:
        numbers[numbers >= number] += 1
    return numbers


def _delimiter(path: Path, head: str) -> str:
    """The mark between cells: of comma, tab, semicolon and bar the one that is most frequent in the first rows."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    lines = head[:65536].splitlines()[:_TITLE_ROWS]
    counts = {mark: sum(line.count(mark) for line in lines) for mark in ",\t;|"}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else ","
