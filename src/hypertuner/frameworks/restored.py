"""Restored: what a checkpoint put back into a model and its training state, as every adapter tells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypertuner.checkpoint.report import LoadReport


@dataclass(frozen=True)
class Restored:
    """What a checkpoint put back."""

    report: LoadReport
    done: tuple[str, ...]
    """Parts of the training state, by name."""
    left: tuple[str, ...]
    """What was not restored, or not exactly, each with its reason."""
    randomness: Callable[[], object]
    """Sets the random states once more, for a loop that begins later; nothing once an optimizer has stepped."""
