"""The live stream: what is logged is told soon, once, and not lost, whoever is killed in between."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import script_environment
from tests.server.made import end, log, make_run, start, trained
from tests.server.serving import Served, serving
from tests.server.test_curves import curve, resumed
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from hypertuner.server.contract.series import LiveMessages
from hypertuner.server.reading.following import FollowedOutput, FollowedRun
from hypertuner.store import metrics
from hypertuner.store.output import OutputWriter


class Tab:
    """A page's end of the stream: it keeps what it was told, and its cursors."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.hello = self.next("hello")

    def next(self, of: str, /, within_s: float = 60, **wanted: Any) -> dict[str, Any]:
        """The next message of a kind that says this; others are passed over."""
        limit = time.monotonic() + within_s
        while True:
            message = json.loads(self.connection.recv(timeout=max(0.01, limit - time.monotonic())))
            LiveMessages.model_validate({"server": message})
            if message["type"] == of and wanted.items() <= message.items():
                return message

    def subscribe(self, **wanted: Any) -> None:
        self.connection.send(json.dumps({"type": "subscribe", "rows": False, **wanted}))


@contextlib.contextmanager
def tab(served: Served) -> Iterator[Tab]:
    with connect(
        f"ws://{served.host}/api/live",
        additional_headers={"Authorization": f"Bearer {served.token}"},
        open_timeout=20,
        max_size=None,
    ) as connection:
        yield Tab(connection)


def test_hello_says_which_server_and_where_its_rows_are(tmp_path, storage):
    trained(storage, "otter")
    with serving(tmp_path) as served, tab(served) as one:
        until(lambda: served.ask("GET", "/api/runs").json["is_complete"])
        with tab(served) as other:
            assert other.hello["server"] == one.hello["server"] == served.ask("GET", "/api/session").json["server"]
            assert other.hello["revision"] == served.ask("GET", "/api/runs").json["revision"]


def until(holds: Any, within_s: float = 60) -> None:
    limit = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < limit, "it never came to hold"
        time.sleep(0.02)


def test_rows_that_change_are_told_and_those_that_go(tmp_path, storage):
    run = trained(storage, "otter", {"lr": 0.1})
    with serving(tmp_path) as served:
        until(lambda: served.ask("GET", "/api/runs").json["is_complete"])
        with tab(served) as one:
            one.subscribe(rows=True)
            attempt = start(run)
            log(attempt, 3, {"loss": 0.5})
            seen = one.next("rows")
            while not (seen["rows"] and seen["rows"][0]["step"] == 3):
                before, seen = seen, one.next("rows")
                assert seen["since"] == before["revision"]
            (row,) = seen["rows"]
            assert (row["name"], row["state"], row["metrics"]["loss"]) == ("otter", "running", 0.5)
            os.rename(storage / "otter", storage.parent / "elsewhere")
            while not seen["gone"]:
                seen = one.next("rows")
            assert (seen["gone"], seen["total"]) == (["otter"], 0)


def test_the_colours_that_runs_got_when_all_were_read_are_told(tmp_path, storage):
    for number in range(300):
        make_run(storage, f"run-{number:03}", created=f"2026-03-01T12:{number // 60:02}:{number % 60:02}.000Z")
    with serving(tmp_path) as served:
        page = served.ask("GET", "/api/runs?limit=300").json
        rows = {row["name"]: row for row in page["rows"]}
        with tab(served) as one:
            one.subscribe(rows=True)
            revision = page["revision"]
            if one.hello["revision"] != revision:
                rows = {row["name"]: row for row in served.ask("GET", "/api/runs?limit=300").json["rows"]}
            while not page["is_complete"]:
                page = one.next("rows")
                if page["has_more"]:
                    rows = {row["name"]: row for row in served.ask("GET", "/api/runs?limit=300").json["rows"]}
                rows.update((row["name"], row) for row in page["rows"])
    assert [(rows[f"run-{n:03}"]["colour"], rows[f"run-{n:03}"]["mark"]) for n in range(300)] == [
        (n % 8, n // 8 % 4) for n in range(300)
    ]


def test_points_go_on_where_the_fetched_curve_ended(tmp_path, storage):
    run = make_run(storage, "otter")
    attempt = start(run)
    log(attempt, 0, {"loss": 1.0})
    fetched = curve(storage, "otter")
    with serving(tmp_path) as served, tab(served) as one:
        one.subscribe(series={"otter": fetched.header["cursor"]}, metrics=["loss", "acc"])
        time.sleep(0.2)
        log(attempt, 1, {"loss": float("nan"), "acc": 0.25, "other": 7})
        loss, acc = one.next("points", metric="loss"), one.next("points", metric="acc")
        assert (loss["step"], loss["value"], loss["nonfinite"]) == ([1], [None], {"0": "nan"})
        assert (acc["step"], acc["value"], acc["restart"]) == ([1], [0.25], False)
        assert acc["cursor"] == curve(storage, "otter").header["cursor"]


def test_a_new_attempt_says_that_the_curve_is_another_one(tmp_path, storage):
    run = make_run(storage, "otter")
    first = start(run)
    length = log(first, 0, {"loss": 1.0})
    log(first, 1, {"loss": 0.5})
    cursor = curve(storage, "otter").header["cursor"]
    end(run, first, "failed")
    with serving(tmp_path) as served, tab(served) as one:
        one.subscribe(series={"otter": cursor}, metrics=["loss"])
        time.sleep(0.3)
        second = resumed(run, 1, length)
        log(second, 1, {"loss": 0.25})
        assert one.next("points", run="otter")["restart"] is True
        again = curve(storage, "otter")
        one.subscribe(series={"otter": again.header["cursor"]}, metrics=["loss"])
        log(second, 2, {"loss": 0.125})
        message = one.next("points", run="otter", restart=False)
        assert (message["step"], message["value"]) == ([2], [0.125])


def test_a_run_that_waits_says_when_it_has_begun(tmp_path, storage):
    run = make_run(storage, "otter")
    with serving(tmp_path) as served, tab(served) as one:
        one.subscribe(series={"otter": curve(storage, "otter").header["cursor"]}, metrics=["loss"])
        time.sleep(0.3)
        log(start(run), 0, {"loss": 1.0})
        assert one.next("points")["restart"] is True


TRAINING = """
import sys, time, hypertuner
args = hypertuner.Args(count=0)
logger = hypertuner.Logger()
for step in range(args.count):
    logger.log({"loss": step / 7, "acc": -step, **({"rare": step} if step % 5 == 0 else {})}, step)
    time.sleep(0.005)
"""


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_lost_or_doubled_when_the_server_is_ended_in_mid_stream(tmp_path, storage, by):
    script = tmp_path / "train.py"
    script.write_text(TRAINING)
    count = 2500
    training = subprocess.Popen(
        [sys.executable, str(script), f"count={count}"],
        env=script_environment({"HYPERTUNER_RUN": "otter"}),
        stdout=subprocess.DEVNULL,
    )
    try:
        until(lambda: (storage / "otter" / "attempts" / "1" / "metrics.jsonl").exists())
        wanted = ["loss", "acc", "rare"]
        told: dict[str, list[tuple[int, float]]] = {metric: [] for metric in wanted}
        cursor = "1:0"
        for round_number in range(4):
            with serving(tmp_path) as served, tab(served) as one:
                one.subscribe(series={"otter": cursor}, metrics=wanted)
                stop_after = time.monotonic() + 0.5
                with contextlib.suppress(ConnectionClosed, TimeoutError):
                    while round_number == 3 or time.monotonic() < stop_after:
                        message = one.next("points", within_s=60 if round_number == 3 else 1)
                        assert not message["restart"]
                        # A page that dies after any one message goes on with the cursor of that.
                        cursor = message["cursor"]
                        told[message["metric"]] += zip(message["step"], message["value"], strict=True)
                        if round_number == 3 and told["loss"][-1][0] == count - 1 and told["acc"][-1][0] == count - 1:
                            break
                served.process.send_signal(by)
                served.process.wait(60)
    finally:
        training.wait(60)
    for metric in wanted:
        fetched = curve(storage, "otter", metric)
        assert told[metric] == list(zip(fetched.steps, fetched.values, strict=True))
    assert len(told["loss"]) == count


PIECES = st.lists(
    st.lists(
        st.dictionaries(st.sampled_from("ab"), st.floats(allow_nan=False, width=16), min_size=1), min_size=1, max_size=4
    ),
    max_size=5,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(PIECES, st.integers(0, 3), st.data())
def test_what_is_told_is_what_a_new_fetch_would_show(tmp_path_factory, pieces, fetched_after, data):
    storage = tmp_path_factory.mktemp("storage")
    run = make_run(storage, "otter")
    attempt = start(run)
    attempt.layout.metrics.touch()
    shown: dict[str, list[tuple]] = {"a": [], "b": []}
    cursor = "1:0"
    step = 0
    for number, piece in enumerate(pieces):
        for values in piece:
            log(attempt, step, values)
            step += 1
        if number == fetched_after:
            for metric, rows in shown.items():
                found = curve(storage, "otter", metric)
                rows[:] = zip(found.steps, found.values, strict=True)
                cursor = found.header["cursor"]
        # Each time another connection, which may be lost after any message.
        messages, _ = FollowedRun(run, cursor, ["a", "b"]).more()
        for message in messages[: data.draw(st.integers(0, len(messages)))]:
            cursor = message["cursor"]
            shown[message["metric"]] += zip(message["step"], message["value"], strict=True)
    for message in FollowedRun(run, cursor, ["a", "b"]).more()[0]:
        shown[message["metric"]] += zip(message["step"], message["value"], strict=True)
    for metric, rows in shown.items():
        found = curve(storage, "otter", metric)
        assert rows == list(zip(found.steps, found.values, strict=True))


@pytest.mark.parametrize("cursor", ["", "x", "1:9999", "7:0", "1:3", "1:0:{", "-1:-5"])
def test_a_cursor_that_fits_nothing_means_fetch_it_again(storage, cursor):
    run = make_run(storage, "otter")
    log(start(run), 0, {"loss": 1.0})
    (message,), _ = FollowedRun(run, cursor, ["loss"]).more()
    assert message["restart"] is True


def test_output_goes_on_at_its_cursor_and_no_sign_is_cut(storage):
    run = make_run(storage, "otter")
    attempt = start(run)
    writer = OutputWriter(attempt.layout)
    text = "ä€𝄞 line\n" * 5
    whole = text.encode()
    told, cursor = "", "0:0"
    for begin in range(0, len(whole), 3):
        with attempt.layout.output.open("ab") as file:
            file.write(whole[begin : begin + 3])
        messages, _ = FollowedOutput(run, 1, cursor).more()
        for message in messages:
            told, cursor = told + message["text"], message["cursor"]
    writer.close()
    assert told == text


def test_what_a_script_prints_is_told(tmp_path, storage):
    run = make_run(storage, "otter")
    attempt = start(run)
    writer = OutputWriter(attempt.layout)
    writer.write(b"one\n")
    with serving(tmp_path) as served, tab(served) as one:
        one.subscribe(output={"run": "otter", "attempt": 1, "cursor": "0:0"})
        assert one.next("output")["text"] == "one\n"
        writer.write(b"two\n")
        message = one.next("output")
        assert (message["text"], message["run"], message["attempt"]) == ("two\n", "otter", 1)
    writer.close()


def deaf(served: Served, asked: dict[str, Any]) -> socket.socket:
    """A tab that has said what it wants to hear of, and takes nothing of it."""
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    opened.connect(("127.0.0.1", served.port))
    opened.sendall(
        f"GET /api/live HTTP/1.1\r\nHost: {served.host}\r\nAuthorization: Bearer {served.token}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    assert b"101" in opened.recv(4096)
    said = json.dumps({"type": "subscribe", **asked}).encode()
    opened.sendall(bytes([0x81, 0x80 | 126, *len(said).to_bytes(2, "big"), 0, 0, 0, 0]) + said)
    return opened


def test_tabs_that_read_nothing_cost_no_memory_and_no_other_tab_and_are_let_go(tmp_path, storage):
    """Forty of them ask for all that a run of 60 MB of output and 400,000 points has."""
    import psutil

    run = make_run(storage, "otter")
    attempt = start(run)
    line = metrics.encode(1, 1.0, {"loss": 0.5})
    attempt.layout.metrics.write_bytes(line * 400_000)
    writer = OutputWriter(attempt.layout)
    for _ in range(600):
        writer.write(b"x" * 99_999 + b"\n")
    writer.close()
    asked = {
        "rows": True,
        "machine": True,
        "series": {"otter": "1:0"},
        "metrics": ["loss"],
        "output": {"run": "otter", "attempt": 1, "cursor": "0:0"},
        "padding": "so long that its length takes two bytes" * 2,
    }
    with serving(tmp_path) as served, tab(served) as good, contextlib.ExitStack() as stack:
        process = psutil.Process(served.process.pid)
        until(lambda: served.ask("GET", "/api/runs").json["is_complete"])
        served.close()
        before = process.memory_info().rss
        for _ in range(40):
            stack.enter_context(contextlib.closing(deaf(served, asked)))
        good.subscribe(series={"otter": f"1:{400_000 * len(line)}"}, metrics=["loss"])
        most = 0
        for step in range(2, 12):
            log(attempt, step, {"loss": 1 / step})
            assert good.next("points")["value"] == [1 / step]
            most = max(most, process.memory_info().rss - before)

        def open_now() -> int:
            nonlocal most
            most = max(most, process.memory_info().rss - before)
            return len([one for one in process.net_connections() if one.status == "ESTABLISHED"])

        until(lambda: open_now() == 1, within_s=90)
        assert most < 40 * 3_000_000
        log(attempt, 12, {"loss": 12.0})
        assert good.next("points")["value"] == [12.0]


def test_sixty_four_tabs_all_hear_it(tmp_path, storage):
    run = make_run(storage, "otter")
    attempt = start(run)
    length = log(attempt, 0, {"loss": 1.0})
    with serving(tmp_path) as served, contextlib.ExitStack() as stack:
        tabs = [stack.enter_context(tab(served)) for _ in range(64)]
        for one in tabs:
            one.subscribe(series={"otter": f"1:{length}"}, metrics=["loss"])
        time.sleep(0.5)
        log(attempt, 1, {"loss": 0.5})
        heard: list[list[float]] = []

        def hear(one: Tab) -> None:
            heard.append(one.next("points")["value"])

        threads = [threading.Thread(target=hear, args=(one,)) for one in tabs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert heard == [[0.5]] * 64


def test_the_queue_the_machine_and_what_happens_to_runs_are_told(tmp_path, storage):
    (tmp_path / "train.py").write_text("print('trained')")
    with serving(tmp_path, "train.py") as served, tab(served) as one:
        one.subscribe(rows=True, machine=True)
        while one.next("queue")["queue"]["drained_by"] != "this server":
            pass  # nobody's, before it has begun
        assert one.next("machine")["sample"]["memory_bytes"] > 0
        script = served.ask("GET", "/api/scripts").json["scripts"][0]["id"]
        launched = served.ask("POST", "/api/launch", {"script": script, "name": "otter"})
        assert launched.status == 200, launched.body
        assert one.next("said", kind="started")["run"] == "otter"
        assert one.next("said", kind="ended")["run"] == "otter"
        until(lambda: served.ask("GET", "/api/runs").json["rows"][0]["state"] == "finished")


@pytest.mark.parametrize("said", ["", "{", "[]", '{"type":"other"}', '{"series":3}'])
def test_a_tab_that_says_nonsense_is_let_go(tmp_path, storage, said):
    storage.mkdir()
    with serving(tmp_path) as served, tab(served) as one:
        one.connection.send(said)
        with pytest.raises(ConnectionClosed):
            one.next("never")
        assert served.ask("GET", "/api/runs").status == 200


def test_names_from_the_wire_are_never_paths(tmp_path, storage):
    make_run(storage, "otter")
    outside = tmp_path / "secret"
    log(start(make_run(tmp_path, "secret")), 1, {"loss": 0.5})
    assert outside.exists()
    with serving(tmp_path) as served, tab(served) as one:
        one.subscribe(
            series={"../secret": "1:0", str(outside): "1:0", "otter": "9:0"},
            metrics=["loss"],
            output={"run": "../secret", "attempt": 1, "cursor": "0:0"},
        )
        assert one.next("points")["run"] == "otter"
        with pytest.raises(TimeoutError):
            one.next("points", within_s=1)
