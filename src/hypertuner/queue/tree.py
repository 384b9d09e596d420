"""A process and all that it started: found, asked to end, killed; never a stranger that has got a pid of one of them.

Linux makes the supervisor the parent of whatever its descendants leave behind (a subreaper), so that a daemon which
has left its session is found as well. Elsewhere only what still has its parent is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping

from hypertuner.store.process import ProcessIdentity, process_start


def reap() -> Iterator[tuple[int, int]]:
    """(pid, return code) of each child that has ended, and forget it; a code below 0 is a signal."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def has_children() -> bool:
    """Whether this process has a child that has not been reaped."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def family(pid: int) -> frozenset[int]:
    """The pids of a process and of all that descends from it; empty when it is gone."""
    import psutil

    try:
        process = psutil.Process(pid)
        return frozenset((pid, *(child.pid for child in process.children(recursive=True))))
    except psutil.Error:
        return frozenset()


def end_descendants(grace_s: float) -> None:
    """End all that this process has started: asked by SIGTERM, and killed after `grace_s` seconds. All are reaped."""
    import psutil

    me = psutil.Process()
    until = time.monotonic() + grace_s
    asked: set[tuple[int, float]] = set()
    while has_children():
        late = time.monotonic() >= until
        with contextlib.suppress(psutil.Error):
            for process in me.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    key = (process.pid, process.create_time())
                    if late:
                        process.kill()
                    elif key not in asked:
                        asked.add(key)
                        process.terminate()
        for _ in reap():
            pass
        if late and time.monotonic() > until + 10:
            return  # in a system call that cannot be interrupted: nobody can end it now
        time.sleep(0.02)


def send(identity: ProcessIdentity, number: int) -> bool:
    """Send a signal to a process of this machine; False, and nothing is sent, when it is not that process any more.

    Between the look and the signal the pid cannot become a stranger's: the process is held while it is looked at.
    """
    if identity.is_alive() is not True:
        return False
    if not hasattr(os, "pidfd_open"):
        return _send_by_number(identity, number)
    try:
        held = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return False
    except OSError:  # an old kernel, or a sandbox that has no such call
        return _send_by_number(identity, number)
    try:
        if identity.is_alive() is not True:
            return False
        signal.pidfd_send_signal(held, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(held)
    return True


def _send_by_number(identity: ProcessIdentity, number: int) -> bool:
    try:
        os.kill(identity.pid, number)
    except ProcessLookupError:
        return False
    return process_start(identity.pid) is not None


def end_marked(marks: Mapping[str, str]) -> int:
    """Kill the processes of this user that were started with these environment variables; how many there were.

    For what a supervisor that was killed together with its guard has left behind.
    """
    import psutil

    found = 0
    me = os.getuid()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.uids().real != me:
                continue
            environment = process.environ()
            if all(environment.get(name) == value for name, value in marks.items()):
                process.kill()
                found += 1
    return found
