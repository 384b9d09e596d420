"""Starting the script of an attempt, as a child of its supervisor: plainly, or forked where that has imported torch."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypertuner import syscalls


@dataclass(frozen=True)
class Start:
    """A script to start: all that its process is made of."""

    command: Sequence[str]
    script: Path
    arguments: Sequence[str]
    """What the script itself gets."""
    is_plain: bool
    """Whether the command is `python SCRIPT ARGUMENTS`."""
    environment: Mapping[str, str]
    folder: Path
    beside: Path | None = None
    """A folder in which its modules are looked for last."""


Spawn = Callable[[Start, int], int]
"""Starts a script whose output goes to a file descriptor; returns its pid, a child of this process."""


def python_running(program: str, python: str = sys.executable) -> list[str]:
    """The command of a Python that runs a program of ours, in which `sys` is imported. Unlike with `-m` the current
    folder is not looked into: a `json.py` of the user's is not for us."""
    return [python, "-c", f"import sys; sys.path[:1] = sys.path[:1] if sys.path[0] else []; {program}"]


def as_process(start: Start, output: int) -> int:
    """Start a script as a process of its own; its pid."""
    parent = os.getpid()
    process = subprocess.Popen(
        start.command,
        env=with_folder(start.environment, start.beside),
        cwd=start.folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=lambda: syscalls.be_told_of_death(parent, signal.SIGKILL),
    )
    process.returncode = 0  # whoever reaps all children reaps this one: Popen is not to wait for it
    return process.pid


def with_folder(environment: Mapping[str, str], beside: Path | None) -> dict[str, str]:
    """An environment in which modules that are nowhere else are looked for `beside`.

    What stands in PYTHONPATH comes before Python's own modules, also while Python begins, and in all that the script
    starts: a folder with a `types.py` or a `json.py` is not put there.
    """
    if beside is None or _hides_modules(beside):
        return dict(environment)
    paths = filter(None, (environment.get("PYTHONPATH"), str(beside)))
    return {**environment, "PYTHONPATH": os.pathsep.join(paths)}


def _hides_modules(folder: Path) -> bool:
    """Whether a folder has modules with names of Python's own."""
    names = sys.stdlib_module_names
    with contextlib.suppress(OSError):
        return any((folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists() for name in names)
    return True


def as_fork(start: Start, output: int) -> int:
    """Start a script in a fork of this process, which comes from a zygote and has imported what takes long; its pid.

    What is more than `python SCRIPT ARGUMENTS` is started as a process of its own.
    """
    if not start.is_plain:
        return as_process(start, output)
    from hypertuner.queue import embark

    parent = os.getpid()
    # A signal that comes in between is not for handlers of ours in a process that is the script's.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = os.fork()
    if pid == 0:
        os.setsid()
        for descriptor, stream in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2)):
            os.dup2(descriptor, stream)
        syscalls.be_told_of_death(parent, signal.SIGKILL)
        embark.become_script(
            start.script,
            start.arguments,
            folder=start.folder,
            environment=start.environment,
            beside=start.beside,
        )
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid
