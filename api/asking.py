"""What a request asks for: language, format, page, filters; read and checked before anything is asked of the database."""

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import Headers, QueryParams

from api.crs import CRS84, ApiCRS, read_crs
from gis.errors import InputError
from layers.query import cql2_sql, filters
from layers.query.fragment import Fragment
from layers.query.items import Question
from layers.query.paging import read_order
from layers.query.source import Source

__all__ = ["FORMATS", "Asked", "language", "read_as_of", "read_format", "read_items", "read_limit", "reject_unknown"]

#: Formats of features: media type, by the value of ``f``.
FORMATS = {
    "json": "application/geo+json",
    "jsonfg": "application/vnd.ogc.fg+json",
    "html": "text/html",
    "csv": "text/csv",
    "fgb": "application/flatgeobuf",
    "parquet": "application/vnd.apache.parquet",
    "gpkg": "application/geopackage+sqlite3",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_ALIASES = {"geojson": "json", "flatgeobuf": "fgb", "geoparquet": "parquet", "geopackage": "gpkg"}
_ACCEPT = {
    **{media: name for name, media in FORMATS.items()}, "application/json": "json", "*/*": "json", "application/*": "json",
    "application/xhtml+xml": "html", "text/*": "html", "application/fg+json": "jsonfg", "application/x-parquet": "parquet",
}  # fmt: skip

_ITEMS = {
    "limit", "as-of", "bbox", "bbox-crs", "crs", "datetime", "f", "lang", "filter", "filter-lang", "filter-crs", "sortby", "properties", "q", "ids",
    "cursor", "skipGeometry", "bom",
}  # fmt: skip


def language(query: QueryParams, headers: Headers) -> str:
    """``zh`` or ``en``: from ``lang``, else ``Accept-Language``, else English."""
    asked = query.get("lang")
    for part in (asked or headers.get("accept-language", "")).split(","):
        word = part.split(";")[0].strip().lower()
        if word.startswith("zh"):
            return "zh"
        if word.startswith("en"):
            return "en"
    return "en"


def _by_quality(accept: str) -> Iterable[str]:
    parts = []
    for position, part in enumerate(accept.split(",")[:50]):
        media, *options = (p.strip() for p in part.split(";"))
        quality = 1.0
        for option in options:
            if option.startswith("q="):
                try:
                    quality = float(option[2:])
                except ValueError:
                    quality = 0.0
        if quality > 0:
            parts.append((-quality, position, media.lower()))
    return (media for _, _, media in sorted(parts))


def read_format(query: QueryParams, headers: Headers, offered: Iterable[str]) -> str:
    """The format to answer in: ``f``, else the best of ``Accept`` that is offered, else JSON.

    Raises
    ------
    InputError
        ``f`` names one that is not offered.
    """
    names = tuple(offered)
    asked = query.get("f")
    if asked:
        name = _ALIASES.get(asked.lower(), asked.lower())
        if name not in names:
            raise InputError(f"f: {asked[:40]!r} is not one of {', '.join(names)}.", zh=f"f：{asked[:40]!r} 不在 {'、'.join(names)} 之中。")
        return name
    for media in _by_quality(headers.get("accept", "")):
        found = _ACCEPT.get(media)
        if found in names:
            return str(found)
    return "json"


_INSTANT = re.compile(r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(:\d\d(\.\d{1,6})?)?([Zz]|[+-]\d\d:\d\d)$")
#: How far the client's clock may be ahead of ours.
_AHEAD = dt.timedelta(minutes=5)


def read_as_of(query: QueryParams) -> dt.datetime | None:
    """``as-of``: the moment whose recorded state is asked for; None for the present.

    Raises
    ------
    InputError
        Not an RFC 3339 instant with its offset, or one to come.
    """
    text = query.get("as-of")
    if text is None:
        return None
    # a plus that was not percent-encoded arrives as a space
    text = re.sub(r" (?=\d\d:\d\d$)", "+", text)
    fault = InputError(
        "as-of: an instant with its offset, like 2026-04-01T08:00:00Z or 2026-04-01T16:00:00%2B08:00.",
        zh="as-of 应为带时区的时刻，如 2026-04-01T08:00:00Z 或 2026-04-01T16:00:00%2B08:00。",
    )
    if not _INSTANT.match(text):
        raise fault
    try:
        moment = dt.datetime.fromisoformat(text.upper()).astimezone(dt.UTC)
    except (ValueError, OverflowError) as error:
        raise fault from error
    if moment > dt.datetime.now(dt.UTC) + _AHEAD:
        raise InputError("as-of: what will be recorded then is not known yet.", zh="as-of 不能是将来的时刻。")
    return moment


def reject_unknown(query: QueryParams, known: Iterable[str]) -> None:
    """Refuse a parameter that does not exist, or that is given twice (Features Part 1, requirement 20).

    Raises
    ------
    InputError
        The message names it.
    """
    allowed = set(known)
    seen: set[str] = set()
    for name, _ in query.multi_items():
        if name not in allowed:
            raise InputError(f"Unknown parameter {name[:60]!r}.", zh=f"未知参数 {name[:60]!r}。")
        if name in seen:
            raise InputError(f"Parameter {name[:60]!r} is given twice.", zh=f"参数 {name[:60]!r} 重复。")
        seen.add(name)


def read_limit(text: str | None, *, default: int, maximum: int) -> int:
    """``limit``: a number from 1; above the maximum the maximum is meant (Features Part 1, requirement 22).

    Raises
    ------
    InputError
        Not a number from 1.
    """
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 12 or int(text) < 1:
        raise InputError("limit: a whole number from 1.", zh="limit 应为不小于 1 的整数。")
    return min(int(text), maximum)


@dataclass(frozen=True)
class Asked:
    """A request for features.

    Attributes
    ----------
    limit : int or None
        None where none was given.
    echo : dict
        Parameters that links to further pages repeat.
    """

    question: Question
    format: str
    lang: str
    crs: ApiCRS
    limit: int | None
    cursor: str | None
    echo: dict[str, str]


def _flag(query: QueryParams, name: str) -> bool:
    text = query.get(name, "false").lower()
    if text not in ("true", "false"):
        raise InputError(f"{name}: true or false.", zh=f"{name} 应为 true 或 false。")
    return text == "true"


def _conditions(source: Source, query: QueryParams, offered: dict[str, ApiCRS]) -> list[Fragment]:
    found: list[Fragment] = []
    if "bbox" in query:
        crs = read_crs(query["bbox-crs"], offered, parameter="bbox-crs") if "bbox-crs" in query else CRS84
        found.append(filters.bbox_filter(source, filters.read_bbox(query["bbox"]), srid=crs.srid, swap_xy=crs.swap_xy))
    elif "bbox-crs" in query:
        read_crs(query["bbox-crs"], offered, parameter="bbox-crs")
    if "datetime" in query:
        found.append(filters.datetime_filter(source, query["datetime"]))
    if "q" in query:
        found.append(filters.words_filter(source, query["q"]))
    if "ids" in query:
        found.append(filters.ids_filter(query["ids"]))
    crs = read_crs(query["filter-crs"], offered, parameter="filter-crs") if "filter-crs" in query else CRS84
    lang = query.get("filter-lang", "cql2-text").lower()
    if lang not in ("cql2-text", "cql2-json"):
        raise InputError("filter-lang: cql2-text or cql2-json.", zh="filter-lang 应为 cql2-text 或 cql2-json。")
    if "filter" in query:
        text = query["filter"]
        if "filter-lang" not in query and text.lstrip().startswith("{"):
            lang = "cql2-json"
        found.append(cql2_sql.compile_filter(text, source, filter_srid=crs.srid, swap_xy=crs.swap_xy, lang=lang))
    for name, value in query.items():
        if name not in _ITEMS:
            found.append(filters.property_filter(source, name, value))
    return found


def read_items(
    source: Source, query: QueryParams, headers: Headers, *, offered: dict[str, ApiCRS], limit_default: int, limit_max: int
) -> Asked:
    """Read a request for features of a layer.

    Raises
    ------
    InputError
        A parameter is unknown, given twice, or not what it should be; the message names it.
    """
    reject_unknown(query, _ITEMS | set(source.columns))
    source = source.as_of(read_as_of(query))
    if any("\x00" in value for value in query.values()):
        raise InputError("A parameter contains a null character.", zh="参数含有空字符。")
    format_ = read_format(query, headers, FORMATS)
    crs = read_crs(query["crs"], offered, parameter="crs") if "crs" in query else CRS84
    names: tuple[str, ...] | None = None
    if "properties" in query:
        names = tuple(source.column(name.strip()).name for name in query["properties"].split(",") if name.strip())
    question = Question(
        source=source,
        conditions=tuple(_conditions(source, query, offered)),
        order=read_order(query.get("sortby"), source),
        srid=crs.srid,
        swap_xy=crs.swap_xy,
        properties=names,
        geometry=not _flag(query, "skipGeometry"),
    )
    limit = read_limit(query.get("limit"), default=limit_default, maximum=limit_max)
    echo = {name: value for name, value in query.items() if name not in ("cursor", "limit", "f", "lang")}
    return Asked(
        question, format_, language(query, headers), crs, limit if "limit" in query or format_ in ("json", "jsonfg", "html") else None,
        query.get("cursor"), echo,
    )  # fmt: skip
