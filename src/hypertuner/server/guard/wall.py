"""The one wrapper around everything that is served, HTTP and WebSocket: what it does not let through reaches nothing.

In this order: size of the head, Host, the page that asks, the token, the route and what it needs, then, of what changes
something, its header, type and size. Until the token is known, every route and every name has the same answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie

import orjson
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Connection
from starlette.websockets import WebSocketDisconnect

from hypertuner.server.guard import refusals
from hypertuner.server.guard.boundary import Boundary, Headers, port_of, values
from hypertuner.server.guard.door import Door
from hypertuner.server.guard.headers import with_safety
from hypertuner.server.guard.refusals import RefusedError
from hypertuner.server.guard.scopes import Scope, declared, grant, includes

_HEAD_BYTES = 32 * 1024
_HEADERS = 100
_BODY_BYTES = 8 * 1024 * 1024
_BODY_OF_A_STRANGER = 4 * 1024
_BODY_WITHIN_S = 30.0
_SOCKETS = 64
_OUT = 4401
_STILL_IN_EVERY_S = 0.5
_READS = frozenset({"GET", "HEAD"})
_log = logging.getLogger("hypertuner.server")


class Guard:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute], door: Door, boundary: Boundary) -> None:
        """`routes`: all that may be asked. Raises: TypeError for one that does not say what it needs."""
        silent = [str(getattr(route, "path", route)) for route in routes if _needed(route) is None]
        if silent:
            raise TypeError(f"routes that do not say by @needs(…) what their asker must be allowed to: {silent}")
        self.app = app
        self.routes = tuple(routes)
        self.door = door
        self.boundary = boundary
        self._sockets = 0

    async def __call__(self, connection: Connection, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if connection["type"] == "http":
            await self._answer(connection, receive, send)
        elif connection["type"] == "websocket":
            await self._open(connection, receive, send)
        elif connection["type"] == "lifespan":
            await self.app(connection, receive, send)

    async def _answer(self, connection: Connection, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_safely(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message = {**message, "headers": with_safety(list(message.get("headers", [])))}
            await send(message)

        try:
            scope = self._let_in(connection)
            body = None
            if connection["method"] not in _READS:
                body = await self._body(connection, receive, is_stranger=scope == "nobody")
            await self.app(connection, receive if body is None else _once(body, receive), send_safely)
        except RefusedError as refused:
            await _refuse(send_safely, refused)
        except ClientDisconnect:
            pass  # whoever asked has gone
        except Exception:  # the last edge: what nobody expected is told without a word of what was inside
            # Starlette has answered by now, and raises it again for us to write down.
            _log.exception("unexpected, at %s %s", connection["method"], _plain(connection["path"]))
            if not has_begun:
                await _refuse(send_safely, refusals.UnexpectedError())

    async def _open(self, connection: Connection, receive: Receive, send: Send) -> None:
        try:
            self._let_in(connection)
        except RefusedError:
            await send({"type": "websocket.close", "code": _OUT})
            return
        if self._sockets >= _SOCKETS:
            await send({"type": "websocket.close", "code": 4429})
            return
        self._sockets += 1
        serving = asyncio.ensure_future(self.app(connection, receive, send))
        try:
            is_served = await self._until_out(serving, connection["headers"])
            if not is_served:
                serving.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect):
                await serving
            if not is_served:
                await send({"type": "websocket.close", "code": _OUT})
        except Exception:  # the same edge: the socket is closed, and nothing said
            _log.exception("unexpected, at the WebSocket %s", _plain(connection["path"]))
        finally:
            serving.cancel()
            self._sockets -= 1

    async def _until_out(self, serving: asyncio.Future[None], headers: Headers) -> bool:
        """True once it is served; False as soon as whoever opened it is not let in any more."""
        came = time.monotonic()
        host = values(headers, b"host")[0].decode("latin-1")
        bearer, cookie = _bearer(headers), _cookie(headers, host)
        while not (await asyncio.wait({serving}, timeout=_STILL_IN_EVERY_S))[0]:
            if bearer is not None:
                is_in = self.door.known_as(bearer) is not None
            else:
                is_in = self.door.known_by(cookie) is not None and not self.door.has_left(cookie, came)
            if not is_in:
                return False
        return True

    def _let_in(self, connection: Connection) -> Scope:
        """What the asker may do. Raises: RefusedError."""
        headers: Headers = connection["headers"]
        if len(headers) > _HEADERS or sum(len(name) + len(value) for name, value in headers) > _HEAD_BYTES:
            raise refusals.TooManyHeadersError
        host = self.boundary.check_host(headers)
        is_socket = connection["type"] == "websocket"
        changes = is_socket or connection["method"] not in _READS
        needed, is_match = self._route(connection)
        is_page = needed == "nobody" and not changes and not connection["path"].startswith("/assets/")
        self.boundary.check_page(headers, host, changes=changes, is_page=is_page)
        granted = self._who(headers, host) if needed != "nobody" else "nobody"
        if granted is None:
            raise refusals.UnauthorisedError
        if needed is None:
            raise refusals.NotFoundError
        if not is_match:
            raise refusals.WrongMethodError
        if not includes(granted, needed):
            raise refusals.ForbiddenError
        if changes and not is_socket and values(headers, b"x-hypertuner") != [b"1"]:
            raise refusals.ForeignPageError
        grant(connection, granted)
        return granted

    def _route(self, connection: Connection) -> tuple[Scope | None, bool]:
        """(what the route needs, whether it takes the method); (None, False) when there is none.

        A path that is open to all with one method only, is not with another.
        """
        has_path = False
        for route in self.routes:
            match, _ = route.matches(connection)
            if match is Match.FULL:
                return _needed(route), True
            has_path = has_path or match is Match.PARTIAL
        return ("view", False) if has_path else (None, False)

    def _who(self, headers: Headers, host: str) -> Scope | None:
        if values(headers, b"authorization"):
            token = _bearer(headers)
            return None if token is None else self.door.log_in(token, once=False)
        return self.door.known_by(_cookie(headers, host))

    async def _body(self, connection: Connection, receive: Receive, *, is_stranger: bool) -> bytes:
        """The body of what changes something, whole. Raises: RefusedError unless it is JSON, or there is none."""
        headers = connection["headers"]
        most = _BODY_OF_A_STRANGER if is_stranger else _BODY_BYTES
        lengths = values(headers, b"content-length")
        if lengths and not (lengths[0].isdigit() and int(lengths[0][:20]) <= most):
            raise refusals.TooLargeError
        types = [value.partition(b";")[0].strip().lower() for value in values(headers, b"content-type")]
        if types and types != [b"application/json"]:
            raise refusals.NotJsonError
        try:
            body = await asyncio.wait_for(_read(receive, most), _BODY_WITHIN_S)
        except asyncio.TimeoutError:
            raise refusals.TooSlowError from None
        if body and not types:
            raise refusals.NotJsonError
        try:
            # Stricter than what reads it next: no NaN, no half of a character, and not a hundred thousand brackets.
            if body:
                orjson.loads(body)
        except orjson.JSONDecodeError:
            raise refusals.BadJsonError from None
        return body


def cookie_name(host: str) -> str:
    """The name of the cookie for a Host: browsers keep one jar for all ports of a machine."""
    return f"hypertuner-{port_of(host)}"


def _bearer(headers: Headers) -> str | None:
    """The one token that is presented, if one is."""
    bearers = values(headers, b"authorization")
    kind, _, token = (bearers[0] if bearers else b"").decode("latin-1").partition(" ")
    return token.strip() if len(bearers) == 1 and kind.lower() == "bearer" else None


def _cookie(headers: Headers, host: str) -> str:
    """The cookie for a Host; '' without one."""
    cookies: SimpleCookie = SimpleCookie()
    try:
        for header in values(headers, b"cookie"):
            cookies.load(header.decode("latin-1"))
    except CookieError:
        return ""
    found = cookies.get(cookie_name(host))
    return "" if found is None else found.value


def _needed(route: BaseRoute) -> Scope | None:
    return declared(getattr(route, "endpoint", None))


async def _read(receive: Receive, most: int) -> bytes:
    parts, length = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise refusals.TooSlowError
        part = message.get("body", b"")
        length += len(part)
        if length > most:
            raise refusals.TooLargeError
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _once(body: bytes, receive: Receive) -> Receive:
    is_told = False

    async def tell() -> Message:
        nonlocal is_told
        if is_told:
            return await receive()
        is_told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return tell


async def _refuse(send: Send, refused: RefusedError) -> None:
    body = refused.problem().model_dump_json().encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        # What is left of a body that nobody reads would be taken for the next request.
        (b"connection", b"close"),
    ]
    headers += [(name.lower().encode(), value.encode()) for name, value in refused.headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _plain(text: str) -> str:
    return text.encode("unicode_escape").decode()[:200]
