"""The application: the routes, and the guard around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.routing import BaseRoute

from hypertuner.errors import HypertunerError
from hypertuner.server import problems
from hypertuner.server.contract.runs import Problem
from hypertuner.server.guard import Boundary, Door, Guard
from hypertuner.server.page import Page
from hypertuner.server.routes import ROUTERS
from hypertuner.server.state import State


def make_app(state: State) -> FastAPI:
    """The routes of one server without a guard, for what describes them; `make_server` is what is served."""
    app = FastAPI(
        title="hypertuner",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    app.state.hypertuner = state
    app.state.page = Page()
    app.state.is_behind_tls = False
    app.state.failure = None
    problems.add_to(app)
    for router in ROUTERS:
        app.include_router(router, responses={"4XX": {"model": Problem, "description": "What is wrong"}})
    return app


def make_server(state: State, door: Door, boundary: Boundary) -> Guard:
    """What is served: an ASGI application that lets in only whom the door knows."""
    app = make_app(state)
    app.state.door = door
    app.state.is_behind_tls = boundary.scheme == "https"
    return Guard(app, routes(), door, boundary)


def routes() -> list[BaseRoute]:
    """Every route there is. What is not among them does not exist for the guard."""
    return [route for router in ROUTERS for route in router.routes]


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: State = app.state.hypertuner
    started = []
    try:
        for engine in state.engines:
            try:
                engine.start()
            except HypertunerError as error:
                app.state.failure = error
                raise
            started.append(engine)
        yield
    finally:
        for engine in reversed(started):
            engine.stop()
