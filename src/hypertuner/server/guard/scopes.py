"""What an asker may do, and what a route needs: every route says it, once, where it is written.

    @router.get("/runs")
    @needs("view")
    def runs(state: Current) -> RunsPage: ...

A route that does not say it cannot be served: `make_app` refuses it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends
from starlette.requests import HTTPConnection

from hypertuner.server.guard.refusals import ForbiddenError

Scope = Literal["nobody", "view", "edit", "run"]
"""'nobody': who is not logged in may ask it, too (the login itself, the page's own files)."""

LADDER: tuple[Scope, ...] = ("nobody", "view", "edit", "run")
"""Who has one of them has those before it."""

Route = TypeVar("Route", bound=Callable[..., Any])
_MARK = "__hypertuner_needs__"
_GRANTED = "hypertuner.granted"


def needs(scope: Scope) -> Callable[[Route], Route]:
    """Declare what the asker of a route must be allowed to. It stands below `@router.get`, on WebSockets too."""

    def declare(route: Route) -> Route:
        setattr(route, _MARK, scope)
        return route

    return declare


def declared(route: object) -> Scope | None:
    """What a route function needs; None when it does not say."""
    scope: Scope | None = getattr(route, _MARK, None)
    return scope


def includes(granted: Scope, needed: Scope) -> bool:
    """Whether who was granted one scope may do what another is needed for."""
    return LADDER.index(granted) >= LADDER.index(needed)


class Scopes:
    """What the asker of this request may do: for a route in which it depends on what is asked."""

    def __init__(self, granted: Scope) -> None:
        self.granted = granted

    def __contains__(self, scope: Scope) -> bool:
        return includes(self.granted, scope)

    def require(self, scope: Scope) -> None:
        """Raises: ForbiddenError, unless the asker may."""
        if scope not in self:
            raise ForbiddenError


def grant(connection: Any, scope: Scope) -> None:
    """Write down, for the route, what the asker may do. `connection`: the ASGI scope."""
    connection[_GRANTED] = scope


def _granted(connection: HTTPConnection) -> Scopes:
    return Scopes(connection.scope.get(_GRANTED, "nobody"))


Asker = Annotated[Scopes, Depends(_granted)]
"""As a parameter of a route: `def act(asked: ActionAsked, asker: Asker)`, then `asker.require("run")`."""
