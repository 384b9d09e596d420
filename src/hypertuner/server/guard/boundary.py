"""Where a request may come from: what the browser says of it, held against lists of what is allowed.

Names are compared as they are. A page of another site that has its own name point to this machine (DNS rebinding) asks
for that name: it is on no list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from hypertuner.server.guard.refusals import ForeignHostError, ForeignPageError

Headers = Sequence[tuple[bytes, bytes]]

_OWN = ("127.0.0.1", "[::1]", "localhost")
_HOST = re.compile(r"(?P<name>[a-z0-9.\-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?")
_OF_A_TAB = {b"same-origin", b"none"}


class Boundary:
    """The names that a server answers under: its own of this machine, on any port, as a tunnel may end on another."""

    def __init__(self, names: Iterable[str] = (), *, behind_tls: bool = False) -> None:
        self.names = frozenset((*_OWN, *(name.lower() for name in names)))
        self.scheme = "https" if behind_tls else "http"
        self._schemes = ("http", "https") if behind_tls else ("http",)

    def check_host(self, headers: Headers) -> str:
        """The one Host of a request. Raises: ForeignHostError."""
        given = values(headers, b"host")
        if len(given) != 1:
            raise ForeignHostError
        found = _HOST.fullmatch(host := given[0].decode("latin-1"))
        if found is None or found["name"] not in self.names or int(found["port"] or 0) > 65535:
            raise ForeignHostError
        return host

    def check_page(self, headers: Headers, host: str, *, changes: bool, is_page: bool = False) -> None:
        """Raises: ForeignPageError for what another site's page asks.

        `changes`: so does what changes something, or opens a WebSocket, unless it says that this server's own page
        asks, or what is no browser (it has a token, no cookie). `is_page`: a link elsewhere may lead to it.
        """
        origins, sites = values(headers, b"origin"), values(headers, b"sec-fetch-site")
        if len(origins) > 1 or len(sites) > 1:
            raise ForeignPageError
        if origins and origins[0].decode("latin-1") not in [f"{scheme}://{host}" for scheme in self._schemes]:
            raise ForeignPageError
        if sites and not is_page and sites[0] not in ({b"same-origin"} if changes else _OF_A_TAB):
            raise ForeignPageError
        if changes and not origins and not sites and values(headers, b"cookie"):
            raise ForeignPageError


def port_of(host: str) -> str:
    """The port that the browser believes in, behind a tunnel another than the server's own."""
    found = _HOST.fullmatch(host)
    return (found["port"] if found else None) or "80"


def values(headers: Headers, name: bytes) -> list[bytes]:
    """All that the headers of this name say."""
    return [value for key, value in headers if key == name]
