"""Which of several processes of one training this is: rank 0 writes, all restore.

The process group is asked once it is initialised; before that the environment, where torchrun, accelerate, DeepSpeed
and plain launchers put RANK and WORLD_SIZE. A number that only Slurm or MPI knows does not count: `srun` starts
programs that have nothing to do with each other as well, and each of those is a run whose weights are to be kept.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from hypertuner.store import process

_GLOO_THREAD = "pt_gloo_runloop"  # as torch names those that carry out Gloo's collectives
_LET_GO_S = 1.0
_PAUSE_S = 0.01

_seen: tuple[int, int, int] | None = None
"""(process id, rank, world size) by the last process group: a group that is destroyed makes nobody rank 0."""


def rank() -> int:
    """This process's number among those that train together; 0 when it trains alone."""
    return place()[0]


def world_size() -> int:
    """How many processes train together; 1 when this one trains alone."""
    return place()[1]


def place() -> tuple[int, int]:
    """(rank, world size)."""
    global _seen
    if (distributed := process_group()) is not None:
        _seen = (os.getpid(), int(distributed.get_rank()), int(distributed.get_world_size()))
    if _seen is not None and _seen[0] == os.getpid():
        return _seen[1], _seen[2]
    if (number := _number("RANK")) is None:  # asked at every record: one look is enough for who trains alone
        return 0, 1
    size = _number("WORLD_SIZE")
    return (number, size) if size is not None and number < size else (0, 1)


def is_grouped() -> bool:
    """Whether this process has, or had, a process group."""
    return _seen is not None or process_group() is not None


def is_one_node() -> bool:
    """Whether the launcher says nothing of other machines."""
    here = _number("LOCAL_WORLD_SIZE")
    return here is None or here == _number("WORLD_SIZE")


def launched() -> int:
    """How many processes a launcher started on this machine; 0 when it started none: a script that spawns its own
    processes is started once."""
    if process.is_worker() or _number("RANK") is None or not is_one_node():
        return 0
    return world_size()


def restarts() -> int:
    """How often torchrun has started these processes again after a failure."""
    return _number("TORCHELASTIC_RESTART_COUNT") or 0


def _number(variable: str) -> int | None:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else None


def process_group() -> Any:
    """`torch.distributed` when its process group is initialised, else None."""
    # By its name: a script that trains in several processes has imported it, and nobody else pays for it.
    distributed: ModuleType | None = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed
    return None


def let_go() -> None:
    """Return when Gloo's threads rest, at most a second later; at once in a process that never had a group.

    Such a thread takes Python's lock to let go of the last collective. If it comes for it when Python has ended, torch
    aborts the process, and torchrun counts one that had finished as failed (pytorch/pytorch#179291). From 3.14 on
    Python lets it wait.
    """
    if sys.version_info >= (3, 14) or not is_grouped():
        return
    until, rests = time.monotonic() + _LET_GO_S, 0
    while rests < 2 and time.monotonic() < until:
        time.sleep(_PAUSE_S)  # whoever waits for Python's lock has it now, and does not rest when it is looked for
        rests = 0 if _is_gloo_busy() else rests + 1


def _is_gloo_busy() -> bool:
    """Whether one of its threads runs or could run; False where the system does not tell."""
    for stat in Path("/proc/self/task").glob("*/stat"):
        try:
            name, _, state = stat.read_text(errors="replace").rpartition(") ")
        except OSError:  # it has ended
            continue
        if name.endswith(f"({_GLOO_THREAD}") and state.startswith("R"):
            return True
    return False
