"""What the officer's panel asks of the server: outfalls with their state, inspections from the field, photos, a workbook.

A record made in the field carries an id that the phone made. Sending it again is harmless: what is there already is answered as done.
"""

import asyncio
import datetime as dt
import uuid
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from api.access import principal_of
from api.asking import language, reject_unknown
from api.edits import refuse_faults, require_writer
from api.items import FRESH
from api.problems import problem
from api.state import State
from gis.errors import Conflict, InputError, LimitExceeded, NotFound
from layers.access import Principal
from layers.changes import change_set
from layers.database import Database
from layers.outfalls import STATUS_COLUMNS, inspections_sql, outfall_status
from layers.photos import PHOTO_MAX_BYTES, keep_photo, photo_of
from layers.query import writing
from layers.query.fragment import Fragment
from layers.query.source import Source
from maps.outfall_sheet import outfall_sheet

__all__ = ["officer_routes"]

_TIMEOUT_S = 30.0
_OUTFALL = "SELECT admin_code, classification FROM baige.outfall AS t WHERE t.id = %s"
_SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value


def _day(request: Request) -> dt.date:
    text = request.query_params.get("day")
    try:
        return dt.date.fromisoformat(text) if text else dt.datetime.now(dt.UTC).date()
    except ValueError as error:
        raise InputError("day: a date like 2025-04-01.", zh="day 应为 2025-04-01 这样的日期。") from error


def _bbox(request: Request) -> tuple[float, ...] | None:
    text = request.query_params.get("bbox")
    if not text:
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != 4 or not (-180 <= found[0] <= found[2] <= 180 and -90 <= found[1] <= found[3] <= 90):
        raise InputError("bbox: west,south,east,north in degrees.", zh="bbox 应为 西,南,东,北（度）。")
    return found


def _id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise InputError("The id is not a UUID.", zh="编号不是 UUID。") from error


async def _rows(request: Request) -> tuple[State, list[dict[str, Any]]]:
    state: State = request.app.state.baige
    principal = await principal_of(request)
    source = await state.catalogue.find("outfall", principal.role)
    question = outfall_status(state.city.inspection, _day(request), bbox=_bbox(request), srid=source.srid)
    rows = await state.reader.fetch(principal, question, timeout_s=state.serve.statement_timeout_s)
    return state, [dict(zip(STATUS_COLUMNS, map(_plain, row), strict=True)) for row in rows]


async def _outfalls(request: Request) -> Response:
    """Outfalls with state, reason, due date: ``?day=2025-04-01&bbox=…``; GeoJSON."""
    reject_unknown(request.query_params, ("day", "bbox"))
    state, rows = await _rows(request)
    features = []
    for row in rows:
        at = [round(row.pop("lon"), 7), round(row.pop("lat"), 7)]
        features.append({"type": "Feature", "id": row["id"], "geometry": {"type": "Point", "coordinates": at}, "properties": row})
    body = {
        "type": "FeatureCollection", "features": features, "day": _day(request), "rule": state.city.inspection.model_dump(),
        "numberReturned": len(features),
    }  # fmt: skip
    return Response(orjson.dumps(body), media_type="application/geo+json", headers=FRESH)


async def _sheet(request: Request) -> Response:
    """The same as a workbook, with titles in the asked language; ``ids`` narrows it to a selection."""
    reject_unknown(request.query_params, ("day", "bbox", "lang", "ids"))
    state, rows = await _rows(request)
    wanted = {part for part in request.query_params.get("ids", "").split(",") if part}
    lang = language(request.query_params, request.headers)
    chosen = [row for row in rows if not wanted or row["id"] in wanted]
    principal = await principal_of(request)
    outfall = (await state.catalogue.find("outfall", principal.role)).declaration
    watch = (await state.catalogue.find("outfall_watch", principal.role)).declaration
    data = await asyncio.to_thread(outfall_sheet, chosen, outfall, watch, lang=lang, day=_day(request))
    headers = {**FRESH, "Content-Disposition": 'attachment; filename="outfalls.xlsx"'}
    return Response(data, media_type=_SHEET, headers=headers)


async def _inspections(request: Request) -> Response:
    """History of an outfall's inspections, the latest first, with the ids of their photos."""
    reject_unknown(request.query_params, ())
    state: State = request.app.state.baige
    principal = await principal_of(request)
    await state.catalogue.find("outfall_inspection", principal.role)
    question = inspections_sql(str(_id(request.path_params["outfall"])))
    if principal.role == "public":  # who has no right to photos is not asked for them
        raise NotFound("There is no such outfall.", zh="没有该排污口。")
    rows = await state.reader.fetch(principal, question, timeout_s=state.serve.statement_timeout_s)
    names = ("id", "inspected_at", "discharging", "colour", "turbidity", "odour", "note", "lon", "lat", "position_error_m", "photos")
    found = [dict(zip(names, map(_plain, row), strict=True)) for row in rows]
    return Response(orjson.dumps({"inspections": found}), media_type="application/json", headers=FRESH)


async def _record(request: Request) -> Response:
    """PUT of an inspection under an id that the sender made: 201 when it is new, 200 when it is there already."""
    reject_unknown(request.query_params, ())
    state: State = request.app.state.baige
    principal = await principal_of(request)
    source = await state.catalogue.find("outfall_inspection", principal.role)
    require_writer(principal)
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        return problem(415, "Content-Type: application/json")
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise InputError("The body is not valid JSON.", zh="请求体不是有效的 JSON。") from error
    inspection = _id(request.path_params["inspection"])
    feature = {"type": "Feature", "geometry": None, "properties": body}
    row, faults = writing.read_feature(source, feature, path="", srid=source.srid, swap_xy=False)
    refuse_faults(faults)
    if row.values["inspected_at"] > dt.datetime.now(dt.UTC) + dt.timedelta(minutes=10):
        raise InputError("inspected_at lies in the future; is the phone's clock right?", zh="巡查时间在将来，请检查手机时钟。")
    new = await asyncio.to_thread(_store, state.database, principal, source, inspection, row)
    answer = {"id": str(inspection), "stored": True, "new": new}
    return Response(orjson.dumps(answer), 201 if new else 200, media_type="application/json", headers={"Cache-Control": "no-store"})


def _store(database: Database, principal: Principal, source: Source, inspection: uuid.UUID, row: writing.Row) -> bool:
    with database.begin(principal, timeout_s=_TIMEOUT_S) as connection:
        driver = database.driver_connection(connection)

        def ask(sql: Fragment) -> list[tuple[Any, ...]]:
            return driver.execute(sql.text.encode(), sql.params).fetchall()

        outfall = ask(Fragment(_OUTFALL, (row.values["outfall_id"],)))
        if not outfall:
            raise NotFound("There is no such outfall, or the key may not see it.", zh="没有该排污口，或当前密钥无权查看。")
        row.values.update(admin_code=outfall[0][0], classification=outfall[0][1], client_ref=str(inspection), photos=None)
        # Two sendings of one record wait for each other here.
        ask(Fragment("SELECT pg_advisory_xact_lock(hashtextextended(%s, 7))", (str(inspection),)))
        names = [name for name in row.values if name not in ("src_crs", "classification", "synthetic", "geom_repaired", "admin_code")]
        columns = ", ".join(f't."{name}"' for name in names)
        known = ask(Fragment(f"SELECT {columns} FROM {source.table} AS t WHERE t.id = %s", (inspection,)))
        if known:
            if list(known[0]) != [row.values[name] for name in names]:
                raise Conflict("Another record has this id.", zh="该编号已被另一条记录使用。")
            return False
        with change_set(connection, layer=source.name, action="create", note="field") as change:
            ask(writing.insert_sql(source, row, feature_id=inspection, change_id=change.id))
            change.count_inserted(1)
    return True


async def _put_photo(request: Request) -> Response:
    """PUT of a photo's bytes under an id that the sender made."""
    reject_unknown(request.query_params, ())
    state: State = request.app.state.baige
    principal = await principal_of(request)
    await state.catalogue.find("outfall_inspection", principal.role)
    require_writer(principal)
    if request.headers.get("content-type", "").split(";")[0].strip().lower() not in ("image/jpeg", "image/png", "image/webp"):
        return problem(415, "Content-Type: image/jpeg, image/png, image/webp")
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > PHOTO_MAX_BYTES:
            raise LimitExceeded("A photo may have 15 MB at most.", zh="一张照片不得超过 15 MB。")
    photo, inspection = _id(request.path_params["photo"]), _id(request.path_params["inspection"])

    def keep() -> bool:
        with state.database.begin(principal, timeout_s=_TIMEOUT_S) as connection:
            return keep_photo(connection, photo, inspection, bytes(data))

    new = await asyncio.to_thread(keep)
    answer = {"id": str(photo), "stored": True, "new": new}
    return Response(orjson.dumps(answer), 201 if new else 200, media_type="application/json", headers={"Cache-Control": "no-store"})


async def _photo(request: Request) -> Response:
    """A photo, for who may see the outfall that it shows."""
    reject_unknown(request.query_params, ())
    state: State = request.app.state.baige
    principal = await principal_of(request)
    photo = _id(request.path_params["photo"])
    if principal.role == "public":
        raise NotFound("There is no such photo.", zh="没有该照片。")

    def read() -> bytes:
        with state.database.begin(principal, readonly=True, timeout_s=_TIMEOUT_S) as connection:
            return photo_of(connection, photo)

    headers = {"Cache-Control": "private, no-store", "Content-Security-Policy": "default-src 'none'"}
    return Response(await asyncio.to_thread(read), media_type="image/jpeg", headers=headers)


def officer_routes() -> list[BaseRoute]:
    """Routes that must stand before the portal's static files."""
    return [
        Route("/portal/outfalls", _outfalls),
        Route("/portal/outfalls.xlsx", _sheet),
        Route("/portal/outfalls/{outfall}/inspections", _inspections),
        Route("/portal/inspections/{inspection}", _record, methods=["PUT"]),
        Route("/portal/inspections/{inspection}/photos/{photo}", _put_photo, methods=["PUT"]),
        Route("/portal/photos/{photo}", _photo),
    ]
