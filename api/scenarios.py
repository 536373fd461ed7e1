"""Scenarios of the planner: those that are kept, and what a change would bring while it is being made.

A scenario is kept as rows of the collection ``camera_plan`` and edited there like any other layer (with ``If-Match``, history, access
rules); here is what goes beyond a layer.
"""

import asyncio
from typing import Any

import orjson
import shapely
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response

from api.access import principal_of
from api.asking import read_format, reject_unknown
from api.problems import problem
from api.reader import as_text
from api.state import State
from gis.errors import Forbidden, InputError, NotFound, Unauthorized
from grids.desk import INPUTS, Desk, Look
from grids.scenario_changes import Scenario
from grids.scenario_rows import scenario_of
from layers.access import Principal
from layers.query.fragment import Fragment

__all__ = ["get_scenarios", "post_preview"]

_PLANNERS = {"planner", "admin"}
_HEADERS = {"Cache-Control": "no-store"}
_LISTED = (
    "SELECT t.scenario, count(*), to_char(max(t.changed_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM baige.camera_plan AS t"
    " GROUP BY t.scenario ORDER BY max(t.changed_at) DESC LIMIT 500"
)
_SEEN = "SELECT coalesce(t.device_code, ''), t.id::text FROM baige.camera_site AS t WHERE t.device_code = ANY(%s) OR t.id::text = ANY(%s)"
_AREA = (
    "SELECT t.admin_code FROM baige.admin_area AS t WHERE ST_Intersects(t.geom, ST_SetSRID(ST_Point(%s, %s), %s))"
    " ORDER BY rtrim(t.admin_code, '0') DESC, length(rtrim(t.admin_code, '0')) DESC LIMIT 1"
)


async def _planner(request: Request) -> tuple[State, Principal]:
    state: State = request.app.state.baige
    principal = await principal_of(request)
    if principal.role not in _PLANNERS:
        if not principal.key_id:
            raise Unauthorized("Scenarios need a planner's access key.", zh="规划方案需要规划员密钥。")
        raise Forbidden("Scenarios are for planners.", zh="规划方案仅限规划员。")
    return state, principal


def _of_the_city(principal: Principal) -> bool:
    """Whether somebody sees all that the desk counts, which it keeps for whoever asks next."""
    return principal.role == "admin" or not principal.district


async def get_scenarios(request: Request) -> Response:
    """Scenarios that are kept, the last changed first, and the types of camera that can be added."""
    reject_unknown(request.query_params, ("f", "lang"))
    read_format(request.query_params, request.headers, ("json",))
    state, principal = await _planner(request)
    rows = await state.reader.fetch(principal, Fragment(_LISTED), timeout_s=state.serve.statement_timeout_s)
    found = [{"name": as_text(name), "changes": int(as_text(n)), "changed_at": as_text(at)} for name, n, at in rows]
    types = [{"name": name, **kind.model_dump(exclude_none=True)} for name, kind in state.city.camera_types.items()]
    # who asks for scenarios will soon move a camera
    ready = BackgroundTask(asyncio.to_thread, _desk(request, state).get_ready) if _of_the_city(principal) else None
    return Response(orjson.dumps({"scenarios": found, "types": types}), headers=_HEADERS, media_type="application/json", background=ready)


async def post_preview(request: Request) -> Response:
    """What changes of cameras bring around some of them; nothing is kept.

    The body has ``rows``, the properties of features of ``camera_plan`` with ``lon`` and ``lat``, and ``focus``, names of cameras.
    """
    reject_unknown(request.query_params, ("lang",))
    state, principal = await _planner(request)
    if not _of_the_city(principal):
        raise Forbidden(
            "A preview counts cameras, outfalls and ground on both sides of a border; it is for planners of the whole city.",
            zh="预览会统计区界两侧的摄像机、排污口和地面，仅限全市规划员使用。",
        )
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        return problem(415, "Content-Type: application/json")
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise InputError("The body is not valid JSON.", zh="请求体不是有效的 JSON。") from error
    rows, focus = (body.get("rows"), body.get("focus")) if isinstance(body, dict) else (None, None)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or len(rows) > 2000:
        raise InputError("rows: a list of at most 2,000 changes.", zh="rows 应为至多 2000 条改动的列表。")
    if focus is not None and not (isinstance(focus, list) and all(isinstance(name, str) for name in focus)):
        raise InputError("focus: a list of names of cameras.", zh="focus 应为摄像机名称列表。")
    scenario = scenario_of(rows, "preview")
    await _own_cameras(state, principal, scenario)
    look = await asyncio.to_thread(_desk(request, state).look, scenario, focus)
    for layer in INPUTS:  # the desk may have answered from what it had read for somebody else
        state.reads.note(principal, layer)
    answer = _answer(look)
    last = next((row for row in reversed(rows) if row.get("camera") in (focus or [row.get("camera")])), None)
    if last is not None and isinstance(last.get("lon"), int | float) and isinstance(last.get("lat"), int | float):
        sql = Fragment(_AREA, (float(last["lon"]), float(last["lat"]), state.city.storage_srid))
        found = await state.reader.fetch(principal, sql, timeout_s=state.serve.statement_timeout_s)
        answer["admin_code"] = as_text(found[0][0]) if found and found[0][0] is not None else None
    return Response(orjson.dumps(answer), headers=_HEADERS, media_type="application/json")


def _desk(request: Request, state: State) -> Desk:
    found: Desk | None = getattr(request.app.state, "desk", None)
    if found is None:
        found = request.app.state.desk = Desk(state.database, state.city, state.settings.home, principal=Principal("planner"))
    return found


async def _own_cameras(state: State, principal: Principal, scenario: Scenario) -> None:
    """Raises NotFound where a change names a camera of the register that the asker does not see."""
    names = [change.camera for change in scenario.change if change.action != "add"]
    if not names:
        return
    rows = await state.reader.fetch(principal, Fragment(_SEEN, (names, names)), timeout_s=state.serve.statement_timeout_s)
    seen = {as_text(part) for row in rows for part in row}
    seen |= {change.camera for change in scenario.change if change.action == "add"}
    for name in names:
        if name not in seen:
            raise NotFound(f"There is no outdoor camera {name!r} in use.", zh=f"没有在用的室外摄像机 {name!r}。")


def _answer(look: Look) -> dict[str, Any]:
    shapes = shapely.to_geojson(shapely.set_precision(look.views.geometry.to_numpy(), 1e-7)) if len(look.views) else []
    features = [
        {"type": "Feature", "geometry": orjson.Fragment(shape), "properties": {"camera": c, "certainty": s, "area_m2": a}}
        for shape, c, s, a in zip(shapes, look.views["camera"], look.views["certainty"], look.views["area_m2"], strict=True)
    ]
    return {
        "views": {"type": "FeatureCollection", "features": features}, "before": look.before, "after": look.after,
        "area_km2": look.area_km2, "notes": list(look.notes), "admin_code": None,
    }  # fmt: skip

