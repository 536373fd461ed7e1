"""Writing features (Features Part 4)."""

from starlette.requests import Request
from starlette.responses import Response

from api.access import principal_of
from api.state import State

__all__ = ["collection_edit", "feature_edit"]


async def collection_edit(request: Request) -> Response:
    """POST and OPTIONS of a collection's items."""
    state: State = request.app.state.baige
    principal = await principal_of(request)
    await state.catalogue.find(request.path_params["collection"], principal.role)
    return Response(status_code=204, headers={"Allow": "GET, HEAD, OPTIONS"})


async def feature_edit(request: Request) -> Response:
    """PUT, PATCH, DELETE and OPTIONS of a feature."""
    return await collection_edit(request)
