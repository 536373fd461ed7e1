"""How large what is read may be. A file beyond these is refused before it fills the memory."""

__all__ = [
    "ARCHIVE_MAX_BYTES",
    "ARCHIVE_MAX_MEMBERS",
    "ARCHIVE_MAX_RATIO",
    "LINE_MAX_BYTES",
    "ROWS_PER_CHUNK",
    "SHEET_MAX_BYTES",
]

#: One line of a text table, or one record of several lines.
LINE_MAX_BYTES = 4 * 1024 * 1024
#: All that a zip unpacks to, its members, and how many times larger than the zip (of archives above 100 MB) that may be.
ARCHIVE_MAX_BYTES = 4 * 1024**3
ARCHIVE_MAX_MEMBERS = 1000
ARCHIVE_MAX_RATIO = 200
#: The largest part of a workbook, unpacked: a sheet is held in memory as a whole.
SHEET_MAX_BYTES = 600 * 1024 * 1024
#: Rows held at once.
ROWS_PER_CHUNK = 65_536
