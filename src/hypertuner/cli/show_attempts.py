"""What `hypertuner show RUN` tells of a run's attempts: how each ended and why, how far the newest has come, what it
took of the machine, and what the run waits for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from hypertuner.cli import terminal
from hypertuner.cli.doing import left_text, progress_json, share_text, step_text
from hypertuner.cli.terminal import Cell, Column, duration_text, plain, show_table, size_text, state_cell
from hypertuner.index.progress import Learnt, Progress, progress_of
from hypertuner.index.runs import runs
from hypertuner.index.table import RunRow
from hypertuner.queue.reasons import why_waiting
from hypertuner.queue.turn import drained_by
from hypertuner.queue.waiting import Queue
from hypertuner.store import Attempt, Run, RunState, Storage, records
from hypertuner.store.figures import Taken, Usage, taken

_TRACEBACK_LINES = 8
_NAMED = ("exception", "stopped", "")
"""Causes that the reason itself says."""


def progress_words(progress: Progress) -> str:
    """'step 74 of 199, 37 %, about 12 s left'; '' when nothing is known."""
    if progress.step is None:
        return f"about {left_text(progress)} left" if progress.left_s is not None else ""
    left = f"about {left_text(progress)} left" if progress.left_s is not None else ""
    return ", ".join(filter(None, [f"step {step_text(progress)}", share_text(progress), left]))


def progress_in(run: Run, row: RunRow) -> Progress:
    """How far a run has come; nothing of one that does not run."""
    if row.state != RunState.running:
        return Progress()
    return progress_of(row, Learnt(runs(storage=Storage(run.folder.parent)).rows))


def waits(run: Run) -> dict[str, Any] | None:
    """Its place in the queue and why it waits; None when it does not."""
    queue = Queue(Storage(run.folder.parent))
    if (entry := queue.entry(run)) is None or not entry.is_waiting:
        return None
    entries = queue.entries()
    places = [one.name for one in entries if one.is_waiting]
    why = why_waiting(queue, entries, drained_by(queue)).get(run.name, "")
    place = places.index(run.name) + 1 if run.name in places else None
    return {"why": why, "place": place, "of": len(places), "queued_again_because": entry.queued.why}


def waits_words(run: Run) -> str:
    """'number 3 of 5: all slots are taken'."""
    if (told := waits(run)) is None:
        return ""
    again = f"; again, as {told['queued_again_because']}" if told["queued_again_because"] else ""
    return f"number {told['place']} of {told['of']} in the queue: {told['why']}{again}"


def show_end(run: Run) -> None:
    """Print why the newest attempt did not finish."""
    attempt = run.newest_attempt()
    ended = attempt.exit() if attempt is not None else None
    if ended is None or ended.state == "finished":
        return
    terminal.show_title(f"why it {'failed' if ended.state == 'failed' else 'ended'}")
    terminal.show_line(f"  {plain(ended.reason)}", "red" if ended.state == "failed" else "yellow")
    if ended.cause not in _NAMED and ended.cause in records.CAUSES:
        terminal.show_line(f"  {records.CAUSES[ended.cause]}", "dim")
    lines = (ended.traceback or "").rstrip().split("\n")
    shown = lines[-_TRACEBACK_LINES:] if ended.traceback else []
    if shown and len(lines) > len(shown):
        terminal.show_line(f"  … {len(lines) - len(shown)} lines before", "dim")
    for line in shown:
        terminal.show_line(f"  {terminal.plain_lines(line)}", "dim")


def show_attempts(run: Run) -> None:
    """Print how each attempt ended, where there are several."""
    attempts = run.attempts()
    if len(attempts) < 2:
        return
    terminal.show_title("attempts")
    facts = [attempt_facts(attempt) for attempt in attempts]
    show_table(
        [
            Column("", [Cell(str(one["attempt"])) for one in facts], is_number=True),
            Column("state", [state_cell(one["state"]) for one in facts]),
            Column("took", [Cell(duration_text(one["duration_s"])) for one in facts], is_number=True, rank=1),
            Column("started", [Cell(plain(one["started_at"][:16].replace("T", " ")), "dim") for one in facts], rank=3),
            Column("why", [Cell(plain(one["reason"] or "")) for one in facts], rank=2),
        ]
    )


def attempt_facts(attempt: Attempt) -> dict[str, Any]:
    """One attempt for programs."""
    started, ended = attempt.started, attempt.exit()
    began = records.seconds(started.started_at) if started is not None else None
    over = records.seconds(ended.ended_at) if ended is not None else None
    return {
        "attempt": attempt.number,
        "state": "void" if attempt.is_void() else str(attempt.state()),
        "started_at": started.started_at if started is not None else "",
        "ended_at": ended.ended_at if ended is not None else None,
        "duration_s": max(0.0, over - began) if began is not None and over is not None else None,
        "cause": ended.cause if ended is not None else "",
        "reason": ended.reason if ended is not None else None,
        "code": ended.code if ended is not None else None,
        "signal": ended.signal if ended is not None else None,
        "peak_memory_bytes": ended.peak_memory_bytes if ended is not None else None,
        "lost_records": ended.lost_records if ended is not None else 0,
        "host": started.host if started is not None else None,
        "pid": started.pid if started is not None else None,
        "gpus": list(started.assigned) if started is not None else [],
    }


def more_facts(run: Run, row: RunRow) -> dict[str, Any]:
    """What is told of attempts, for programs."""
    attempt = run.newest_attempt()
    ended = attempt.exit() if attempt is not None else None
    took = taken(attempt.layout) if attempt is not None else None
    return {
        "cause": ended.cause if ended is not None else "",
        "progress": progress_json(progress_in(run, row)),
        "queue": waits(run),
        "attempt_list": [attempt_facts(one) for one in run.attempts()],
        "system": dataclasses.asdict(took) if took is not None else None,
    }


def show_machine(run: Run) -> None:
    """Print what the newest attempt took of the machine, where that was sampled."""
    attempt = run.newest_attempt()
    took = taken(attempt.layout) if attempt is not None else None
    if attempt is None or took is None:
        return
    terminal.show_title("machine" if attempt.number == 1 else f"machine, attempt {attempt.number}")
    rows = [*_lines(took)]
    show_table(
        [
            Column("", [Cell(name, "dim") for name, _, _ in rows]),
            Column("mean", [Cell(mean) for _, mean, _ in rows], is_number=True),
            Column("most", [Cell(most) for _, _, most in rows], is_number=True),
        ]
    )
    if took.disk_read_bytes or took.disk_write_bytes:
        read, written = size_text(took.disk_read_bytes or 0), size_text(took.disk_write_bytes or 0)
        terminal.show_line(f"  disk: {read} read, {written} written", "dim")


def _lines(took: Taken) -> list[tuple[str, str, str]]:
    """(name, mean, most) of each figure that was taken."""
    lines = [_shares("  CPU cores", took.cpu, _number)] if took.cpu is not None else []
    lines.append(_shares("  memory", took.memory_bytes, size_text))
    for number, gpu in enumerate(took.gpus):
        name = f"  GPU {number} ({plain(gpu.uuid[:12])}…)" if len(took.gpus) > 1 else "  GPU"
        if gpu.utilisation is not None:
            lines.append(_shares(f"{name} busy", gpu.utilisation, _percent))
        lines.append(_shares(f"{name} memory", gpu.memory_bytes, size_text))
    return lines


def _shares(name: str, usage: Usage, text: Callable[[float], str]) -> tuple[str, str, str]:
    return name, text(usage.mean), text(usage.most)


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _percent(value: float) -> str:
    return f"{round(100 * value)} %"
