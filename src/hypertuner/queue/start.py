"""Running a script as the next attempt of a run.

In the foreground the script has the terminal to itself: progress bars, `breakpoint()` and Ctrl-C work, and the
caller's whole environment is inherited. Nothing ever passes through a shell. However the script ends, also before
it ever called hypertuner or killed, the attempt says how.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from hypertuner import files, settings
from hypertuner.queue import ending, launch, options
from hypertuner.queue.code import makes_args
from hypertuner.store import Attempt, Run, capture, records, supervised
from hypertuner.store.active import CONFIG_VARIABLE, RESUME_VARIABLE
from hypertuner.store.ownership import ATTEMPT_VARIABLE
from hypertuner.store.together import RUN_VARIABLE

# Ctrl-C is the script's to answer. Whoever presses it three times within this many seconds wants it gone.
_INSISTS_WITHIN_S = 2.0
_INSISTS_AFTER = 3


def command(run: Run, script: Path, arguments: Sequence[str], processes: int) -> list[str]:
    """The command that starts a run's script: a list, for no shell."""
    return [*launch.interpreter(processes), str(script.absolute()), *words(script, run.config()), *arguments]


def words(script: Path, config: Mapping[str, Any]) -> list[str]:
    """The words that hand a config to a script: none where it makes an Args, which takes its config itself."""
    return [] if makes_args(script) else options.words(script, config)


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
    # Passed on until the end is written, too: who presses Ctrl-C once more meanwhile does not keep it from being so.
    with signals.passed_on(), _conclusion(run, count) as ended:
        process = subprocess.Popen(
            command(run, script, arguments, count),
            env=environment(run, resume),
            cwd=folder,
            start_new_session=not shares_terminal,
        )
        with process:
            signals.started(process)
            code = process.wait()
            ended += [code, *signals.asked]
    asked = signals.asked
    if code != 0 and asked and count:
        return 128 + asked[-1]  # torchrun makes a 1 of it
    return _exit_code(code)


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


@contextlib.contextmanager
def _conclusion(run: Run, processes: int) -> Iterator[list[int]]:
    """Write how the attempt ended where the script could not.

    The block appends the return code of the process, then the signals that somebody sent to stop it.
    """
    attempts = len(run.attempts())
    started_at = records.now()
    ended: list[int] = []
    try:
        yield ended
    finally:
        if ended:
            _conclude(run, ended[0], attempts, started_at, ended[1:], processes)


def _conclude(run: Run, code: int, attempts_before: int, started_at: str, asked: Sequence[int], processes: int) -> None:
    found = run.attempts()
    # The script claims its attempt at its first call of hypertuner: one that never came that far gets it here.
    attempt = found[-1] if len(found) > attempts_before else _claim(run, started_at)
    said = attempt.exit()
    # A script writes its own end as it exits, before Python has turned `raise SystemExit(3)`, or a crash of a library
    # that is taken down after it, into the code: only who waits for the process sees that.
    is_wrong = said is not None and said.state == "finished" and code != 0
    better = launch.verdict(said, code, asked) if processes else None
    if not processes and said is None and asked and code > 0:
        better = "stopped", launch.stopped_by(asked)  # Python that was stopped as it started ends with 1
    is_wrong = is_wrong or (said is not None and better is not None)
    if said is not None and not is_wrong:
        return
    ended = ending.told(code, said, *(better or ending.read_code(run, attempt, code)))
    if is_wrong:
        files.replace(attempt.layout.exit, records.to_bytes(ended))
    else:
        run.end_attempt(attempt, ended)


def _claim(run: Run, started_at: str) -> Attempt:
    about = capture.gather(Path.cwd())
    return run.claim_attempt(
        records.Started.here(exit_by="supervisor", config=run.config(), started_at=started_at, **about)
    )
