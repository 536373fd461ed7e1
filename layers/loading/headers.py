"""Which column of a file is which field: names, titles in both languages and aliases, told from personal columns."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gis.errors import InputError, UnknownField
from layers.declaration import FieldDeclaration, LayerDeclaration
from layers.loading.personal import is_personal_header

__all__ = ["Matched", "fold", "match_headers", "score"]

#: Fields that are set by the load itself, never from a column.
_OWN = frozenset({"src_crs", "geom_repaired"})
_LON = (
    "lon",
    "lng",
    "long",
    "longitude",
    "经度",
    "东经",
    "经度坐标",
    "x",
    "x坐标",
    "coordx",
    "pointx",
    "横坐标",
    "东坐标",
)
_LAT = ("lat", "latitude", "纬度", "北纬", "纬度坐标", "y", "y坐标", "coordy", "pointy", "纵坐标", "北坐标")
_WKT = ("wkt", "geom", "geometry", "thegeom", "wktgeom", "几何", "几何wkt", "坐标串", "空间坐标")
#: Bytes that a field name of a shapefile may have.
_SHAPEFILE_BYTES = 10


@dataclass
class Matched:
    """Headers by what they are used for."""

    columns: dict[str, FieldDeclaration] = field(default_factory=dict)
    lon: str | None = None
    lat: str | None = None
    wkt: str | None = None
    id_column: str | None = None
    dropped: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def fold(header: str) -> str:
    """A header as it is compared: full width, case, spaces, ``_`` and ``-`` made equal, a unit in brackets left out.

    Examples
    --------
    >>> fold(" Mount Height_m "), fold("安装高度（米）"), fold("ＬＯＮ")
    ('mountheightm', '安装高度', 'lon')
    """
    plain = unicodedata.normalize("NFKC", header).strip("\ufeff \t\r\n*＊").casefold()
    bare = re.sub(r"[(\[【].{0,8}[)\]】]$", "", plain)
    return re.sub(r"[\s_\-·:：.]+", "", bare or plain)


def _spellings(declared: FieldDeclaration) -> tuple[tuple[str, ...], ...]:
    """Accepted headers in order of rank: name, titles, aliases."""
    return (declared.name,), (declared.title_zh, declared.title_en), declared.aliases


def _cut(word: str) -> set[str]:
    """A header as a shapefile of either encoding would cut it."""
    out = set()
    for encoding in ("utf-8", "gb18030"):
        raw = word.encode(encoding)
        if len(raw) > _SHAPEFILE_BYTES:
            out.add(fold(raw[:_SHAPEFILE_BYTES].decode(encoding, errors="ignore")))
    return out


def _ranks(declaration: LayerDeclaration, *, cut: bool) -> list[dict[str, set[str]]]:
    """For each rank, folded header → names of the fields it may mean."""
    tables: list[dict[str, set[str]]] = [{}, {}, {}, {}]
    for declared in declaration.all_fields:
        if declared.name in _OWN:
            continue
        for rank, words in enumerate(_spellings(declared)):
            for word in words:
                tables[rank].setdefault(fold(word), set()).add(declared.name)
                if cut:
                    for short in _cut(word):
                        tables[3].setdefault(short, set()).add(declared.name)
    return tables


def score(declaration: LayerDeclaration, cells: Sequence[str]) -> int:
    """How many cells of a row would be headers of this layer; to find the header row below a sheet's title."""
    tables = _ranks(declaration, cut=False)
    known = {*_LON, *_LAT, *_WKT}.union(*tables)
    return sum(1 for cell in cells if cell and (fold(cell) in known or is_personal_header(cell)))


def _one(headers: Sequence[str], words: Sequence[str], asked: str | None, option: str) -> str | None:
    """The header that holds a coordinate: the one asked for, or the only one with a known name."""
    if asked is not None:
        found = [header for header in headers if header == asked] or [
            header for header in headers if fold(header) == fold(asked)
        ]
        if not found:
            raise UnknownField(
                f"{option} {asked!r}: the file has no such column; it has {', '.join(headers[:40])}.",
                zh=f"{option} {asked!r}：文件没有此列；现有列：{'、'.join(headers[:40])}。",
            )
        return found[0]
    ranked = [header for word in words for header in headers if fold(header) == word]
    # A full word (lon, 经度) goes before a letter (x): only the same word twice is ambiguous.
    if len(ranked) > 1 and fold(ranked[0]) == fold(ranked[1]):
        raise InputError(
            f"Columns {', '.join(map(repr, ranked))} could all be the position: say which with {option}.",
            zh=f"列 {'、'.join(map(repr, ranked))} 都可能是坐标：请用 {option} 指定。",
        )
    return ranked[0] if ranked else None


def _mapped(
    declaration: LayerDeclaration, headers: Sequence[str], maps: Mapping[str, str]
) -> dict[str, FieldDeclaration]:
    """Columns that the caller assigned himself."""
    fields = {
        word: f
        for f in declaration.all_fields
        if f.name not in _OWN
        for word in (f.name, fold(f.name), fold(f.title_zh), fold(f.title_en))
    }
    out: dict[str, FieldDeclaration] = {}
    for header, wanted in maps.items():
        found = [h for h in headers if h == header] or [h for h in headers if fold(h) == fold(header)]
        if not found:
            raise UnknownField(
                f"--map {header}={wanted}: the file has no column {header!r}; it has {', '.join(headers[:40])}.",
                zh=f"--map {header}={wanted}：文件没有列 {header!r}；现有列：{'、'.join(headers[:40])}。",
            )
        if is_personal_header(found[0]):
            raise InputError(
                f"--map {header}={wanted}: {header!r} is a column about persons or access; it is never read.",
                zh=f"--map {header}={wanted}：{header!r} 属于个人或登录信息，不予读取。",
            )
        target = fields.get(wanted) or fields.get(fold(wanted))
        if target is None:
            raise UnknownField(
                f"--map {header}={wanted}: layer {declaration.name!r} has no field {wanted!r}.",
                zh=f"--map {header}={wanted}：图层 {declaration.name!r} 没有字段 {wanted!r}。",
            )
        if target.name in {f.name for f in out.values()}:
            raise InputError(f"--map: two columns for {target.name!r}.", zh=f"--map：字段 {target.name!r} 指定了两列。")
        out[found[0]] = target
    return out


def _literal(declaration: LayerDeclaration, header: str, names: set[str]) -> set[str]:
    """Those of ``names`` that the header stands for as it is written, brackets and all: ``name`` is no "Name (English)"."""
    word = header.strip().casefold()
    return {
        name
        for name in names
        if any(word == spelling.casefold() for rank in _spellings(declaration.field(name)) for spelling in rank)
    }


def match_headers(
    declaration: LayerDeclaration,
    headers: Sequence[str],
    *,
    maps: Mapping[str, str] | None = None,
    positions: bool,
    lon: str | None = None,
    lat: str | None = None,
    wkt: str | None = None,
    cut: bool = False,
) -> Matched:
    """Assign the columns of a file to the fields of a layer.

    Parameters
    ----------
    positions : bool
        Look for columns with coordinates (the format has no geometry of its own).
    lon, lat, wkt : str, optional
        Headers that the caller named for them.
    cut : bool
        Headers may be cut to ten bytes, as in a shapefile.

    Raises
    ------
    InputError
        Two columns mean the same field, or one column two fields, and ``maps`` does not say which; a header stands twice.
    UnknownField
        A header or field in ``maps`` does not exist.
    """
    if len(set(headers)) != len(headers):
        twice = sorted({header for header in headers if headers.count(header) > 1})
        raise InputError(f"Headers stand twice: {', '.join(twice)}.", zh=f"表头重复：{'、'.join(twice)}。")
    out = Matched()
    out.columns = _mapped(declaration, headers, maps or {})
    out.dropped = [header for header in headers if is_personal_header(header)]
    rest = [header for header in headers if header not in out.columns and header not in out.dropped]
    if positions and declaration.has_geometry:
        out.wkt = _one(rest, _WKT if wkt or not (lon or lat) else (), wkt, "--wkt-column")
        if wkt is None:
            out.lon, out.lat = _one(rest, _LON, lon, "--lon-column"), _one(rest, _LAT, lat, "--lat-column")
            if not (out.lon and out.lat):
                out.lon = out.lat = None
            elif out.wkt and declaration.geometry == "Point":
                out.wkt = None
            elif out.wkt:
                out.lon = out.lat = None
        rest = [header for header in rest if header not in (out.lon, out.lat, out.wkt)]
    taken = {f.name for f in out.columns.values()}
    claims: dict[str, list[str]] = {}
    for table in _ranks(declaration, cut=cut):
        claims.clear()
        for header in rest:
            names = table.get(fold(header), set()) - taken
            if len(names) > 1:
                names = _literal(declaration, header, names) or names
            if len(names) > 1:
                raise InputError(
                    f"Column {header!r} could be {' or '.join(sorted(names))}: say which with --map '{header}=field'.",
                    zh=f"列 {header!r} 可能是 {'、'.join(sorted(names))}：请用 --map '{header}=字段' 指定。",
                )
            for name in names:
                claims.setdefault(name, []).append(header)
        for name, claimants in claims.items():
            if len(claimants) > 1:
                raise InputError(
                    f"Columns {' and '.join(map(repr, claimants))} both look like {name!r}: say which with --map 'header={name}'.",
                    zh=f"列 {'、'.join(map(repr, claimants))} 都像字段 {name!r}：请用 --map '表头={name}' 指定。",
                )
            out.columns[claimants[0]] = declaration.field(name)
            taken.add(name)
        rest = [header for header in rest if header not in out.columns]
    out.id_column = next((header for header in rest if header.strip().casefold() == "id"), None)
    out.ignored = [header for header in rest if header != out.id_column]
    return out
