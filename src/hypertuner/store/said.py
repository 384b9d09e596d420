"""What hypertuner says to people while a script runs: single lines on the error stream, each worth reading."""

from __future__ import annotations

import contextlib
import functools
import sys
from pathlib import Path

from hypertuner import settings
from hypertuner.store import ranks


def say(text: str, *, rank: int | None = 0) -> None:
    """One line for people, on the error stream, unless HYPERTUNER_QUIET; never an error of its own.

    Of several processes of one training only rank 0 says it; with `rank=None` every one does.
    """
    if not settings.QUIET.get() and sys.stderr is not None and (rank is None or ranks.rank() == rank):
        with contextlib.suppress(OSError, ValueError):
            print(f"hypertuner: {text}", file=sys.stderr, flush=True)


@functools.lru_cache(maxsize=256)
def say_once(text: str, *, rank: int | None = 0) -> None:
    """`say`, the first time only."""
    say(text, rank=rank)


def shown(path: Path) -> str:
    """A path as it is written from the folder that the script was started in."""
    with contextlib.suppress(ValueError):
        return f"./{path.relative_to(settings.start_folder())}"
    return str(path)
