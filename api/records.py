"""The catalogue of layers, runs and rasters as records (in the form of OGC API – Records): what there is, whence, and from which run."""

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.access import principal_of
from api.asking import language, read_format, read_limit, reject_unknown
from api.extents import extent_of
from api.html import entries_page
from api.reader import as_text
from api.state import State
from gis.errors import NotFound
from layers.access import Principal
from layers.query.fragment import Fragment

__all__ = ["get_record", "get_records"]

_LAYERS = "SELECT name, changed_at FROM baige_sys.layer"
_RUNS = (
    "SELECT id::text, kind, coalesce(title, kind), software, synthetic, started_at, finished_at"
    " FROM baige_sys.run_brief WHERE state = 'done' ORDER BY finished_at DESC LIMIT 500"
)
#: What a run was given tells how many features there are: row-level security shows it to those who see the whole city.
_GIVEN = "SELECT id::text, parameters::text, inputs::text FROM baige_sys.run WHERE state = 'done' ORDER BY finished_at DESC LIMIT 500"
_CORE = "http://www.opengis.net/spec/ogcapi-records-1/1.0/req/record-core"


def _catalogue(base: str) -> dict[str, str]:
    """The one link of a record to the catalogue that it stands in (record-core, requirement links)."""
    return {"rel": "collection", "type": "application/geo+json", "href": f"{base}/records"}


def _polygon(box: tuple[float, float, float, float]) -> dict[str, Any]:
    w, s, e, n = box
    return {"type": "Polygon", "coordinates": [[[w, s], [e, s], [e, n], [w, n], [w, s]]]}


async def _records(state: State, principal: Principal, lang: str) -> list[dict[str, Any]]:
    base, found = state.serve.base_url, []
    changed = {as_text(name): at for name, at in await state.reader.plain(_LAYERS)}
    for name in state.catalogue.layers:
        source = state.catalogue.source(name, principal.role)
        layer = source.declaration
        at = changed.get(name)
        description = layer.description_zh if lang == "zh" else layer.description_en
        found.append({
            "type": "Feature", "id": name, "conformsTo": [_CORE],
            "geometry": _polygon(await extent_of(state, principal, source)) if source.has_geometry else None, "time": None,
            "properties": {"type": "dataset", "title": layer.title(lang), "description": description, "keywords": [layer.theme, layer.kind],
                           "updated": at, "language": {"code": lang}, "baige:classification": layer.classification},
            "links": [_catalogue(base), {"rel": "related", "type": "application/json", "href": f"{base}/collections/{name}"},
                      {"rel": "items", "type": "application/geo+json", "href": f"{base}/collections/{name}/items"}],
        })  # fmt: skip
    if principal.role != "public":
        rows = await state.reader.fetch(principal, Fragment(_GIVEN)) if principal.role != "viewer" else []
        given = {as_text(run): {"baige:parameters": orjson.Fragment(p), "baige:inputs": orjson.Fragment(i)} for run, p, i in rows}
        for run, kind, title, software, synthetic, started, finished in await state.reader.fetch(principal, Fragment(_RUNS)):
            found.append({
                "type": "Feature", "id": f"run-{as_text(run)}", "conformsTo": [_CORE], "geometry": None,
                "time": {"interval": [started, finished or ".."]},
                "properties": {"type": "analysis-run", "title": as_text(title), "keywords": [as_text(kind)], "created": finished,
                               **given.get(as_text(run), {}), "baige:software": as_text(software), "baige:synthetic": synthetic},
                "links": [_catalogue(base)],
            })  # fmt: skip
    return found


def _page(state: State, records: list[dict[str, Any]], lang: str, *, crumb: bool = False) -> Response:
    base = state.serve.base_url
    entries = []
    for record in records:
        properties = record["properties"]
        facts = [("Kind", properties["type"]), ("Updated", properties.get("updated") or properties.get("created") or "–")]
        links = [{"href": f"{link['href']}?f=html&lang={lang}", "title": "Collection"} for link in record["links"] if link["rel"] == "related"]
        entries.append({"id": record["id"], "title": properties["title"], "href": f"{base}/records/{record['id']}?f=html&lang={lang}",
                        "facts": facts, "links": links})  # fmt: skip
    return entries_page(state, "Records", lang, entries, crumb=(f"{base}/records?f=html&lang={lang}", "Records") if crumb else None)


async def get_records(request: Request) -> Response:
    """All records; ``q`` finds words in titles, descriptions and ids, ``type`` a kind."""
    query = request.query_params
    reject_unknown(query, ("f", "lang", "q", "type", "limit"))
    state: State = request.app.state.baige
    lang = language(query, request.headers)
    records = await _records(state, await principal_of(request), lang)
    if "type" in query:
        records = [r for r in records if r["properties"]["type"] == query["type"]]
    for word in query.get("q", "").lower().split()[:10]:
        records = [r for r in records if word in f"{r['id']} {r['properties']['title']} {r['properties'].get('description', '')}".lower()]
    shown = records[: read_limit(query.get("limit"), default=state.serve.limit_default, maximum=state.serve.limit_max)]
    if read_format(query, request.headers, ("json", "html")) == "html":
        return _page(state, shown, lang)
    links = [{"rel": "self", "type": "application/geo+json", "href": f"{state.serve.base_url}/records"}]
    body = {"type": "FeatureCollection", "numberMatched": len(records), "numberReturned": len(shown), "features": shown, "links": links}
    return Response(orjson.dumps(body), headers={"Cache-Control": "no-cache"}, media_type="application/geo+json")


async def get_record(request: Request) -> Response:
    """One record."""
    reject_unknown(request.query_params, ("f", "lang"))
    state: State = request.app.state.baige
    lang = language(request.query_params, request.headers)
    for record in await _records(state, await principal_of(request), lang):
        if record["id"] == request.path_params["record"]:
            if read_format(request.query_params, request.headers, ("json", "html")) == "html":
                return _page(state, [record], lang, crumb=True)
            return Response(orjson.dumps(record), headers={"Cache-Control": "no-cache"}, media_type="application/geo+json")
    raise NotFound("There is no such record.", zh="没有此条目。")
