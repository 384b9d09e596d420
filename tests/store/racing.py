"""Real processes that do the same thing at the same instant."""

from __future__ import annotations

import os
import subprocess
import sys
import time

_WAIT = """
import os, sys, time
print("ready", flush=True)
while not os.path.exists(sys.argv[1]):
    pass
"""


def race(code: str, folder, count: int) -> list[str]:
    """What `count` processes print that run `code` at once; `sys.argv[2]` is the number of each."""
    signal = folder / ".go"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    first, _, rest = code.partition("# --- go")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", first + _WAIT + rest, str(signal), str(number)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for number in range(count)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    signal.touch()
    printed = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * count
    return printed


def run_until_killed(action) -> tuple[int, bool]:
    """(pid, whether SIGKILL ended it) of a forked child that did `action`."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + 60
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            killed = os.WIFSIGNALED(status)
            assert killed or os.waitstatus_to_exitcode(status) == 0
            return pid, killed
        assert time.monotonic() < deadline
        time.sleep(0.0005)
