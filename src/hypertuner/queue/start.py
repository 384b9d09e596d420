"""Making a run of a script and a config, and running the script as one of its attempts.

In the foreground the script has the terminal to itself: progress bars, `breakpoint()` and Ctrl-C work, and the
caller's whole environment is inherited. Nothing ever passes through a shell. However the script ends, also before
it ever called hypertuner or killed, the attempt says how.
"""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from hypertuner import files, settings
from hypertuner.checkpoint import reference
from hypertuner.checkpoint.parents import parent_of
from hypertuner.errors import ConfigError
from hypertuner.queue import launch
from hypertuner.store import Attempt, Run, Storage, capture, records
from hypertuner.store.active import ATTEMPT_VARIABLE, CONFIG_VARIABLE, RUN_VARIABLE
from hypertuner.store.process import ProcessIdentity

# Ctrl-C is the script's to answer. Whoever presses it three times within this many seconds wants it gone.
_INSISTS_WITHIN_S = 2.0
_INSISTS_AFTER = 3


def make_run(
    script: Path,
    config: Mapping[str, Any],
    arguments: Sequence[str] = (),
    *,
    name: str | None = None,
    start_from: str | None = None,
    storage: Storage | None = None,
    folder: Path | None = None,
    processes: int = 1,
) -> Run:
    """A run that waits to be started, with the source as it is now.

    Args:
        config: what to set; the script's own defaults complete it when it starts.
        arguments: handed to the script as they are.
        start_from: reference to the checkpoint whose weights it begins from.
        folder: the working folder of the script, the current one when None.
        processes: how many train it together, started by torchrun.

    Raises: ConfigError when there is no such script; RunExistsError; what resolving the reference raises.
    """
    check_script(script)
    if settings.is_off():
        raise ConfigError(
            f"HYPERTUNER_MODE=off: nothing is recorded, so there is no run to make.\n"
            f"  Unset it, or start the script alone: python {script}",
            key=settings.MODE.variable,
        )
    place = storage or Storage()
    parent = parent_of(reference.resolve(start_from, place), how="start from") if start_from else None
    where = (folder or Path.cwd()).absolute()
    record = records.RunRecord(
        script=_relative(script.absolute(), where),
        arguments=capture.without_secrets(arguments),
        folder=str(where),
        created=records.now(),
        parent=parent.parent if parent else None,
        processes=processes,
    )
    run = place.create(name, record, config, parent_file=parent.file if parent else None)
    capture.keep_source(script.absolute(), run.layout.source)
    return run


def check_script(script: Path) -> None:
    """Raises: ConfigError when there is no such script."""
    if not script.is_file():
        what = "is a folder, not a script" if script.is_dir() else "does not exist"
        raise ConfigError(f"{script} {what}.\n  Name a Python file: hypertuner run train.py key=value", path=script)


def _relative(path: Path, folder: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(path.relative_to(folder))
    return str(path)


def makes_args(script: Path) -> bool:
    """Whether the script makes an Args, which takes its config itself; found by reading, in its local modules too."""
    for path in capture.local_sources(script.absolute()):
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called == "Args":
                    return True
    return False


def command(run: Run, script: Path, arguments: Sequence[str]) -> list[str]:
    """The command that starts a run's script: a list, for no shell."""
    given = [] if makes_args(script) else [f"--{key}={_text(value)}" for key, value in run.config().items()]
    return [*launch.interpreter(launch.processes_of(run)), str(script.absolute()), *given, *arguments]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else records.to_text(value)


def environment(run: Run) -> dict[str, str]:
    """The caller's environment, with which run this is."""
    inherited = {name: value for name, value in os.environ.items() if name not in (ATTEMPT_VARIABLE, CONFIG_VARIABLE)}
    return {**inherited, RUN_VARIABLE: str(run.folder), "HYPERTUNER_STORAGE": str(run.folder.parent)}


def run_in_foreground(run: Run, script: Path, arguments: Sequence[str] = ()) -> int:
    """Run a script as the next attempt of `run`, with this terminal; its exit code, 128 + n when signal n ended it."""
    # In the terminal's own group the script may read from it (pdb), and Ctrl-C reaches it without us. Without a
    # terminal it gets a group of its own, so that a signal sent to our group reaches it once: from us.
    shares_terminal = _owns_terminal()
    with _conclusion(run) as ended:
        process = subprocess.Popen(
            command(run, script, arguments), env=environment(run), start_new_session=not shares_terminal
        )
        with process, _signals_passed_on(process, shares_terminal) as asked:
            code = process.wait()
            ended += [code, *asked]
    if code != 0 and asked and launch.processes_of(run) > 1:
        return 128 + asked[-1]  # torchrun makes a 1 of it
    return _exit_code(code)


def run_captured(
    run: Run,
    script: Path,
    arguments: Sequence[str] = (),
    *,
    folder: Path | None = None,
    meanwhile: Callable[[], None] = lambda: None,
    every_s: float = 0.1,
) -> tuple[int, str]:
    """Run a script as the next attempt of `run`; (its exit code, all it printed). `meanwhile` is called as it runs."""
    with _conclusion(run) as ended:
        process = subprocess.Popen(
            command(run, script, arguments),
            env=environment(run),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        with process:
            while True:
                try:
                    output, _ = process.communicate(timeout=every_s)
                    break
                except subprocess.TimeoutExpired:
                    meanwhile()
                except KeyboardInterrupt:
                    # The terminal sent it to the script as well: give that the time to say how it ended.
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=10)
                    process.kill()
                    ended.append(process.wait())
                    raise
        ended.append(process.returncode)
    meanwhile()
    return _exit_code(ended[0]), output


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


@contextlib.contextmanager
def _signals_passed_on(process: subprocess.Popen[Any], shares_terminal: bool) -> Iterator[list[int]]:
    """Wait through Ctrl-C; hand other signals to the script. A signal that was ignored (nohup) stays ignored.

    Gives the signals that came, in order.
    """
    pressed: list[float] = []
    asked: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)

    def interrupt(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        pressed.append(time.monotonic())
        insists = len(pressed) >= _INSISTS_AFTER and pressed[-1] - pressed[-_INSISTS_AFTER] < _INSISTS_WITHIN_S
        with contextlib.suppress(ProcessLookupError):
            if insists:
                launch.kill(process)
            elif not shares_terminal:
                os.killpg(process.pid, number)  # as the terminal does: its workers too

    wanted: dict[int, Callable[[int, FrameType | None], None]] = {signal.SIGINT: interrupt, signal.SIGTERM: forward}
    if hasattr(signal, "SIGHUP"):
        wanted[signal.SIGHUP] = forward
    wanted = {number: handler for number, handler in wanted.items() if signal.getsignal(number) != signal.SIG_IGN}
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield asked
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


@contextlib.contextmanager
def _conclusion(run: Run) -> Iterator[list[int]]:
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
            _conclude(run, ended[0], attempts, started_at, ended[1:])


def _conclude(run: Run, code: int, attempts_before: int, started_at: str, asked: Sequence[int]) -> None:
    found = run.attempts()
    # The script claims its attempt at its first call of hypertuner: one that never came that far gets it here.
    attempt = found[-1] if len(found) > attempts_before else _claim(run, started_at)
    said = attempt.exit()
    # A script writes its own end as it exits, before Python has turned `raise SystemExit(3)`, or a crash of a library
    # that is taken down after it, into the code: only who waits for the process sees that.
    is_wrong = said is not None and said.state == "finished" and code != 0
    better = launch.verdict(said, code, asked) if launch.processes_of(run) > 1 else None
    is_wrong = is_wrong or (said is not None and better is not None)
    if said is not None and not is_wrong:
        return
    state, reason = better or _read_code(run, attempt, code)
    ended = records.Exit(
        state=state,
        code=code if code >= 0 else None,
        signal=signal.Signals(-code).name if code < 0 else None,
        reason=reason,
        ended_at=records.now(),
        traceback=said.traceback if said and better else None,
        peak_memory_bytes=said.peak_memory_bytes if said else None,
        lost_records=said.lost_records if said else 0,
    )
    if is_wrong:
        files.replace(attempt.layout.exit, records.to_bytes(ended))
    else:
        run.end_attempt(attempt, ended)


def _read_code(run: Run, attempt: Attempt, code: int) -> tuple[str, str]:
    """(state, reason) of an attempt, as far as the return code of its process tells."""
    record = run.record()
    state, reason = "finished", "the script ended"
    if code < 0:
        number = signal.Signals(-code)
        stopped = number in (signal.SIGINT, signal.SIGTERM)
        state = "stopped" if stopped else "failed"
        reason = "stopped by Ctrl-C" if number == signal.SIGINT else f"{state} by {number.name}"
        if number.name == "SIGKILL":
            reason = "killed by SIGKILL (out of memory on the CPU, or by hand)"
    elif code > 0:
        state, reason = "failed", f"exit code {code}"
    elif record is not None and record.parent is not None and not attempt.layout.parent.exists():
        state, reason = "failed", f"parent never loaded: the script made no Saver for {record.parent.reference}"
    return state, reason


def _claim(run: Run, started_at: str) -> Attempt:
    identity = ProcessIdentity.mine()
    return run.claim_attempt(
        records.Started(
            attempt=0,
            started_at=started_at,
            host=identity.host,
            boot_id=identity.boot_id,
            pid_namespace=identity.pid_namespace,
            pid=identity.pid,
            process_started=identity.started,
            exit_by="supervisor",
            config=run.config(),
            **capture.gather(Path.cwd()),
        )
    )
