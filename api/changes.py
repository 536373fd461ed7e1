"""Change sets: those that the asker may see, and taking one back."""

import asyncio
import re
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.access import principal_of
from api.asking import language, read_format, reject_unknown
from api.edits import require_writer
from api.problems import problem
from api.reader import as_text
from api.state import State
from gis.errors import InputError, NotFound
from layers.access import Principal
from layers.query.fragment import Fragment
from layers.undo import undo

__all__ = ["get_changes", "post_undo"]

_FIELDS = ("id", "at", "layer", "action", "note", "actor", "role", "inserted", "updated", "deleted")
# which rows there are is the policy's affair (`layers/sql/visibility.sql`)
_SQL = (
    "SELECT id, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), layer, action, note, actor, role, inserted, updated, deleted"
    " FROM baige_sys.change_set WHERE (%s::text IS NULL OR layer = %s) AND id < %s ORDER BY id DESC LIMIT %s"
)
_ONE = "SELECT id FROM baige_sys.change_set WHERE id = %s"
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_LAST = 2**62
_LIMIT_MAX = 1000
_NOTE_MAX = 500
_TIMEOUT_S = 60.0


async def _writer(request: Request) -> tuple[State, Principal]:
    state: State = request.app.state.baige
    principal = await principal_of(request)
    require_writer(principal)
    return state, principal


def _number(text: str | None, name: str, *, default: int) -> int:
    if text is None:
        return default
    if _NUMBER.fullmatch(text) is None:
        raise InputError(f"{name}: a whole number above 0.", zh=f"{name} 应为正整数。")
    return int(text)


async def get_changes(request: Request) -> Response:
    """Change sets, the newest first: ``layer``, ``limit`` (100), ``before`` (a number, for the next page).

    A key of a district sees those that it made itself, others of roles that write see all.
    """
    query = request.query_params
    reject_unknown(query, ("f", "lang", "layer", "limit", "before"))
    read_format(query, request.headers, ("json",))
    state, principal = await _writer(request)
    limit = min(_number(query.get("limit"), "limit", default=100), _LIMIT_MAX)
    layer = query.get("layer")
    if layer is not None:
        await state.catalogue.find(layer, principal.role)
    values = (layer, layer, _number(query.get("before"), "before", default=_LAST), limit)
    rows = await state.reader.fetch(principal, Fragment(_SQL, values), timeout_s=state.serve.statement_timeout_s)
    found = [dict(zip(_FIELDS, map(as_text, row), strict=True)) for row in rows]
    body: dict[str, Any] = {"changes": found, "numberReturned": len(found), "links": []}
    if len(found) == limit:
        only = f"&layer={layer}" if layer else ""
        body["links"] = [{"rel": "next", "href": f"{state.serve.base_url}/changes?limit={limit}&before={found[-1]['id']}{only}"}]
    return Response(orjson.dumps(body), headers={"Cache-Control": "no-store"}, media_type="application/json")


async def post_undo(request: Request) -> Response:
    """Take a change set back, whole or not at all; ``{"note": "why"}`` may be sent along."""
    reject_unknown(request.query_params, ("lang",))
    state, principal = await _writer(request)
    data = await request.body()
    note: str | None = None
    if data:
        if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            return problem(415, "Content-Type: application/json", lang=language(request.query_params, request.headers))
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise InputError("The body is not valid JSON.", zh="请求体不是有效的 JSON。") from error
        sent = body.get("note") if isinstance(body, dict) and set(body) <= {"note"} else 0
        if isinstance(sent, str) and "\x00" not in sent and len(sent) <= _NOTE_MAX:
            note = sent
        elif sent is not None:
            raise InputError(f"The body is an object with 'note', a text of at most {_NOTE_MAX} characters.",
                             zh=f"请求体应为含 note 的对象，note 为至多 {_NOTE_MAX} 字的文本。")  # fmt: skip
    text = request.path_params["change"]
    number = int(text) if _NUMBER.fullmatch(text) else 0
    seen = await state.reader.fetch(principal, Fragment(_ONE, (number,)), timeout_s=state.serve.statement_timeout_s)
    if not seen:
        raise NotFound("There is no such change, or this key may not see it.", zh="没有该变更，或当前密钥无权查看。")
    done = await asyncio.to_thread(undo, state.database, number, principal=principal, note=note, timeout_s=_TIMEOUT_S)
    answer = {
        "change": done.change, "undone": number, "layer": done.layer, "restored": done.restored, "brought_back": done.brought_back,
        "removed": done.removed,
    }  # fmt: skip
    return Response(orjson.dumps(answer), headers={"Cache-Control": "no-store"}, media_type="application/json")
