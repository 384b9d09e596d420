"""What an interpreter was before it imported anything, and what its imports made of it: noted by a zygote.

Its copies go back to that when they become a script (embark.py).
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import faulthandler
import importlib
import io
import os
import pkgutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

# Read by C code, or by imports, before a script could change them. A script whose environment differs in one of them
# is no copy of this process.
_EARLY = (
    *("PYTHON", "LANG", "LC_", "LD_", "MALLOC_", "GLIBC_", "MIMALLOC_"),
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "GOTO_", "BLIS_", "DNNL_", "ONEDNN_", "ATEN_", "NUMEXPR_"),
    *("TORCH", "PYTORCH_", "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "NCCL_", "TRITON_", "HIP_", "ROCR_"),
)
# Read when the CUDA runtime begins, which it does in the script; by nobody; or of hypertuner, which is imported anew.
_LATE = frozenset(
    ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "PWD", "OLDPWD", "SHLVL", "_", "TERM")
)
_OURS = "hypertuner"
# Parts of hypertuner that no training script needs.
_NOT_FOR_SCRIPTS = frozenset(f"hypertuner.{name}" for name in ("cli", "server", "queue", "__main__", "examples", "web"))
_HOOKS: tuple[tuple[Any, str], ...] = (
    *((sys, name) for name in ("excepthook", "unraisablehook", "displayhook", "breakpointhook", "exit")),
    *((builtins, name) for name in ("exit", "quit") if hasattr(builtins, name)),
    (threading, "excepthook"),
)


@dataclass
class Origin:
    """What this process was before it imported anything, and what it was when it had imported all."""

    modules: frozenset[str]
    path: tuple[str, ...]
    main: Mapping[str, Any]
    streams: tuple[tuple[Any, str, str | None, bool], ...]
    """Of 0, 1 and 2: the stream, its encoding, its errors, whether it is unbuffered: as the environment asks."""
    environment: Mapping[str, str]
    coerced: Mapping[str, str]
    """What Python itself put into its environment (LC_CTYPE, PEP 538)."""
    cores: frozenset[int]
    read: frozenset[str] = frozenset()
    """Variables that were read while it imported."""
    hooks: tuple[tuple[Any, str, Any], ...] = ()
    signals: Mapping[int, Any] = field(default_factory=dict)
    descriptors: frozenset[int] = frozenset()
    at_exit: int = 0
    says_faults: bool = False
    library: Mapping[str, ModuleType] = field(default_factory=dict)
    """hypertuner as a script imports it: nothing in it was ever called."""
    spared: Mapping[str, ModuleType] = field(default_factory=dict)
    """Modules that are not taken down when a script ends."""


_origin: Origin | None = None


def noted() -> Origin | None:
    """What `note` has noted, in this process or in one that it is a copy of."""
    return _origin


def note(modules: Iterable[str], at_last: Callable[[], None]) -> None:
    """Note what this process is, an interpreter that has loaded only `modules`, and what its environment makes it.

    `at_last` is called when a script ends, after all that is registered with atexit.
    """
    global _origin
    atexit.register(at_last)  # before anybody else, so that it is called last
    main = sys.modules["__main__"]
    given = dict(
        line.split("=", 1)
        for line in os.fsdecode(Path("/proc/self/environ").read_bytes()).split("\0")
        if "=" in line[1:]
    )
    _origin = Origin(
        modules=frozenset(modules),
        path=tuple(path for number, path in enumerate(sys.path) if number or path),
        main={name: value for name, value in vars(main).items() if name.startswith("__")},
        streams=tuple(
            (stream, stream.encoding, stream.errors, stream.write_through)
            for stream in (sys.stdin, sys.stdout, sys.stderr)
            if isinstance(stream, io.TextIOWrapper)
        ),
        environment=given,
        coerced={name: value for name, value in os.environ.items() if name not in given},
        cores=frozenset(os.sched_getaffinity(0)),
    )


def set_aside(read: Iterable[str], private: Iterable[int]) -> None:
    """Note what this process has become by its imports: they have `read` these variables. Its descriptors stay open in
    its copies, but for `private`. A script will get its own, fresh hypertuner.
    """
    assert _origin is not None
    _origin.read = frozenset(read)
    _origin.signals = {number: signal.getsignal(number) for number in settable_signals()}
    ours = take_modules()
    _import_package(_OURS)
    _origin.library = take_modules()
    sys.modules.update(ours)
    note_imports(private)


def note_imports(private: Iterable[int]) -> None:
    """Note again what was imported, when that has become more."""
    assert _origin is not None
    imported = {name: module for name, module in sys.modules.items() if name not in _origin.modules}
    _origin.spared = {**imported, **_origin.library}
    _origin.hooks = tuple((owner, name, getattr(owner, name)) for owner, name in _HOOKS)
    _origin.at_exit = atexit._ncallbacks()
    _origin.says_faults = faulthandler.is_enabled()
    _origin.descriptors = frozenset(open_descriptors()) - frozenset(private)


def _import_package(name: str) -> None:
    package = importlib.import_module(name)
    for found in pkgutil.iter_modules(package.__path__, f"{name}."):
        if found.name in _NOT_FOR_SCRIPTS:
            continue
        with contextlib.suppress(ImportError, AttributeError):  # of a framework that is not installed, or a stranger
            if found.ispkg:
                _import_package(found.name)
            else:
                importlib.import_module(found.name)


def early(environment: Mapping[str, str], read: Iterable[str] = ()) -> dict[str, str]:
    """The variables that a process has read before a script begins: those of C code, and those that were `read`."""
    names = frozenset(read)
    return {
        name: value
        for name, value in environment.items()
        if (name in names or name.startswith(_EARLY)) and name not in _LATE and not name.startswith("HYPERTUNER_")
    }


def take_modules() -> dict[str, ModuleType]:
    """hypertuner's modules, out of sys.modules: who imports it next gets it anew."""
    names = [name for name in sys.modules if name == _OURS or name.startswith(f"{_OURS}.")]
    return {name: sys.modules.pop(name) for name in names}


def settable_signals() -> list[int]:
    """Signals that a process may handle."""
    return sorted(set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP})


def open_descriptors() -> list[int]:
    """Descriptors above 2 that are open now."""
    found = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208  # names, not paths
    return [number for number in found if number > 2 and _is_open(number)]


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:  # the one that the listing used
        return False
    return True
