"""Keeps Python's collector from looking for garbage while thousands of rows are made, none of which is any.

It looks after every 700 objects, and now and then through all that torch ever made: half the time of reading an index.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_inside = 0
_was_on = False


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """No collection within, in any thread; afterwards as before."""
    global _inside, _was_on
    with _lock:
        if _inside == 0:
            _was_on = gc.isenabled()
            gc.disable()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _was_on:
                gc.enable()
