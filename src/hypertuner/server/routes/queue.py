"""The queue and the machine."""

from __future__ import annotations

from fastapi import APIRouter

from hypertuner.errors import QueueError
from hypertuner.queue.waiting import Entry, Queue
from hypertuner.server.contract.queue import MachineView, MoveAsked, PauseAsked, QueueView, SlotsAsked
from hypertuner.server.guard import needs
from hypertuner.server.state import Current

router = APIRouter(prefix="/api")


@router.get("/queue")
@needs("view")
def queue(state: Current) -> QueueView:
    """What runs and what waits, and why."""
    return state.acting.queue()


@router.post("/queue/move")
@needs("run")
def move(asked: MoveAsked, state: Current) -> QueueView:
    """Put a run that waits before another, first, or last."""
    with state.acting.acts:
        waiting = Queue(state.storage)
        entry = _waiting(waiting, asked.name)
        before = _waiting(waiting, asked.before) if asked.before is not None else None
        if asked.before == asked.name:
            raise QueueError(f"{asked.name} cannot be moved before itself.\n  Name another run.")
        waiting.move(entry, before=before, last=asked.last)
    return _changed(state)


@router.post("/queue/slots")
@needs("run")
def slots(asked: SlotsAsked, state: Current) -> QueueView:
    """Let so many runs go on at once."""
    state.acting.draining.resize(asked.slots)
    return _changed(state)


@router.post("/queue/pause")
@needs("run")
def pause(asked: PauseAsked, state: Current) -> QueueView:
    """Start nothing new, or go on."""
    with state.acting.acts:
        waiting = Queue(state.storage)
        if asked.paused:
            waiting.pause()
        else:
            waiting.unpause()
    return _changed(state)


@router.get("/machine")
@needs("view")
def machine(state: Current) -> MachineView:
    """The last ten minutes."""
    return state.acting.machine()


def _changed(state: Current) -> QueueView:
    state.acting.draining.revision += 1
    return state.acting.queue()


def _waiting(waiting: Queue, name: str) -> Entry:
    entry = waiting.entry(waiting.storage.open(name))
    if entry is None or not entry.is_waiting:
        raise QueueError(f"Run {name!r} does not wait.\n  Look at the queue again.")
    return entry
