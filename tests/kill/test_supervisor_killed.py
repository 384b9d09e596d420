"""A supervisor is killed, or refused by its disk, at every operation: no run is lost, none starts twice."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from tests.conftest import script_environment

from hypertuner import files
from hypertuner.errors import StorageError
from hypertuner.queue import make, supervisor
from hypertuner.queue.drain import Drainer
from hypertuner.queue.executor import LocalExecutor
from hypertuner.queue.slots import Slots
from hypertuner.queue.waiting import Queue, Terms
from hypertuner.store import Run, RunState, Storage

SCRIPT = """
import os
import hypertuner
descriptor = os.open("ran.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(descriptor, b"x")
hypertuner.Logger().log({"loss": 1.0}, 0)
print("done")
"""


@pytest.fixture
def queue(storage: Path, tmp_path: Path, monkeypatch) -> Queue:
    monkeypatch.setenv("PYTHONPATH", script_environment({})["PYTHONPATH"])
    monkeypatch.setenv("HYPERTUNER_SYSTEM_EVERY_S", "0")
    (tmp_path / "train.py").write_text(SCRIPT)
    return Queue(Storage(storage))


def waiting(queue: Queue, name: str) -> Run:
    run = make.make_run(Path("train.py"), {}, name=name, storage=queue.storage)
    queue.add(run, (), Terms(retries=1), environment=script_environment({}))
    return run


def supervise(run: Run, plan) -> int:
    """Supervise the next attempt in a forked process in which `plan` is asked before each operation of the disk."""
    task = supervisor.Task(run.folder, run.next_number())
    pid = os.fork()
    if pid == 0:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        files._count = 0
        files.fault_plan = plan
        status = 99
        try:
            status = supervisor.main(task.to_json())
        except (OSError, StorageError):
            status = 1
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def times_ran(tmp_path: Path) -> int:
    path = tmp_path / "ran.txt"
    count = len(path.read_bytes()) if path.exists() else 0
    path.unlink(missing_ok=True)
    return count


def settled(run: Run) -> None:
    """Wait until nobody works on the run any more."""
    until = time.monotonic() + 60
    while run.state() == RunState.running and time.monotonic() < until:
        time.sleep(0.02)
    for attempt in run.attempts():
        owner = attempt.owner()
        assert owner is None or not owner.is_alive()


def drain(queue: Queue) -> None:
    Drainer(queue, LocalExecutor(queue.storage), Slots(1, use_gpus=False)).run()


def operations(queue: Queue, tmp_path: Path) -> int:
    """How many operations the two processes of a supervisor make, one after the other."""
    run = waiting(queue, "counts")
    seen = tmp_path / "operations.txt"

    def plan(operation) -> None:
        with seen.open("a") as file:
            file.write(f"{operation.number} {operation.name} {operation.path}\n")

    assert supervise(run, plan) == 0
    assert run.attempts()[0].exit().state == "finished"
    times_ran(tmp_path)
    return max(int(line.split()[0]) for line in seen.read_text().splitlines())


def test_a_supervisor_that_is_killed_at_any_operation_loses_no_run_and_starts_none_twice(queue, tmp_path):
    count = operations(queue, tmp_path)
    assert count >= 8
    voids = 0
    for number in range(1, count + 1):
        run = waiting(queue, f"killed-{number}")

        def plan(operation, at=number) -> None:
            if operation.number == at:
                os.kill(os.getpid(), signal.SIGKILL)

        supervise(run, plan)
        settled(run)
        ran = times_ran(tmp_path)
        assert ran <= 1
        if run.is_waiting():
            assert ran == 0, f"operation {number}: it ran, and would start once more as if it had not"
            voids += any(attempt.is_void() for attempt in run.attempts())
        drain(queue)
        again = times_ran(tmp_path)
        assert run.state() == RunState.finished
        assert ran + again <= len([attempt for attempt in run.attempts() if not attempt.is_void()])
        assert not run.layout.queued.exists()
    assert voids, "at some operation the attempt was claimed, and nothing of it started"


_OTHERS = (errno.EIO, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ESTALE)


@pytest.mark.parametrize("code", [errno.ENOSPC, *(pytest.param(code, marks=pytest.mark.slow) for code in _OTHERS)])
def test_a_supervisor_whose_disk_refuses_any_operation_loses_no_run(queue, tmp_path, code, monkeypatch):
    monkeypatch.setattr(supervisor, "_WRITES_FOR_S", 0.0)
    count = operations(queue, tmp_path)
    for number in range(1, count + 1):
        run = waiting(queue, f"refused-{number}")

        def plan(operation, at=number) -> None:
            if operation.number == at:
                raise OSError(code, os.strerror(code), operation.path)

        supervise(run, plan)
        settled(run)
        ran = times_ran(tmp_path)
        if run.is_waiting():
            assert ran == 0
        drain(queue)
        assert ran + times_ran(tmp_path) >= 1
        assert run.state() in (RunState.finished, RunState.failed)
        assert run.state() == RunState.finished or run.attempts()[-1].exit().reason


def test_nothing_of_a_killed_supervisor_is_left(queue, tmp_path):
    (tmp_path / "train.py").write_text("import time\ntime.sleep(600)\n")
    run = waiting(queue, "sleeps")
    task = supervisor.Task(run.folder, run.next_number())
    process = supervisor.start_detached(task, queue.entry(run).queued.python, dict(os.environ))
    until = time.monotonic() + 60
    while not run.attempts() or not psutil.Process(process.pid).children(recursive=True)[1:]:
        assert time.monotonic() < until
        time.sleep(0.02)
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(family[0].pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    process.communicate(timeout=60)
    assert run.attempts()[0].exit().cause == "lost"
