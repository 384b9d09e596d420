"""The process that looks into weights: it may import NumPy or PyTorch, which the server never does.

It reads one JSON object on its standard input, writes one on its standard output, and ends. It lowers its own limits
before it looks at a file: no core dump, so many seconds of CPU, and, where it only reads, so much memory, no byte
written, and whatever else the system can keep it from.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypertuner import syscalls
from hypertuner.errors import HypertunerError, MissingExtraError

_CPU_S = 600
_MEMORY_BYTES = 8 << 30  # of addresses, where it only reads: pieces of 32 MB, and what NumPy reserves


def main() -> int:
    """Do what the standard input asks for; 0 when standard output has an answer."""
    asked: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    _end_with(asked["server"], asked["within_s"])
    _limit(writes=asked["task"] not in _READS, computes=asked["task"] == "shapes")
    try:
        answer = _TASKS[asked["task"]](asked)
    except HypertunerError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    except OSError as error:
        answer = {"error": "OSError", "message": error.strerror or "the file cannot be read"}
    sys.stdout.buffer.write(json.dumps(answer).encode())
    return 0


def _end_with(server: int, within_s: float) -> None:
    """End by itself where the server that asked is not there any more to see to it."""
    if os.name == "posix":
        signal.alarm(math.ceil(within_s) + 1)
        syscalls.be_told_of_death(server, signal.SIGKILL)


def _limit(*, writes: bool, computes: bool) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_CPU: _CPU_S}
    if not writes:
        # PyTorch reserves many more addresses than it uses.
        memory = resource.RLIMIT_DATA if computes else resource.RLIMIT_AS
        limits |= {resource.RLIMIT_FSIZE: 0, memory: _MEMORY_BYTES}
    for limit, most in limits.items():
        with contextlib.suppress(ValueError, OSError):  # lower already, or not known to this system
            resource.setrlimit(limit, (most, most))
    if not writes:
        syscalls.only_read()
    os.nice(10)


def _statistics(asked: Mapping[str, Any]) -> dict[str, Any]:
    from hypertuner.server.weights.statistics import statistics

    against = asked.get("against")
    return statistics(Path(asked["path"]), Path(against) if against else None)


def _shapes(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The shapes of the model that a script makes with a config; what it prints is not the answer."""
    from hypertuner import settings
    from hypertuner.store import current

    script = Path(asked["script"])
    os.environ[settings.MODE.variable] = "off"
    os.chdir(asked["folder"])
    sys.argv = [str(script), *asked["arguments"]]
    sys.path.insert(0, str(script.parent))
    with contextlib.redirect_stdout(sys.stderr), current.new_run(values=asked["config"]):
        try:
            from hypertuner.frameworks.torch import trying
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise MissingExtraError("torch", "torch", "the shape check") from error
        return {"shapes": trying.shapes(script)}


def _export(asked: Mapping[str, Any]) -> dict[str, Any]:
    from hypertuner.checkpoint.format.archive import Archive

    try:
        from hypertuner.frameworks.torch.export import export
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError("torch", "torch", "export") from error
    with Archive.open(Path(asked["path"])) as archive:
        return {"notes": export(archive, Path(asked["target"]), asked["form"])}


def _thin(asked: Mapping[str, Any]) -> dict[str, Any]:
    from hypertuner.frameworks.adapter import torch_adapter

    torch_adapter().thin(Path(asked["path"]))
    return {}


_TASKS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "statistics": _statistics,
    "shapes": _shapes,
    "export": _export,
    "thin": _thin,
}
_READS = frozenset({"statistics", "shapes"})
