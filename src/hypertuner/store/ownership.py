"""Which attempts this process owns, and what it tells its children of them (HYPERTUNER_ATTEMPT)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from hypertuner.store.attempt import Attempt

ATTEMPT_VARIABLE = "HYPERTUNER_ATTEMPT"

# The attempts that run in this process, with its id (a forked child has a copy), the newest last.
_owned: list[tuple[int, str]] = []


def attempt_of_parent() -> Path | None:
    """Folder of the attempt that a process above this one owns, as it says to its children; None without one."""
    told = os.environ.get(ATTEMPT_VARIABLE)
    return Path(told) if told and (os.getpid(), told) not in _owned else None


def own(attempt: Attempt) -> None:
    """Tell the children of this process that it owns `attempt`: a worker then writes nothing of its own."""
    folder = str(attempt.layout.folder)
    _owned.append((os.getpid(), folder))
    os.environ[ATTEMPT_VARIABLE] = folder


def disown(attempt: Attempt) -> None:
    """Children started from here on belong to the attempt that still runs, if one does."""
    folder = str(attempt.layout.folder)
    with contextlib.suppress(ValueError):
        _owned.remove((os.getpid(), folder))
    if os.environ.get(ATTEMPT_VARIABLE) != folder:
        return
    if _owned:
        os.environ[ATTEMPT_VARIABLE] = _owned[-1][1]
    else:
        del os.environ[ATTEMPT_VARIABLE]
