"""Where attempts are started. Whatever it is, it starts the same supervisor, and the run's folder says the rest."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import Protocol

from hypertuner.queue import private
from hypertuner.queue.supervisor import TAKEN, Task, start_detached
from hypertuner.queue.waiting import Entry
from hypertuner.store import Storage, supervised
from hypertuner.store.active import CONFIG_VARIABLE, RESUME_VARIABLE
from hypertuner.store.ownership import ATTEMPT_VARIABLE
from hypertuner.store.together import RUN_VARIABLE

# What a script that queues runs was told about itself is not for those runs.
_OF_ONE_RUN = (RUN_VARIABLE, CONFIG_VARIABLE, RESUME_VARIABLE, ATTEMPT_VARIABLE, supervised.VARIABLE)


class Handle(Protocol):
    """A supervisor that was started."""

    def poll(self) -> str | None:
        """None while it goes on, then '', or what kept it from even claiming its attempt."""
        ...


class Executor(Protocol):
    """Starts supervisors on some machine. What they do, and whether they live, the run folders say."""

    def submit(self, entry: Entry, number: int, slots: int, gpus: Sequence[str]) -> Handle:
        """Start the supervisor of attempt `number` of a run.

        Raises: OSError when nothing could be started.
        """
        ...

    def poll(self) -> None:
        """Take notice of what has ended."""
        ...

    def close(self) -> None:
        """Let go of what it holds; what was started goes on."""
        ...


class LocalExecutor:
    """Starts supervisors on this machine, in sessions of their own."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._processes: list[_Process] = []

    def submit(self, entry: Entry, number: int, slots: int, gpus: Sequence[str]) -> Handle:
        """Start the supervisor of attempt `number`, with the interpreter and the environment it was queued with.

        Raises: OSError when the interpreter cannot be started.
        """
        environment = self.environment(entry, gpus)
        task = Task(entry.run.folder.absolute(), number, slots, tuple(gpus))
        process = _Process(start_detached(task, entry.queued.python, environment))
        self._processes = [one for one in self._processes if not one.is_over] + [process]
        return process

    def environment(self, entry: Entry, gpus: Sequence[str]) -> dict[str, str]:
        """The environment of a run's supervisor, and so of its script."""
        kept = private.read(self._storage.path, entry.queued.private)
        environment = dict(kept.environment if kept is not None else os.environ)
        for name in _OF_ONE_RUN:
            environment.pop(name, None)
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        return environment

    def poll(self) -> None:
        """Nothing to do: each process is asked by its handle."""

    def close(self) -> None:
        """Let go of the supervisors that still run."""
        for process in self._processes:
            process.let_go()


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
        with self._process.stderr as stream:
            os.set_blocking(stream.fileno(), False)
            said = (stream.read() or b"").decode(errors="replace").strip() if not stream.closed else ""
        if self._process.returncode in (0, 1, TAKEN):
            return ""
        return said.rpartition("\n")[2] or f"it ended with {self._process.returncode}"
