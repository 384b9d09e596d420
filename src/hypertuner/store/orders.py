"""What the queue and its supervisors write about an attempt: queued.json, script.json, stop.json.

Apart from `records`, because a training process that nobody queued needs none of them, and each costs its start a
millisecond.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Queued:
    """queued.json: an attempt that the queue is to make; it lies there until that attempt is over."""

    attempt: int
    """The lowest number that this attempt may have: it waits until one of such a number was started."""
    queued_at: str
    place: float
    """Orders runs of one priority, lowest first."""
    python: str
    """The interpreter of whoever queued it."""
    private: str
    """Names the environment and the arguments to start it with, which lie in the user's own folder."""
    priority: int = 0
    """Higher goes first."""
    after: tuple[str, ...] = ()
    """Runs that must have finished first."""
    resume: str | None = None
    """The checkpoint of the run that it goes on from."""
    begins_from: str | None = None
    """Reference to a checkpoint that is not there yet, of a run that it comes after: its parent when it starts."""
    begins_how: str = "start from"
    processes: int | None = None
    """How many torchrun starts for it; None: as many as the run was made with."""
    retries: int = 0
    """How often it may still be tried again."""
    retry_on: str = "infrastructure"
    """'infrastructure': what the script cannot be blamed for; 'any': whatever made it fail."""
    time_limit_s: float | None = None
    live_code: bool = False
    """Start the script as it is then, not as it was when it was queued."""
    held: bool = False
    """Waits until somebody lets it go on."""
    why: str = ""
    """What made it be queued again."""


@dataclass(frozen=True)
class Script:
    """script.json: the process that took the attempt which a supervisor had claimed, and the config as it began."""

    pid: int
    process_started: float | None
    began_at: str
    config: Mapping[str, Any]
    argv: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stop:
    """stop.json: somebody asks the supervisor of an attempt to end it."""

    asked_at: str
    by: str
    host: str
