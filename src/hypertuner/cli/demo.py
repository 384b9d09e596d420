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
from collections.abc import Iterator, Mapping, Sequence
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
from hypertuner.queue import make
from hypertuner.queue.drain import Drainer
from hypertuner.queue.executor import LocalExecutor
from hypertuner.queue.slots import Slots
from hypertuner.queue.turn import Turn
from hypertuner.queue.waiting import Queue
from hypertuner.store import Run, RunState, Storage
from hypertuner.store.output import OutputReader

_SCRIPT = "digits.py"
_METRIC = "val_accuracy"
_SLOTS = 2
_LOOKS_EVERY_S = 0.1
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


def demo(folder: Path, *, gui: bool = True) -> int:
    """Make the folder, run the demo in it, and, with `gui` and at a terminal, show its runs in the GUI until Ctrl-C.

    Raises: MissingExtraError before anything is made; DemoError.
    """
    for package, name in (("torch", "torch"), ("sklearn", "scikit-learn")):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(name, "demo", "hypertuner demo")
    began = time.monotonic()
    script = _copied_script(folder)
    queue = Queue(Storage(folder.absolute() / "storage"))
    terminal.show_line(
        f"Six configs of {_SCRIPT}, a small convolutional net on real handwritten digits, wait in the queue; two train "
        "at once:",
        "bold",
    )
    outcomes = _trained(queue, script, [{**config, "epochs": _EPOCHS} for config in _CONFIGS], None)
    best = max(outcomes, key=lambda outcome: outcome.best)
    terminal.show_line()
    show_runs(RunTable(read_row(outcome.run) for outcome in outcomes).sort(f"best({_METRIC})", descending=True))

    reference = f"{best.run.name}@best"
    rate = best.run.effective_config()["learning_rate"] / 10
    terminal.show_line()
    terminal.show_line(
        f"{best.run.name} did best. A seventh run starts from its weights, with a tenth of the learning rate:", "bold"
    )
    (seventh,) = _trained(queue, script, [{**best.run.effective_config(), "learning_rate": rate}], reference)
    _tell(best, seventh, rate)
    terminal.show_line(f"\nThat took {time.monotonic() - began:.0f} s. Three things to try next:", "bold")
    for command in next_commands(folder, seventh):
        terminal.show_line(f"  {command}")
    if gui and terminal.is_terminal():
        return _shown(queue.storage, script)
    terminal.show_line("\nAnd to see them in your browser:", "bold")
    terminal.show_line(f"  hypertuner {_SCRIPT}{_place()}")
    return 0


def _shown(storage: Storage, script: Path) -> int:
    from hypertuner.cli.gui import gui

    terminal.show_line("\nAnd here they are in the GUI:", "bold")
    return gui(storage, script, host="127.0.0.1", port=None, is_demo=True)


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
    place = _place()
    return [
        f"{_on_path()}cd {shlex.quote(str(folder))}",
        f"hypertuner ls '{_METRIC} > 0.95' --sort {_METRIC}{place}",
        f"hypertuner show {name}{place}",
        f"hypertuner run {_SCRIPT} --from {name}@best learning_rate=0.0001 epochs=3{place}",
    ]


def _place() -> str:
    """Where the user has named a storage of their own, the commands must say which one they mean."""
    return " --storage storage" if os.environ.get(settings.STORAGE.variable) else ""


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


def _trained(queue: Queue, script: Path, configs: Sequence[Mapping[str, Any]], parent: str | None) -> list[_Outcome]:
    """Queue a run of each config and drain the queue, two at once; their progress is read from what they log.

    Raises: DemoError; QueueError when another process drains this storage.
    """
    runs = []
    with _progress() as bar:
        tasks = {}
        for config in configs:
            run = make.make_run(script, config, storage=queue.storage, parent=parent, folder=script.parent)
            queue.add(run, ())
            runs.append(run)
            tasks[run.name] = bar.add_task(
                f"{run.name}  {_told(config, parent)}", total=config["epochs"], metric="waits"
            )
        drainer = Drainer(queue, LocalExecutor(queue.storage), Slots(_SLOTS, use_gpus=False))
        with Turn(queue, _SLOTS), contextlib.closing(drainer.executor):
            is_over = False
            while not is_over:
                time.sleep(_LOOKS_EVERY_S)
                drainer.step()
                is_over = not drainer.running and not queue.waiting()
                for run in runs:
                    if curve := _curve(run):
                        last = list(curve)[-1]
                        bar.update(tasks[run.name], completed=last, metric=f"{_METRIC} {curve[last]:.4f}")
    outcomes = [_outcome(run) for run in runs]
    if bar.disable:
        for outcome, config in zip(outcomes, configs, strict=True):
            terminal.show_line(f"  {outcome.run.name}  {_told(config, parent)}: {_METRIC} {outcome.best:.4f}")
    return outcomes


def _told(config: Mapping[str, Any], parent: str | None) -> str:
    if parent:
        return f"from {parent}, learning_rate={value_text(config['learning_rate'])}"
    return " ".join(f"{key}={value_text(value)}" for key, value in config.items() if key != "epochs")


def _outcome(run: Run) -> _Outcome:
    """What came of a run. Raises: DemoError when it is nothing."""
    curve = _curve(run)
    if run.state() == RunState.finished and curve:
        return _Outcome(run, curve)
    attempt = run.newest_attempt()
    said = OutputReader(attempt.layout).tail(12)[0].decode(errors="replace") if attempt is not None else ""
    ended = attempt.exit() if attempt is not None else None
    raise DemoError(
        f"Run {run.name} of the demo {run.state()}{f': {ended.reason}' if ended is not None else ''}. "
        "The last it printed:\n"
        + "\n".join(f"    {plain(line)}" for line in said.strip().splitlines())
        + f"\n  All about it: hypertuner show {shlex.quote(str(run.folder))}"
    )


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
