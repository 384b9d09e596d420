"""Calls of Linux that Python does not offer. Elsewhere, and where the C library has no such call, nothing happens."""

from __future__ import annotations

import os
import signal
import sys

from hypertuner.errors import NO_ROOM

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def linux(name: str, first: int, *arguments: int) -> None:
    """Call a function of the C library with whole numbers. OSError for want of room, and for nothing else."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), name, None)  # musl has fewer
    if call is None or not call(first, *map(ctypes.c_int64, arguments)):
        return
    if (code := ctypes.get_errno()) in NO_ROOM:
        raise OSError(code, os.strerror(code))


def adopt_orphans() -> None:
    """Become the parent of whatever a descendant of this process leaves behind."""
    linux("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def be_told_of_death(parent: int, number: int) -> None:
    """Be sent signal `number` when `parent`, which has just forked this process, ends."""
    linux("prctl", _PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:  # it has ended in the meantime
        os.kill(os.getpid(), signal.Signals(number))
