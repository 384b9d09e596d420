"""An attempt that was claimed for a script by who started it, and waits for it: the script takes it, once."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypertuner import files
from hypertuner.errors import StorageError
from hypertuner.store import capture, ranks, records
from hypertuner.store.attempt import Attempt
from hypertuner.store.process import ProcessIdentity
from hypertuner.store.run import Run

VARIABLE = "HYPERTUNER_SUPERVISED"
"""Tells a script the number of the attempt that was claimed for it."""


def number() -> int | None:
    """The attempt that was claimed for this process, as it was told; None when it is to claim its own."""
    text = os.environ.get(VARIABLE, "")
    return int(text) if text.isdecimal() else None


def is_taken(run: str) -> bool:
    """Whether the attempt is another process's already: this is a program which that one started before it logged or
    saved anything, and makes a run of its own."""
    claimed = number()
    return claimed is not None and not ranks.restarts() and Run(Path(run)).layout.attempt(claimed).script.exists()


def take(run: Run, claimed: int, config: Mapping[str, Any]) -> Attempt | None:
    """The attempt, as this process's; None where torchrun has started the ranks again: those are a next attempt.

    Raises: StorageError when another process has it.
    """
    from hypertuner.store import orders

    attempt = Attempt(run.layout.attempt(claimed).folder)
    mine = ProcessIdentity.mine()
    script = orders.Script(mine.pid, mine.started, records.now(), config, capture.without_secrets(sys.argv))
    try:
        files.put_new(attempt.layout.script, records.to_bytes(script))
    except FileExistsError:
        if ranks.restarts():
            return None
        raise StorageError(
            f"Attempt {claimed} of run {run.name!r} is another process's: {attempt.layout.script}.\n"
            "  One process logs and saves for a run; a program that it starts makes a run of its own.",
            path=attempt.layout.script,
        ) from None
    return attempt
