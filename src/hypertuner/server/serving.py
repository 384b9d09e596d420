"""Serving: the address, its port, and the loop that answers until somebody ends it."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from hypertuner.errors import ConfigError, HypertunerError
from hypertuner.server.app import make_server
from hypertuner.server.guard import Boundary, Door, Scope
from hypertuner.server.state import State

_TRIES = 100
_IDLE_S = 30.0
_TAKES_NOTHING_S = 15.0
_LAST_ANSWERS_S = 3
_MESSAGE_BYTES = 1024 * 1024
# A thread that computes gives way after this long, not after Python's 5 ms: an answer changes threads several times.
_GIVE_WAY_S = 0.001


class Serving:
    """One server at one address; its port is taken when the object is made."""

    def __init__(
        self,
        state: State,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        others_too: bool = False,
        names: Sequence[str] = (),
        behind_tls: bool = False,
    ) -> None:
        """`others_too`: take the next free port where `port` is in use; 0 takes any that is free.

        Raises: ConfigError for an address that cannot be had, or must not be without `behind_tls`.
        """
        _check(host, behind_tls=behind_tls)
        self.state = state
        self.door = Door(state.storage.path)
        self._socket = _bound(host, port, others_too=others_too)
        self.host = f"[{host}]" if ":" in host else host
        self.port: int = self._socket.getsockname()[1]
        self._boundary = Boundary((self.host, *names), behind_tls=behind_tls)

    def url(self, token: str = "", *, port: int | None = None) -> str:
        """The address, with a token for the page, which never sends that part of it."""
        return f"http://{self.host}:{port or self.port}/" + (f"#token={token}" if token else "")

    def url_for(self, scope: Scope) -> str:
        """The address for whoever may do this."""
        return self.url(self.door.token(scope))

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until SIGINT (a KeyboardInterrupt) or SIGTERM; `ready` is called when the first may come.

        Raises: HypertunerError when an engine cannot start.
        """
        logging.getLogger("hypertuner.server").setLevel(logging.ERROR)
        sys.setswitchinterval(_GIVE_WAY_S)
        app = make_server(self.state, self.door, self._boundary)
        config = uvicorn.Config(
            app,
            http=_ImpatientProtocol,
            ws=_ImpatientWebSocket,
            ws_max_size=_MESSAGE_BYTES,
            lifespan="on",
            log_config=None,
            log_level="critical",  # what goes wrong in a route, the guard writes down
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(_IDLE_S),
            timeout_graceful_shutdown=_LAST_ANSWERS_S,
        )
        server = _Server(config, ready)
        try:
            server.run(sockets=[self._socket])
        except SystemExit:
            failure: HypertunerError | None = app.app.state.failure  # type: ignore[attr-defined]  # it is FastAPI's
            if failure is not None:
                raise failure from None
            raise
        finally:
            self._socket.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


class _ImpatientProtocol(H11Protocol):
    """Closes a connection over which no request has come for half a minute, also when half of one has."""

    _until: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._until is not None:
            self._until.cancel()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._until is not None:
            self._until.cancel()
        self._until = self.loop.call_later(_IDLE_S, self._give_up)

    def _give_up(self) -> None:
        cycle: Any = self.cycle  # None before the first request, whatever its type says
        is_answering = cycle is not None and not cycle.response_complete
        # A WebSocket has this transport, too, but another protocol.
        if not is_answering and self.transport.get_protocol() is self:
            self.transport.close()


class _ImpatientWebSocket(WebSocketsSansIOProtocol):
    """Lets a page go that takes nothing for a while. A goodbye would wait behind what it does not take."""

    _until: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._until = self.loop.call_later(_TAKES_NOTHING_S, self.transport.abort)

    def resume_writing(self) -> None:
        self._forgive()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forgive()
        super().connection_lost(exc)

    def _forgive(self) -> None:
        if self._until is not None:
            self._until.cancel()


def _check(host: str, *, behind_tls: bool) -> None:
    if behind_tls:
        return
    try:
        is_everything = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        is_everything = host == ""
    if is_everything:
        raise ConfigError(
            f"--host {host or repr(host)} would answer the whole network, and the token would cross it unencrypted.\n"
            "  Leave --host out and open a tunnel: ssh -L, as hypertuner prints it. Where something in front of\n"
            "  hypertuner speaks TLS, add --i-terminate-tls.",
            key="host",
        )


def _bound(host: str, port: int, *, others_too: bool) -> socket.socket:
    for number in range(port, min(port + (_TRIES if others_too else 1), 65536)):
        try:
            return _listening(host, number)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ConfigError(
                    f"Cannot listen on {host}, port {number}: {error.strerror or error}.\n"
                    "  Name an address of this machine by --host, or another port by --port.",
                    key="host",
                ) from error
    if others_too:
        raise ConfigError(
            f"All ports from {port} to {port + _TRIES - 1} are in use.\n  Name one by --port.", key="port"
        )
    raise ConfigError(
        f"Port {port} is in use{user_of(port)}.\n"
        "  Name another by --port, or leave it out: the next free one is taken.",
        key="port",
    )


def _listening(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen()
    except OSError:
        made.close()
        raise
    return made


def user_of(port: int) -> str:
    """' by process 4242 (python)', or '' when the system does not tell."""
    import psutil

    try:
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr and found.laddr.port == port and found.pid:
                return f" by process {found.pid} ({psutil.Process(found.pid).name()})"
    except psutil.Error:
        return ""
    return ""
