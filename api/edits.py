"""Writing features (OGC API – Features Part 4): add, replace, change, remove; all of a request, or nothing of it."""

import asyncio
import uuid
from typing import Any

import orjson
from psycopg import Connection
from starlette.requests import Request
from starlette.responses import Response

from api.access import principal_of
from api.asking import language, reject_unknown
from api.crs import CRS84, ApiCRS, read_crs
from api.items import item_etag
from api.problems import Invalid, problem
from api.state import State
from gis.errors import Forbidden, InputError, LimitExceeded, NotFound, PreconditionFailed, Unauthorized
from layers.access import Principal
from layers.changes import change_set
from layers.database import Database
from layers.query import writing
from layers.query.fragment import Fragment
from layers.query.source import Source

__all__ = ["collection_edit", "feature_edit", "refuse_faults", "require_writer"]

_WRITERS = {"officer", "planner", "admin"}
_MEDIA = {"application/geo+json", "application/json", "application/merge-patch+json", "application/vnd.geo+json"}
_MAX_BATCH = 10_000
_MAX_FAULTS = 100
_TIMEOUT_S = 60.0
#: How long a change waits for another one of the same feature.
_LOCK_TIMEOUT = "10s"


def _allowed(source: Source, principal: Principal, *, feature: bool) -> str:
    methods = ["GET", "HEAD", "OPTIONS"]
    if source.declaration.kind != "result" and principal.role in _WRITERS:
        methods += ["PUT", "PATCH", "DELETE"] if feature else ["POST"]
    return ", ".join(methods)


async def _asked(request: Request) -> tuple[State, Principal, Source]:
    reject_unknown(request.query_params, ("lang", "crs"))
    state: State = request.app.state.baige
    principal = await principal_of(request)
    return state, principal, await state.catalogue.find(request.path_params["collection"], principal.role)


def _may_write(source: Source, principal: Principal, request: Request, *, feature: bool) -> Response | None:
    """An answer where writing is out of the question."""
    if source.declaration.kind == "result":
        lang = language(request.query_params, request.headers)
        text = "分析结果图层不可编辑。" if lang == "zh" else "Results of an analysis are not edited."
        return problem(405, text, lang=lang, headers={"Allow": _allowed(source, principal, feature=feature)})
    require_writer(principal)
    return None


def require_writer(principal: Principal) -> None:
    """Refuse a role that never writes."""
    if principal.role not in _WRITERS:
        if principal.key_id:
            raise Forbidden("This role may not write.", zh="当前角色无权写入。")
        raise Unauthorized("Writing needs an access key.", zh="写入需要访问密钥。")


async def _body(request: Request) -> Any:
    media = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media not in _MEDIA:
        # a body without one of these types could come from a form of another site
        return problem(415, "Content-Type: application/geo+json", headers={"Accept-Post": "application/geo+json"})
    data = await request.body()
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InputError("The body is not valid JSON, or nested too deep.", zh="请求体不是有效的 JSON，或嵌套过深。") from error


def _body_crs(state: State, source: Source, request: Request) -> ApiCRS:
    text = request.headers.get("content-crs") or request.query_params.get("crs")
    return read_crs(text, state.crs(source), parameter="Content-Crs") if text else CRS84


def refuse_faults(faults: list[writing.Fault]) -> None:
    """Raise what is wrong with a body, if anything is."""
    if faults:
        first = faults[0]
        raise Invalid(
            f"{len(faults)} faults; the first: {first.path} {first.en}.", zh=f"共 {len(faults)} 处错误，第一处：{first.path} {first.zh}。",
            faults=[{"path": f.path, "en": f.en, "zh": f.zh} for f in faults[:_MAX_FAULTS]],
        )  # fmt: skip


def _run(connection: "Connection[Any]", sql: Fragment) -> list[tuple[Any, ...]]:
    return connection.execute(sql.text.encode(), sql.params).fetchall()


async def collection_edit(request: Request) -> Response:
    """POST and OPTIONS of a collection's items."""
    state, principal, source = await _asked(request)
    if request.method == "OPTIONS":
        return Response(status_code=204, headers={"Allow": _allowed(source, principal, feature=False), "Accept-Post": "application/geo+json"})
    refused = _may_write(source, principal, request, feature=False)
    if refused is not None:
        return refused
    crs = _body_crs(state, source, request)
    body = await _body(request)
    if isinstance(body, Response):
        return body
    several = isinstance(body, dict) and body.get("type") == "FeatureCollection"
    features = body.get("features") if several else [body]
    if not isinstance(features, list) or not features:
        raise InputError("The body has no features.", zh="请求体没有要素。")
    if len(features) > _MAX_BATCH:
        raise LimitExceeded(f"At most {_MAX_BATCH} features at once.", zh=f"一次最多 {_MAX_BATCH} 个要素。")
    ids = await asyncio.to_thread(_insert, state.database, principal, source, features, crs, several)
    here = f"{state.serve.base_url}/collections/{source.name}/items"
    headers = {"Cache-Control": "no-store"}
    if several:
        answer = {"ids": [str(i) for i in ids], "numberInserted": len(ids), "links": [{"rel": "items", "href": here}]}
        return Response(orjson.dumps(answer), 201, headers=headers, media_type="application/json")
    return Response(status_code=201, headers={**headers, "Location": f"{here}/{ids[0]}"})


def _insert(
    database: Database, principal: Principal, source: Source, features: list[Any], crs: ApiCRS, several: bool
) -> list[uuid.UUID]:
    rows: list[tuple[writing.Row, uuid.UUID | None]] = []
    faults: list[writing.Fault] = []
    for position, feature in enumerate(features):
        path = f"/features/{position}" if several else ""
        row, found = writing.read_feature(source, feature, path=path, srid=crs.srid, swap_xy=crs.swap_xy)
        faults += found
        if len(faults) > _MAX_FAULTS:
            break
        if "src_crs" in row.values and row.values["src_crs"] is None:
            row.values["src_crs"] = str(crs.srid)
        rows.append((row, _own_id(feature)))
    refuse_faults(faults)
    with (
        database.begin(principal, timeout_s=_TIMEOUT_S) as connection,
        change_set(connection, layer=source.name, action="create", note="api") as change,
    ):
        driver = database.driver_connection(connection)
        ids = [_run(driver, writing.insert_sql(source, row, feature_id=i, change_id=change.id))[0][0] for row, i in rows]
        change.count_inserted(len(ids))
    return ids


def _own_id(feature: Any) -> uuid.UUID | None:
    """The id that a client gives a new feature, where it is a UUID; any other is not taken over."""
    try:
        return uuid.UUID(feature["id"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


async def feature_edit(request: Request) -> Response:
    """PUT, PATCH, DELETE and OPTIONS of a feature."""
    state, principal, source = await _asked(request)
    if request.method == "OPTIONS":
        headers = {"Allow": _allowed(source, principal, feature=True), "Accept-Patch": "application/merge-patch+json, application/geo+json"}
        return Response(status_code=204, headers=headers)
    refused = _may_write(source, principal, request, feature=True)
    if refused is not None:
        return refused
    text = request.path_params["feature"]
    try:
        feature_id = uuid.UUID(text)
    except ValueError as error:
        raise _missing(source, text) from error
    row: writing.Row | None = None
    if request.method != "DELETE":
        crs = _body_crs(state, source, request)
        body = await _body(request)
        if isinstance(body, Response):
            return body
        if isinstance(body, dict) and body.get("id") not in (None, text, str(feature_id)):
            raise InputError("The id of the body is not that of the address.", zh="请求体的 id 与地址不一致。")
        partial = request.method == "PATCH"
        row, faults = writing.read_feature(source, body, path="", srid=crs.srid, swap_xy=crs.swap_xy, partial=partial)
        refuse_faults(faults)
    versions = _wanted_versions(request.headers.get("if-match"))
    version = await asyncio.to_thread(_change, state.database, principal, source, feature_id, row, versions, request.method)
    headers = {"Cache-Control": "no-store"}
    if version is not None:
        headers["ETag"] = item_etag(version)
    return Response(status_code=204, headers=headers)


def _wanted_versions(header: str | None) -> set[str] | None:
    """Versions that ``If-Match`` names; None for any."""
    if header is None:
        return None
    tags = [part.strip() for part in header.split(",")]
    if "*" in tags:
        return None
    # a weak tag never matches here (RFC 9110, 13.1.1)
    return {tag.strip('"').split(";")[0] for tag in tags if not tag.startswith("W/")}


def _missing(source: Source, feature_id: object) -> NotFound:
    shown = str(feature_id)[:60]
    return NotFound(f"Collection {source.name} has no feature {shown!r}.", zh=f"图层 {source.name} 没有要素 {shown!r}。")


def _change(
    database: Database, principal: Principal, source: Source, feature_id: uuid.UUID, row: writing.Row | None, versions: set[str] | None,
    method: str,
) -> str | None:  # fmt: skip
    action = {"PUT": "replace", "PATCH": "update", "DELETE": "delete"}[method]
    with database.begin(principal, timeout_s=_TIMEOUT_S) as connection:
        driver = database.driver_connection(connection)
        driver.execute("SELECT set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
        locked = _run(driver, writing.lock_sql(source, feature_id))
        if not locked:
            if _run(driver, Fragment(f"SELECT 1 FROM {source.table} AS t WHERE t.id = %s", (feature_id,))):
                raise Forbidden("This feature is outside what the key may change.", zh="该要素不在此密钥可修改的范围内。")
            raise _missing(source, feature_id)
        if versions is not None and locked[0][0] not in versions:
            raise PreconditionFailed("The feature has changed since; read it again.", zh="要素已被修改，请重新读取。")
        with change_set(connection, layer=source.name, action=action, note="api"):
            if row is None:
                _run(driver, writing.delete_sql(source, feature_id))
                return None
            return str(_run(driver, writing.update_sql(source, row, feature_id))[0][0])
