"""Making a run of a script and a config, and running it in the foreground.

In the foreground the script has the terminal to itself: progress bars, `breakpoint()` and Ctrl-C work, and the
caller's whole environment is inherited. Nothing ever passes through a shell.
"""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from hypertuner.checkpoint import reference
from hypertuner.checkpoint.parents import parent_of
from hypertuner.errors import ConfigError
from hypertuner.store import Run, Storage, capture, records
from hypertuner.store.active import ATTEMPT_VARIABLE, CONFIG_VARIABLE, RUN_VARIABLE
from hypertuner.store.process import ProcessIdentity


def make_run(
    script: Path,
    config: Mapping[str, Any],
    arguments: Sequence[str] = (),
    *,
    name: str | None = None,
    start_from: str | None = None,
    storage: Storage | None = None,
) -> Run:
    """A run that waits to be started, with the source as it is now.

    Args:
        config: what to set; the script's own defaults complete it when it starts.
        arguments: handed to the script as they are.
        start_from: reference to the checkpoint whose weights it begins from.

    Raises: ConfigError when there is no such script; RunExistsError; what resolving the reference raises.
    """
    if not script.is_file():
        raise ConfigError(f"No script {script}.\n  Name a Python file: hypertuner run train.py key=value", path=script)
    place = storage or Storage()
    parent = parent_of(reference.resolve(start_from, place), how="start from") if start_from else None
    record = records.RunRecord(
        script=str(script),
        arguments=capture.without_secrets(arguments),
        folder=str(Path.cwd()),
        created=records.now(),
        parent=parent.parent if parent else None,
    )
    run = place.create(name, record, config, parent_file=parent.file if parent else None)
    capture.keep_source(script.absolute(), run.layout.source)
    return run


def command(run: Run, script: Path, arguments: Sequence[str]) -> list[str]:
    """The command that starts a run's script: a list, for no shell."""
    given = [] if _reads_config(script) else [f"--{key}={_text(value)}" for key, value in run.config().items()]
    return [sys.executable, str(script), *given, *arguments]


def _reads_config(script: Path) -> bool:
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


def _text(value: Any) -> str:
    return value if isinstance(value, str) else records.to_text(value)


def environment(run: Run) -> dict[str, str]:
    """The caller's environment, with which run this is."""
    inherited = {name: value for name, value in os.environ.items() if name not in (ATTEMPT_VARIABLE, CONFIG_VARIABLE)}
    return {**inherited, RUN_VARIABLE: str(run.folder), "HYPERTUNER_STORAGE": str(run.folder.parent)}


def run_in_foreground(run: Run, script: Path, arguments: Sequence[str] = (), **streams: Any) -> int:
    """Run a script as the next attempt of `run`; its exit code, 128 + n when signal n ended it.

    `streams` go to `subprocess.Popen`; without any the script inherits the terminal.
    """
    with subprocess.Popen(command(run, script, arguments), env=environment(run), **streams) as process:
        with _signals_forwarded(process):
            code = process.wait()
        conclude(run, code)
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def _signals_forwarded(process: subprocess.Popen[Any]) -> Iterator[None]:
    # Ctrl-C reaches the script by itself: the terminal sends it to the whole group. It decides; we wait.
    def forward(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)

    def ignore(number: int, frame: FrameType | None) -> None:
        return None

    wanted: dict[int, Callable[[int, FrameType | None], None]] = {signal.SIGINT: ignore, signal.SIGTERM: forward}
    if hasattr(signal, "SIGHUP"):
        wanted[signal.SIGHUP] = forward
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def conclude(run: Run, code: int) -> None:
    """Write how the attempt ended where the script could not: killed, or it never called hypertuner."""
    attempt = run.newest_attempt()
    if attempt is None:
        identity = ProcessIdentity.mine()
        attempt = run.claim_attempt(
            records.Started(
                attempt=0,
                started_at=records.now(),
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
    if attempt.exit() is not None:
        return
    record = run.record()
    number = signal.Signals(-code).name if code < 0 else None
    state, reason = "finished", "the script ended"
    if code < 0:
        stopped = -code in (signal.SIGINT, signal.SIGTERM)
        state, reason = ("stopped" if stopped else "failed"), f"ended by {number}"
        if number == "SIGKILL":
            reason += " (out of memory on the CPU, or killed by hand)"
    elif code > 0:
        state, reason = "failed", f"exit code {code}"
    elif record is not None and record.parent is not None and not attempt.layout.parent.exists():
        state, reason = "failed", f"parent never loaded: the script made no Saver for {record.parent.reference}"
    run.end_attempt(
        attempt,
        records.Exit(
            state=state, code=code if code >= 0 else None, signal=number, reason=reason, ended_at=records.now()
        ),
    )
