"""A queue as people use it: commands in processes of their own, real supervisors, real scripts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests.conftest import script_environment

from hypertuner.queue import make
from hypertuner.queue.drain import Drainer, Event
from hypertuner.queue.executor import LocalExecutor
from hypertuner.queue.slots import Slots
from hypertuner.queue.waiting import Queue, Terms
from hypertuner.store import Run, RunState, Storage


def until(condition: Callable[[], object], timeout: float = 60) -> None:
    """Wait until `condition` holds; the test fails when it does not in time."""
    ends = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > ends:
            pytest.fail("it did not come to that in time")
        time.sleep(0.02)


class Place:
    """One storage with its queue, in this process and by the command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = Storage(folder / "storage")
        self.queue = Queue(self.storage)
        self.events: list[Event] = []

    def script(self, source: str, name: str = "train.py") -> Path:
        path = self.folder / name
        path.write_text(textwrap.dedent(source))
        return path

    def add(self, source: str | Path, name: str | None = None, *arguments: str, **terms: object) -> Run:
        """A run of a script, waiting."""
        script = source if isinstance(source, Path) else self.script(source, f"{name or 'train'}.py")
        run = make.make_run(script, {}, arguments, name=name, storage=self.storage)
        self.queue.add(run, arguments, Terms(**terms), environment=script_environment({}))
        return run

    def drainer(self, slots: int = 1, *, zygote: bool = False) -> Drainer:
        return Drainer(
            self.queue, LocalExecutor(self.storage, zygote=zygote), Slots(slots, use_gpus=False), self.events.append
        )

    def drain(self, slots: int = 1) -> list[str]:
        """Drain until nothing waits; what happened, as 'name kind'."""
        self.drainer(slots).run()
        return [f"{event.entry.name} {event.kind}" for event in self.events]

    def run(self, name: str) -> Run:
        return Run(self.storage.path / name)

    def exit(self, name: str, attempt: int = 1):
        return self.run(name).attempts()[attempt - 1].exit()

    def output(self, name: str, attempt: int = 1) -> str:
        return self.run(name).attempts()[attempt - 1].layout.output.read_text()

    def start(self, *words: object) -> subprocess.Popen[bytes]:
        """A command in a process of its own; what it prints goes into `said.txt`."""
        with (self.folder / "said.txt").open("wb") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "hypertuner", *map(str, words)],
                stdout=said,
                stderr=said,
                stdin=subprocess.DEVNULL,
                env=script_environment({}),
                cwd=self.folder,
            )

    def hypertuner(self, *words: object, code: int = 0) -> str:
        """What a command printed on both streams."""
        done = subprocess.run(
            [sys.executable, "-m", "hypertuner", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            env=script_environment({}),
            cwd=self.folder,
            timeout=120,
            check=False,
        )
        print(f"$ hypertuner {' '.join(map(str, words))}\n{done.stdout}")
        assert done.returncode == code, done.stdout
        return done.stdout


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("PYTHONPATH", script_environment({})["PYTHONPATH"])
    monkeypatch.setenv("HYPERTUNER_GRACE_S", "1")
    made = Place(tmp_path)
    yield made
    # What a failed test has left running would disturb the others.
    for process in psutil.process_iter(["pid", "environ"]):
        environment = process.info["environ"] or {}
        if environment.get("HYPERTUNER_STORAGE") == str(made.storage.path) and process.pid != os.getpid():
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)


def pids_of(run: Run) -> tuple[int, int]:
    """(guard, supervisor) of the newest attempt of a run that runs."""
    started = run.attempts()[-1].started
    assert started is not None
    until(lambda: psutil.Process(started.pid).children())
    return started.pid, psutil.Process(started.pid).children()[0].pid


def is_running(run: Run) -> bool:
    return run.state() == RunState.running and run.attempts()[-1].layout.metrics.exists()
