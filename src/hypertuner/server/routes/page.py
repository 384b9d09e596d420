"""The page itself: one document under the address of each place, and what it loads."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from hypertuner.server.guard import needs
from hypertuner.server.page import Page

router = APIRouter(include_in_schema=False)

_PLACES = ("/", "/runs", "/insight", "/models", "/queue")


@needs("nobody")
async def place(request: Request) -> Response:
    """The document: it asks for the token itself."""
    return _answer(request, "index.html")


for path in _PLACES:
    router.add_api_route(path, place, methods=["GET", "HEAD"])


@router.get("/assets/{name}")
@needs("nobody")
async def asset(name: str, request: Request) -> Response:
    """A file that the document loads."""
    return _answer(request, f"assets/{name}")


def _answer(request: Request, name: str) -> Response:
    page: Page = request.app.state.page
    found = page.answer(name, request.headers.get("accept-encoding", ""))
    if found is None:
        raise HTTPException(404)
    return found
