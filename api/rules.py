"""The rules as a table with their sources, and waivers of findings: list, grant, end."""

import asyncio
from datetime import date
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.access import principal_of
from api.asking import language, read_format, reject_unknown
from api.problems import problem
from api.state import State
from gis.errors import Forbidden, InputError, NotFound, Unauthorized
from grids.rules import Rule, read_rules
from grids.rules.waivers import GRANTING_ROLES, end_waiver, list_waivers, waive
from layers.access import Principal

__all__ = ["delete_waiver", "get_rule", "get_rules", "get_waivers", "post_waiver"]

_FIELDS = {"finding", "reason", "expires_on", "any_other"}


def _described(rule: Rule, state: State, lang: str) -> dict[str, Any]:
    return {
        "id": rule.id, "version": rule.version, "verdict": rule.verdict, "title": rule.title_zh if lang == "zh" else rule.title_en,
        "source": rule.source_zh if lang == "zh" else rule.source_en, "article": rule.article, "evidence": rule.evidence,
        "note": rule.note_zh if lang == "zh" else rule.note_en,
        "valid_from": rule.valid_from, "valid_to": rule.valid_to, "layers": rule.layers, "measure": rule.measure,
        "distances": [case.model_dump() for case in rule.cases(state.city)] if rule.measure in ("distance", "far") else [],
        "title_zh": rule.title_zh, "title_en": rule.title_en, "source_zh": rule.source_zh, "source_en": rule.source_en,
        "links": [{"rel": "self", "href": f"{state.serve.base_url}/rules/{rule.id}"},
                  {"rel": "related", "href": f"{state.serve.base_url}/collections/rule_finding/items?rule_id={rule.id}"}],
    }  # fmt: skip


async def get_rules(request: Request) -> Response:
    """All rules."""
    state: State = request.app.state.baige
    reject_unknown(request.query_params, ("f", "lang"))
    read_format(request.query_params, request.headers, ("json",))
    lang = language(request.query_params, request.headers)
    body = {"rules": [_described(rule, state, lang) for rule in read_rules()]}
    return Response(orjson.dumps(body), headers={"Content-Language": lang}, media_type="application/json")


async def get_rule(request: Request) -> Response:
    """One rule: what a finding links to for its source."""
    state: State = request.app.state.baige
    reject_unknown(request.query_params, ("f", "lang"))
    read_format(request.query_params, request.headers, ("json",))
    lang = language(request.query_params, request.headers)
    name = request.path_params["rule"]
    for rule in read_rules():
        if rule.id == name:
            return Response(
                orjson.dumps(_described(rule, state, lang)),
                headers={"Content-Language": lang},
                media_type="application/json",
            )
    raise NotFound(f"There is no rule {name[:20]!r}.", zh=f"没有规则 {name[:20]!r}。")


async def _granting(request: Request) -> tuple[State, Principal]:
    reject_unknown(request.query_params, ("lang",))
    state: State = request.app.state.baige
    principal = await principal_of(request)
    if principal.role not in GRANTING_ROLES:
        if not principal.key_id:
            raise Unauthorized("Waivers need an access key.", zh="豁免需要访问密钥。")
        raise Forbidden("This role may not grant or end waivers.", zh="当前角色无权批准或终止豁免。")
    return state, principal


async def get_waivers(request: Request) -> Response:
    """Waivers that the asker may read; ``all=true`` also those that have ended."""
    state: State = request.app.state.baige
    reject_unknown(request.query_params, ("f", "lang", "all"))
    read_format(request.query_params, request.headers, ("json",))
    every = request.query_params.get("all", "false").lower()
    if every not in ("true", "false"):
        raise InputError("all: true or false.", zh="all 应为 true 或 false。")
    principal = await principal_of(request)
    found = await asyncio.to_thread(list_waivers, state.database, every=every == "true", principal=principal)
    body = {"waivers": [waiver.plain() for waiver in found]}
    return Response(orjson.dumps(body), headers={"Cache-Control": "no-store"}, media_type="application/json")


async def post_waiver(request: Request) -> Response:
    """Let a finding pass: ``{"finding": id, "reason": text, "expires_on": "YYYY-MM-DD", "any_other": false}``."""
    state, principal = await _granting(request)
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        return problem(415, "Content-Type: application/json", lang=language(request.query_params, request.headers))
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise InputError("The body is not valid JSON.", zh="请求体不是有效的 JSON。") from error
    if not isinstance(body, dict) or not {"finding", "reason", "expires_on"} <= set(body) <= _FIELDS:
        raise InputError(
            "The body is an object with 'finding', 'reason', 'expires_on' and, if wanted, 'any_other'.",
            zh="请求体应为含 finding、reason、expires_on（可含 any_other）的对象。",
        )
    if not all(isinstance(body[name], str) for name in ("finding", "reason", "expires_on")) or not isinstance(
        body.get("any_other", False), bool
    ):
        raise InputError("'finding', 'reason' and 'expires_on' are text, 'any_other' true or false.",
                         zh="finding、reason、expires_on 应为文本，any_other 应为 true 或 false。")  # fmt: skip
    try:
        until = date.fromisoformat(body["expires_on"])
    except ValueError as error:
        raise InputError("expires_on: a day such as 2027-01-31.", zh="expires_on 应为日期，如 2027-01-31。") from error
    made = await asyncio.to_thread(
        waive, state.database, body["finding"], reason=body["reason"], expires_on=until, any_other=body.get("any_other", False),
        principal=principal,
    )  # fmt: skip
    headers = {"Location": f"{state.serve.base_url}/rules/waivers/{made.id}", "Cache-Control": "no-store"}
    return Response(orjson.dumps(made.plain()), 201, headers=headers, media_type="application/json")


async def delete_waiver(request: Request) -> Response:
    """End a waiver; what is answered is the waiver as it stays on record."""
    state, principal = await _granting(request)
    ended = await asyncio.to_thread(end_waiver, state.database, request.path_params["waiver"], principal=principal)
    return Response(orjson.dumps(ended.plain()), headers={"Cache-Control": "no-store"}, media_type="application/json")
