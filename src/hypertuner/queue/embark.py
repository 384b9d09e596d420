"""Becoming a script: a forked copy of a process that has imported torch turns into `python script.py …`.

The process that is to be copied (zygote.py) notes what it is before it has imported anything, and when it has imported
all (origin.py); a copy of a copy of it calls `become_script`. What the script can see is then what it would see in an
interpreter of its own, the imports apart: the script is run, and the process is taken down, by the very functions of
CPython that do it for `python script.py`. Where that cannot be, a plain `python script.py` takes the process's place.

What stays different: the hash seed of strings is the zygote's; `traceback.print_stack()` shows our frames below the
script's; warnings of the imports themselves were given once, elsewhere.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import faulthandler
import gc
import importlib
import importlib.machinery
import io
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from hypertuner.queue import origin
from hypertuner.queue.origin import Origin, early, open_descriptors, settable_signals, take_modules
from hypertuner.queue.spawn import with_folder

_forgotten: list[ModuleType] = []
"""hypertuner as it was before the script's: kept, for its functions are on the stack and its files must stay open."""


def become_script(
    script: Path,
    arguments: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    beside: Path | None = None,
) -> NoReturn:
    """Be `python script arguments…` in `folder` with `environment`, from here on; for a freshly forked child. Modules
    that are nowhere else are looked for `beside`.

    Descriptors 0, 1 and 2 are the script's streams already; all others are closed. Nothing of the callers on the stack
    is ever run again, nor taken down. In a process that comes from no zygote, or where a module of the script's folder
    has the name of one that is loaded already, another Python replaces this one, which takes as long as it does.
    """
    try:
        # Until the script's dispositions are in place, a signal would be answered by handlers that are not its own.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        os.chdir(folder)
        bare = origin.noted()
        if bare is None or _is_out_of_reach(bare, script, environment):
            _replace(script, arguments, with_folder(environment, beside))
        _settle(bare, script, arguments, environment)
        if beside is not None:
            sys.path.append(str(beside))
        _run(script)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # whatever it is, it must not go on in the callers' frames, of which there are two processes
        with contextlib.suppress(Exception):
            traceback.print_exc()
            sys.stderr.flush()
    os._exit(1)


def _is_out_of_reach(bare: Origin, script: Path, environment: Mapping[str, str]) -> bool:
    """Whether this process cannot become what a plain start would be."""
    return (
        early(environment, bare.read) != early(bare.environment, bare.read)
        # Thread pools are as large as the cores that they found when they were loaded.
        or frozenset(os.sched_getaffinity(0)) != bare.cores
        or atexit._ncallbacks() != bare.at_exit  # somebody registered his own since, and they cannot be told apart
        or not script.is_file()  # a folder, a missing file: Python has an answer
        or not os.access(script, os.R_OK)
        or _is_shadowed(bare, _script_folder(script))
    )


def _is_shadowed(bare: Origin, folder: str) -> bool:
    """Whether the script's folder has a module that a plain start would have imported in place of a loaded one."""
    loaded = {name.partition(".")[0] for name in sys.modules} - bare.modules - set(sys.builtin_module_names)
    suffixes = importlib.machinery.all_suffixes()
    if not os.access(folder, os.R_OK):
        return True  # who knows
    with os.scandir(folder) as entries:
        for entry in entries:
            name, dot, rest = entry.name.partition(".")
            if name not in loaded:
                continue
            if dot and dot + rest in suffixes:
                return True
            if not dot and any(Path(entry.path, f"__init__{suffix}").exists() for suffix in suffixes):
                return True
    return False


def _replace(script: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    for descriptor in open_descriptors():
        os.set_inheritable(descriptor, False)
    for number in settable_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execve(sys.executable, [sys.executable, str(script), *arguments], dict(environment))  # noqa: S606


def _settle(bare: Origin, script: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Make everything that a script can see what it is when Python has just started."""
    for descriptor in set(open_descriptors()) - bare.descriptors:
        os.close(descriptor)
    renew_streams()
    os.environ.clear()
    os.environ.update(environment)
    for name, value in bare.coerced.items():
        os.environ.setdefault(name, value)
    time.tzset()
    for owner, name, value in bare.hooks:
        setattr(owner, name, value)
    if not bare.says_faults:
        faulthandler.disable()
    sys.settrace(None)
    sys.setprofile(None)

    _forgotten.extend(take_modules().values())
    sys.modules.update(bare.library)
    bare.library["hypertuner.settings"].start_from(Path.cwd())
    main = ModuleType("__main__")
    vars(main).update({name: {} if name == "__annotations__" else value for name, value in bare.main.items()})
    sys.modules["__main__"] = main
    if "__mp_main__" in sys.modules:  # multiprocessing's name for it
        sys.modules["__mp_main__"] = main
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType):  # some put other things there
            vars(module).pop("__warningregistry__", None)
    sys.argv[:] = [str(script), *arguments]
    sys.orig_argv[:] = [sys.executable, *sys.argv]
    show_as(" ".join(sys.orig_argv))
    is_safe = getattr(sys.flags, "safe_path", False)
    sys.path[:] = [*([] if is_safe else [_script_folder(script)]), *bare.path]
    importlib.invalidate_caches()  # what was installed since

    _reseed()
    if (multiprocessing := sys.modules.get("multiprocessing.process")) is not None:
        vars(multiprocessing)["ORIGINAL_DIR"] = str(Path.cwd())
        multiprocessing.current_process().authkey = os.urandom(32)
    if (logging := sys.modules.get("logging")) is not None:
        begun = vars(logging)["_startTime"]
        vars(logging)["_startTime"] = time.time_ns() if isinstance(begun, int) else time.time()
    gc.enable()
    with contextlib.suppress(ValueError):
        signal.set_wakeup_fd(-1)
    for number, disposition in bare.signals.items():
        if signal.getsignal(number) != disposition:
            signal.signal(number, disposition)


def show_as(title: str) -> None:
    """Show this process as `title` in ps and top, as far as there is room: where its command line stands in memory."""
    fields = Path("/proc/self/stat").read_text(errors="replace").rpartition(")")[2].split()
    begin, end = int(fields[45]), int(fields[46])  # arg_start, arg_end
    if not 0 < begin < end:
        return
    shown = os.fsencode(title).replace(b"\0", b" ")[: end - begin - 2]
    ctypes.memset(begin, 0, end - begin)
    ctypes.memmove(begin, shown, len(shown))
    # When the last byte is not zero, Linux takes what stands before the first zero for a title.
    ctypes.memset(end - 1, 1, 1)


def _reseed() -> None:
    """Draw new random numbers: a library's generator is seeded when it is imported, and a fork copies its state."""
    random.seed()
    if (numpy := sys.modules.get("numpy.random")) is not None:
        numpy.seed()
    if (torch := sys.modules.get("torch")) is not None:
        torch.default_generator.seed()


def spare() -> None:
    """The last thing before Python takes down all modules: leave out those that the script found loaded.

    Destroying them takes five times as long as all else, for each page that it touches is copied first. The script's
    own modules and objects are destroyed as ever. Files are flushed, should one be known to a spared module only.
    """
    bare = origin.noted()
    assert bare is not None
    for name, module in bare.spared.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]
    for found in gc.get_objects():  # those of before the fork are not among them
        if type(found) in (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom):
            with contextlib.suppress(OSError, ValueError):
                found.flush()


def renew_streams() -> None:
    """Make sys.stdin, stdout and stderr what Python makes of descriptors 0, 1 and 2 when it starts.

    The objects stay: what was imported may hold them.
    """
    bare = origin.noted()
    assert bare is not None
    for number, (stream, encoding, errors, is_unbuffered) in enumerate(bare.streams):
        name = ("stdin", "stdout", "stderr")[number]
        try:
            os.fstat(number)
        except OSError:
            _set_stream(name, None)
            continue
        _discard(stream, number)
        raw = io.FileIO(number, "wb" if number else "rb", closefd=False)
        raw.name = f"<{name}>"
        size = os.fstat(number).st_blksize
        buffer: Any = raw
        if number == 0 or not is_unbuffered:
            buffer = io.BufferedWriter(raw, size) if number else io.BufferedReader(raw, size)
        io.TextIOWrapper.__init__(
            stream,
            buffer,
            encoding=encoding,
            errors=errors,
            newline="\n",
            line_buffering=not is_unbuffered and (raw.isatty() or number == 2),
            write_through=is_unbuffered,
        )
        _set_stream(name, stream)


def _set_stream(name: str, stream: Any) -> None:
    setattr(sys, name, stream)
    setattr(sys, f"__{name}__", stream)


def _discard(stream: io.TextIOWrapper, number: int) -> None:
    """Let go what a stream still holds: our caller wrote it, and has a copy of it."""
    if number == 0:
        return
    kept, nowhere = os.dup(number), os.memfd_create("nowhere")
    try:
        os.dup2(nowhere, number)
        stream.flush()
    finally:
        os.dup2(kept, number)
        os.close(kept)
        os.close(nowhere)


def _run(script: Path) -> NoReturn:
    """Run the script and end the process, as CPython's main does: with its own functions.

    SystemExit ends the process in the first call. `Py_Exit` waits for threads, calls what is registered with atexit,
    deletes modules, flushes (120 when that fails), and ends the process below any frame of Python.
    """
    python, libc = ctypes.pythonapi, ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    run = python.PyRun_SimpleFileExFlags
    run.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p)
    # What libraries do at the end of a process: those that the script loads, before these two are reached. The others'
    # destructors only free memory, page by copied page; `exit` calls fflush(NULL), then _exit(status).
    libc.on_exit(libc["_exit"], None)
    libc["__cxa_atexit"](libc.fflush, None, None)
    path = os.fsencode(_absolute(script))
    file = libc.fopen(path, b"rbe")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    status = 1 if run(file, path, 1, None) else 0
    # `last_type` of a handler that has printed it: an exception, here, that nothing caught.
    if status and getattr(sys, "last_type", None) is KeyboardInterrupt:
        # Python dies of the signal when it has taken itself down: libc calls raise(SIGINT) then, its status the signal.
        libc.on_exit(libc["raise"], None)
        status = signal.SIGINT
    python.Py_Exit(int(status))
    os._exit(1)  # not reached


def _absolute(script: Path) -> str:
    return str(script) if script.is_absolute() else f"{Path.cwd()}/{script}"


def _script_folder(script: Path) -> str:
    return str(script.resolve().parent)
