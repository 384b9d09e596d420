"""What the queue of a storage does, in words, and how long it still takes."""

from __future__ import annotations

from hypertuner.cli.terminal import count_text, rough_text
from hypertuner.queue.turn import Drains
from hypertuner.queue.waiting import Queue
from hypertuner.server.draining.outlook import Outlook


def outlook_text(ahead: Outlook) -> str:
    """'empty in about 3 h'; '' when nothing is known."""
    if ahead.left_s is None:
        return ""
    if not ahead.unknown:
        return f"empty in about {rough_text(ahead.left_s)}"
    return f"empty in {rough_text(ahead.left_s)} or more: how long {count_text(ahead.unknown, 'run')} will take is open"


def queue_text(queue: Queue, running: int, waiting: int, drains: Drains | None, ahead: Outlook) -> str:
    """What the queue does, on one line."""
    if drains is None and not running and not waiting and not queue.is_paused:
        return "queue: empty"
    parts = [f"{running:,} running" if running else "", f"{waiting:,} waiting" if waiting else ""]
    if drains is None:
        told = "nothing drains it: hypertuner queue" if waiting else "nothing drains it"
    else:
        told = f"{count_text(drains.slots, 'slot')}, drained by process {drains.identity.pid}"
        told += f" on {drains.identity.host}" if drains.identity.is_alive() is None else ""
    paused = "paused: hypertuner queue resume" if queue.is_paused else ""
    return "queue: " + ", ".join(filter(None, [*parts, told, paused, outlook_text(ahead)]))
