"""Running a script as the next attempt of a run.

In the foreground the script has the terminal to itself: progress bars, `breakpoint()` and Ctrl-C work, and the
caller's whole environment is inherited. Nothing ever passes through a shell. However the script ends, also before
it ever called hypertuner or killed, the attempt says how.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from hypertuner import files, settings
from hypertuner.queue import ending, launch, options
from hypertuner.queue.figures import largest_process_bytes, oom_kills, was_killed_for_memory
from hypertuner.store import Attempt, Run, capture, records, supervised
from hypertuner.store.active import CONFIG_VARIABLE, RESUME_VARIABLE
from hypertuner.store.ownership import ATTEMPT_VARIABLE
from hypertuner.store.together import RUN_VARIABLE

# Ctrl-C is the script's to answer. Whoever presses it three times within this many seconds wants it gone.
_INSISTS_WITHIN_S = 2.0
_INSISTS_AFTER = 3


def command(run: Run, script: Path, arguments: Sequence[str], processes: int) -> list[str]:
    """The command that starts a run's script: a list, for no shell."""
    return [*launch.interpreter(processes), str(script.absolute()), *options.words(script, run.config()), *arguments]


def environment(run: Run, resume: str | None = None) -> dict[str, str]:
    """The caller's environment, with which run this is, and which of its checkpoints it goes on from."""
    others = (ATTEMPT_VARIABLE, CONFIG_VARIABLE, RESUME_VARIABLE, supervised.VARIABLE)
    inherited = {name: value for name, value in os.environ.items() if name not in others}
    told = {RUN_VARIABLE: str(run.folder), settings.STORAGE.variable: str(run.folder.parent)}
    return {**inherited, **told, **({RESUME_VARIABLE: resume} if resume else {})}


def run_in_foreground(
    run: Run,
    script: Path,
    arguments: Sequence[str] = (),
    *,
    folder: Path | None = None,
    resume: str | None = None,
    processes: int | None = None,
) -> int:
    """Run a script as the next attempt of `run`, with this terminal; its exit code, 128 + n when signal n ended it.

    Args:
        folder: the working folder of the script, the current one when None.
        resume: the checkpoint of this run that it goes on from: 'last', 'best' or a step.
        processes: how many torchrun starts for this attempt; as many as the run was made with when None.
    """
    count = launch.processes_of(run) if processes is None else processes
    # In the terminal's own group the script may read from it (pdb), and Ctrl-C reaches it without us. Without a
    # terminal it gets a group of its own, so that a signal sent to our group reaches it once: from us.
    shares_terminal = _owns_terminal()
    signals = _Signals(shares_terminal)
    line = command(run, script, arguments, count)
    # Passed on until the end is written, too: who presses Ctrl-C once more meanwhile does not keep it from being so.
    with signals.passed_on():
        attempt = _claim(run, folder or Path.cwd(), line)
        killed_before = oom_kills()
        try:
            process = subprocess.Popen(
                line,
                env={**environment(run, resume), supervised.VARIABLE: str(attempt.number)},
                cwd=folder,
                start_new_session=not shares_terminal,
            )
        except OSError as error:
            run.end_attempt(attempt, ending.not_started(str(error)))
            raise
        with process:
            signals.started(process)
            code = process.wait()
        largest = largest_process_bytes()
        seen = ending.Seen(
            signals=tuple(signals.asked),
            killed_for_memory=was_killed_for_memory(killed_before, largest),
            peak_memory_bytes=largest,
        )
        ending.conclude(run, attempt, code, seen, count, functools.partial(_end, run))
    asked = signals.asked
    if code != 0 and asked and count:
        return 128 + asked[-1]  # torchrun makes a 1 of it
    return _exit_code(code)


def _claim(run: Run, folder: Path, line: Sequence[str]) -> Attempt:
    """The attempt, before its script is started: however soon both are killed, the run is one that was started."""
    about = {**capture.gather(folder), "argv": capture.without_secrets(line)}
    return run.claim_attempt(records.Started.here(exit_by="command", config=run.config(), **about))


def _end(run: Run, attempt: Attempt, ended: records.Exit) -> None:
    said = None if run.end_attempt(attempt, ended) else attempt.exit()
    if said is not None and said.state != ended.state:
        # Rank 0 of ranks that torchrun has started again has written its own end: right only as far as it knew.
        files.replace(attempt.layout.exit, records.to_bytes(ended))


def _exit_code(code: int) -> int:
    return code if code >= 0 else 128 - code


def _owns_terminal() -> bool:
    """Whether standard input is a terminal, and this process is in its foreground."""
    if not hasattr(os, "tcgetpgrp"):
        return True  # Windows: a console, which sends Ctrl-C to all of its processes
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


class _Signals:
    """What somebody sends in order to stop the script, handed on to it: Ctrl-C is waited through.

    It listens before the script is started: a Ctrl-C between the two is the script's as well.
    """

    def __init__(self, shares_terminal: bool) -> None:
        self.asked: list[int] = []
        """The signals that came, in order."""
        self._shares_terminal = shares_terminal
        self._process: subprocess.Popen[Any] | None = None
        self._pressed: list[float] = []

    @contextlib.contextmanager
    def passed_on(self) -> Iterator[None]:
        """Take the signals while the block runs. One that was ignored (nohup) stays ignored."""
        numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
        before = {
            number: signal.signal(number, self._take)
            for number in numbers
            if signal.getsignal(number) != signal.SIG_IGN
        }
        try:
            yield
        finally:
            for number, previous in before.items():
                signal.signal(number, previous)

    def started(self, process: subprocess.Popen[Any]) -> None:
        """From here on `process` gets them, those that came already first: as it began, it may have missed them."""
        self._process = process
        for number in list(self.asked):
            self._send(process, number)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.asked.append(number)
        if number == signal.SIGINT:
            self._pressed.append(time.monotonic())
        if self._process is None or self._process.returncode is not None:
            return
        pressed = self._pressed
        insists = len(pressed) >= _INSISTS_AFTER and pressed[-1] - pressed[-_INSISTS_AFTER] < _INSISTS_WITHIN_S
        if number == signal.SIGINT and insists:
            with contextlib.suppress(ProcessLookupError):
                launch.kill(self._process)
        elif number != signal.SIGINT or not self._shares_terminal:  # the terminal sends Ctrl-C to its whole group
            self._send(self._process, number)

    def _send(self, process: subprocess.Popen[Any], number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGINT and not self._shares_terminal:
                os.killpg(process.pid, number)  # as a terminal does: its workers too
            else:
                process.send_signal(number)
