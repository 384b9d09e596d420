"""Where attempts are started. Whatever it is, it starts the same supervisor, and the run's folder says the rest."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from hypertuner import settings
from hypertuner.errors import QueueError
from hypertuner.queue import private
from hypertuner.queue.supervisor import TAKEN, Task, start_detached
from hypertuner.queue.waiting import Entry
from hypertuner.queue.zygote import Zygote
from hypertuner.store import Storage, supervised
from hypertuner.store.active import CONFIG_VARIABLE, RESUME_VARIABLE
from hypertuner.store.ownership import ATTEMPT_VARIABLE
from hypertuner.store.process import process_start
from hypertuner.store.together import RUN_VARIABLE

# What a script that queues runs was told about itself is not for those runs.
_OF_ONE_RUN = (RUN_VARIABLE, CONFIG_VARIABLE, RESUME_VARIABLE, ATTEMPT_VARIABLE, supervised.VARIABLE)
_WORTH_A_ZYGOTE = 2
"""How many more runs must wait for one to be started: it takes some seconds and some 250 MB."""
_ZYGOTES = 2
"""How many are kept: runs of one interpreter and one environment share one."""


class Handle(Protocol):
    """A supervisor that was started."""

    def poll(self) -> str | None:
        """None while it goes on, then '', or what kept it from even claiming its attempt."""
        ...


class Executor(Protocol):
    """Starts supervisors on some machine. What they do, and whether they live, the run folders say."""

    def submit(self, entry: Entry, number: int, slots: int, gpus: Sequence[str], more: int = 0) -> Handle:
        """Start the supervisor of attempt `number` of a run; `more` are likely to follow.

        Raises: OSError when nothing could be started.
        """
        ...

    def close(self) -> None:
        """Let go of what it holds; what was started goes on."""
        ...


class LocalExecutor:
    """Starts supervisors on this machine, in sessions of their own: from a zygote where there is one, else plainly."""

    def __init__(self, storage: Storage, *, zygote: bool = True) -> None:
        self._storage = storage
        self._processes: list[_Process] = []
        self._may_fork = zygote and sys.platform == "linux"
        self._zygotes: list[Zygote] = []

    def submit(self, entry: Entry, number: int, slots: int, gpus: Sequence[str], more: int = 0) -> Handle:
        """Start the supervisor of attempt `number`, with the interpreter and the environment it was queued with.

        Raises: OSError when the interpreter cannot be started.
        """
        environment = self._environment(entry, gpus)
        task = Task(entry.run.folder.absolute(), number, slots, tuple(gpus))
        python = entry.queued.python
        if (zygote := self._zygote(python, environment, more)) is not None:
            # What it may have started claims the attempt, or does not: starting once more does no harm.
            with contextlib.suppress(QueueError):
                return _Forked(zygote, task, environment)
        process = _Process(start_detached(task, python, environment))
        self._processes = [*(one for one in self._processes if not one.is_over), process]
        return process

    def prepare(self, entry: Entry, timeout_s: float) -> bool:
        """Start a zygote for runs like this one, and wait until it is ready; whether it is."""
        environment = self._environment(entry, ())
        until = time.monotonic() + timeout_s
        while self._zygote(entry.queued.python, environment, _WORTH_A_ZYGOTE) is None:
            if not self._may_fork or time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    def _environment(self, entry: Entry, gpus: Sequence[str]) -> dict[str, str]:
        """The environment of a run's supervisor, and so of its script."""
        kept = private.read(self._storage.path, entry.queued.private)
        environment = dict(kept.environment if kept is not None else os.environ)
        for name in _OF_ONE_RUN:
            environment.pop(name, None)
        if environment.get(settings.HOME_VARIABLE):
            # Found from here, it is to be found by a supervisor that stands elsewhere.
            environment[settings.HOME_VARIABLE] = str(settings.config_folder().absolute())
        environment.setdefault("PYTHONUNBUFFERED", "1")  # what a killed script has printed is to be read
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        return environment

    def _zygote(self, python: str, environment: Mapping[str, str], more: int) -> Zygote | None:
        """One that can fork this run now; one is started when there is none, and enough runs wait for it."""
        if not self._may_fork:
            return None
        try:
            for zygote in self._zygotes:
                if zygote.serves(python, environment):
                    return zygote if zygote.is_ready() else None
            if more >= _WORTH_A_ZYGOTE:
                while len(self._zygotes) >= _ZYGOTES:
                    self._zygotes.pop(0).close()
                self._zygotes.append(Zygote.start(python, environment))
        except QueueError:
            # Where one cannot be had, another try would not help.
            self._may_fork = False
            self._close_zygotes()
        return None

    def _close_zygotes(self) -> None:
        for zygote in self._zygotes:
            zygote.close()
        self._zygotes = []

    def close(self) -> None:
        """Let go of the supervisors that still run."""
        for process in self._processes:
            process.let_go()
        self._close_zygotes()


class _Process:
    """A supervisor that is a child of this process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def is_over(self) -> bool:
        """Whether it was seen to have ended."""
        return self._process.returncode is not None

    def let_go(self) -> None:
        """Ask no more: whoever comes after this process finds out by the run's folder."""
        if self._process.poll() is None:
            self._process.returncode = 0  # else Popen warns of what is meant: the process goes on
        if self._process.stderr is not None:
            self._process.stderr.close()

    def poll(self) -> str | None:
        """None while it runs; '' when it has ended by itself, else the last line of what it said."""
        if self._process.poll() is None:
            return None
        assert self._process.stderr is not None
        said = ""
        if not self._process.stderr.closed:
            with self._process.stderr as stream:
                os.set_blocking(stream.fileno(), False)
                said = (stream.read() or b"").decode(errors="replace").strip()
        if self._process.returncode in (0, 1, TAKEN):
            return ""
        return said.rpartition("\n")[2] or f"it ended with {self._process.returncode}"


class _Forked:
    """A supervisor that a zygote has forked: a child of that one, which tells nobody how it ended."""

    def __init__(self, zygote: Zygote, task: Task, environment: Mapping[str, str]) -> None:
        self._words = os.memfd_create("supervisor")
        try:
            self._pid = zygote.spawn(
                "hypertuner.queue.supervisor:main_in_zygote",
                task.to_json(),
                environment=environment,
                folder=Path("/"),
                output=self._words,
            )
        except QueueError:
            os.close(self._words)
            raise
        self._started = process_start(self._pid)

    def poll(self) -> str | None:
        """None while it runs, then '', or the last line of what it said."""
        if self._started is not None and process_start(self._pid) == self._started:
            return None
        if self._words < 0:
            return ""
        said = os.pread(self._words, 1 << 16, 0).decode(errors="replace").strip()
        os.close(self._words)
        self._words = -1
        return said.rpartition("\n")[2]
