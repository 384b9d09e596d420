"""What a supervisor makes of its script, whatever that does; and what becomes of both when one is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import psutil
import pytest
from tests.conftest import script_environment
from tests.queue.conftest import Place, is_running, pids_of, until

from hypertuner.queue import make, private, supervisor
from hypertuner.queue.supervisor import ask_to_stop
from hypertuner.server.panel.failure import failure_of
from hypertuner.store import RunState, orders, records

TRAINS = """
    import time, hypertuner
    logger = hypertuner.Logger()
    for step in range(3000):
        logger.log({"loss": 1 / (step + 1)}, step)
        time.sleep(0.02)
"""


def test_a_script_that_logs_is_one_attempt_whose_end_the_supervisor_writes(place: Place):
    run = place.add(
        """
        import hypertuner
        args = hypertuner.Args(lr=0.5)
        hypertuner.Logger().log({"loss": args.lr}, 0)
        print("trained")
        """,
        "otter",
    )
    assert place.drain() == ["otter started", "otter ended"]
    (attempt,) = run.attempts()
    assert attempt.started.exit_by == "supervisor"
    assert run.state() == RunState.finished
    assert attempt.exit().reason == "the script ended"
    assert [record.values for record in run.logged()] == [{"loss": 0.5}]
    assert run.config() == {"lr": 0.5}, "the script's defaults complete the config of its first attempt"
    assert "trained\n" in place.output("otter")
    assert not run.layout.queued.exists()


def test_a_script_that_never_calls_hypertuner_is_supervised_all_the_same(place: Place):
    place.add("print('hello')", "plain")
    place.drain()
    assert place.run("plain").state() == RunState.finished
    assert place.output("plain") == "hello\n"


def test_the_script_has_a_session_of_its_own_no_input_and_whoever_queued_its_environment(place: Place, monkeypatch):
    monkeypatch.setenv("MY_SECRET_TOKEN", "s3cr3t")
    run = place.add(
        """
        import os, sys
        print(os.getsid(0) == os.getpid(), repr(sys.stdin.read()), os.environ["MY_SECRET_TOKEN"], os.getcwd())
        """,
        "session",
    )
    monkeypatch.delenv("MY_SECRET_TOKEN")
    place.drain()
    assert place.output("session") == f"True '' s3cr3t {place.folder}\n"
    written = b"".join(path.read_bytes() for path in run.folder.rglob("*.json"))
    assert b"s3cr3t" not in written


def test_arguments_reach_the_script_as_they_were_typed_secrets_too_and_are_not_recorded(place: Place):
    run = place.add("import sys; print(sys.argv[1:])", "secret", "--api-key", "sk-1234", "a b", "$(touch here)")
    place.drain()
    assert place.output("secret") == "['--api-key', 'sk-1234', 'a b', '$(touch here)']\n"
    written = b"".join(path.read_bytes() for path in run.folder.rglob("*.json"))
    assert b"sk-1234" not in written


def test_the_source_is_the_one_of_when_it_was_queued(place: Place):
    (place.folder / "model.py").write_text("NAME = 'as queued'\n")
    run = place.add("import model; print(model.NAME)", "frozen")
    (place.folder / "model.py").write_text("NAME = 'changed since'\n")
    place.drain()
    assert "as queued\n" in place.output("frozen")
    assert "the code has changed since it was queued (model.py)" in place.output("frozen")
    assert run.state() == RunState.finished


def test_live_code_is_the_one_of_when_it_starts(place: Place):
    (place.folder / "model.py").write_text("NAME = 'as queued'\n")
    place.add("import model; print(model.NAME)", "live", live_code=True)
    (place.folder / "model.py").write_text("NAME = 'changed since'\n")
    place.drain()
    assert place.output("live") == "changed since\n"


def test_a_script_that_reads_a_file_beside_itself_finds_it(place: Place):
    (place.folder / "words.txt").write_text("beside\n")
    place.add("import pathlib; print((pathlib.Path(__file__).parent / 'words.txt').read_text(), end='')", "beside")
    place.drain()
    assert place.output("beside") == "beside\n"


@pytest.mark.parametrize(
    "finds", ["os.path.dirname(sys.argv[0])", "sys.path[0]", "os.path.dirname(inspect.getfile(inspect.currentframe()))"]
)
def test_a_script_that_looks_beside_itself_in_another_way_finds_it(place: Place, finds):
    (place.folder / "words.txt").write_text("beside\n")
    place.add(f"import sys, os, inspect; print(open(os.path.join({finds}, 'words.txt')).read(), end='')", "beside")
    place.drain()
    assert place.output("beside") == "beside\n"


@pytest.mark.parametrize("name", ["json", "types", "select", "signal", "contextlib", "psutil"])
def test_a_module_beside_the_script_with_a_name_of_pythons_own_is_the_scripts_alone(place: Place, name):
    (place.folder / f"{name}.py").write_text("raise ImportError('not for the supervisor')\n")
    place.add(
        "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', 'import json, select'], cwd='/'))",
        "beside",
    )
    drainer = place.drainer()
    until(lambda: drainer.step() or not place.queue.entries() or place.events[-1].kind == "void")
    assert place.exit("beside").reason == "the script ended"


def test_a_module_that_only_a_string_names_is_found(place: Place):
    package = place.folder / "models"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "small.py").write_text("SIZE = 1\n")
    (place.folder / "plugin.py").write_text("PLUGIN = 2\n")
    place.add(
        """
        import importlib, models
        print(importlib.import_module("models.small").SIZE, importlib.import_module("plugin").PLUGIN)
        """,
        "dynamic",
    )
    place.drain()
    assert place.output("dynamic") == "1 2\n"


@pytest.mark.parametrize(
    ("source", "state", "cause", "reason"),
    [
        ("raise ValueError('no')", "failed", "exception", "ValueError: no"),
        ("import nowhere", "failed", "exception", "ModuleNotFoundError: No module named 'nowhere'"),
        ("def broken(:", "failed", "exception", "SyntaxError: invalid syntax"),
        ("import sys; sys.exit(3)", "failed", "exception", "exit code 3"),
        ("import os; os._exit(7)", "failed", "exception", "exit code 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "failed", "killed", "killed by SIGKILL"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "failed", "exception", "failed by SIGSEGV"),
        ("import os; os.kill(os.getpid(), 40)", "failed", "exception", "failed by signal 40"),
        ("raise MemoryError('no room')", "failed", "cpu memory", "MemoryError"),
        (
            "class OutOfMemoryError(RuntimeError): pass\nraise OutOfMemoryError('CUDA out of memory. Tried 2 GiB')",
            "failed",
            "gpu memory",
            "CUDA out of memory",
        ),
        (
            "raise RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`')",
            "failed",
            "gpu memory",
            "CUBLAS_STATUS_ALLOC_FAILED",
        ),
        ("import os; os.close(1); os.close(2)", "finished", "", "the script ended"),
    ],
    ids=[
        "exception",
        "import",
        "syntax",
        "exit",
        "_exit",
        "kill",
        "segfault",
        "realtime",
        "memory",
        "cuda",
        "cublas",
        "closes-stdout",
    ],
)
@pytest.mark.parametrize("calls", [False, True], ids=["plain", "logs"])
def test_each_end_has_its_state_its_cause_and_its_reason(place: Place, source, state, cause, reason, calls):
    before = "import hypertuner; hypertuner.Logger().log({'a': 1})\n" if calls and "broken" not in source else ""
    script = place.script("")
    script.write_text(before + source)
    place.add(script, "run", retries=0)
    place.drain()
    ended = place.exit("run")
    assert (ended.state, ended.cause) == (state, cause)
    assert reason in ended.reason


@pytest.mark.parametrize(
    ("source", "title", "code"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "Killed from outside", "SIGKILL"),
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'", 1),
        ("import sys; sys.exit(3)", "exit code 3", 3),
    ],
    ids=["kill", "import", "exit"],
)
@pytest.mark.parametrize("zygote", [False, True], ids=["plain", "forked"])
def test_a_script_that_ends_before_it_called_hypertuner_opens_on_why_and_on_its_last_words(
    place: Place, source, title, code, zygote
):
    run = place.add(place.script(f"print('reading data', flush=True)\n{source}"), "run", retries=0)
    place.drainer(zygote=zygote).run()
    assert run.state() == RunState.failed
    ended = place.exit("run")
    assert (ended.signal or ended.code) == code
    failure = failure_of(run, run.config(), {})
    assert failure is not None
    assert failure.title == title
    assert failure.last_lines[0] == "reading data"


def test_an_argument_that_the_script_does_not_know_is_the_reason(place: Place):
    place.add("import argparse; argparse.ArgumentParser().parse_args()", "run", "--lr=1")
    place.drain()
    assert place.exit("run").reason == "run.py: error: unrecognized arguments: --lr=1"


def test_a_script_whose_arguments_are_gone_is_not_started_without_them(place: Place):
    run = place.add("open('started', 'w').close()", "run", "--epochs", "100")
    for kept in private.folder_of(place.storage.path).iterdir():
        kept.unlink()
    if (pid := os.fork()) == 0:
        os._exit(supervisor.main(supervisor.Task(run.folder, 1).to_json()))
    os.waitpid(pid, 0)
    assert place.exit("run").cause == "not started"
    assert "arguments of run 'run' are not in" in place.exit("run").reason
    assert not (place.folder / "started").exists()


def test_a_thread_that_died_is_told_of_a_run_that_ended_well(place: Place):
    place.add(
        """
        import threading, hypertuner
        hypertuner.Logger().log({"a": 1})
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start(); thread.join()
        """,
        "thread",
    )
    place.drain()
    assert place.exit("thread").state == "finished"
    assert "a thread of it died of ZeroDivisionError" in place.exit("thread").reason


def test_what_a_script_leaves_behind_ends_with_it_also_a_daemon_in_a_session_of_its_own(place: Place):
    place.add(
        """
        import os, subprocess, sys, time
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                import signal
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                with open("daemon.pid", "w") as file:
                    file.write(str(os.getpid()))
                time.sleep(600)
            os._exit(0)
        while not os.path.exists("daemon.pid"):
            time.sleep(0.01)
        """,
        "daemon",
    )
    place.drain()
    assert place.exit("daemon").state == "finished"
    assert not psutil.pid_exists(int((place.folder / "daemon.pid").read_text()))


def test_a_script_that_prints_without_end_is_not_kept_waiting_and_its_first_and_last_words_stay(
    place: Place, monkeypatch
):
    monkeypatch.setenv("HYPERTUNER_OUTPUT_HEAD_BYTES", "100000")
    monkeypatch.setenv("HYPERTUNER_OUTPUT_PART_BYTES", "100000")
    place.add(
        """
        import sys
        print("first")
        for _ in range(300):
            sys.stdout.buffer.write(bytes(range(256)) * 400)
        print("\\nlast")
        """,
        "talks",
    )
    place.drain()
    folder = place.run("talks").attempts()[0].layout
    assert sum(path.stat().st_size for path in folder.folder.glob("output*")) <= 300_000
    said = place.hypertuner("logs", "talks")
    assert said.startswith("first\n") and said.endswith("last\n")


def test_a_script_that_is_stopped_may_save_and_is_stopped(place: Place):
    place.add(
        """
        import signal, time, hypertuner
        logger = hypertuner.Logger()
        logger.log({"loss": 1.0}, 0)
        def last(number, frame):
            logger.log({"loss": 0.5}, 1)
            raise SystemExit(0)
        signal.signal(signal.SIGTERM, last)
        time.sleep(600)
        """,
        "saves",
    )
    drainer = place.start("queue", "--cpu")
    until(lambda: is_running(place.run("saves")))
    time.sleep(0.2)
    said = place.hypertuner("stop", "saves")
    assert "saves ■ stopped" in said
    drainer.wait(timeout=60)
    ended = place.exit("saves")
    assert (ended.state, ended.cause) == ("stopped", "stopped")
    assert [record.values["loss"] for record in place.run("saves").logged()] == [1.0, 0.5]


def test_a_script_that_ignores_sigterm_is_killed_with_all_it_started_when_its_grace_is_over(place: Place):
    place.add(
        """
        import os, signal, time, hypertuner
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            os.setsid()
            time.sleep(600)
        hypertuner.Logger().log({"a": 1})
        time.sleep(600)
        """,
        "stubborn",
    )
    drainer = place.start("queue", "--cpu")
    until(lambda: is_running(place.run("stubborn")))
    guard, _ = pids_of(place.run("stubborn"))
    family = psutil.Process(guard).children(recursive=True)
    place.hypertuner("stop", "stubborn")
    drainer.wait(timeout=60)
    assert place.exit("stubborn").state == "stopped"
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive


def test_a_run_whose_time_is_up_is_stopped_and_says_so(place: Place):
    place.add(TRAINS, "long", time_limit_s=0.5)
    place.drain()
    ended = place.exit("long")
    assert (ended.state, ended.cause, ended.reason) == ("stopped", "time limit", "time limit of 0.5 s")


@pytest.mark.parametrize("victim", ["supervisor", "guard", "both"])
def test_when_a_supervisor_is_killed_nothing_it_started_goes_on_and_the_run_is_tried_again(place: Place, victim):
    run = place.add(TRAINS, "victim", retries=1)
    drainer = place.start("queue", "--cpu")
    until(lambda: is_running(run))
    guard, supervisor = pids_of(run)
    family = psutil.Process(guard).children(recursive=True)
    if victim == "both":
        os.kill(guard, signal.SIGSTOP)
    if victim != "guard":
        os.kill(supervisor, signal.SIGKILL)
    if victim != "supervisor":
        os.kill(guard, signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    until(lambda: len(run.attempts()) == 2 and is_running(run))
    first = run.attempts()[0].exit()
    assert (first.state, first.cause) == ("failed", "lost")
    assert run.queued().retries == 0
    ask_to_stop(run.attempts()[-1])
    drainer.wait(timeout=60)
    assert run.state() == RunState.stopped


def test_a_run_that_somebody_stopped_is_not_tried_again(place: Place):
    run = place.add(TRAINS, "once", retries=3)
    drainer = place.start("queue", "--cpu")
    until(lambda: is_running(run))
    place.hypertuner("stop", "once")
    drainer.wait(timeout=60)
    assert len(run.attempts()) == 1 and not run.layout.queued.exists()


def test_a_script_goes_on_from_its_last_checkpoint_when_it_is_tried_again(place: Place):
    pytest.importorskip("torch")
    place.add(
        """
        import os, signal, torch, hypertuner
        net = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        saver = hypertuner.Saver(net, optimizer=optimizer)
        logger = hypertuner.Logger()
        for epoch in range(saver.next_epoch, 4):
            logger.log({"loss": 1.0}, epoch)
            saver.save(epoch=epoch)
            print("epoch", epoch)
            if epoch == 1 and not os.path.exists("died"):
                open("died", "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
        """,
        "resumes",
        retries=1,
    )
    assert place.drain() == ["resumes started", "resumes again", "resumes started", "resumes ended"]
    assert place.output("resumes", 1).count("epoch") == 2
    assert [line for line in place.output("resumes", 2).splitlines() if line.startswith("epoch")] == [
        "epoch 2",
        "epoch 3",
    ]
    assert place.run("resumes").state() == RunState.finished


@pytest.mark.parametrize(("retry_on", "attempts"), [("infrastructure", 1), ("any", 3)])
def test_an_error_of_the_script_is_tried_again_only_when_asked(place: Place, retry_on, attempts):
    place.add("raise ValueError('no')", "wrong", retries=2, retry_on=retry_on)
    place.drain()
    assert len(place.run("wrong").attempts()) == attempts


def test_an_interpreter_that_is_gone_makes_the_run_fail_and_says_so(place: Place):
    import dataclasses

    run = place.add("print(1)", "gone")
    place.queue.write(run, dataclasses.replace(run.queued(), python="/nowhere/python"))
    place.drain()
    ended = place.exit("gone")
    assert (ended.state, ended.cause) == ("failed", "not started")
    assert "/nowhere/python" in ended.reason


def test_a_program_that_the_script_starts_first_takes_the_attempt_and_the_script_makes_no_mess(place: Place):
    (place.folder / "other.py").write_text("import hypertuner; hypertuner.Logger().log({'other': 1}, 0)\n")
    place.add(
        """
        import subprocess, sys, hypertuner
        hypertuner.Logger().log({"mine": 1}, 0)
        subprocess.run([sys.executable, "other.py"], check=True)
        """,
        "mine",
    )
    place.drain()
    assert [record.values for record in place.run("mine").logged()] == [{"mine": 1}]
    others = [run for run in place.storage.list() if run.name != "mine"]
    assert [[record.values for record in run.logged()] for run in others] == [[{"other": 1}]]


def test_what_the_machine_gave_is_recorded_unless_it_is_turned_off(place: Place, monkeypatch):
    monkeypatch.setenv("HYPERTUNER_SYSTEM_EVERY_S", "0.2")
    place.add("import time; time.sleep(1.2)", "sampled")
    monkeypatch.setenv("HYPERTUNER_SYSTEM_EVERY_S", "0")
    place.add("import time; time.sleep(1.2)", "silent")
    place.drain(slots=2)
    assert place.run("sampled").attempts()[0].layout.figures.stat().st_size > 100
    assert not place.run("silent").attempts()[0].layout.figures.exists()
    assert place.exit("sampled").peak_memory_bytes > 1_000_000


def test_stop_json_says_who_asked(place: Place):
    run = place.add(TRAINS, "asked")
    drainer = place.start("queue", "--cpu")
    until(lambda: is_running(run))
    ask_to_stop(run.attempts()[0])
    drainer.wait(timeout=60)
    stop = records.read(orders.Stop, run.attempts()[0].layout.stop)
    assert stop.by and place.exit("asked").reason == f"stopped by {stop.by}"


DDP = """
    import os, sys, torch, torch.distributed as dist, hypertuner
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    net = torch.nn.Linear(2, 1)
    saver = hypertuner.Saver(net)
    logger = hypertuner.Logger()
    for step in range(3):
        logger.log({"loss": 1.0 / (step + 1)}, step)
    saver.save()
    if "--fail" in sys.argv and rank == 1:
        raise RuntimeError("rank 1 is gone")
    dist.barrier()
    dist.destroy_process_group()
"""


def test_a_run_of_several_processes_takes_as_many_slots_and_is_one_attempt(place: Place):
    pytest.importorskip("torch")
    run = make.make_run(place.script(DDP), {}, name="ranks", storage=place.storage, processes=2)
    place.queue.add(run, (), environment=script_environment({}))
    place.drain(slots=2)
    assert run.state() == RunState.finished
    (attempt,) = run.attempts()
    assert attempt.started.slots == 2
    assert [record.step for record in run.logged()] == [0, 1, 2] and len(run.checkpoints()) == 1


def test_when_one_rank_fails_the_run_has_failed_and_names_what_it_died_of(place: Place):
    pytest.importorskip("torch")
    run = make.make_run(place.script(DDP), {}, ("--fail",), name="ranks", storage=place.storage, processes=2)
    place.queue.add(run, ("--fail",), environment=script_environment({}))
    place.drain(slots=2)
    assert run.state() == RunState.failed
    assert "another rank failed" in place.exit("ranks").reason or "rank 1 is gone" in place.exit("ranks").reason
    assert "rank 1 is gone" in place.output("ranks")


@pytest.mark.root
def test_a_disk_that_is_full_when_a_run_ends_gets_its_end_as_soon_as_there_is_room(place: Place, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    try:
        small = Place(disk)
        small.add(
            """
            import os
            with open(os.environ["HYPERTUNER_STORAGE"] + "/../filler", "wb", buffering=0) as file:
                try:
                    for _ in range(300):
                        file.write(bytes(4096))
                except OSError:
                    pass
            print("x" * 200_000)
            """,
            "fills",
        )
        drainer = small.drainer()
        until(lambda: drainer.step() or ((disk / "filler").exists() and not small.run("fills").attempts()[0].script()))
        attempt = small.run("fills").attempts()[0]
        until(lambda: len(psutil.Process(attempt.started.pid).children(recursive=True)) == 1)
        assert small.run("fills").state() == RunState.running, "its end is still to be written"
        (disk / "filler").unlink()
        until(lambda: drainer.step() or not drainer.running)
        assert small.run("fills").state() == RunState.finished
        assert "bytes of output could not be written" in small.output("fills")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
def test_ten_gigabytes_of_output_keep_nobody_waiting(place: Place):
    place.add("import os\nline = b'x' * 99 + b'\\n'\nfor _ in range(10_000): os.write(1, line * 10_000)", "talks")
    place.drain()
    assert place.run("talks").state() == RunState.finished
    folder = place.run("talks").attempts()[0].layout.folder
    assert sum(path.stat().st_size for path in folder.glob("output*")) < 60_000_000


def test_what_a_run_is_started_with_is_for_its_owners_eyes(place: Place):
    place.add("pass", "private")
    (kept,) = (place.folder / "home" / "queued").glob("*/*.json")
    assert kept.stat().st_mode & 0o777 == 0o600 and kept.parent.stat().st_mode & 0o777 == 0o700
