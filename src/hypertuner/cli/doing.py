"""What a run is doing, in words: its state with what is known beside it, how far it has come, what it takes."""

from __future__ import annotations

from typing import Any

from hypertuner.cli.terminal import Cell, age_text, rough_text, size_text, state_cell
from hypertuner.index.progress import Progress
from hypertuner.index.table import RunRow
from hypertuner.store import RunState
from hypertuner.store.figures import Figures
from hypertuner.store.written import FileClock


def doing(row: RunRow, clock: FileClock) -> Cell:
    """The state of a run: one that runs with how long, one on another host with when it wrote last."""
    if row.state == RunState.running and row.duration_s is not None:
        return state_cell(row.state, f" {rough_text(row.duration_s)}")
    if row.state == RunState.unknown and row.wrote_at is not None:
        return state_cell(row.state, f", wrote {age_text(clock.age(row.wrote_at))}")
    return state_cell(row.state)


def step_text(progress: Progress) -> str:
    """'1,200 of 3,000'; without what is not known."""
    if progress.step is None:
        return ""
    return f"{progress.step:,}" + (f" of {progress.last_step:,}" if progress.last_step is not None else "")


def share_text(progress: Progress) -> str:
    """'40 %', or ''."""
    return "" if progress.share is None else f"{int(100 * progress.share)} %"


def left_text(progress: Progress) -> str:
    """'12 min', or ''."""
    return "" if progress.left_s is None else rough_text(progress.left_s)


def progress_json(progress: Progress) -> dict[str, Any]:
    """The same for programs."""
    return {"step": progress.step, "last_step": progress.last_step, "left_s": progress.left_s, "share": progress.share}


def cpu_text(figures: Figures | None) -> str:
    """Cores in use: '3.9'."""
    return "" if figures is None or figures.cpu is None else f"{figures.cpu:.1f}"


def memory_text(figures: Figures | None) -> str:
    """Memory in use."""
    return "" if figures is None else size_text(figures.memory_bytes)


def gpu_text(figures: Figures | None) -> str:
    """How busy its GPUs are, and how full: '93 % 17.2 GB', with a comma between several."""
    told = []
    for gpu in figures.gpus if figures is not None else ():
        share = "" if gpu.utilisation is None else f"{round(100 * gpu.utilisation)} % "
        told.append(f"{share}{size_text(gpu.memory_bytes)}")
    return ", ".join(told)
