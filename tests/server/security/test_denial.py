"""Whoever sends too much, too slowly or nonsense is told so, and the server goes on as before."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import time
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
from tests.server.security.routes import CHANGING, PARAMETERS, READING, SOCKETS, Known, named
from tests.server.serving import Served, serving
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

MEMORY = 64 << 20
"""What nonsense may cost."""


def resident(served: Served) -> int:
    return psutil.Process(served.process.pid).memory_info().rss


def is_well(served: Served) -> bool:
    return served.ask("GET", "/api/session").status == 200


@pytest.mark.parametrize("route", CHANGING, ids=named)
def test_a_body_of_more_than_8_mb_is_refused_before_it_is_read(served, route: Known):
    method = next(iter(route.methods))
    head = f"{method} {route.path()} HTTP/1.1\r\nHost: {served.host}\r\nAuthorization: Bearer {served.token}\r\n"
    head += "X-Hypertuner: 1\r\nContent-Type: application/json\r\n"
    for length in ("1000000000", str(8 * 1024 * 1024 + 1), "9" * 30):
        said = served.raw(f"{head}Content-Length: {length}\r\n\r\n".encode(), head=True)
        assert said.split(b" ")[1] in (b"413", b"400")
    assert is_well(served)


def test_a_body_that_does_not_say_its_size_is_cut_at_8_mb(served):
    before = resident(served)
    head = f"POST /api/actions HTTP/1.1\r\nHost: {served.host}\r\nAuthorization: Bearer {served.token}\r\n"
    head += "X-Hypertuner: 1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(head.encode())
        try:
            for _ in range(4096):  # 256 MB
                connection.sendall(chunk)
        except OSError:
            pass
        else:
            pytest.fail("all of it was taken")
    assert resident(served) - before < MEMORY
    assert is_well(served)


def test_a_stranger_may_send_a_token_and_no_more(served):
    answer = served.ask("POST", "/api/login", {"token": "x" * 5000}, token=None)
    assert answer.status == 413


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b'{"names": NaN}',
            b'{"names": Infinity}',
            b'{"names": [1e999]}',
            b"\xff",
        ),
        *(b'{"names": ["\\ud800"]}', b"{", b"nonsense", b'"text"', b"null", b"[]", b"1", b'{"action": "trash",}'),
        *(b'{"action": "trash", "names": "calm-lynx"}', b'{"action": 1}', b'{"action": "no such thing"}'),
        json.dumps({"action": "trash", "names": ["x"] * 10_001}).encode(),
        json.dumps({"action": "tag", "names": ["calm-lynx"], "tag": "t" * 8_000_000}).encode(),
        json.dumps({"mode": "draft", "from_run": "calm-lynx", "seeds": 10**30}).encode(),
        json.dumps(
            {"mode": "draft", "from_run": "calm-lynx", "several": {f"k{n}": [1, 2] for n in range(60)}}
        ).encode(),
        json.dumps({"note": "n" * 4_000_000, "tags": [str(n) for n in range(100_000)]}).encode(),
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
@pytest.mark.parametrize(
    "route", [one for one in CHANGING if one.template not in ("/api/logout", "/api/queue/pause")], ids=named
)
def test_nonsense_is_told_apart_and_changes_nothing(served, route: Known, body: bytes):
    answer = served.ask(next(iter(route.methods)), route.path(), body)
    assert answer.status < 500
    if answer.status >= 400:
        problem = answer.json
        assert set(problem) == {"error", "message", "position", "key"}
        assert len(answer.body) < 10_000


def test_a_head_that_is_too_large_is_refused(served):
    many = "".join(f"X-{number}: y\r\n" for number in range(5_000))
    large = f"X-Large: {'y' * 200_000}\r\n"
    for headers in (many, large):
        request = f"GET /api/session HTTP/1.1\r\nHost: {served.host}\r\n{headers}\r\n"
        said = served.raw(request.encode(), head=True)
        assert not said.startswith(b"HTTP/1.1 200")
    assert is_well(served)


def test_a_hundred_thousand_parameters_in_an_address_are_refused(served):
    query = "&".join(f"a{number}=1" for number in range(100_000))
    said = served.raw(f"GET /api/runs?{query} HTTP/1.1\r\nHost: {served.host}\r\n\r\n".encode(), head=True)
    assert not said.startswith(b"HTTP/1.1 200")
    assert is_well(served)


@pytest.mark.parametrize(
    "ranges",
    [
        "bytes=0-0",
        "bytes=" + ",".join("0-0" for _ in range(1_000)),
        "bytes=" + ",".join(f"{n}-" for n in range(1_000)),
        "bytes=-1",
        "bytes=5-1",
        "bytes=0-99999999999999999999",
        "bytes=" + "0" * 5_000 + "-",
        "lines=1-2",
    ],
    ids=lambda text: text[:20],
)
def test_ranges_are_answered_or_refused_at_once(served, ranges: str):
    before = resident(served)
    files = served.ask("GET", "/api/runs/calm-lynx").json["files"]
    paths = [f"/api/runs/calm-lynx/files/{one['id']}" for one in files[:5]] + ["/", "/api/runs/calm-lynx/export.zip"]
    for path in paths:
        answer = served.ask("GET", path, headers={"Range": ranges})
        assert answer.status in (200, 206, 400, 416)
    assert resident(served) - before < MEMORY


@pytest.mark.slow
def test_half_a_request_is_given_up_and_keeps_nobody_waiting(served):
    """Two hundred connections that say a letter now and then; the others are served meanwhile."""
    slow = [socket.create_connection(("127.0.0.1", served.port), timeout=60) for _ in range(200)]
    try:
        for connection in slow:
            connection.sendall(b"GET /api/session HTTP/1.1\r\nHost: ")
        assert is_well(served)
        until = time.monotonic() + 50
        is_closed = False
        while not is_closed and time.monotonic() < until:
            time.sleep(1)
            try:
                slow[0].sendall(b"1")
                slow[0].settimeout(0.01)
                is_closed = slow[0].recv(1) == b""
            except TimeoutError:
                pass
            except OSError:
                is_closed = True
        assert is_closed
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize(
    "text",
    [
        "(a+)+$",
        "(" * 5_000,
        "[" * 5_000,
        "a" * 20_000,
        ".*" * 2_000,
        "x and " * 3_000 + "y",
        "not " * 5_000 + "x",
        "-" * 9_000,
    ],
    ids=lambda text: text[:10],
)
def test_searches_and_queries_that_are_traps_are_answered_or_refused(served, text: str):
    for route, place, parameter in PARAMETERS:
        if place == "query" and parameter in ("text", "query", "sort", "metric", "by", "column"):
            answer = served.ask("GET", f"{route.path()}?{parameter}={quote(text[:20_000], safe='')}")
            assert answer.status < 500, (route.template, answer.body)
    assert is_well(served)


@pytest.mark.parametrize("route", SOCKETS, ids=named)
def test_sixty_four_websockets_are_the_most(served, route: Known):
    headers = {"Authorization": f"Bearer {served.token}"}

    def opened():
        return connect(f"ws://{served.host}{route.path()}", additional_headers=headers)

    with contextlib.ExitStack() as open_:
        for _ in range(64):
            open_.enter_context(opened())
        with pytest.raises(InvalidStatus), opened():
            pass
    until = time.monotonic() + 60
    while time.monotonic() < until:  # the server hears of the last ones' end a moment later
        try:
            with opened():
                return
        except InvalidStatus:
            time.sleep(0.1)
    pytest.fail("those that are closed count for ever")


@pytest.mark.parametrize("route", SOCKETS, ids=named)
def test_what_a_page_says_that_is_too_large_or_nonsense_ends_its_socket_only(served, route: Known):
    headers = {"Authorization": f"Bearer {served.token}"}
    for said in ("x" * 2_000_000, "nonsense", "[" * 50_000, b"\x00\xff", "{}", '{"type": "subscribe", "series": 1}'):
        with connect(f"ws://{served.host}{route.path()}", additional_headers=headers, max_size=None) as socket_:
            try:
                socket_.send(said)
                socket_.recv(timeout=0.5)
            except (ConnectionClosed, TimeoutError):
                pass
    assert is_well(served)


def test_a_metrics_file_that_is_a_trap_costs_no_more_than_its_size(served):
    """One line of 64 MB, a hundred thousand names, steps that no number holds, NaN all over."""
    source = served.folder / "storage" / "calm-lynx"
    target = served.folder / "storage" / "huge-whale"
    shutil.copytree(source, target, dirs_exist_ok=True)
    (metrics,) = target.rglob("metrics.jsonl")
    metrics.chmod(0o644)
    with metrics.open("wb") as file:
        file.write(b'{"step":1,"time":1.0,"values":{"x":' + b"1" * (64 << 20) + b"}}\n")
        values = ",".join(f'"m{number}":1' for number in range(100_000))
        file.write(f'{{"step":2,"time":1.0,"values":{{{values}}}}}\n'.encode())
        file.write(b'{"step":9223372036854775808,"time":1.0,"values":{"x":1}}\n')
        file.write(b'{"step":-1,"time":1e308,"values":{"x":null},"nonfinite":{"x":"NaN"}}\n' * 1_000)
        file.write(b'{"step":3,"time":NaN,"values":{"x":NaN}}\n')
        file.write(b"[" * 100_000 + b"\n")
        file.write(b'{"step":4,"time":2.0,"values":{"x":0.5}}\n')
    try:
        for route in READING:
            answer = served.ask("GET", route.path(name="huge-whale", run="huge-whale"))
            assert answer.status < 500, (route.template, answer.body[:500])
        assert is_well(served)
    finally:
        shutil.rmtree(target)


def test_an_error_that_nobody_expected_says_nothing_of_the_inside(tmp_path: Path):
    """A fault is put into the server itself; what it says then is looked at from outside."""
    broken = tmp_path / "broken.py"
    broken.write_text(
        "import sys\n"
        "from hypertuner.server.routes import session\n"
        "def fail(*a, **k): raise RuntimeError('canary-9d2e at /root/secret.py')\n"
        "session.host_name = fail\n"
        "from hypertuner.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    with serving(tmp_path, program=broken) as served:
        answer = served.ask("GET", "/api/session")
        assert answer.status == 500
        assert answer.json["error"] == "unexpected"
        told = answer.body.decode() + str(answer.headers)
        for secret in (
            "canary-9d2e",
            "Traceback",
            "/root",
            str(tmp_path),
            os.environ["PATH"],
            "RuntimeError",
            "session.py",
        ):
            assert secret not in told
        assert answer.headers["x-content-type-options"] == "nosniff"
        _, errors = served.stop()
    assert "canary-9d2e" in errors, "whoever started it is told"


def test_what_the_server_writes_is_for_this_user_alone_under_a_loose_umask(tmp_path: Path):
    before = os.umask(0)
    try:
        with serving(tmp_path) as served:
            assert is_well(served)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "home").rglob("*")}
    assert modes == {"token": 0o600}
