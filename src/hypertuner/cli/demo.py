"""`hypertuner demo`: six runs of a small net on real digits, and a seventh from the best one's weights."""

from __future__ import annotations

import contextlib
import importlib.resources
import importlib.util
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hypertuner import files, settings
from hypertuner.cli import terminal
from hypertuner.cli.ls import show_runs
from hypertuner.cli.terminal import plain, value_text
from hypertuner.errors import HypertunerError, MissingExtraError
from hypertuner.index.runs import read_row
from hypertuner.index.table import RunTable
from hypertuner.queue import make, start
from hypertuner.store import Run, Storage

_SCRIPT = "digits.py"
_METRIC = "val_accuracy"
_EPOCHS = 3  # few enough that the seventh run has something to gain
_CONFIGS: tuple[dict[str, Any], ...] = (
    {"learning_rate": 0.003},
    {"learning_rate": 0.03},
    {"learning_rate": 0.3},
    {"learning_rate": 0.03, "channels": 4},
    {"learning_rate": 0.03, "dropout": 0.5},
    {"learning_rate": 0.003, "optimizer": "adamw"},
)


@dataclass(frozen=True)
class _Outcome:
    """One run of the demo, and its metric over its steps."""

    run: Run
    curve: dict[int, float]

    @property
    def best(self) -> float:
        return max(self.curve.values())


class DemoError(HypertunerError):
    """A run of the demo failed; the message holds what its script printed last."""


def demo(folder: Path) -> int:
    """Make the folder and run the demo in it. Raises: MissingExtraError before anything is made; DemoError."""
    for package, name in (("torch", "torch"), ("sklearn", "scikit-learn")):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(name, "demo", "hypertuner demo")
    began = time.monotonic()
    script = _copied_script(folder)
    storage = Storage(folder.absolute() / "storage")
    terminal.show_line(f"Six configs of {_SCRIPT}, a small convolutional net on real handwritten digits:", "bold")
    with _progress() as bar:
        outcomes = [_run(script, {**config, "epochs": _EPOCHS}, storage, bar) for config in _CONFIGS]
    best = max(outcomes, key=lambda outcome: outcome.best)
    terminal.show_line()
    show_runs(RunTable(read_row(outcome.run) for outcome in outcomes).sort(f"best({_METRIC})", descending=True))

    reference = f"{best.run.name}@best"
    rate = best.run.effective_config()["learning_rate"] / 10
    terminal.show_line()
    terminal.show_line(
        f"{best.run.name} did best. A seventh run starts from its weights, with a tenth of the learning rate:", "bold"
    )
    with _progress() as bar:
        config = {**best.run.effective_config(), "learning_rate": rate}
        seventh = _run(script, config, storage, bar, start_from=reference)
    _tell(best, seventh, rate)
    terminal.show_line(f"\nThat took {time.monotonic() - began:.0f} s. Three things to try next:", "bold")
    for command in next_commands(folder, seventh):
        terminal.show_line(f"  {command}")
    return 0


def _tell(best: _Outcome, seventh: _Outcome, rate: float) -> None:
    """Show that the seventh began where the best ended, and what it gained."""
    first = seventh.curve[min(seventh.curve)]
    gain = seventh.best - best.best
    gained = f"gained {100 * gain:.2f} points" if gain > 0 else "gained nothing: that was its best already"
    name = max(len(best.run.name), len(seventh.run.name))
    terminal.show_line()
    terminal.show_line(f"  {best.run.name:<{name}}  best {_METRIC} {best.best:.4f}")
    terminal.show_line(
        f"  {seventh.run.name:<{name}}  began at          {first:.4f}"
        + ("  where the best ended: its weights were all there before the first step" if first == best.best else "")
    )
    terminal.show_line(f"  {seventh.run.name:<{name}}  best {_METRIC} {seventh.best:.4f}  {gained}")
    terminal.show_line(f"  model: {seventh.run.layout.model}  (weights and config in one file)", "dim")


def _on_path() -> str:
    """What makes `hypertuner` a command that can be typed, where the environment it is in is not activated."""
    here = Path(sys.executable).parent
    found = shutil.which("hypertuner")
    if found is not None and Path(found).parent == here:
        return ""
    return f"export PATH={shlex.quote(str(here))}:$PATH; "


def next_commands(folder: Path, seventh: _Outcome) -> list[str]:
    """Commands that work when they are pasted where the demo was started."""
    name = seventh.run.name
    # Where the user has named a storage of their own, the commands must say which one they mean.
    place = " --storage storage" if os.environ.get(settings.STORAGE.variable) else ""
    return [
        f"{_on_path()}cd {shlex.quote(str(folder))}",
        f"hypertuner ls '{_METRIC} > 0.95' --sort {_METRIC}{place}",
        f"hypertuner show {name}{place}",
        f"hypertuner run {_SCRIPT} --from {name}@best learning_rate=0.0001 epochs=3{place}",
    ]


def _copied_script(folder: Path) -> Path:
    """The example in the demo's folder; one that somebody changed stays as it is."""
    source = _shipped_script()
    target = folder / _SCRIPT
    files.make_folder(folder.absolute())
    try:
        files.put_new(target.absolute(), source)
    except FileExistsError:
        if target.read_bytes() != source:
            terminal.say(f"{plain(target)} differs from the one that is shipped; it stays as it is, and is used.")
    return target


def _shipped_script() -> bytes:
    packaged = importlib.resources.files("hypertuner") / "examples" / _SCRIPT
    if packaged.is_file():
        return packaged.read_bytes()
    # An editable install: the example lies in the repository.
    return (Path(__file__).resolve().parents[3] / "examples" / _SCRIPT).read_bytes()


def _run(
    script: Path, config: dict[str, Any], storage: Storage, bar: Progress, *, start_from: str | None = None
) -> _Outcome:
    """One run, its progress read from what it logs. Raises: DemoError."""
    run = make.make_run(script, config, storage=storage, parent=start_from, folder=script.parent)
    shown = {key: value for key, value in config.items() if key != "epochs"} if not start_from else {}
    told = " ".join(f"{key}={value_text(value)}" for key, value in shown.items())
    what = told or f"from {start_from}, learning_rate={value_text(config['learning_rate'])}"
    task = bar.add_task(f"{run.name}  {what}", total=config["epochs"], metric="")

    def look() -> None:
        if curve := _curve(run):
            last = list(curve)[-1]
            bar.update(task, completed=last, metric=f"{_METRIC} {curve[last]:.4f}")

    code, output = start.run_captured(run, script, folder=script.parent, meanwhile=look)
    curve = _curve(run)
    if code or not curve:
        lines = output.strip().splitlines()[-12:]
        raise DemoError(
            f"Run {run.name} of the demo failed (exit code {code}). The last it printed:\n"
            + "\n".join(f"    {line}" for line in lines)
            + f"\n  All about it: hypertuner show {shlex.quote(str(run.folder))}"
        )
    if bar.disable:
        terminal.show_line(f"  {run.name}  {what}: {_METRIC} {max(curve.values()):.4f}")
    return _Outcome(run, curve)


def _curve(run: Run) -> dict[int, float]:
    return {record.step: record.values[_METRIC] for record in run.logged() if _METRIC in record.values}


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    with Progress(
        TextColumn("  {task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[metric]}", markup=False),
        console=terminal.stdout(),
        disable=not terminal.is_terminal(),
    ) as bar:
        yield bar
