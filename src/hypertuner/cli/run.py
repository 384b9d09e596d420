"""`hypertuner run`: one script, one config, in the foreground."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from hypertuner.cli import given
from hypertuner.cli.terminal import duration_text, plain, say, state_cell, value_text
from hypertuner.index.runs import read_row
from hypertuner.queue import launch, start
from hypertuner.store import Run, RunState, Storage
from hypertuner.store.monitor import watched_metric


def run(
    script: Path,
    words: Sequence[str],
    after_dashes: Sequence[str],
    *,
    name: str | None,
    start_from: str | None,
    storage: Storage,
    nproc: int = 1,
    gpus: int | None = None,
) -> int:
    """Make a run and run it; the script's exit code, and 1 for a run that failed although the script ended well."""
    start.check_script(script)
    processes = gpus or nproc
    if processes > 1:
        launch.check_processes(processes, gpus=gpus is not None)
    config, arguments = given.read(words, makes_args=start.makes_args(script))
    arguments += after_dashes
    made = start.make_run(
        script, config, arguments, name=name, start_from=start_from, storage=storage, processes=processes
    )
    settings = " ".join(f"{key}={value_text(value)}" for key, value in config.items())
    origin = f", from {start_from}" if start_from else ""
    several = f", {processes} processes" if processes > 1 else ""
    say(f"run {made.name}: {script}{f' {settings}' if settings else ''}{origin}{several}")
    code = start.run_in_foreground(made, script, arguments)
    say(_ending(made))
    return code or int(made.state() == RunState.failed)


def _ending(made: Run) -> str:
    row = read_row(made)
    mark = state_cell(row.state).text
    parts = [f"{made.name} {mark} after {duration_text(row.duration_s)}"]
    attempt = made.newest_attempt()
    ended = attempt.exit() if attempt is not None else None
    if ended is not None and row.state != "finished":
        parts.append(plain(ended.reason))
    if (watched := watched_metric(row.metrics, None, None)) is not None and watched[0] in row.best:
        parts.append(f"best {plain(watched[0])} {value_text(row.best[watched[0]])}")
    if made.layout.model.exists():
        parts.append(f"model: {shown_path(made.layout.model)}")
    return ", ".join(parts)


def shown_path(path: Path) -> str:
    """A path as it is typed from here."""
    with contextlib.suppress(ValueError):
        return plain(path.relative_to(Path.cwd()))
    return plain(path)
