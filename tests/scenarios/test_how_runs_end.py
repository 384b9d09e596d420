"""How a run ended, as others see it afterwards; and the script's own way of ending stays what it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from tests.conftest import script_environment

import hypertuner
from hypertuner.store import Storage

LOG = "import hypertuner\nhypertuner.Logger().log({'loss': 1.0}, 0)\n"


def the_run():
    (row,) = hypertuner.runs()
    return row


def the_exit(storage):
    import json

    (path,) = storage.glob("*/attempts/*/exit.json")
    return json.loads(path.read_text())


@pytest.fixture
def start(tmp_path):
    """Start a script that logs, prints 'ready' and goes on; the process once it is ready."""
    started = []

    def begin(source, **env):
        script = tmp_path / "train.py"
        script.write_text(textwrap.dedent(source))
        process = subprocess.Popen(
            [sys.executable, str(script)],
            env=script_environment(env),
            stdout=subprocess.PIPE,
            cwd=tmp_path,
            encoding="utf-8",
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


WAITING = """
import time, hypertuner
hypertuner.Logger().log({"loss": 1.0}, 0)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("ending", "code", "state"),
    [
        ("pass", 0, "finished"),
        ("import sys; sys.exit()", 0, "finished"),
        ("import sys; sys.exit(0)", 0, "finished"),
        ("import sys; sys.exit(3)", 3, "failed"),
        ("import sys; sys.exit('no data')", 1, "failed"),
        ("raise SystemExit(0)", 0, "finished"),
        ("exit(3)", 3, "failed"),
        ("raise RuntimeError('diverged')", 1, "failed"),
        ("raise KeyboardInterrupt", -signal.SIGINT, "stopped"),
        ("import os; os._exit(0)", 0, "crashed"),
        ("import os; os.abort()", -signal.SIGABRT, "crashed"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM); input()", -signal.SIGTERM, "stopped"),
        ("import sys\ntry:\n    sys.exit(2)\nexcept SystemExit:\n    pass", 0, "finished"),
        (
            "import argparse\ntry:\n    argparse.ArgumentParser().parse_args(['--x'])\nexcept SystemExit:\n    pass",
            0,
            "finished",
        ),
    ],
)
def test_each_way_to_end_gives_its_state_and_the_scripts_own_exit_code(run_script, storage, ending, code, state):
    done = run_script(LOG + ending + "\n", check=False)
    assert done.returncode == code
    assert the_run().state == state


def test_a_failed_run_keeps_its_reason_and_traceback(run_script, storage):
    done = run_script(LOG + "def train():\n    raise ValueError('loss is nan')\ntrain()\n", check=False)
    ended = the_exit(storage)
    assert ended["reason"] == "ValueError: loss is nan"
    assert "in train" in ended["traceback"]
    assert done.stderr.count("ValueError: loss is nan") == 1


@pytest.mark.parametrize(
    ("number", "state"), [(signal.SIGINT, "stopped"), (signal.SIGTERM, "stopped"), (signal.SIGKILL, "crashed")]
)
def test_a_signal_from_outside_ends_the_process_as_ever_and_gives_its_state(start, storage, number, state):
    process = start(WAITING)
    assert the_run().state == "running"
    process.send_signal(number)
    assert process.wait(timeout=60) == -number
    assert the_run().state == state


def test_a_scripts_own_sigterm_handler_still_decides(start, storage, tmp_path):
    process = start(
        """
        import signal, sys, time, hypertuner
        def on_term(number, frame):
            open("handled", "w").close()
            sys.exit(7)
        signal.signal(signal.SIGTERM, on_term)
        hypertuner.Logger().log({"loss": 1.0}, 0)
        print("ready", flush=True)
        time.sleep(60)
        """
    )
    process.terminate()
    assert process.wait(timeout=60) == 7
    assert (tmp_path / "handled").exists()
    assert the_run().state == "stopped"


def test_a_handler_that_saves_and_goes_on_can_save(start, storage, tmp_path):
    """Preemption: the script notes the signal, ends its step, logs, and leaves by itself."""
    process = start(
        """
        import signal, time, hypertuner
        stop = []
        signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
        logger = hypertuner.Logger()
        logger.log({"loss": 1.0}, 0)
        print("ready", flush=True)
        while not stop:
            time.sleep(0.01)
        logger.log({"loss": 0.5}, 1)
        """
    )
    process.terminate()
    assert process.wait(timeout=60) == 0
    assert (the_run().step, the_run().metrics["loss"]) == (1, 0.5)
    assert the_run().state == "stopped"


def test_a_handler_set_after_the_first_log_still_works(start, storage):
    process = start(
        """
        import signal, sys, time, hypertuner
        hypertuner.Logger().log({"loss": 1.0}, 0)
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(9))
        print("ready", flush=True)
        time.sleep(60)
        """
    )
    process.terminate()
    assert process.wait(timeout=60) == 9
    assert the_run().state == "failed"


def test_an_ignored_sigterm_stays_ignored(start, storage):
    process = start(
        """
        import signal, time, hypertuner
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        hypertuner.Logger().log({"loss": 1.0}, 0)
        print("ready", flush=True)
        time.sleep(1)
        """
    )
    process.terminate()
    assert process.wait(timeout=60) == 0
    assert the_run().state == "finished"


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_scripts_own_excepthook_is_still_called(run_script, storage, order, tmp_path):
    hook = "import sys\nsys.excepthook = lambda kind, error, trace: open('hooked', 'w').write(str(error))\n"
    parts = [hook, LOG] if order == "before" else [LOG, hook]
    done = run_script("".join(parts) + "raise RuntimeError('diverged')\n", check=False)
    assert done.returncode == 1
    assert (tmp_path / "hooked").read_text() == "diverged"
    assert the_run().state == "failed"


def test_a_caught_ctrl_c_that_lets_the_script_finish_is_finished(start, storage):
    process = start(
        """
        import time, hypertuner
        logger = hypertuner.Logger()
        logger.log({"loss": 1.0}, 0)
        try:
            print("ready", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            logger.log({"loss": 0.5}, 1)
        """
    )
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert (the_run().state, the_run().step) == ("finished", 1)


def test_a_run_that_is_continued_after_a_crash_is_a_new_attempt(run_script, storage):
    run_script(LOG + "import os; os._exit(1)\n", check=False)
    name = the_run().name
    run_script(LOG, f"--config=storage/{name}/config.json")
    assert the_run().state == "finished"
    assert sorted(os.listdir(storage / name / "attempts")) == ["1", "2"]


def test_a_failed_thread_does_not_end_the_run(run_script, storage):
    run_script(
        """
        import threading, hypertuner
        logger = hypertuner.Logger()
        logger.log({"loss": 1.0}, 0)
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start(); thread.join()
        logger.log({"loss": 0.5}, 1)
        """
    )
    assert (the_run().state, the_run().step) == ("finished", 1)


def test_a_run_is_running_until_its_process_is_gone(start, storage):
    process = start(WAITING)
    assert the_run().state == "running"
    process.kill()
    for _ in range(100):
        if the_run().state == "crashed":
            return
        time.sleep(0.05)
    pytest.fail(the_run().state)


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_sigterm_while_the_end_is_written_waits_until_it_is(run_script, storage):
    done = run_script(
        """
        import os, signal
        import hypertuner
        from hypertuner.store import Run
        write = Run.end_attempt
        def interrupted(*arguments, **named):
            os.kill(os.getpid(), signal.SIGTERM)
            write(*arguments, **named)
        Run.end_attempt = interrupted
        hypertuner.Logger().log({"loss": 1.0})
        raise ValueError("diverged")
        """,
        check=False,
    )
    assert done.returncode == -signal.SIGTERM
    (run,) = Storage(storage).list()
    assert run.newest_attempt().exit().reason == "ValueError: diverged"
