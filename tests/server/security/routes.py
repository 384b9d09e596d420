"""Every route that there is, and a path that asks it for something."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from starlette.routing import BaseRoute, WebSocketRoute

from hypertuner.server.app import make_app, routes
from hypertuner.server.guard.scopes import Scope, declared
from hypertuner.server.state import State
from hypertuner.store import Storage

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY", "PROPFIND")
EXAMPLES = {"name": "calm-lynx", "run": "calm-lynx", "which": "last", "id": "0123456789abcdef"}


@dataclass(frozen=True)
class Known:
    """One route."""

    template: str
    methods: frozenset[str]
    needs: Scope | None
    is_socket: bool

    def path(self, **values: str) -> str:
        """Its path with these values, or others that could be."""
        return re.sub(r"\{(\w+)(?::\w+)?\}", lambda m: values.get(m[1], EXAMPLES.get(m[1], "x")), self.template)

    @property
    def parameters(self) -> list[str]:
        """What of its path may be filled in."""
        return re.findall(r"\{(\w+)(?::\w+)?\}", self.template)


def _known(route: BaseRoute) -> Known:
    methods = frozenset(getattr(route, "methods", None) or ())
    endpoint = getattr(route, "endpoint", None)
    return Known(getattr(route, "path", "?"), methods, declared(endpoint), isinstance(route, WebSocketRoute))


ALL = [_known(route) for route in routes()]
GUARDED = [route for route in ALL if route.needs != "nobody"]
CHANGING = [route for route in GUARDED if not route.is_socket and route.methods & {"POST", "PUT", "PATCH", "DELETE"}]
READING = [route for route in GUARDED if "GET" in route.methods]
SOCKETS = [route for route in ALL if route.is_socket]


def named(route: Known) -> str:
    """How a test calls it."""
    return f"{'+'.join(sorted(route.methods)) or 'WS'} {route.template}"


def parameters() -> list[tuple[Known, str, str]]:
    """(route, 'path' or 'query', parameter) of everything that may be asked by GET."""
    described = make_app(State(Storage(Path("nowhere")))).openapi()["paths"]
    found = []
    for route in READING:
        for one in described.get(route.template, {}).get("get", {}).get("parameters", []):
            found.append((route, one["in"], one["name"]))
    return found


PARAMETERS = parameters()
