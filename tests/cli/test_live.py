"""`hypertuner ls --live`: the table in one place, until Ctrl-C."""

from __future__ import annotations

import json
import os
import re

import pytest

from hypertuner.store import Storage, metrics, records

ABOUT = {"python": "", "platform": "", "user": ""}
ENV = {"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "100", "LINES": "14"}


def text(output: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output)


def running(storage, name="otter"):
    run = Storage(storage).create(name, records.RunRecord("train.py", (), str(storage.parent), records.now()), {})
    attempt = run.claim_attempt(records.Started.here(exit_by="script", config={}, **ABOUT))
    return run, attempt


def test_without_a_terminal_it_says_to_leave_it_out(cli, make):
    make("calm-lynx")
    assert "Leave it out: hypertuner ls" in cli("ls", "--live", code=2).stderr
    assert "choose one" in cli("ls", "--live", "--json", code=2).stderr


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo terminal")
class TestOnATerminal:
    def test_it_shows_what_happens_and_ends_by_ctrl_c_with_0(self, terminal, make, storage):
        make("calm-lynx", {}, [{"val_acc": 0.5}])
        run, attempt = running(storage)
        shell = terminal("ls", "--live", env=ENV)
        shell.read_until("running")
        attempt.layout.metrics.write_bytes(metrics.encode(7, 1.0, {"val_acc": 0.875}))
        shell.read_until("0.875")
        run.end_attempt(attempt, records.Exit("failed", 1, None, "ValueError: x", records.now()))
        shell.read_until("failed")
        assert shell.wait(pressing="\x03") == 0
        # What was seen last stays, and is no longer said to go on.
        last = shell.output.rpartition("\x1b[?1049l")[2]
        assert "2 runs: 1 finished, 1 failed" in text(last)
        assert "Ctrl-C" not in text(last)

    def test_it_scrolls_nothing_however_many_runs_there_are(self, terminal, make):
        for number in range(30):
            make(f"run-{number}", {"lr": number}, [{"val_acc": number / 30}])
        shell = terminal("ls", "--live", env=ENV)
        shell.read_until("run-29")
        shell.read_until("Ctrl-C")
        assert shell.wait(pressing="\x03") == 0
        drawn, _, after = shell.output.rpartition("\x1b[?1049l")
        for frame in drawn.split("\x1b[H")[1:]:
            assert frame.count("\n") < 14
        assert "30 runs: 30 finished (10 shown)" in text(after)
        assert len(text(after).replace("^C", "").strip().splitlines()) <= 14

    def test_a_query_a_sort_and_columns_hold_and_a_mistake_is_told_at_once(self, terminal, cli, make):
        for number in range(4):
            make(f"run-{number}", {"lr": number}, [{"val_acc": number / 10}])
        shell = terminal("ls", "lr > 0", "--sort", "val_acc", "--columns", "name,lr", "--live", env=ENV)
        shell.read_until("run-1")
        assert shell.wait(pressing="\x03") == 0
        lines = text(shell.output.rpartition("\x1b[?1049l")[2]).split()
        assert [word for word in lines if word.startswith("run-")] == ["run-3", "run-2", "run-1"]
        wrong = terminal("ls", "lrr > 0", "--live", env=ENV)
        assert wrong.wait() == 1
        assert "\x1b[?1049h" not in wrong.output and "lrr" in wrong.output

    def test_what_runs_comes_first_then_what_waits_in_its_order(self, terminal, cli, make, script, storage):
        cli("run", script, "lr=0.1,0.2", "--queue", "--name", "waits")
        cli("queue", "mv", "waits-2")
        running(storage)
        make("calm-lynx", {}, [{"val_acc": 0.5}])
        shell = terminal("ls", "--live", env=ENV)
        shell.read_until("calm-lynx")
        assert shell.wait(pressing="\x03") == 0
        last = text(shell.output.rpartition("\x1b[?1049l")[2])
        names = ["otter", "waits-2", "waits-1", "calm-lynx"]
        places = [re.search(f"^{name} ", last, re.M).start() for name in names]
        assert places == sorted(places)
        assert "queue: 2 waiting, nothing drains it: hypertuner queue" in last


def test_json_of_a_run_tells_when_it_wrote(cli, storage):
    running(storage)
    (row,) = json.loads(cli("ls", "--json").stdout)
    assert row["state"] == "running" and row["wrote_at"] > 1e9
