"""`hypertuner logs`: what a script printed, in a real process, while it prints and afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from tests.cli.conftest import environment

from hypertuner.cli.logs import harmless
from hypertuner.store import Run, Storage, records
from hypertuner.store.output import OutputWriter


@pytest.fixture
def begin(storage):
    """`begin("calm-lynx")`: the next attempt of a run, which this process runs and a supervisor captures."""

    def begun(name: str, exit_by: str = "supervisor"):
        place = Storage(storage)
        folder = storage / name
        run = (
            Run(folder)
            if folder.exists()
            else place.create(name, records.RunRecord("t.py", (), ".", records.now()), {})
        )
        attempt = run.claim_attempt(
            records.Started.here(exit_by=exit_by, config={}, python="3.11", platform="linux", user="me")
        )
        return run, attempt

    return begun


def end(run, attempt, state="finished", reason="the script ended"):
    run.end_attempt(attempt, records.Exit(state, 0, None, reason, records.now()))


@pytest.fixture
def following(tmp_path):
    """`following("calm-lynx")`: `hypertuner logs calm-lynx --follow` in the background."""
    begun = []

    def follow(*words: str) -> subprocess.Popen[bytes]:
        begun.append(
            subprocess.Popen(
                [sys.executable, "-m", "hypertuner", "logs", *words, "--follow"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(),
                cwd=tmp_path,
            )
        )
        return begun[-1]

    yield follow
    for process in begun:
        process.kill()
        process.communicate()


def test_the_output_of_a_run_is_printed_with_progress_bars_as_they_ended(cli, begin):
    run, attempt = begin("calm-lynx")
    writer = OutputWriter(attempt.layout, pending_every_s=0)
    for percent in (10, 50, 100):
        writer.write(b"\r%d%%" % percent)
        writer.tick()
    writer.write(b"\nloss 0.1\n")
    writer.close()
    end(run, attempt)
    assert cli("logs", "calm-lynx").stdout == "100%\nloss 0.1\n"
    assert cli("logs", "calm-lynx", "--lines", "1").stdout == "loss 0.1\n"
    assert cli("logs", "calm-lynx", "-n", "0").stdout == ""


def test_of_several_attempts_the_newest_is_printed_or_the_one_asked_for(cli, begin):
    for text in (b"first\n", b"second\n"):
        run, attempt = begin("calm-lynx")
        OutputWriter(attempt.layout).write(text)
        end(run, attempt)
    assert cli("logs", "calm-lynx").stdout == "second\n"
    assert cli("logs", "calm-lynx", "--attempt", "1").stdout == "first\n"
    assert "It has 1, 2." in cli("logs", "calm-lynx", "--attempt", "3", code=1).stderr


def test_a_run_that_nobody_supervised_says_so_and_how_to(cli, begin):
    run, attempt = begin("calm-lynx", exit_by="script")
    end(run, attempt)
    said = cli("logs", "calm-lynx", code=1).stderr
    assert "was not captured" in said and "--queue" in said
    assert "has not started yet" in cli("logs", drafted(run, "draft").name, code=1).stderr


def drafted(run: Run, name: str) -> Run:
    record = run.record()
    assert record is not None
    return Storage(run.folder.parent).create(name, replace(record, created=records.now()), {})


def test_a_script_that_printed_nothing_is_said_to_have(cli, begin):
    run, attempt = begin("calm-lynx")
    OutputWriter(attempt.layout).close()
    end(run, attempt)
    done = cli("logs", "calm-lynx")
    assert (done.stdout, done.stderr) == ("", "calm-lynx printed nothing.\n")


def test_follow_prints_what_comes_until_the_run_is_over_and_says_how_it_ended(begin, following):
    run, attempt = begin("calm-lynx")
    writer = OutputWriter(attempt.layout)
    writer.write(b"before\n")
    process = following("calm-lynx")
    assert process.stdout is not None
    assert process.stdout.readline() == b"before\n"
    writer.write(b"after\n")
    assert process.stdout.readline() == b"after\n"
    writer.write(b"last, without an end")
    writer.close()
    end(run, attempt, "failed", "ValueError: no")
    rest, said = process.communicate(timeout=60)
    assert rest == b"last, without an end"
    assert said == b"calm-lynx: failed, ValueError: no\n"
    assert process.returncode == 0


def test_follow_goes_on_with_the_next_attempt_after_a_line(begin, following):
    run, attempt = begin("calm-lynx")
    OutputWriter(attempt.layout).write(b"first\n")
    process = following("calm-lynx")
    assert process.stdout is not None
    assert process.stdout.readline() == b"first\n"
    _, later = begin("calm-lynx")
    OutputWriter(later.layout).write(b"second\n")
    end(run, attempt, "failed", "lost")
    assert process.stdout.readline() == b"--- attempt 2 ---\n"
    assert process.stdout.readline() == b"second\n"
    end(run, later)
    assert process.communicate(timeout=60)[0] == b""


def test_ctrl_c_ends_following_quietly(begin, terminal):
    run, attempt = begin("calm-lynx")
    OutputWriter(attempt.layout).write(b"before\n")
    shell = terminal("logs", "calm-lynx", "--follow")
    shell.read_until("before")
    assert shell.wait(pressing="\x03") == 130
    assert "Traceback" not in shell.output
    assert run.state() == "running"


def test_on_a_terminal_a_progress_bar_moves_in_its_line(begin, terminal):
    run, attempt = begin("calm-lynx")
    writer = OutputWriter(attempt.layout, pending_every_s=0)
    shell = terminal("logs", "calm-lynx", "--follow")
    for percent in (10, 20):
        writer.write(b"\r%d%%" % percent)
        writer.tick()
        shell.read_until(f"{percent}%")
    writer.write(b"\r100%\n")
    writer.close()
    end(run, attempt)
    assert shell.wait() == 0
    assert "10%\r\x1b[K20%\r\x1b[K100%\r\n" in shell.output


def test_a_reader_that_leaves_is_no_error(begin, following):
    run, attempt = begin("calm-lynx")
    OutputWriter(attempt.layout).write(b"a line\n" * 100_000)
    process = following("calm-lynx")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(20) == 141
    end(run, attempt)


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("up\x1b[A\x1b[2K\x1b[?25l", "up"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP+q544e\x1b\\asked", "asked"),
        ("\x9b6n", ""),
        ("a bell\x07\b", "a bell"),
        ("\x1b[31", "\\x1b[31"),
        ("\x1bc", "\\x1bc"),
        ("\u202egnirts", "\\u202egnirts"),
        ("a\tb\nc", "a    b\nc"),
    ],
)
def test_nothing_that_a_script_printed_steers_the_terminal(printed, shown):
    assert harmless(printed, colour=True) == shown
    assert "\x1b" not in harmless(printed, colour=False)


def test_colours_are_for_terminals(begin, cli, terminal):
    run, attempt = begin("calm-lynx")
    OutputWriter(attempt.layout).write(b"\x1b[31mred\x1b[0m\n")
    end(run, attempt)
    assert cli("logs", "calm-lynx").stdout == "red\n"
    shell = terminal("logs", "calm-lynx", env={"NO_COLOR": None})
    assert shell.wait() == 0
    assert "\x1b[31mred\x1b[0m" in shell.output


def test_following_costs_little(begin, following):
    """A poll is a look at a few small files, not a reading of all that was printed."""
    run, attempt = begin("calm-lynx")
    OutputWriter(attempt.layout).write(b"a line\n" * 1_000)
    process = following("calm-lynx")
    assert process.stdout is not None
    process.stdout.read(7_000)
    import psutil

    measured = psutil.Process(process.pid)
    before = sum(measured.cpu_times()[:2])
    time.sleep(3)
    assert sum(measured.cpu_times()[:2]) - before < 0.3
    os.kill(process.pid, signal.SIGTERM)
    end(run, attempt)
