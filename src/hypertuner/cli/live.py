"""`hypertuner ls --live`: the table of runs, drawn again and again in the same place."""

from __future__ import annotations

import contextlib
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from rich.console import Group
from rich.text import Text

from hypertuner.cli import given
from hypertuner.cli.doing import cpu_text, gpu_text, left_text, memory_text, share_text
from hypertuner.cli.ls import Asked, columns_of
from hypertuner.cli.outlook import queue_text
from hypertuner.cli.terminal import Cell, Column, count_text, drawn, is_terminal, plain, stdout, value_text
from hypertuner.index.progress import Learnt, Progress, progress_of
from hypertuner.index.table import RunRow, RunTable
from hypertuner.index.watching import Watch
from hypertuner.queue.turn import drained_by
from hypertuner.queue.waiting import Entry, Queue
from hypertuner.server.draining.outlook import outlook
from hypertuner.store import Run, RunState, Storage
from hypertuner.store.direction import direction
from hypertuner.store.figures import Figures, newest_figures
from hypertuner.store.monitor import watched_metric
from hypertuner.store.written import FileClock

_EVERY_S = 0.5
_NAP_S = 0.05
_ALL_EVERY_S = 5.0
_GAP = 2
_LABEL = 48
_LEAST = 14
_BESIDE = 4
"""Lines that are no run: what there is, what the queue does, an empty one, the titles."""


def watch(storage: Storage, asked: Asked, *, as_json: bool) -> None:
    """Draw the runs until Ctrl-C. Raises: GivenError without a terminal; what `ls` raises."""
    if as_json or not is_terminal():
        raise given.GivenError(
            "--live draws on a terminal, and the result does not go to one. Leave it out: hypertuner ls"
            if not as_json
            else "--live draws for people, --json prints for programs: choose one."
        )
    from rich.live import Live

    screen = _Screen(storage, asked)
    shown = screen.draw()  # a mistake in the query is told before anything is drawn
    with _asked_to_leave() as leaves:
        with Live(shown, console=stdout(), screen=True, auto_refresh=False, vertical_overflow="crop") as live:
            while not leaves:
                began = time.monotonic()
                live.update(screen.draw(), refresh=True)
                while not leaves and time.monotonic() - began < _EVERY_S:
                    time.sleep(_NAP_S)
        # The screen was another one: how it was at the end stays.
        stdout().print(screen.draw(is_last=True), soft_wrap=False)


@contextlib.contextmanager
def _asked_to_leave() -> Iterator[list[int]]:
    """A list that is empty until Ctrl-C, or SIGTERM. However often they come, the terminal gets its screen back."""
    asked: list[int] = []

    def leave(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, leave) for number in numbers]
    try:
        yield asked
    finally:
        for number, handler in zip(numbers, before, strict=True):
            # Who has asked once need not be heard again while this process ends.
            signal.signal(number, signal.SIG_IGN if asked else handler)


class _Screen:
    """What is drawn, from one moment to the next."""

    def __init__(self, storage: Storage, asked: Asked) -> None:
        self._storage = storage
        self._asked = asked
        self._watch = Watch(storage)
        self._queue = Queue(storage)
        self._clock = FileClock(storage.path)
        self._learnt = Learnt(())
        self._finished: frozenset[str] = frozenset()
        self._entries: list[Entry] = []
        self._queue_was: object = None
        self._queue_at = 0.0

    def draw(self, *, is_last: bool = False) -> Group:
        """The screen as it is now."""
        everything = self._watch.look()
        rows = {row.name: row for row in everything.rows}
        finished = frozenset(row.name for row in everything.rows if row.state == RunState.finished)
        if finished != self._finished:
            self._finished, self._learnt = finished, Learnt(everything.rows)
        entries = self._look_at_queue(rows)
        now = self._clock.now()
        progress = {
            name: progress_of(row, self._learnt, now) for name, row in rows.items() if row.state == RunState.running
        }
        table = self._asked.of(everything)
        if not self._asked.sort:
            table = _in_sight(table, entries)
        room = max(1, stdout().height - _BESIDE)
        shown = table[: min(room, self._asked.limit or room)]
        drains = drained_by(self._queue)
        ahead = outlook(self._queue, entries, drains, rows, progress, self._learnt)
        states = Counter(row.state for row in table.rows)
        waiting = sum(entry.is_waiting for entry in entries)
        return Group(
            _line(_counts(states, len(table), len(shown)) + ("" if is_last else "   Ctrl-C ends this")),
            _line(queue_text(self._queue, len(entries) - waiting, waiting, drains, ahead)),
            _line(""),
            drawn(self._columns(shown, progress)) if len(shown) else _line("no run" if rows else "no run yet"),
        )

    def _look_at_queue(self, rows: Mapping[str, RunRow]) -> list[Entry]:
        """What the queue has to do with: all run folders are asked when it has changed, else what their rows tell."""
        changed = self._queue.changed()
        if changed != self._queue_was or time.monotonic() - self._queue_at > _ALL_EVERY_S:
            self._queue_was, self._queue_at = changed, time.monotonic()
            self._entries = self._queue.entries()
        found: list[Entry] = []
        for entry in self._entries:
            state = rows[entry.name].state if entry.name in rows else str(RunState.queued)
            now: Entry | None = entry
            if entry.is_waiting != (state == RunState.queued):
                now = self._queue.entry(entry.run)
            if now is not None:
                found.append(now)
        self._entries = found
        return found

    def _columns(self, table: RunTable, progress: Mapping[str, Progress]) -> list[Column]:
        if self._asked.named_columns:
            return columns_of(table, self._asked.named_columns, clock=self._clock)
        columns = [*columns_of(table, ("name", "state"), clock=self._clock), *_more(table, progress)]
        taken = sum(column.width + _GAP for column in columns)
        if (room := min(_LABEL, stdout().width - taken)) >= _LEAST:
            labels = [plain(row.label) for row in table]
            cut = [label if len(label) <= room else f"{label[: room - 1]}…" for label in labels]
            columns.append(Column("differs", [Cell(label) for label in cut], rank=4))
        columns += [replace(column, rank=5) for column in columns_of(table, ("step", "age"), clock=self._clock)]
        return [column for column in columns if any(cell.text for cell in column.cells)]


def _line(text: str) -> Text:
    return Text(plain(text), style="dim", no_wrap=True, overflow="ellipsis")


def _counts(states: Counter[str], found: int, shown: int) -> str:
    told = ", ".join(f"{states[state]:,} {state}" for state in RunState if states[state])
    return f"{count_text(found, 'run')}: {told}" + (f" ({shown:,} shown)" if shown < found else "")


def _in_sight(table: RunTable, entries: Sequence[Entry]) -> RunTable:
    """What runs first, then what waits, in the order in which it will be started, then the rest, the newest first."""
    places = {entry.name: place for place, entry in enumerate(entries)}

    def key(row: RunRow) -> tuple[int, float]:
        if row.state == RunState.running:
            return 0, -row.created
        return (1, places.get(row.name, 0)) if row.state == RunState.queued else (2, -row.created)

    return table.sorted_by(key)


def _more(table: RunTable, progress: Mapping[str, Progress]) -> list[Column]:
    """What `ls` does not show: how far those have come that run, the newest metric, and what they take."""
    known = [progress.get(row.name, Progress()) for row in table.rows]
    figures = [_figures(row) for row in table.rows]
    columns = [
        Column("done", [Cell(share_text(one)) for one in known], is_number=True, rank=1),
        Column("left", [Cell(left_text(one)) for one in known], is_number=True, rank=1),
    ]
    if (name := _newest_metric(table)) is not None:
        columns.append(Column(plain(name), [Cell(value_text(row.metrics.get(name))) for row in table.rows], True, 1))
    columns += [
        Column("cpu", [Cell(cpu_text(one)) for one in figures], is_number=True, rank=3),
        Column("memory", [Cell(memory_text(one)) for one in figures], is_number=True, rank=3),
        Column("gpu", [Cell(gpu_text(one)) for one in figures], is_number=True, rank=3),
    ]
    return [column for column in columns if any(cell.text for cell in column.cells)]


def _figures(row: RunRow) -> Figures | None:
    attempt = Run(Path(row.folder)).newest_attempt() if row.state == RunState.running else None
    return newest_figures(attempt.layout) if attempt is not None else None


def _newest_metric(table: RunTable) -> str | None:
    """The metric of which the last value is worth a column: the watched one, else one that tells better from worse."""
    metrics = {name: value for row in table.rows for name, value in row.metrics.items()}
    if (watched := watched_metric(metrics, None, None)) is not None:
        return watched[0]
    return next((name for name in metrics if direction(name) is not None), next(iter(metrics), None))
