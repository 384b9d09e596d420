"""`hypertuner run`: what it hands to the script, and what it hands back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from tests.cli.conftest import environment
from tests.queue.conftest import until

from hypertuner.cli import given
from hypertuner.queue.make import make_run
from hypertuner.queue.start import run_in_foreground
from hypertuner.server.panel.failure import failure_of
from hypertuner.store import RunState, Storage

posix = pytest.mark.skipif(os.name != "posix", reason="pseudo terminals and signals are POSIX")
WAITS = """
import hypertuner, time
hypertuner.Args(lr=0.1)
hypertuner.Logger().log({"loss": 1.0}, 0)
print("READY", flush=True)
end = time.monotonic() + 60
while time.monotonic() < end:
    time.sleep(0.05)  # a Ctrl-C just before a long sleep would be seen at its end only
"""


def only_run(storage):
    (run,) = Storage(storage).list()
    return run


def test_a_run_trains_with_the_config_given_and_ends_with_one_line_that_says_where_the_model_is(cli, script, storage):
    done = cli("run", "train.py", "lr=0.5", "--epochs", "3", "--name", "calm-lynx")
    assert done.stdout == "trained with 0.5\n"
    lines = done.stderr.splitlines()
    assert lines[0] == "run calm-lynx: train.py lr=0.5 epochs=3"
    assert "calm-lynx ✓ finished after" in lines[-1]
    assert "best val_acc 0.7" in lines[-1]
    assert lines[-1].endswith("model: storage/calm-lynx/model.pt")
    assert only_run(storage).config() == {"lr": 0.5, "epochs": 3}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", 0.1),
        ("1e-3", 0.001),
        ("3", 3),
        ("true", True),
        ("null", None),
        ("[1,2]", [1, 2]),
        ('"3"', "3"),
        ("adamw", "adamw"),
        ("", ""),
        ("a=b", "a=b"),
        ("NaN", "NaN"),
        ("1e999", "1e999"),
        ("99999999999999999999999", "99999999999999999999999"),
    ],
)
def test_a_value_is_what_it_spells_in_json_and_else_text(text, value):
    config, arguments = given.read([f"key={text}"], makes_args=True)
    assert (config, arguments) == ({"key": value}, [])
    assert type(config["key"]) is type(value)


def test_options_are_config_of_a_script_that_makes_an_args():
    config, rest = given.read(
        ["--learning-rate", "-0.1", "--amp", "--no-shuffle", "--name=x", "--sizes", "[1]"], makes_args=True
    )
    assert config == {"learning_rate": -0.1, "amp": True, "shuffle": False, "name": "x", "sizes": [1]}
    assert rest == []


def test_options_of_another_script_stay_its_own_and_its_config_comes_as_options(cli, tmp_path, storage):
    (tmp_path / "own.py").write_text("import sys; print(sys.argv[1:])")
    done = cli("run", "own.py", "lr=0.1", "--depth", "3", "--", "x=1", "--name")
    assert done.stdout == "['--lr=0.1', '--depth', '3', 'x=1', '--name']\n"
    assert only_run(storage).config() == {"lr": 0.1}


def test_a_word_that_is_no_setting_is_a_usage_error_and_makes_no_run(cli, script, storage):
    done = cli("run", "train.py", "fast", code=2)
    assert "'fast' is neither key=value nor --key value" in done.stderr
    assert not storage.exists()


def test_a_script_that_does_not_exist_is_an_error_without_a_traceback(cli, storage):
    done = cli("run", "missing.py", code=1)
    assert done.stderr.startswith("error: missing.py does not exist.")
    assert "Traceback" not in done.stderr
    assert not storage.exists()


def test_debug_shows_the_traceback_of_an_error(cli):
    assert "Traceback" in cli("run", "missing.py", code=1, env={"HYPERTUNER_DEBUG": "1"}).stderr


@pytest.mark.parametrize(
    ("source", "code", "state", "reason"),
    [
        ("raise ValueError('bad')", 1, "failed", "exit code 1"),
        ("import sys; sys.exit(7)", 7, "failed", "exit code 7"),
        ("pass", 0, "finished", "the script ended"),
        (
            "import hypertuner; hypertuner.Logger().log({'a': 1}); 1 / 0",
            1,
            "failed",
            "ZeroDivisionError: division by zero",
        ),
        ("import hypertuner; hypertuner.Logger().log({'a': 1}); exit(3)", 3, "failed", "exit code 3"),
    ],
)
def test_the_exit_code_is_the_scripts_and_the_run_says_how_it_ended(
    cli, tmp_path, storage, source, code, state, reason
):
    (tmp_path / "s.py").write_text(source)
    cli("run", "s.py", code=code)
    run = only_run(storage)
    assert run.state() == state
    assert run.newest_attempt().exit().reason == reason


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("hypertuner.Args(lr=0.1)", "ConfigError: lr='abc' is text."),
        ("hypertuner.Args()\nopen('data.csv')", "FileNotFoundError: [Errno 2] No such file or directory: 'data.csv'"),
    ],
)
def test_a_run_that_fails_before_its_first_record_says_why(cli, tmp_path, storage, source, reason):
    (tmp_path / "s.py").write_text(f"import hypertuner\n{source}")
    done = cli("run", "s.py", "lr=abc", "--name", "calm-lynx", code=1)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("calm-lynx ✗ failed after") and reason in last
    run = only_run(storage)
    assert [attempt.exit().reason for attempt in run.attempts()] == [reason]
    assert "Traceback" in run.newest_attempt().exit().traceback
    # A run that has ended is not begun again by whoever only names it.
    done = subprocess.run(
        [sys.executable, "s.py"],
        cwd=tmp_path,
        env=environment({"HYPERTUNER_RUN": "calm-lynx"}),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert len(run.attempts()) == 1


@posix
def test_a_script_killed_outright_is_failed_and_gives_128_and_the_signal(cli, tmp_path, storage):
    (tmp_path / "s.py").write_text("import hypertuner, os; hypertuner.Logger().log({'a': 1}); os.kill(os.getpid(), 9)")
    cli("run", "s.py", code=137)
    assert only_run(storage).state() == RunState.failed
    assert "SIGKILL" in only_run(storage).newest_attempt().exit().reason


@posix
@pytest.mark.parametrize("first", ["", "hypertuner.Args(lr=0.1); "], ids=["at-once", "after-args"])
def test_a_script_that_is_killed_together_with_its_command_before_it_logged_leaves_no_draft(tmp_path, storage, first):
    """Out of memory, the kernel may take both; and the terminal is closed, or the machine restarted, at any moment."""
    (tmp_path / "s.py").write_text(f"import hypertuner, os; {first}os.kill(os.getppid(), 9); os.kill(os.getpid(), 9)")
    done = subprocess.run(
        [sys.executable, "-m", "hypertuner", "run", "s.py", "--name", "calm-lynx"],
        cwd=tmp_path,
        env=environment(),
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    run = only_run(storage)
    until(lambda: run.state() != RunState.running)
    assert run.state() == RunState.crashed
    assert failure_of(run, run.config(), {}).title == "Its process is gone without saying goodbye"


@posix
def test_a_run_whose_command_was_killed_goes_on_can_be_stopped_and_says_how_it_ended(cli, tmp_path, storage):
    (tmp_path / "s.py").write_text(WAITS)
    command = [sys.executable, "-m", "hypertuner", "run", "s.py", "--name", "calm-lynx"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"READY\n"
        process.kill()
    run = only_run(storage)
    assert run.state() == RunState.running
    cli("stop", "calm-lynx")
    until(lambda: run.state() != RunState.running)
    assert run.state() == RunState.stopped


OF_MEMORY = "class OutOfMemoryError(RuntimeError): pass\n"
ENDS = {
    "exception": ("raise ValueError('no')", "exception", "ValueError: no"),
    "exit": ("import sys; sys.exit(3)", "exception", "exit code 3"),
    "memory": ("raise MemoryError('no room')", "cpu memory", "out of memory on the CPU: MemoryError: no room"),
    "cuda": (
        f"{OF_MEMORY}raise OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')",
        "gpu memory",
        "out of memory on the GPU: OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
    ),
    "cublas": (
        "raise RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`')",
        "gpu memory",
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED",
    ),
    "kill": ("import os; os.kill(os.getpid(), 9)", "killed", "killed by SIGKILL from outside"),
    "segfault": ("import os; os.kill(os.getpid(), 11)", "exception", "failed by SIGSEGV"),
}
SEEN_BY_ITSELF = ("exception", "exit", "memory", "cuda", "cublas")


def failed_for(run, cause, reason):
    """Whether a run failed for that, and opens on it with what helps against it."""
    ended = run.newest_attempt().exit()
    hint = failure_of(run, run.config(), {}).suggestion
    assert (ended.state, ended.cause) == ("failed", cause)
    assert ended.reason.startswith(reason)
    assert (hint and (hint.key, hint.instead)) == (("batch_size", 32) if "memory" in cause else None)


@posix
@pytest.mark.parametrize("how", ENDS)
def test_a_run_in_the_foreground_has_the_cause_and_the_hint_that_one_of_the_queue_has(cli, tmp_path, storage, how):
    source, cause, reason = ENDS[how]
    (tmp_path / "s.py").write_text(f"import hypertuner\nargs = hypertuner.Args(batch_size=64)\n{source}\n")
    cli("run", "s.py", code={"exit": 3, "kill": 137, "segfault": 139}.get(how, 1))
    failed_for(only_run(storage), cause, reason)


@pytest.mark.parametrize("how", SEEN_BY_ITSELF)
def test_a_script_that_python_starts_for_a_run_says_the_cause_itself(tmp_path, storage, how):
    source, cause, reason = ENDS[how]
    (tmp_path / "s.py").write_text(f"import hypertuner\nargs = hypertuner.Args(batch_size=64)\n{source}\n")
    run = make_run(tmp_path / "s.py", {"batch_size": 64}, name="calm-lynx")
    command = [sys.executable, "s.py", f"--config={run.layout.config}"]
    assert subprocess.run(command, cwd=tmp_path, env=environment(), check=False).returncode != 0
    failed_for(run, cause, reason)


def test_a_run_starts_from_the_weights_of_another(cli, script, storage):
    cli("run", "train.py", "--name", "calm-lynx")
    done = cli("run", "train.py", "lr=0.01", "--name", "bold-crow", "--from", "calm-lynx@best")
    assert done.stderr.startswith("run bold-crow: train.py lr=0.01, from calm-lynx@best\n")
    assert Storage(storage).open("bold-crow").record().parent.run == "calm-lynx"


def test_a_run_whose_parent_was_never_loaded_fails_although_the_script_ended_well(cli, script, tmp_path, storage):
    cli("run", "train.py", "--name", "calm-lynx")
    (tmp_path / "s.py").write_text("print('no hypertuner here')")
    done = cli("run", "s.py", "--name", "bold-crow", "--from", "calm-lynx", code=1)
    assert "parent never loaded" in done.stderr
    assert Storage(storage).open("bold-crow").state() == RunState.failed


@posix
def test_ctrl_c_stops_the_run(terminal, tmp_path, storage):
    (tmp_path / "s.py").write_text(WAITS)
    shell = terminal("run", "s.py")
    shell.read_until("READY")  # no part of a run's name
    shell.type("\x03")
    assert shell.wait() == 130
    run = only_run(storage)
    assert run.state() == RunState.stopped
    assert run.newest_attempt().exit().reason == "stopped by Ctrl-C"
    assert "■ stopped after" in shell.output


@posix
def test_ctrl_c_before_the_script_called_hypertuner_stops_the_run_too(terminal, tmp_path, storage):
    (tmp_path / "s.py").write_text("import time\nprint('READY', flush=True)\nfor _ in range(1200): time.sleep(0.05)")
    shell = terminal("run", "s.py")
    shell.read_until("READY")
    shell.type("\x03")
    assert shell.wait() == 130
    assert only_run(storage).state() == RunState.stopped


@posix
def test_ctrl_c_in_the_moment_before_the_script_is_started_stops_it(tmp_path, storage, monkeypatch):
    start_process = subprocess.Popen

    def interrupted(command, **options):
        if str(tmp_path / "s.py") in command:  # not what is asked of git
            os.kill(os.getpid(), signal.SIGINT)
        return start_process(command, **options)

    (tmp_path / "s.py").write_text(WAITS)
    run = make_run(tmp_path / "s.py", {})
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background inherit "ignored"
    try:
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", interrupted)
            assert run_in_foreground(run, tmp_path / "s.py") in (1, 130)  # 1 of a Python that had begun to start
    finally:
        signal.signal(signal.SIGINT, before)
    assert run.state() == RunState.stopped


@posix
def test_a_script_that_ignores_ctrl_c_goes_on_until_it_is_pressed_again_and_again(terminal, tmp_path, storage):
    (tmp_path / "s.py").write_text(
        "import signal, time; signal.signal(signal.SIGINT, lambda *_: print('caught', flush=True))\n"
        "print('READY', flush=True)\nend = time.monotonic() + 60\nwhile time.monotonic() < end: time.sleep(0.1)"
    )
    shell = terminal("run", "s.py")
    shell.read_until("READY")
    shell.type("\x03")
    shell.read_until("caught")
    # A press too many may find the command as it leaves.
    assert shell.wait(pressing="\x03", every_s=0.2) in (137, 130, -signal.SIGINT)
    ended = only_run(storage).newest_attempt().exit()
    assert (ended.state, ended.reason) == ("stopped", "stopped by Ctrl-C, and killed as it went on")


@posix
def test_breakpoint_works(terminal, tmp_path, storage):
    (tmp_path / "s.py").write_text("import hypertuner\nargs = hypertuner.Args(lr=0.1)\nbreakpoint()\nprint('after')\n")
    shell = terminal("run", "s.py", "lr=0.25")
    shell.read_until("(Pdb)")
    shell.type("p args.lr * 3\n")
    shell.read_until("0.75")
    shell.type("c\n")
    assert shell.wait() == 0
    assert "after" in shell.output


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_sent_to_the_command_alone_reaches_the_script(tmp_path, storage, number):
    (tmp_path / "s.py").write_text(WAITS)
    process = subprocess.Popen(
        [sys.executable, "-m", "hypertuner", "run", "s.py"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with process:
        assert process.stdout.readline() == b"READY\n"
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    assert only_run(storage).state() == RunState.stopped


def test_version_and_help_and_a_command_that_is_none(cli):
    assert cli("--version").stdout.startswith("hypertuner 2")
    assert "--from REF" in cli("run", "--help").stdout
    assert "Did you mean 'show'" in cli("shwo", code=2).stderr


def test_the_library_does_not_import_the_command_line(run_script):
    done = run_script("import hypertuner, sys, json; print(json.dumps([m in sys.modules for m in ('typer', 'rich')]))")
    assert json.loads(done.stdout) == [False, False]
