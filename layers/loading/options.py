"""What the caller of a load decides."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["LoadOptions"]


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """Options of a load; each is an option of ``baige load``.

    Attributes
    ----------
    crs : str, optional
        What the coordinates are in: an EPSG code, ``gcj02`` or ``bd09``; needed where the file does not say, and goes before what it says.
    maps : mapping of str to str
        Header → field, for headers that are not recognised.
    constants : mapping of str to str
        Field → value that all rows get, for what the file does not say, as ``level`` → ``county``.
    dry_run : bool
        Do everything, then take it back.
    on_error : str
        ``quarantine`` rows with faults and load the others, or ``abort``.
    swap_xy : bool
        The file has latitude where longitude should be.
    allow_outside : bool
        Take places outside the city's bounds.
    quarantine_max : int
        More faulty rows than this end the load: the file as a whole is then not what it is taken for.
    """

    crs: str | None = None
    maps: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    dry_run: bool = False
    on_error: Literal["quarantine", "abort"] = "quarantine"
    encoding: str | None = None
    sheet: str | None = None
    layer_in_file: str | None = None
    header_row: int | None = None
    source_org: str | None = None
    synthetic: bool = False
    lon_column: str | None = None
    lat_column: str | None = None
    wkt_column: str | None = None
    swap_xy: bool = False
    allow_outside: bool = False
    quarantine_max: int = 100_000
    note: str | None = None
