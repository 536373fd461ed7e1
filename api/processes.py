"""Processes and jobs (OGC API – Processes Part 1)."""

import asyncio
import time
import uuid
from typing import Any

import orjson
from pygeoapi.api.processes import describe_processes
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from api.access import principal_of
from api.asking import FORMATS, language, read_format, read_limit, reject_unknown
from api.html import entries_page, page
from api.jobs.definitions import available, check_inputs
from api.jobs.store import JobStore
from api.pages import framework
from api.problems import problem
from api.state import State
from gis.errors import Conflict, Forbidden, InputError, NotFound, Unauthorized
from layers.access import Principal

__all__ = ["delete_job", "execute", "get_job", "get_jobs", "get_process", "get_processes", "get_results"]

_REL = "http://www.opengis.net/def/rel/ogc/1.0"
_ANALYSTS = {"planner", "admin"}
_SYNC_WAIT_S = 60.0


async def _described(request: Request, name: str | None) -> tuple[State, str, str, dict[str, Any]]:
    state: State = request.app.state.baige
    reject_unknown(request.query_params, ("f", "lang", "limit"))
    lang = language(request.query_params, request.headers)
    format_ = read_format(request.query_params, request.headers, ("json", "html"))
    if name is not None and name not in available():
        raise NotFound(f"There is no process {name[:60]!r}.", zh=f"没有处理 {name[:60]!r}。")
    document = await asyncio.to_thread(framework(state).document, describe_processes, lang, *([name] if name else []))
    return state, lang, format_, document


async def get_processes(request: Request) -> Response:
    """The processes offered."""
    state, lang, format_, document = await _described(request, None)
    document["links"] = [k for k in document["links"] if "jsonld" not in k["href"]]
    if format_ == "html":
        return page(state, "processes", lang, {"document": document})
    return Response(orjson.dumps(document), media_type="application/json")


async def get_process(request: Request) -> Response:
    """One process."""
    state, lang, format_, document = await _described(request, request.path_params["process"])
    if format_ == "html":
        return page(state, "process", lang, {"document": document})
    return Response(orjson.dumps(document), media_type="application/json")


def _status(state: State, job: dict[str, Any]) -> dict[str, Any]:
    here = f"{state.serve.base_url}/jobs/{job['id']}"
    links = [{"rel": "self", "type": "application/json", "href": here}]
    if job["status"] == "successful":
        links.append({"rel": f"{_REL}/results", "type": "application/json", "href": f"{here}/results"})
    found = {
        "type": "process", "jobID": str(job["id"]), "processID": job["process"], "status": job["status"], "message": job["message"],
        "progress": job["progress"], "created": job["created"], "started": job["started"], "updated": job["updated"],
        "finished": job["finished"], "links": links,
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


async def execute(request: Request) -> Response:
    """Queue a process; with ``Prefer: respond-async`` the answer is the job, else the result where it comes within a minute."""
    state: State = request.app.state.baige
    reject_unknown(request.query_params, ("lang",))
    process = available().get(request.path_params["process"])
    if process is None:
        raise NotFound("There is no such process.", zh="没有此处理。")
    principal = await principal_of(request)
    if process.id != "export" and principal.role not in _ANALYSTS:
        if not principal.key_id:
            raise Unauthorized("This process needs an access key.", zh="此处理需要访问密钥。")
        raise Forbidden("This role may not run this process.", zh="当前角色无权执行此处理。")
    if process.id != "export" and principal.district and principal.role != "admin":
        raise Forbidden("This process computes the whole city; the key is for one district.", zh="此处理涉及全市，而密钥仅限一个辖区。")
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        return problem(415, "Content-Type: application/json")
    try:
        body = orjson.loads(await request.body() or b"{}")
    except orjson.JSONDecodeError as error:
        raise InputError("The body is not valid JSON.", zh="请求体不是有效的 JSON。") from error
    if not isinstance(body, dict):
        raise InputError("The body is an object with 'inputs'.", zh="请求体应为含 inputs 的对象。")
    inputs = check_inputs(process, body.get("inputs", {}))
    if "collection" in inputs:
        await state.catalogue.find(inputs["collection"], principal.role)
    store = JobStore(state.database.conninfo)
    await asyncio.to_thread(store.prepare)
    job_id = await asyncio.to_thread(store.add, process.id, inputs, principal)
    if "collection" in inputs:
        state.reads.note(principal, inputs["collection"])
    headers = {"Location": f"{state.serve.base_url}/jobs/{job_id}", "Cache-Control": "no-store"}
    asynchronous = "respond-async" in request.headers.get("prefer", "")
    deadline = time.monotonic() + (0 if asynchronous else _SYNC_WAIT_S)
    job = await asyncio.to_thread(store.get, job_id)
    while job is not None and job["status"] in ("accepted", "running") and time.monotonic() < deadline:
        await asyncio.sleep(0.25)
        job = await asyncio.to_thread(store.get, job_id)
    if job is None:
        raise NotFound("The job is gone.", zh="任务已不存在。")
    if asynchronous or job["status"] in ("accepted", "running"):
        headers["Preference-Applied"] = "respond-async"
        return Response(orjson.dumps(_status(state, job)), 201, headers=headers, media_type="application/json")
    return _results(state, job)


async def _own(request: Request) -> tuple[State, Principal, JobStore, dict[str, Any]]:
    state: State = request.app.state.baige
    principal = await principal_of(request)
    missing = NotFound("There is no such job.", zh="没有此任务。")
    try:
        job_id = uuid.UUID(request.path_params["job"])
    except ValueError as error:
        raise missing from error
    store = JobStore(state.database.conninfo)
    await asyncio.to_thread(store.prepare)
    job = await asyncio.to_thread(store.get, job_id)
    # a job of another is not there; the id of one made without a key is its secret
    owner = (principal.key_id, principal.role, principal.district)
    if job is None or (principal.role != "admin" and (job["key_id"], job["role"], job["district"]) != owner):
        raise missing
    return state, principal, store, job


def _entry(state: State, job: dict[str, Any], lang: str) -> dict[str, Any]:
    """A job as pages list it."""
    process = available().get(job["process"])
    title = process.text(process.title, lang) if process else job["process"]
    facts = [("Status", job["status"]), ("Progress", f"{job['progress']} %"), ("Updated", job["updated"].isoformat(timespec="seconds"))]
    return {"id": str(job["id"]), "title": title, "href": f"{state.serve.base_url}/jobs/{job['id']}", "facts": facts}


async def get_jobs(request: Request) -> Response:
    """The asker's jobs, the newest first."""
    state: State = request.app.state.baige
    reject_unknown(request.query_params, ("f", "lang", "limit"))
    form = read_format(request.query_params, request.headers, ("json", "html"))
    principal = await principal_of(request)
    limit = read_limit(request.query_params.get("limit"), default=100, maximum=1000)
    store = JobStore(state.database.conninfo)
    await asyncio.to_thread(store.prepare)
    # without a key nobody owns a list: such jobs are found by their ids alone
    jobs = await asyncio.to_thread(store.listed, principal, limit=limit) if principal.key_id or principal.role == "admin" else []
    if form == "html":
        lang = language(request.query_params, request.headers)
        return entries_page(state, "Jobs", lang, [_entry(state, job, lang) for job in jobs], headers={"Cache-Control": "no-store"})
    body = {"jobs": [_status(state, job) for job in jobs], "links": [{"rel": "self", "href": f"{state.serve.base_url}/jobs"}]}
    return Response(orjson.dumps(body), headers={"Cache-Control": "no-store"}, media_type="application/json")


async def get_job(request: Request) -> Response:
    """How a job is getting on."""
    reject_unknown(request.query_params, ("f", "lang"))
    state, _, _, job = await _own(request)
    return Response(orjson.dumps(_status(state, job)), headers={"Cache-Control": "no-store"}, media_type="application/json")


async def get_results(request: Request) -> Response:
    """The result of a job."""
    reject_unknown(request.query_params, ("f", "lang"))
    state, _, _, job = await _own(request)
    return _results(state, job)


def _results(state: State, job: dict[str, Any]) -> Response:
    if job["status"] == "failed":
        return problem(400, job["message"], extra={"type": "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0/job-failed"})
    if job["status"] != "successful":
        text = f"The job is {job['status']}."
        return problem(404, text, extra={"type": "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0/result-not-ready"})
    result = dict(job["result"] or {})
    base = state.serve.base_url
    if "file" in result:
        path = state.settings.home / "jobs" / result["file"]
        if not path.is_file():
            raise NotFound("The file has been removed.", zh="文件已被清除。")
        name = f"{result['collection']}.{result['format']}"
        return FileResponse(path, media_type=FORMATS.get(result["format"], "application/pdf"), filename=name, headers={"Cache-Control": "no-store"})
    run = result.get("run_id")
    process = available().get(job["process"])
    links = []
    for layer in process.results if process else ():
        query = f"?filter=run_id%3D%27{run}%27" if run else ""
        links.append({"rel": "related", "type": FORMATS["json"], "href": f"{base}/collections/{layer}/items{query}", "title": layer})
    return Response(orjson.dumps({"result": result, "links": links}), headers={"Cache-Control": "no-store"}, media_type="application/json")


async def delete_job(request: Request) -> Response:
    """Dismiss a job that runs; forget one that has ended."""
    reject_unknown(request.query_params, ("f", "lang"))
    state, _, store, job = await _own(request)
    if job["status"] in ("accepted", "running"):
        if not await asyncio.to_thread(store.dismiss, job["id"]):
            raise Conflict("The job has just ended.", zh="任务刚刚结束。")
    else:
        await asyncio.to_thread(store.delete, job["id"])
        for path in (state.settings.home / "jobs").glob(f"{job['id']}.*"):
            path.unlink(missing_ok=True)
    return Response(orjson.dumps({**_status(state, job), "status": "dismissed"}), media_type="application/json")
