"""Who may come in: the tokens of this user's servers, the cookies they are swapped for, and how often one may be wrong.

One secret lies in the user's own folder (mode 0600) and outlives every server, so that a bookmark does, too. Tokens and
cookies are HMACs of it, so none is kept: one for each scope, of which those to share (view, edit) hold for one storage
only. What is presented is compared in constant time. A cookie is worth nothing as a token. The file is looked at again
whenever it has changed: with another secret, or none, nobody of before is let in any more.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import os
import secrets
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from hypertuner import settings
from hypertuner.errors import ConfigError
from hypertuner.server.guard.refusals import TooOftenError, UnauthorisedError
from hypertuner.server.guard.scopes import Scope
from hypertuner.store import secret

_GRANTED: tuple[Scope, ...] = ("view", "edit", "run")
_LEAST_CHARACTERS = 32
_WRONG_AT_MOST = 20
_WITHIN_S = 60.0
_CODE_LIVES_S = 120.0


class Door:
    """Lets in whoever has a token."""

    def __init__(self, storage: Path) -> None:
        """Raises: ConfigError when the user's secret can be neither read nor made."""
        self._path = settings.config_folder() / "token"
        self._key = _key(self._path)
        self._stamp = _stamp(self._path)
        self._storage = os.fsencode(os.path.realpath(storage))
        self._wrong: deque[float] = deque(maxlen=_WRONG_AT_MOST)
        self._codes: dict[str, float] = {}
        self._left: dict[str, float] = {}
        """Cookies with which somebody went out, and when."""

    def token(self, scope: Scope) -> str:
        """What lets in with this scope: 43 characters of a URL. That of 'run' is the user's own, for all storages."""
        return self._derived(b"token", scope, b"" if scope == "run" else self._storage)

    def cookie(self, scope: Scope) -> str:
        """What a browser is given for a token."""
        return self._derived(b"cookie", scope, self._storage if scope != "run" else b"")

    def launch_code(self) -> str:
        """What lets in once, within two minutes, with all scopes: other users see the command line of a browser."""
        code = secrets.token_urlsafe(32)
        self._codes[code] = time.monotonic() + _CODE_LIVES_S
        return code

    def log_in(self, token: str, *, once: bool = True) -> Scope:
        """What a token, or, with `once`, a launch code allows.

        Raises: UnauthorisedError; TooOftenError after 20 wrong ones within a minute.
        """
        now = time.monotonic()
        while self._wrong and now - self._wrong[0] > _WITHIN_S:
            self._wrong.popleft()
        if len(self._wrong) == _WRONG_AT_MOST:
            raise TooOftenError
        given = _bytes(token)
        found = self.known_as(token)
        for code, until in list(self._codes.items()) if once else ():
            is_it = hmac.compare_digest(given, code.encode())
            if is_it or now > until:
                del self._codes[code]
            if is_it and now <= until:
                found = "run"
        if found is None:
            self._wrong.append(now)
            raise UnauthorisedError
        return found

    def known_as(self, token: str) -> Scope | None:
        """What the bearer of a token may do; None when it is none of this user's."""
        return self._which(token, self.token)

    def known_by(self, cookie: str) -> Scope | None:
        """What the bearer of a cookie may do; None when it is none of this user's."""
        return self._which(cookie, self.cookie)

    def log_out(self, cookie: str) -> None:
        """End what is open with this cookie."""
        if self.known_by(cookie) is not None:
            self._left[cookie] = time.monotonic()

    def has_left(self, cookie: str, since: float) -> bool:
        """Whether somebody went out with this cookie since a moment (monotonic)."""
        return self._left.get(cookie, -math.inf) >= since

    def _which(self, presented: str, granted: Callable[[Scope], str]) -> Scope | None:
        given = _bytes(presented)
        found: Scope | None = None
        for scope in _GRANTED:
            if hmac.compare_digest(given, granted(scope).encode()):
                found = scope
        return found

    def _derived(self, kind: bytes, scope: Scope, place: bytes) -> str:
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._key = _key(self._path, makes=False)
            except ConfigError:
                self._key = secrets.token_bytes(32)  # known to nobody
        digest = hmac.digest(self._key, b"\0".join((kind, scope.encode(), place)), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _key(path: Path, *, makes: bool = True) -> bytes:
    text = secret.read_or_make(
        path,
        "the token of the GUI",
        variables=settings.HOME_VARIABLE,
        when_deleted="a new one is made, and whoever was logged in is not any more",
        makes=makes,
    ).strip()
    if len(text) < _LEAST_CHARACTERS:
        raise ConfigError(
            f"{path} holds a token of {len(text)} characters; it needs at least {_LEAST_CHARACTERS}.\n"
            "  Delete the file: a new one is made.",
            path=path,
        )
    return hashlib.sha256(b"hypertuner token 1\0" + text.encode("utf-8", "surrogateescape")).digest()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
