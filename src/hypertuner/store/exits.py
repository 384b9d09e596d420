"""How an attempt ends, written by the script itself: return, exception, exit code, SIGTERM, Ctrl-C.

Hooks are chained, never replaced: whatever hook was there is called as well.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import traceback
from types import FrameType, TracebackType
from typing import Any, NoReturn, Protocol


class Ending(Protocol):
    """A run that can be told how it ended; telling it twice changes nothing."""

    def end(self, state: str, reason: str, *, code: int | None = 0, signal: str | None = None, trace: str = "") -> None:
        """Write exit.json."""
        ...


_watched: list[Ending] = []
_exit_code: object = None
_installed = False


def watch(active: Ending) -> None:
    """Write `active`'s exit.json when the process ends, if nothing else has by then."""
    _watched.append(active)
    global _installed
    if not _installed:
        _installed = True
        _install()


def end_by(active: Ending, error: BaseException) -> None:
    """End a run with the exception that ended its code."""
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if isinstance(error, KeyboardInterrupt):
        active.end("stopped", "stopped by Ctrl-C", code=None, signal="SIGINT")
    elif isinstance(error, SystemExit):
        _end_with_code(active, error.code)
    elif isinstance(error, GeneratorExit):
        active.end("stopped", "the block was closed", code=None)
    else:
        text = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
        active.end("failed", _memory_named(error, reason), code=1, trace=trace)


def _memory_named(error: BaseException, reason: str) -> str:
    if isinstance(error, MemoryError):
        return f"out of memory on the CPU: {reason}"
    if type(error).__name__ == "OutOfMemoryError":
        return f"out of memory on the GPU: {reason}"
    return reason


def _end_with_code(active: Ending, code: object) -> None:
    if code in (None, 0):
        active.end("finished", "the script ended")
    elif isinstance(code, int):
        active.end("failed", f"exit code {code}", code=code)
    else:
        active.end("failed", str(code), code=1)


def peak_memory_bytes() -> int | None:
    """Most memory that this process ever had resident, in bytes."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _install() -> None:
    atexit.register(_at_exit)

    hook = sys.excepthook

    def on_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
        for active in reversed(_watched):
            end_by(active, error)
        return hook(kind, error, trace)

    sys.excepthook = on_exception

    # atexit cannot see the exit code, and sys.excepthook is not called for SystemExit.
    leave = sys.exit

    def on_exit(code: Any = None, /) -> NoReturn:
        global _exit_code
        if threading.current_thread() is threading.main_thread():
            _exit_code = code
        leave(code)

    sys.exit = on_exit
    _chain_sigterm()


def _chain_sigterm() -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.getsignal(signal.SIGTERM)
    if before is signal.SIG_IGN or before is None:
        return

    def on_term(number: int, frame: FrameType | None) -> None:
        for active in reversed(_watched):
            active.end("stopped", "stopped by SIGTERM", code=None, signal="SIGTERM")
        if callable(before):
            before(number, frame)
        else:
            # Die of the signal itself, so that whoever waits for this process sees why it ended.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, on_term)


def _at_exit() -> None:
    for active in reversed(_watched):
        _end_with_code(active, _exit_code)
