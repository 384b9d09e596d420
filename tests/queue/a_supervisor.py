"""What the zygote of test_zygote.py forks: the smallest supervisor that there can be, and processes that go wrong."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from hypertuner.queue import embark


def supervise(given: dict[str, Any]) -> None:
    """Start the script as a child, wait for it, and write how it ended."""
    print("a supervisor's word that is still in its buffer", end="")
    secret = os.open(given["secret"], os.O_RDONLY)  # a descriptor that no script may have
    os.set_inheritable(secret, True)
    pid = os.fork()
    if pid == 0:
        for number, path in ((1, given["stdout"]), (2, given["stderr"])):
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(opened, number)
        if given["forks"]:
            embark._replace = _not_so  # type: ignore[assignment]
        embark.become_script(
            Path(given["script"]),
            given["arguments"],
            folder=Path(given["folder"]),
            environment=given["environment"],
        )
    _, status = os.waitpid(pid, 0)
    ended = {"code": os.waitstatus_to_exitcode(status), "session": os.getsid(0) == os.getpid()}
    Path(given["ended"] + ".draft").write_text(json.dumps(ended))
    os.replace(given["ended"] + ".draft", given["ended"])
    sys.stdout.flush()


def _not_so(*_: object) -> NoReturn:
    os.write(2, b"a plain Python took its place\n")
    os._exit(99)


def describe(given: dict[str, Any]) -> int:
    """Write what this process is, and end with a code of its own."""
    about = {
        "parent": os.getppid(),
        "session": os.getsid(0),
        "folder": os.getcwd(),
        "variable": os.environ.get("A_VARIABLE"),
        "descriptors": [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if _is_open(name)],
    }
    Path(given["into"]).write_text(json.dumps(about))
    return 7


def _is_open(name: str) -> bool:
    return os.path.exists(f"/proc/self/fd/{name}") or os.path.islink(f"/proc/self/fd/{name}")


def sleep(given: dict[str, Any]) -> None:
    """Live for a while."""
    Path(given["into"]).write_text("here")
    time.sleep(given["seconds"])


def fail(given: dict[str, Any]) -> None:
    """Go wrong."""
    raise ValueError(given["why"])
