"""Whoever goes out is out, also of an open WebSocket; and so is everybody when the secret is another (S12)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from tests.server.security.conftest import share
from tests.server.serving import Served

OUT = (4401).to_bytes(2, "big")


@contextlib.contextmanager
def listening(served: Served, *headers: tuple[str, str]) -> Iterator[socket.socket]:
    """An open WebSocket to the live stream."""
    lines = ["GET /api/live HTTP/1.1", f"Host: {served.host}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    lines += [f"{name}: {value}" for name, value in headers]
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        assert connection.recv(12) == b"HTTP/1.1 101"
        yield connection


def left(connection: socket.socket) -> bytes:
    """All that comes until the server ends it."""
    said = b""
    while part := connection.recv(65536):
        said += part
        if OUT in said[-16:]:  # a browser would close its end now
            break
    return said


def logged_in(served: Served, token: str) -> list[tuple[str, str]]:
    """The headers of a page of the server's own, with the cookie that the token was swapped for."""
    answer = served.ask("POST", "/api/login", {"token": token}, token=None)
    assert answer.status == 204
    cookie = answer.headers["set-cookie"].partition(";")[0]
    return [("Cookie", cookie), ("Origin", f"http://{served.host}"), ("Sec-Fetch-Site", "same-origin")]


def is_open(connection: socket.socket) -> bool:
    """Whether nothing has ended it within two seconds."""
    connection.settimeout(2)
    with contextlib.suppress(TimeoutError, socket.timeout):
        while part := connection.recv(65536):
            if OUT in part[-16:]:
                return False
        return False
    return True


def test_going_out_ends_the_websockets_that_came_in_with_that_cookie_and_no_others(lone):
    own, theirs = logged_in(lone, lone.token), logged_in(lone, share(lone))
    program = ("Authorization", f"Bearer {lone.token}")
    with listening(lone, *own) as mine, listening(lone, *theirs) as shared, listening(lone, program) as other:
        assert lone.ask("POST", "/api/logout", token=None, headers=own).status == 204
        assert OUT in left(mine)
        assert is_open(shared)
        assert is_open(other)
    # Who is let in again is in.
    with listening(lone, *logged_in(lone, lone.token)) as again:
        assert is_open(again)


@pytest.mark.parametrize("how", ["deleted", "changed"])
def test_without_the_secret_that_it_came_from_no_token_cookie_or_open_websocket_is_good_any_more(lone, how: str):
    own = logged_in(lone, lone.token)
    secret = lone.folder / "home" / "token"
    with listening(lone, *own) as mine, listening(lone, ("Authorization", f"Bearer {lone.token}")) as other:
        if how == "deleted":
            secret.unlink()
        else:
            secret.write_text("0" * 64)
        assert OUT in left(mine)
        assert OUT in left(other)
    assert lone.ask("GET", "/api/session").status == 401
    assert lone.ask("GET", "/api/session", token=None, headers=own).status == 401


def test_a_new_secret_lets_in_at_the_server_that_runs_already(lone):
    (lone.folder / "home" / "token").unlink()
    token = share(lone, "run")  # whoever shares an address now makes a new secret
    assert token != lone.token
    lone.token = token
    assert lone.ask("GET", "/api/session").status == 200
