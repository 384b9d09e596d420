"""Who a process is, and whether it still runs: host, boot, pid namespace, pid and start time together.

A pid alone names a stranger after a while; the start time tells them apart, the boot id does after a
restart, the namespace in a container.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from hypertuner.host import host_name

_HAS_PROC = Path("/proc/self/stat").exists()


@dataclass(frozen=True)
class ProcessIdentity:
    """One process, told apart from every other that ever had its pid."""

    host: str
    boot_id: str | None
    pid_namespace: str | None
    pid: int
    started: float | None
    machine: str | None = None

    @classmethod
    def mine(cls) -> ProcessIdentity:
        """The process that asks."""
        return cls(host_name(), _boot_id(), _pid_namespace(), os.getpid(), process_start(os.getpid()), _machine_id())

    def is_alive(self) -> bool | None:
        """Whether it runs: True, False, or None when it lives where this process cannot look."""
        if self.host != host_name() or (self.machine and self.machine != _machine_id()):
            return None
        if self.boot_id and self.boot_id != _boot_id():
            return False
        if self.pid_namespace and self.pid_namespace != _pid_namespace():
            return None
        started = process_start(self.pid)
        if started is None:
            return False
        # psutil's clock is good to some hundredths of a second; Linux' ticks are exact.
        return self.started is None or abs(started - self.started) < 0.5


def is_worker() -> bool:
    """Whether multiprocessing made this process: forked, spawned, or by a fork server."""
    if "multiprocessing.process" not in sys.modules:
        return False
    return sys.modules["multiprocessing.process"].parent_process() is not None or is_importing_main()


def is_importing_main() -> bool:
    """Whether multiprocessing is importing the script again, to have its functions in a spawned worker."""
    module = sys.modules.get("multiprocessing.process")
    # The mark by which multiprocessing itself knows; `parent_process` is set only afterwards.
    return module is not None and getattr(module.current_process(), "_inheriting", False)


def process_start(pid: int) -> float | None:
    """Start time of a process, comparable on its host only; None when there is none, or it is a zombie.

    Linux: ticks since boot (/proc/<pid>/stat, field 22), which no change of the clock moves. Elsewhere: psutil.
    """
    if _HAS_PROC:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in ("Z", "X") else float(fields[19])
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def began_at() -> float:
    """When this process was started, in seconds since 1970, good to some hundredths of a second; never too late."""
    return _began_at(os.getpid())


@functools.cache
def _began_at(pid: int) -> float:
    if _HAS_PROC and hasattr(time, "CLOCK_BOOTTIME") and (ticks := process_start(pid)) is not None:
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return time.time() - age
    import psutil

    return psutil.Process(pid).create_time()


@functools.cache
def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        pass
    import psutil

    return str(int(psutil.boot_time()))


@functools.cache
def _machine_id() -> str | None:
    """Linux's own number of this machine; two of the same host name ("localhost", a cloned image) differ in it."""
    try:
        return Path("/etc/machine-id").read_text().strip() or None
    except OSError:
        return None


def _pid_namespace() -> str | None:
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115  # asked once a run: Path costs more than the call
    except OSError:
        return None
