"""The application: the routes behind the guard."""

from __future__ import annotations

from fastapi import FastAPI

from hypertuner.server.contract.runs import Problem
from hypertuner.server.routes import ROUTERS
from hypertuner.server.state import State


def make_app(state: State) -> FastAPI:
    """The application of one server."""
    app = FastAPI(title="hypertuner", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.hypertuner = state
    for router in ROUTERS:
        app.include_router(router, responses={"4XX": {"model": Problem, "description": "What is wrong"}})
    return app
