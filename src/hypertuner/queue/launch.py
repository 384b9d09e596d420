"""Starting one script in several processes on this machine, by torchrun; and what its end means for the run.

torchrun ends with 1 whatever happened, and stops rank 0, which writes exit.json, when another rank failed: what rank 0
says of its end is right only as far as it knows. Whoever waits for torchrun knows the rest.
"""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from hypertuner.errors import ConfigError, MissingExtraError
from hypertuner.store import Run, capture, orders, records


def check_processes(processes: int, *, gpus: bool) -> None:
    """Raises: ConfigError when this machine has fewer GPUs than asked for; MissingExtraError without torch."""
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError("PyTorch", "torch", "Training in several processes")
    # A container may hide them from the driver's listing: then the script finds out.
    found = len(capture.gpus())
    if gpus and 0 < found < processes:
        raise ConfigError(
            f"--gpus {processes}: this machine has {found}.\n"
            f"  Take fewer, or processes on the CPU: --nproc {processes}."
        )


def processes_of(run: Run) -> int:
    """How many processes torchrun starts for a run; 0: it is started as `python SCRIPT`."""
    record = run.record()
    return record.processes if record is not None else 0


def processes_for(run: Run, queued: orders.Queued) -> int:
    """How many it starts for the attempt that the queue is to make of a run."""
    return processes_of(run) if queued.processes is None else queued.processes


def interpreter(processes: int) -> list[str]:
    """What starts a script: Python, or torchrun for so many processes; one of them too finds its process group."""
    if processes == 0:
        return [sys.executable]
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]


def kill(process: subprocess.Popen[Any]) -> None:
    """End a process and all that it started: torchrun's ranks are in sessions of their own, and would go on."""
    import psutil

    try:
        started = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        started = []
    process.kill()
    for child in started:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue


def stopped_by(asked: Sequence[int]) -> str:
    """The reason of a run that somebody stopped, by the signals that they sent."""
    by = signal.Signals(asked[-1])
    return "stopped by Ctrl-C" if by == signal.SIGINT else f"stopped by {by.name}"


def verdict(said: records.Exit | None, code: int, asked: Sequence[int]) -> tuple[str, str] | None:
    """(state, reason) of a run of several processes that did not end well; None where rank 0 said it right.

    `asked` are the signals that somebody sent in order to stop it.
    """
    if code == 0:
        return None
    if asked:
        reason = stopped_by(asked)
        return None if said is not None and said.state == "stopped" and said.reason == reason else ("stopped", reason)
    if said is not None and said.state == "failed":
        return None
    if said is None:
        return "failed", f"rank 0 was killed (out of memory, or by hand): torchrun ended with code {code}"
    return "failed", f"another rank failed or was killed: torchrun ended with code {code}, and says which above"
