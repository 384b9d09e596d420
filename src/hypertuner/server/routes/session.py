"""Coming in and going out."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

import hypertuner
from hypertuner.host import host_name
from hypertuner.server.contract.queue import LoginAsked, Session
from hypertuner.server.guard import Asker, Door, cookie_name, needs
from hypertuner.server.state import Current

router = APIRouter(prefix="/api")

_YEAR_S = 365 * 24 * 3600


@router.post("/login", status_code=204)
@needs("nobody")
def login(asked: LoginAsked, request: Request) -> Response:
    """Swap a token for a cookie, which the page cannot read."""
    door: Door = request.app.state.door
    answer = Response(status_code=204)
    answer.set_cookie(
        cookie_name(request.headers["host"]),
        door.cookie(door.log_in(asked.token)),
        max_age=_YEAR_S,
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.app.state.is_behind_tls,
    )
    return answer


@router.post("/logout", status_code=204)
@needs("view")
def logout(request: Request) -> Response:
    """Take the cookie back, and end the live streams that were opened with it."""
    door: Door = request.app.state.door
    name = cookie_name(request.headers["host"])
    door.log_out(request.cookies.get(name, ""))
    answer = Response(status_code=204)
    answer.delete_cookie(name, path="/", httponly=True, samesite="strict")
    return answer


@router.get("/session")
@needs("view")
def session(state: Current, asker: Asker) -> Session:
    """Who asks, and of what."""
    return Session(
        server=state.server,
        version=hypertuner.__version__,
        storage=str(state.storage.path),
        project=state.storage.path.parent.name,
        scopes=[scope for scope in ("view", "edit", "run") if scope in asker],
        host=host_name(),
        has_scripts=state.launchable is not None,
        is_demo=state.is_demo,
    )
