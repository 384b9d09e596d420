"""How long a queue still takes, as far as that is known."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hypertuner.index.progress import Learnt, Progress
from hypertuner.index.table import RunRow
from hypertuner.queue.reasons import blocked, slots_of
from hypertuner.queue.turn import Drains
from hypertuner.queue.waiting import Entry, Queue


@dataclass(frozen=True)
class Outlook:
    """When a queue will be empty."""

    left_s: float | None
    """Seconds, about; None when nothing of it is known, or nothing will start."""
    unknown: int = 0
    """Runs of which nobody knows how long they take: it is that much longer."""


def outlook(
    queue: Queue,
    entries: Sequence[Entry],
    drains: Drains | None,
    rows: Mapping[str, RunRow],
    progress: Mapping[str, Progress],
    learnt: Learnt,
) -> Outlook:
    """When nothing will run or wait any more, if nothing is added. Runs that are held, and those that come after
    others that never finish, do not count."""
    if drains is None or queue.is_paused:
        return Outlook(None)
    count = drains.slots
    known: list[tuple[int, float | None]] = []
    ahead: list[tuple[int, float | None]] = []
    for entry in entries:
        row = rows.get(entry.name)
        if not entry.is_waiting:
            here = progress.get(entry.name)
            known.append((slots_of(entry, count), here.left_s if here is not None else None))
        elif row is not None and (entry.queued.after or blocked(queue, entry) is None):
            ahead.append((slots_of(entry, count), learnt.duration_s(row)))
    return empty_in(count, known, ahead)


def empty_in(
    slots: int, running: Sequence[tuple[int, float | None]], waiting: Sequence[tuple[int, float | None]]
) -> Outlook:
    """When runs that take (slots, seconds) each are all over: those that run, then those that wait, in their order.

    One of which nobody knows how long it takes is taken for none.
    """
    if not running and not waiting:
        return Outlook(None)
    unknown = sum(left is None for _, left in (*running, *waiting))
    if unknown == len(running) + len(waiting):
        return Outlook(None)
    ends = [0.0] * slots
    for taken, left in (*running, *waiting):
        free = [heapq.heappop(ends) for _ in range(min(max(1, taken), slots))]
        for _ in free:
            heapq.heappush(ends, free[-1] + (left or 0.0))
    return Outlook(max(ends), unknown)
