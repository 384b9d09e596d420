"""How an attempt ends, written by the script itself: return, exception, exit code, SIGTERM, Ctrl-C.

Hooks are chained, never replaced: whatever hook was there is called as well. A script that handles SIGTERM itself
may log and save until it leaves; then it is `stopped`. The code of a bare `raise SystemExit(code)` cannot be seen
from inside the process (Python keeps it nowhere): such a run is `finished`, unless a supervisor says better.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import opcode
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, NoReturn, Protocol

from hypertuner.store import process, ranks

_GPU_MEMORY = (
    *("out of memory on the GPU", "CUDA out of memory", "torch.OutOfMemoryError", "CUDA error: out of memory"),
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"),
)
_CPU_MEMORY = ("out of memory on the CPU", "MemoryError", "DefaultCPUAllocator: can't allocate memory")


class Ending(Protocol):
    """A run that can be told how it ended; telling it twice changes nothing."""

    def end(self, state: str, reason: str, *, code: int | None = 0, signal: str | None = None, trace: str = "") -> None:
        """Write exit.json."""
        ...


_watched: list[Ending] = []
_exit_code: object = None
_thread_error: str | None = None
"""Of what a thread of the script has died: the script may go on, and end well, without it."""
_signal: str | None = None
"""The signal that the script handles itself, from when it came."""
_first_frame: FrameType | None = None
_is_script = False
_installed = False
_writing = 0
"""How many ends are being written."""
_term_waits = False
_before_term: Any = signal.SIG_DFL
"""The handler of SIGTERM that was there before ours."""


def watch(active: Ending) -> None:
    """Write `active`'s exit.json when the process ends, if nothing else has by then."""
    if active not in _watched:
        _watched.append(active)
    global _installed
    if not _installed:
        _installed = True
        _install()
    _chain_sigterm()
    if process.is_worker():
        # multiprocessing leaves a forked worker without atexit; its own finalizers run in every one.
        from multiprocessing.util import Finalize

        Finalize(None, _at_worker_exit, exitpriority=0)


def end_by(active: Ending, error: BaseException) -> None:
    """End a run with the exception that ended its code."""
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if isinstance(error, KeyboardInterrupt):
        active.end("stopped", "stopped by Ctrl-C", code=None, signal="SIGINT")
    elif isinstance(error, SystemExit):
        _end_with_code(active, error.code)
    elif _signal is not None:
        active.end("stopped", f"stopped by {_signal}", code=1, signal=_signal, trace=trace)
    elif isinstance(error, GeneratorExit):
        active.end("stopped", "the block was closed", code=None)
    else:
        text = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
        active.end("failed", _memory_named(error, reason), code=1, trace=trace)


def cause_of(state: str, reason: str) -> str:
    """What ended an attempt, as far as its state and reason tell: one of `records.CAUSES`; '' of one that finished."""
    if state == "stopped":
        return "terminated" if "SIGTERM" in reason else "stopped"
    if state != "failed":
        return ""
    if any(mark in reason for mark in _GPU_MEMORY):
        return "gpu memory"
    if any(mark in reason for mark in _CPU_MEMORY):
        return "cpu memory"
    return "exception"


def _memory_named(error: BaseException, reason: str) -> str:
    if isinstance(error, MemoryError):
        return f"out of memory on the CPU: {reason}"
    if type(error).__name__ == "OutOfMemoryError":
        return f"out of memory on the GPU: {reason}"
    return reason


def _end_with_code(active: Ending, code: object) -> None:
    if _signal is not None:
        number = code if isinstance(code, int) else int(code is not None)
        active.end("stopped", f"stopped by {_signal}", code=number, signal=_signal)
    elif code in (None, 0):
        lost = f"; a thread of it died of {_thread_error}" if _thread_error else ""
        active.end("finished", f"the script ended{lost}")
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
    global _first_frame, _is_script
    # Asked now: Python takes `__file__` away from a script that has ended.
    _is_script = hasattr(sys.modules["__main__"], "__file__")
    atexit.register(_at_exit)
    _first_frame = _frame_of_script()

    hook = sys.excepthook

    def on_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
        for active in reversed(_watched):
            end_by(active, error)
        return hook(kind, error, trace)

    sys.excepthook = on_exception

    in_threads = threading.excepthook

    def on_exception_in_thread(arguments: threading.ExceptHookArgs) -> None:
        global _thread_error
        if arguments.exc_type is not SystemExit:
            _thread_error = f"{arguments.exc_type.__name__}: {arguments.exc_value}".partition("\n")[0]
        in_threads(arguments)

    threading.excepthook = on_exception_in_thread

    # atexit cannot see the exit code, and sys.excepthook is not called for SystemExit.
    leave = sys.exit

    def on_exit(code: Any = None, /) -> NoReturn:
        _note_code(code)
        leave(code)

    sys.exit = on_exit
    for name in ("exit", "quit"):
        if (quitter := getattr(builtins, name, None)) is not None:
            setattr(builtins, name, _Quitter(quitter))


def _frame_of_script() -> FrameType | None:
    """The frame that runs `__main__`; the first one of the main thread where none does."""
    frame = first = sys._current_frames().get(threading.main_thread().ident or 0)
    found = None
    while frame is not None:
        first = frame
        if frame.f_globals is vars(sys.modules["__main__"]):
            found = frame
        frame = frame.f_back
    # A script that a zygote's child has become has frames below its own, which never end.
    return found or first


class _Quitter:
    """`exit` and `quit` of the builtins, whose code is noted."""

    def __init__(self, quitter: Any) -> None:
        self._quitter = quitter

    def __repr__(self) -> str:
        return repr(self._quitter)

    def __call__(self, code: Any = None) -> None:
        _note_code(code)
        self._quitter(code)


def _note_code(code: object) -> None:
    global _exit_code
    if threading.current_thread() is threading.main_thread():
        _exit_code = code


def _chain_sigterm() -> None:
    global _before_term
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.getsignal(signal.SIGTERM)
    if before in (signal.SIG_IGN, None, _on_term):
        return
    _before_term = before
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, _on_term)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let SIGTERM wait while an end is being written: torchrun sends it to rank 0, which is about to say why it failed,
    and a process that died of it here would leave no exit.json."""
    global _writing, _term_waits
    _writing += 1
    try:
        yield
    finally:
        _writing -= 1
        if _term_waits and not _writing:
            _term_waits = False
            os.kill(os.getpid(), signal.SIGTERM)


def _on_term(number: int, frame: FrameType | None) -> None:
    global _signal, _term_waits
    if callable(_before_term):
        # Not the end yet: this is where scripts save a last checkpoint, or note that they should.
        _signal = "SIGTERM"
        _before_term(number, frame)
        return
    if _writing:
        _term_waits = True
        return
    for active in reversed(_watched):
        active.end("stopped", "stopped by SIGTERM", code=None, signal="SIGTERM")
    # Die of the signal itself, so that whoever waits for this process sees why it ended.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def _unchain_sigterm() -> None:
    """Give a forked child the handler that was there before ours.

    A handler in Python runs late, or never while the process waits for a lock: `Pool.terminate` sends its workers
    one SIGTERM each, and then waits for them for ever.
    """
    if signal.getsignal(signal.SIGTERM) is _on_term:
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGTERM, _before_term)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unchain_sigterm)


def _at_exit() -> None:
    for active in reversed(_watched):
        if _ended_by_itself():
            _end_with_code(active, None)
        elif (error := _uncaught()) is not None:
            end_by(active, error)
        else:
            _end_with_code(active, _exit_code)
    ranks.let_go()


def _at_worker_exit() -> None:
    error = sys.exc_info()[1]
    for active in reversed(_watched):
        if error is not None:
            end_by(active, error)
        else:
            _end_with_code(active, None)


def _ended_by_itself() -> bool:
    """Whether the script came to its last line: a `sys.exit()` that it caught on the way is forgotten."""
    if _first_frame is None or _first_frame.f_lasti < 0:
        return False
    last = opcode.opname[_first_frame.f_code.co_code[_first_frame.f_lasti]]
    return last.startswith("RETURN_")


def _uncaught() -> BaseException | None:
    """The exception that ended the script, also when a hook set later took the place of ours; None in a console."""
    error = getattr(sys, "last_value", None) if _is_script else None
    return error if isinstance(error, BaseException) else None
