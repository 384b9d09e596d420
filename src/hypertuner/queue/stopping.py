"""Stopping a run: it is asked, by whatever owns it, and ends by itself; one that waits leaves the queue."""

from __future__ import annotations

import dataclasses
import signal

from hypertuner.queue import tree
from hypertuner.queue.supervisor import ask_to_stop
from hypertuner.queue.waiting import Queue
from hypertuner.store import Run, RunState
from hypertuner.store.process import ProcessIdentity


def withdraw_if_waiting(queue: Queue, run: Run) -> bool:
    """Take a run that waits out of the queue; False for one that does not wait, or has been started in this moment."""
    entry = queue.entry(run)
    return entry is not None and entry.is_waiting and queue.withdraw(entry)


def ask(run: Run) -> str | None:
    """Ask a run that runs to stop; why that cannot be, or None."""
    attempt = run.newest_attempt()
    state = run.state()
    if attempt is None or state not in (RunState.running, RunState.unknown):
        return f"it does not run: it is {state}"
    started = attempt.started
    assert started is not None
    if started.exit_by == "supervisor":
        ask_to_stop(attempt)
        return None
    if state == RunState.unknown:
        return f"it runs, or ran, on {started.host} as process {started.pid}: stop it there"
    owner, script = attempt.owner(), attempt.script()
    if owner is not None and script is not None and owner.is_alive() is False:
        # The command that it was started by is gone, and the script goes on without.
        owner = dataclasses.replace(owner, pid=script.pid, started=script.process_started)
    if owner is None or owner == ProcessIdentity.mine() or not tree.send(owner, signal.SIGTERM):
        return "it has just ended"
    return None
