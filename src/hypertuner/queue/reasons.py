"""Why each run that waits does, as far as the folders tell."""

from __future__ import annotations

from collections.abc import Iterable

from hypertuner.errors import HypertunerError, first_line
from hypertuner.queue import launch, private
from hypertuner.queue.turn import Drains
from hypertuner.queue.waiting import Entry, Queue
from hypertuner.store import RunState

GOOD = (RunState.finished, RunState.pruned)
"""The states of a run that others may come after."""


def blocked(queue: Queue, entry: Entry) -> str | None:
    """Why a run may not start, whatever room there is; None when it may."""
    if entry.queued.held:
        return "held"
    if not private.is_kept(queue.storage.path, entry.queued.private):
        return "its environment is not here: another user, or another machine, has queued it"
    for name in entry.queued.after:
        try:
            state = queue.open(name).state()
        except HypertunerError as error:
            return f"waits for {name}: {first_line(error)}"
        if state not in GOOD:
            return f"waits for {name}, which {_does(state)}"
    return None


def slots_of(entry: Entry, count: int) -> int:
    """How many of `count` slots a run takes, or is to take."""
    started = entry.attempt.started if entry.attempt is not None and not entry.is_waiting else None
    return (started.slots if started is not None else 0) or min(
        max(1, launch.processes_for(entry.run, entry.queued)), count
    )


def why_waiting(queue: Queue, entries: Iterable[Entry], drains: Drains | None) -> dict[str, str]:
    """Why each of these that waits does. What only the drainer knows, such as a GPU that a stranger holds, is in its
    log."""
    entries = list(entries)
    found: dict[str, str] = {}
    free = 0
    if drains is not None:
        free = drains.slots - sum(slots_of(entry, drains.slots) for entry in entries if not entry.is_waiting)
    for entry in (entry for entry in entries if entry.is_waiting):
        if (reason := blocked(queue, entry)) is not None:
            found[entry.name] = reason
        elif queue.is_paused:
            found[entry.name] = "the queue is paused"
        elif drains is None:
            found[entry.name] = "nothing drains the queue"
        else:
            # None that wants less goes before it: it would wait for ever.
            free -= slots_of(entry, drains.slots)
            found[entry.name] = "all slots are taken" if free < 0 else "is about to start"
    return found


def _does(state: RunState) -> str:
    words = {RunState.running: "runs", RunState.queued: "waits", RunState.draft: "nobody has queued"}
    return words.get(state, f"has {state}" if state in (RunState.failed, RunState.crashed) else f"is {state}")
