"""`hypertuner show`: one run, or one model file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypertuner.checkpoint import offer, pins, reference
from hypertuner.checkpoint.format import archive
from hypertuner.cli import terminal
from hypertuner.cli.doing import doing
from hypertuner.cli.run import shown_path
from hypertuner.cli.show_attempts import (
    more_facts,
    progress_in,
    progress_words,
    show_attempts,
    show_end,
    show_machine,
    waits_words,
)
from hypertuner.cli.show_file import facts_of, show_file
from hypertuner.cli.terminal import Cell, Column, plain, show_table, value_text
from hypertuner.errors import StorageError
from hypertuner.index.runs import read_row, runs
from hypertuner.index.table import RunRow, RunTable
from hypertuner.store import Run, RunState, Storage
from hypertuner.store.direction import direction
from hypertuner.store.run import is_run_folder
from hypertuner.store.written import FileClock

_SPARKS = "▁▂▃▄▅▆▇█"
_SPARK_PLACES = 24


def show(what: str, storage: Storage, *, as_json: bool = False) -> None:
    """Print a run, or a file. Raises: RunNotFoundError, CheckpointNotFoundError, CorruptFileError."""
    run = run_named(what, storage)
    if run is None:
        path = reference.resolve(what, storage).path
        if as_json:
            terminal.show_json(facts_of(path))
        else:
            show_file(path)
    elif as_json:
        terminal.show_json(_facts(run))
    else:
        _show_run(run, storage)


def run_named(what: str, storage: Storage) -> Run | None:
    """The run that is called so, or lies there; None for a file and for one of a run's checkpoints."""
    path = Path(what)
    if is_run_folder(path):
        return Run(path.absolute())
    if "@" in what or "/" in what or path.is_file():
        return None
    return storage.open(what)


@dataclass(frozen=True)
class _Saved:
    """One checkpoint as it is listed."""

    path: Path
    step: int
    attempt: int
    epoch: int | None
    nbytes: int
    metrics: dict[str, Any]
    monitor: str | None
    is_best: bool
    is_model: bool
    is_pinned: bool
    is_thinned: bool
    damage: str | None


def _checkpoints(run: Run) -> list[_Saved]:
    files = run.checkpoints()
    best, pinned = offer.best_of(files), pins.pinned(run, files)
    offered = run.layout.model.stat() if run.layout.model.exists() else None
    found = []
    for file in files:
        about: dict[str, Any] = {}
        metrics: dict[str, Any] = {}
        damage, is_thinned = None, False
        try:
            index = archive.inspect(file.path)
            about, metrics = index.run, index.metrics
            is_thinned = bool(index.extra.get("thinned"))
        except StorageError as error:
            damage = str(error)
        status = file.path.stat()
        found.append(
            _Saved(
                path=file.path,
                step=file.step,
                attempt=file.attempt,
                epoch=about.get("epoch"),
                nbytes=status.st_size,
                metrics=metrics,
                monitor=about.get("monitor"),
                is_best=best is not None and best.path == file.path,
                is_model=offered is not None and (status.st_dev, status.st_ino) == (offered.st_dev, offered.st_ino),
                is_pinned=file in pinned,
                is_thinned=is_thinned,
                damage=damage,
            )
        )
    return found


def _facts(run: Run) -> dict[str, Any]:
    row = read_row(run)
    (facts,) = RunTable([row]).to_json()
    attempt = run.newest_attempt()
    ended = attempt.exit() if attempt is not None else None
    facts |= {
        "folder": str(run.folder),
        "attempts": len(run.attempts()),
        "reason": ended.reason if ended else None,
        "traceback": ended.traceback if ended else None,
        **more_facts(run, row),
        "checkpoint_files": [
            {
                "path": str(saved.path),
                "step": saved.step,
                "attempt": saved.attempt,
                "epoch": saved.epoch,
                "nbytes": saved.nbytes,
                "metrics": saved.metrics,
                "is_best": saved.is_best,
                "is_model": saved.is_model,
                "is_pinned": saved.is_pinned,
                "is_thinned": saved.is_thinned,
                "damage": saved.damage,
            }
            for saved in _checkpoints(run)
        ],
    }
    safe: dict[str, Any] = terminal.json_safe(facts)
    return safe


def _show_run(run: Run, storage: Storage) -> None:
    row = read_row(run)
    state = doing(row, FileClock(run.folder.parent))
    terminal.show_parts((plain(run.name), "bold"), ("  ", ""), (state.text, state.style))
    attempts = len(run.attempts())
    facts = [
        ("differs", _label(run, row, storage)),
        ("script", row.script),
        ("made" if row.state in (RunState.queued, RunState.draft) else "started", terminal.since_text(row.created)),
        ("took", terminal.duration_text(row.duration_s) if row.state != RunState.running else ""),
        ("progress", progress_words(progress_in(run, row))),
        ("waits", waits_words(run)),
        ("attempts", attempts if attempts > 1 else None),
        ("tags", ", ".join(row.tags)),
        ("archived", "yes" if row.archived else ""),
        ("note", row.note),
        ("from", _lineage(run)),
        ("files", f"{shown_path(run.folder)} ({terminal.size_text(row.nbytes)})"),
    ]
    terminal.show_facts(facts)
    show_end(run)
    show_attempts(run)
    if row.config:
        terminal.show_title("config")
        terminal.show_facts([(key, value_text(value)) for key, value in row.config.items()])
    _show_metrics(run, row)
    show_machine(run)
    _show_checkpoints(run)


def _label(run: Run, row: RunRow, storage: Storage) -> str:
    """What tells it from the other runs of its script."""
    if run.folder.parent != storage.path:
        return ""
    siblings = RunTable(other for other in runs(storage=storage) if other.script == row.script)
    return next((other.label for other in siblings if other.name == run.name), "")


def _lineage(run: Run) -> str:
    """The checkpoints that a run goes back to, the nearest first; of a run that was renamed since, its name now."""
    steps: list[str] = []
    seen = {run.name}
    child: Run | None = run
    while child is not None and (record := child.record()) is not None and record.parent is not None:
        parent = record.parent
        child = child.parent()
        was, at, which = parent.reference.partition("@")
        if child is not None and was == parent.run and was != child.name:
            name = f"{child.name}{at}{which}, then called {was}"
        else:
            name = parent.reference
        steps.append(f"{name} (step {parent.step})" if parent.step is not None else name)
        if child is None or child.name in seen:
            break
        seen.add(child.name)
    return " ← ".join(steps)


def _show_metrics(run: Run, row: RunRow) -> None:
    series: dict[str, list[float]] = {}
    for record in run.logged():
        for name, value in record.values.items():
            if terminal.is_number(value):
                series.setdefault(name, []).append(value)
    if not series:
        return
    names = list(series)
    terminal.show_title("metrics")
    show_table(
        [
            Column("metric", [Cell(plain(name)) for name in names]),
            Column("last", [Cell(value_text(row.metrics.get(name))) for name in names], is_number=True),
            Column("best", [_best(name, row) for name in names], is_number=True, rank=1),
            Column("first to last", [Cell(sparkline(series[name]), "cyan") for name in names], rank=2),
            Column("values", [Cell(f"{len(series[name]):,}", "dim") for name in names], is_number=True, rank=3),
        ]
    )


def _best(name: str, row: RunRow) -> Cell:
    if name not in row.best:
        return Cell("")
    return Cell(f"{value_text(row.best[name])} {'↓' if direction(name) == 'min' else '↑'}", "bold")


def sparkline(values: Iterable[float], places: int = _SPARK_PLACES) -> str:
    """A curve in one line. Of each stretch it shows the value farthest from the middle: a spike of one step is seen.

    `×` marks a stretch with NaN or an infinity in it.
    """
    numbers = list(values)
    finite = sorted(value for value in numbers if math.isfinite(value))
    if not finite:
        return "×" * min(len(numbers), places)
    low, high, middle = finite[0], finite[-1], finite[len(finite) // 2]
    # In halves: the span of the largest floats is itself an infinity.
    span = high / 2 - low / 2
    count = min(len(numbers), places)
    signs = []
    for place in range(count):
        stretch = numbers[place * len(numbers) // count : (place + 1) * len(numbers) // count]
        if not all(map(math.isfinite, stretch)):
            signs.append("×")
            continue
        value = max(stretch, key=lambda value: abs(value / 2 - middle / 2))
        share = (value / 2 - low / 2) / span if span else 0.5
        signs.append(_SPARKS[min(int(share * len(_SPARKS)), len(_SPARKS) - 1)])
    return "".join(signs)


def _show_checkpoints(run: Run) -> None:
    found = _checkpoints(run)
    terminal.show_title("checkpoints")
    if not found:
        there = (
            f"  {shown_path(run.layout.model)}" if run.layout.model.exists() else "  none; `saver.save()` writes one"
        )
        terminal.show_line(there)
        return
    monitor = next((saved.monitor for saved in reversed(found) if saved.monitor), None)
    columns = [
        Column("step", [Cell(str(saved.step)) for saved in found], is_number=True),
        Column("epoch", [Cell(value_text(saved.epoch)) for saved in found], is_number=True, rank=3),
        Column("size", [Cell(terminal.size_text(saved.nbytes)) for saved in found], is_number=True, rank=2),
    ]
    if monitor:
        shown = [Cell(value_text(saved.metrics.get(monitor))) for saved in found]
        columns.append(Column(plain(monitor), shown, is_number=True, rank=1))
    columns += [
        Column("", [_marks(saved) for saved in found]),
        Column("file", [Cell(shown_path(saved.path), "dim") for saved in found], rank=4),
    ]
    show_table([column for column in columns if any(cell.text for cell in column.cells)])


def _marks(saved: _Saved) -> Cell:
    if saved.damage:
        return Cell("damaged", "bold red")
    told = (
        ("best", saved.is_best),
        ("model.pt", saved.is_model),
        ("pinned", saved.is_pinned),
        ("weights only", saved.is_thinned),
    )
    return Cell(", ".join(word for word, holds in told if holds), "green" if saved.is_best or saved.is_model else "")
