"""Samples what the processes of an attempt take of the machine, for its supervisor.

Memory is the sum of the processes' PSS, in which memory that they share (the workers of a DataLoader) counts once.
The kernel takes some 8 ms to tell it for each GB that is mapped: it is asked as seldom as 0.5 % of a core allows, and
never again once an answer took half a second. In between, the sum of their RSS is scaled by what the last answer was to
it. Where the system has no PSS, it is the sum of their RSS. Every sample says which.

CPU time and disk bytes include those of processes that have ended since, as long as their parent waited for them.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypertuner import files, settings
from hypertuner.errors import StorageError
from hypertuner.store import cgroup
from hypertuner.store.figures import Figures, encode
from hypertuner.store.gpus import GpuMeter
from hypertuner.store.layout import AttemptLayout

if TYPE_CHECKING:
    import psutil

_PSS_SHARE = 0.005  # of a core
_PSS_MOST_S = 0.5  # while the kernel counts, the process can map no memory
_LARGE = 0.1  # of the machine's memory
_SHORT = 0.05  # of the memory, or of its limit, left
_SHORTEST_S = 0.05  # the counters of CPU time go in steps of 10 ms


@dataclass
class _Counted:
    """Sums over the processes of an attempt at one moment."""

    at: float
    cpu_s: float = 0.0
    read_bytes: int | None = None
    write_bytes: int | None = None
    rss_bytes: int = 0
    processes: int = 0


class Sampler:
    """Takes samples of an attempt's processes and appends them to its `system.jsonl`.

    Args:
        pid: the process of the script: that one and what descends from it. Or the calling process itself: all that
            descends from it, what it adopted too, without itself.
        gpus: UUIDs of the GPUs that the attempt was given.
    """

    def __init__(self, layout: AttemptLayout, pid: int, gpus: Sequence[str] = ()) -> None:
        import psutil

        self._every_s = max(0.0, settings.SYSTEM_EVERY_S.get())
        self._layout = layout
        self._pid = pid
        self._meter = GpuMeter(gpus)
        self._file: files.Appender | None = None
        self._pss_at = 0.0
        """When PSS may be asked for again."""
        self._pss_of_rss: float | None = None
        self._is_short = False
        self.peak_memory_bytes = 0
        """Most that the processes took at any sample."""
        psutil.cpu_percent()  # the next answer is about the time since this one
        self._before = self._count(self._processes())

    def tick(self) -> None:
        """Take a sample if it is time for one; never where HYPERTUNER_SYSTEM_EVERY_S is 0."""
        if self._every_s and time.monotonic() - self._before.at >= self._every_s:
            self.sample()

    def sample(self) -> None:
        """Take a sample and append it. What the disk refuses is dropped."""
        import psutil

        processes = self._processes()
        before, now = self._before, self._count(processes)
        self._before = now
        memory, kind = self._memory(processes, now.rss_bytes)
        self.peak_memory_bytes = max(self.peak_memory_bytes, memory)
        host = psutil.virtual_memory()
        self._is_short = host.available < _SHORT * host.total or _is_short(cgroup.room())
        passed = now.at - before.at
        self._append(
            Figures(
                time=round(time.time(), 3),
                cpu=round(max(0.0, now.cpu_s - before.cpu_s) / passed, 3) if passed >= _SHORTEST_S else None,
                memory_bytes=memory,
                memory_kind=kind,
                processes=now.processes,
                disk_read_bytes=_since(before.read_bytes, now.read_bytes),
                disk_write_bytes=_since(before.write_bytes, now.write_bytes),
                host_cpu=round(psutil.cpu_percent() / 100, 3) if passed >= _SHORTEST_S else None,
                host_memory_available_bytes=host.available,
                gpus=tuple(self._meter.read()),
            )
        )

    def is_short_of_memory(self) -> bool:
        """Whether, at the last sample, less than 5 % was left of the machine's memory or of this process's limit."""
        return self._is_short

    def close(self) -> None:
        """Let go of the file and of the GPUs' driver."""
        self._meter.close()
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

    def _append(self, figures: Figures) -> None:
        with contextlib.suppress(OSError, StorageError):
            if self._file is None:
                self._file = files.Appender(self._layout.figures)
            self._file.append(encode(figures))

    def _processes(self) -> list[psutil.Process]:
        import psutil

        try:
            root = psutil.Process(self._pid)
            found = root.children(recursive=True)
        except psutil.Error:
            return []
        return found if self._pid == os.getpid() else [root, *found]

    def _count(self, processes: Sequence[psutil.Process]) -> _Counted:
        counted = _Counted(time.monotonic())
        if self._pid == os.getpid():
            ended = os.times()
            counted.cpu_s = ended.children_user + ended.children_system
        for process in processes:
            with _if_there(), process.oneshot():
                times: Any = process.cpu_times()
                counted.processes += 1
                # With what its children took that it has waited for: when one ends, its time moves there.
                waited = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
                counted.cpu_s += times.user + times.system + waited
                counted.rss_bytes += process.memory_info().rss
            with _if_there():
                io: Any = process.io_counters() if hasattr(process, "io_counters") else None
                if io is not None:
                    counted.read_bytes = (counted.read_bytes or 0) + io.read_bytes
                    counted.write_bytes = (counted.write_bytes or 0) + io.write_bytes
        return counted

    def _memory(self, processes: Sequence[psutil.Process], rss_bytes: int) -> tuple[int, str]:
        if rss_bytes and time.monotonic() >= self._pss_at:
            began = time.thread_time()
            pss = sum(map(_pss, processes))
            cost_s = time.thread_time() - began
            self._pss_at = math.inf if not pss or cost_s > _PSS_MOST_S else time.monotonic() + cost_s / _PSS_SHARE
            if pss:
                self._pss_of_rss = pss / rss_bytes
                return pss, "pss"
        if self._pss_of_rss is None:
            return rss_bytes, "rss"
        return int(rss_bytes * self._pss_of_rss), "estimated"


def oom_kills() -> int | None:
    """A count that grows when the kernel kills for want of memory: in this process's control group where that has a
    limit, else on this machine. None: not counted.

    A supervisor that reads it before and after tells such a kill from one by hand.
    """
    of_group = cgroup.oom_kills() if cgroup.room() is not None else None
    return of_group if of_group is not None else _oom_kills_of_host()


def was_killed_for_memory(kills_before: int | None, largest_bytes: int) -> bool:
    """Whether a process that got SIGKILL got it from the kernel, for want of memory.

    Where the whole machine is counted, a kill may have been somebody else's: it was ours if our largest process had a
    good part of the memory, for the kernel takes the largest.
    """
    if oom_kills() == kills_before:
        return False
    import psutil

    return cgroup.room() is not None or largest_bytes >= _LARGE * psutil.virtual_memory().total


def largest_process_bytes() -> int:
    """Most memory that one process of those that have ended, and that this one waited for, had resident."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _oom_kills_of_host() -> int | None:
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/vmstat").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("oom_kill ")).split()[1])
    return None


def _pss(process: psutil.Process) -> int:
    """PSS of a process, of a stranger's RSS, 0 of one that has ended."""
    import psutil

    try:
        return int(getattr(process.memory_full_info(), "pss", 0))
    except psutil.AccessDenied:
        with _if_there():
            return int(process.memory_info().rss)
    except psutil.Error:
        pass
    return 0


def _since(before: int | None, now: int | None) -> int | None:
    return None if now is None else max(0, now - (before or 0))


def _is_short(room: cgroup.Room | None) -> bool:
    return room is not None and room.available_bytes < _SHORT * room.limit_bytes


@contextlib.contextmanager
def _if_there() -> Iterator[None]:
    """Passes over a process that has ended, or that may not be asked."""
    import psutil

    try:
        yield
    except (psutil.Error, OSError):
        return
