"""Calls of Linux that Python does not offer. Elsewhere, and where the C library has no such call, nothing happens."""

from __future__ import annotations

import os
import signal
import struct
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


# Landlock, as linux/landlock.h has it.
_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE, _REFER, _TRUNCATE = 1 << 0, 1 << 1, 1 << 13, 1 << 14
_REMOVE_OR_MAKE = sum(1 << bit for bit in range(4, 13))
_BIND_OR_CONNECT = 0b11  # TCP
_ABSTRACT_SOCKETS_OR_SIGNALS = 0b11
_PR_SET_NO_NEW_PRIVS = 38


def only_read() -> bool:
    """From here on this process, and what it forks, writes no file but /dev/null and executes none; with a newer Linux
    it connects nowhere by TCP, and signals no other. What is open stays so. False where the system cannot see to it.
    """
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return False
    import ctypes

    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    version = call(_CREATE, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    to_files = _WRITE | (_TRUNCATE if version >= 3 else 0)
    handled = _EXECUTE | to_files | _REMOVE_OR_MAKE | (_REFER if version >= 2 else 0)
    rules = struct.pack("=QQQ", handled, _BIND_OR_CONNECT, _ABSTRACT_SOCKETS_OR_SIGNALS)
    length = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = call(_CREATE, rules, ctypes.c_size_t(length), 0)
    if ruleset < 0:
        return False
    try:
        nowhere = os.open(os.devnull, os.O_PATH)
        call(_ADD_RULE, ctypes.c_int(ruleset), 1, struct.pack("=Qi", to_files, nowhere), 0)
        os.close(nowhere)
        linux("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(call(_RESTRICT, ctypes.c_int(ruleset), 0) == 0)
    finally:
        os.close(ruleset)
