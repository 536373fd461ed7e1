"""The portal's own files: the page names its modules, to be fetched at once, and a service worker keeps all on the device for the field."""

import hashlib
from importlib import resources
from pathlib import Path

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from maps.portal_configuration import maplibre_file

__all__ = ["offline_routes", "portal_page", "service_worker"]

_WORKER = "sw.js"


def _folder() -> Path:
    return Path(str(resources.files("maps").joinpath("portal")))


def portal_page() -> str:
    """The page, with a ``modulepreload`` for each module: else a browser learns of them only one import after the other.

    Examples
    --------
    >>> '<link rel="modulepreload" href="js/map.js">' in portal_page()
    True
    """
    modules = sorted(path.name for path in (_folder() / "js").glob("*.js"))
    links = "".join(f'<link rel="modulepreload" href="js/{name}">\n' for name in modules)
    return (_folder() / "index.html").read_text(encoding="utf-8").replace("</head>", f"{links}</head>", 1)


def service_worker() -> str:
    """The script, headed by the files to keep and a version that changes with any of them.

    Examples
    --------
    >>> text = service_worker()
    >>> '"js/main.js"' in text.splitlines()[1], '"lib/maplibre-gl.js"' in text
    (True, True)
    """
    folder = _folder()
    own = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _WORKER)
    names = ["", *(path.relative_to(folder).as_posix() for path in own), "lib/maplibre-gl.js", "lib/maplibre-gl.css"]
    digest = hashlib.sha256()
    for path in [*own, folder / _WORKER, maplibre_file("maplibre-gl.js"), maplibre_file("maplibre-gl.css")]:
        digest.update(path.name.encode() + path.read_bytes())
    script = (folder / _WORKER).read_text(encoding="utf-8")
    return f'const VERSION = "{digest.hexdigest()[:16]}";\nconst SHELL = {orjson.dumps(names).decode()};\n{script}'


async def _worker(request: Request) -> Response:
    return Response(service_worker(), media_type="text/javascript", headers={"Cache-Control": "no-cache"})


async def _page(request: Request) -> Response:
    return Response(portal_page(), media_type="text/html", headers={"Cache-Control": "no-cache"})


def offline_routes() -> list[BaseRoute]:
    """Routes that must stand before the portal's static files."""
    return [Route("/portal/", _page), Route("/portal/index.html", _page), Route("/portal/sw.js", _worker)]
