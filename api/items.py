"""Features of a collection, and one feature: ``/collections/{id}/items`` and ``…/items/{featureId}``."""

import asyncio
import datetime as dt
import uuid
from urllib.parse import urlencode

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.access import principal_of
from api.asking import FORMATS, Asked, language, read_as_of, read_format, read_items, reject_unknown
from api.crs import CRS84, ApiCRS, read_crs
from api.formats import stream
from api.html import page
from api.live import no_collection
from api.state import State, etag_of, matches, not_modified, scope_of, while_connected
from gis.errors import DatabaseTimeout, NotFound, QueryFailed
from layers.access import Principal
from layers.query.items import Question, count_sql, item_sql, page_end_sql, page_sql
from layers.query.paging import Part
from layers.query.source import Source

__all__ = ["FRESH", "get_item", "get_items", "read_count"]

#: Sent with whatever a layer's change makes old: kept by clients, but asked for again each time.
FRESH = {"Cache-Control": "no-cache", "Vary": "Accept, Accept-Language, Authorization, Cookie, X-API-Key"}

#: Where the id stands in a feature's text.
_ID = slice(24, 60)


async def read_count(state: State, principal: Principal, question: Question, counter: int, *, wait_s: float | None = None) -> int | None:
    """How many features match, or None where counting takes longer than allowed. Kept until the layer changes."""
    key = (question.source.name, question.source.at, counter, scope_of(principal), question.where())
    known = state.counts.recall(key)
    if known is not None:
        return int(known)
    running = state.counting.get(key)
    if running is None:
        running = state.counting[key] = asyncio.create_task(_count(state, principal, question, key))
        running.add_done_callback(lambda _: state.counting.pop(key, None))
    return await asyncio.shield(running)


async def _count(state: State, principal: Principal, question: Question, key: object) -> int | None:
    try:
        rows = await state.reader.fetch(principal, count_sql(question), timeout_s=state.serve.count_timeout_s)
    except DatabaseTimeout:
        return None
    count = int(rows[0][0])
    state.counts.keep(key, count)
    return count


def _links(state: State, asked: Asked, next_cursor: str | None, limit: int) -> list[dict[str, str]]:
    source, zh = asked.question.source, asked.lang == "zh"
    collection = f"{state.serve.base_url}/collections/{source.name}"
    query = urlencode({**asked.echo, "limit": limit})  # once: writing it for each link took a seventh of the server's time
    here = query + (f"&{urlencode({'cursor': asked.cursor})}" if asked.cursor else "")
    links = []
    for name, media in FORMATS.items():
        rel = "self" if name == asked.format else "alternate"
        title = ("本页，" if zh else "This document as ") + name.upper()
        links.append({"href": f"{collection}/items?{here}&f={name}", "rel": rel, "type": media, "title": title})
    if next_cursor:
        href = f"{collection}/items?{query}&{urlencode({'cursor': next_cursor})}&f={asked.format}"
        links.append({"href": href, "rel": "next", "type": FORMATS[asked.format], "title": "下一页" if zh else "Next page"})
    links.append({"href": collection, "rel": "collection", "type": "application/json", "title": source.declaration.title(asked.lang)})
    return links


async def get_items(request: Request) -> Response:
    """A page of features, or all of them in a file format."""
    state: State = request.app.state.baige
    principal = await principal_of(request)
    source = await state.catalogue.find(request.path_params["collection"], principal.role)
    asked = read_items(
        source, request.query_params, request.headers, offered=state.crs(source), limit_default=state.serve.limit_default,
        limit_max=state.serve.limit_max,
    )  # fmt: skip
    parts = (scope_of(principal), state.catalogue.version, request.url.query, asked.format, asked.lang)
    page_wanted = asked.format in ("json", "jsonfg", "html")
    if page_wanted and "if-none-match" not in request.headers:
        return await while_connected(request, _page(state, principal, asked, parts))
    counter = await state.counters.current(source.name)
    etag = etag_of(counter, *parts)
    if matches(request, etag):
        return not_modified(etag, FRESH)
    headers = {**FRESH, "ETag": etag, "Content-Crs": f"<{asked.crs.uri}>"}
    if not page_wanted:
        part = await _part(state, principal, asked)
        matched = await read_count(state, principal, asked.question, counter)
        if matched is not None:
            headers["OGC-NumberMatched"] = str(matched)
        if part.next is not None and asked.limit is not None:
            _add_next(headers, _links(state, asked, part.next, asked.limit))
        return await stream(request, state, principal, asked, headers, part=part)
    return await while_connected(request, _page(state, principal, asked, parts))


async def _part(state: State, principal: Principal, asked: Asked) -> Part:
    """What a file holds: all rows, or where a limit was given those up to the row that a page of it ends with.

    The file is read after its end was looked up: as the end is a row and not a number, no row that stays is missed or repeated by the next
    page, whatever others write meanwhile.
    """
    question, order = asked.question, asked.question.order
    behind = (order.after(asked.cursor),) if asked.cursor is not None else ()
    if asked.limit is None:
        return Part(behind)
    sql = page_end_sql(question, limit=asked.limit, cursor=asked.cursor)
    rows = await state.reader.fetch(principal, sql, timeout_s=state.serve.statement_timeout_s)
    if not rows:
        return Part(behind)
    end = order.cursor(rows[0][0].decode(), rows[0][1] if order.keys else None)
    return Part((*behind, order.up_to(end)), bounded=True, next=end if len(rows) > 1 else None)


def _add_next(headers: dict[str, str], links: list[dict[str, str]]) -> None:
    headers["Link"] = ", ".join(f'<{link["href"]}>; rel="{link["rel"]}"; type="{link["type"]}"' for link in links if link["rel"] == "next")


async def _page(state: State, principal: Principal, asked: Asked, parts: tuple[str, ...]) -> Response:
    question, limit = asked.question, asked.limit or state.serve.limit_default
    sql = page_sql(question, limit=limit, cursor=asked.cursor, as_jsonfg=asked.format == "jsonfg", crs_uri=asked.crs.uri)
    plain = not question.conditions and not question.order.keys and asked.cursor is None
    try:
        counter, rows = await state.reader.fetch_counted(
            question.source.name, principal, sql, timeout_s=state.serve.statement_timeout_s, prepare=plain
        )
    except QueryFailed:
        await state.counters.current(question.source.name)  # says so where the layer was removed a moment ago
        raise
    if counter is None:
        raise no_collection(question.source.name)
    headers = {**FRESH, "ETag": etag_of(counter, *parts), "Content-Crs": f"<{asked.crs.uri}>"}
    more = len(rows) > limit
    shown = rows[:limit] if more else rows
    next_cursor = None
    if more:
        last = shown[-1]
        next_cursor = question.order.cursor(last[0][_ID].decode(), last[1] if question.order.keys else None)
    if not more and asked.cursor is None:
        matched: int | None = len(shown)
    else:
        matched = await read_count(state, principal, question, counter)
    links = _links(state, asked, next_cursor, limit)
    tail: dict[str, object] = {"numberReturned": len(shown)}
    if matched is not None:
        tail["numberMatched"] = matched
        headers["OGC-NumberMatched"] = str(matched)
    headers["OGC-NumberReturned"] = str(len(shown))
    tail["timeStamp"] = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    tail["links"] = links
    if next_cursor:
        _add_next(headers, links)
    if asked.format == "html":
        features = [orjson.loads(row[0]) for row in shown]
        data = {"source": question.source, "features": features, "next": next((k["href"] for k in links if k["rel"] == "next"), None), **tail}
        return page(state, "items", asked.lang, data, headers=headers)
    head = b'{"type":"FeatureCollection",'
    if asked.format == "jsonfg":
        head += _jsonfg_head(question.source, asked.crs)
    body = b"".join((head, b'"features":[', b",".join([row[0] for row in shown]), b"],", orjson.dumps(tail)[1:]))
    return Response(body, headers=headers, media_type=FORMATS[asked.format])


def _jsonfg_head(source: Source, crs: ApiCRS) -> bytes:
    classes = ["http://www.opengis.net/spec/json-fg-1/1.0/conf/core", "http://www.opengis.net/spec/json-fg-1/1.0/conf/types-schemas"]
    values = {"conformsTo": classes, "featureType": source.name, "coordRefSys": crs.uri}
    return orjson.dumps(values)[1:-1] + b","


async def get_item(request: Request) -> Response:
    """One feature."""
    state: State = request.app.state.baige
    principal = await principal_of(request)
    source = await state.catalogue.find(request.path_params["collection"], principal.role)
    query = request.query_params
    reject_unknown(query, ("f", "lang", "crs", "as-of"))
    source = source.as_of(read_as_of(query))
    lang = language(query, request.headers)
    format_ = read_format(query, request.headers, ("json", "jsonfg", "html"))
    crs = read_crs(query["crs"], state.crs(source), parameter="crs") if "crs" in query else CRS84
    feature, version = await read_item(state, principal, source, request.path_params["feature"], crs, as_jsonfg=format_ == "jsonfg")
    etag = item_etag(version, format_, crs)
    headers = {**FRESH, "ETag": etag, "Content-Crs": f"<{crs.uri}>"}
    if matches(request, etag):
        return not_modified(etag, FRESH)
    base = f"{state.serve.base_url}/collections/{source.name}"
    here = f"{base}/items/{feature[_ID].decode()}"
    links = []
    past = {"as-of": query["as-of"]} if source.at else {}
    for name in ("json", "jsonfg", "html"):
        rel = "self" if name == format_ else "alternate"
        links.append({"href": f"{here}?{urlencode({'f': name, **past})}", "rel": rel, "type": FORMATS[name]})
    links.append({"href": base, "rel": "collection", "type": "application/json", "title": source.declaration.title(lang)})
    if format_ == "html":
        data = {"source": source, "feature": orjson.loads(feature), "links": links}
        return page(state, "item", lang, data, headers=headers)
    extra: dict[str, object] = {"links": links}
    head = feature[:-1]
    if format_ == "jsonfg":
        head = b"{" + _jsonfg_head(source, crs) + head[1:]
    return Response(head + b"," + orjson.dumps(extra)[1:], headers=headers, media_type=FORMATS[format_])


def item_etag(version: str, format_: str = "json", crs: ApiCRS = CRS84) -> str:
    """Strong tag of a feature: its version, and what else tells two forms of it apart."""
    form = "" if (format_, crs.uri) == ("json", CRS84.uri) else f";{format_};{crs.srid}"
    return f'"{version}{form}"'


async def read_item(
    state: State, principal: Principal, source: Source, feature_id: str, crs: ApiCRS = CRS84, *, as_jsonfg: bool = False
) -> tuple[bytes, str]:
    """Text and version of a feature.

    Raises
    ------
    NotFound
        There is none of that id that the asker may see.
    """
    missing = NotFound(f"Collection {source.name} has no feature {feature_id[:60]!r}.", zh=f"图层 {source.name} 没有要素 {feature_id[:60]!r}。")
    try:
        known = str(uuid.UUID(feature_id))
    except ValueError as error:
        raise missing from error
    question = Question(source, srid=crs.srid, swap_xy=crs.swap_xy)
    sql = item_sql(question, known, as_jsonfg=as_jsonfg, crs_uri=crs.uri)
    try:
        rows = await state.reader.fetch(principal, sql, timeout_s=state.serve.statement_timeout_s, prepare=True)
    except QueryFailed:
        await state.counters.current(source.name)  # says so where the layer was removed a moment ago
        raise
    if not rows:
        raise missing
    return rows[0][0], rows[0][1].decode()
