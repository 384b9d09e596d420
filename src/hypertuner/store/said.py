"""What hypertuner says to people while a script runs: single lines on the error stream, each worth reading."""

from __future__ import annotations

import contextlib
import functools
import sys

from hypertuner import settings


def say(text: str) -> None:
    """One line for people, on the error stream, unless HYPERTUNER_QUIET; never an error of its own."""
    if not settings.QUIET.get() and sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(f"hypertuner: {text}", file=sys.stderr, flush=True)


@functools.lru_cache(maxsize=256)
def say_once(text: str) -> None:
    """`say`, the first time only."""
    say(text)
