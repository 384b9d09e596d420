"""Asking a child process about weights: it may import what the server never does, and dies without taking it along."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypertuner import files, settings
from hypertuner.errors import CheckpointError, CorruptFileError
from hypertuner.queue.spawn import python_running

_PROGRAM = "from hypertuner.server import weights_child; sys.exit(weights_child.main())"
_AT_ONCE = threading.BoundedSemaphore(2)
_WITHIN_S = 300.0
_MOST_BYTES = 64 << 20
_KEPT = (
    *("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "TMPDIR"),
    *("HYPERTUNER_HOME", "HYPERTUNER_KEY", "HYPERTUNER_READ", "SYSTEMROOT"),
)
"""What of the server's environment the child gets: what finds Python and the user's key, and nothing else."""
_SET = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def ask(task: str, within_s: float = _WITHIN_S, **asked: Any) -> dict[str, Any]:
    """What the child answers. `asked` goes there as JSON.

    Raises: CorruptFileError, CheckpointError: what it says is wrong; CheckpointError when it takes too long or dies.
    """
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | _SET
    with _AT_ONCE:
        process = subprocess.Popen(
            python_running(_PROGRAM),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd="/" if os.name == "posix" else None,
            start_new_session=True,
        )
        try:
            told = {"task": task, "within_s": within_s, "server": os.getpid(), **asked}
            said, trouble = process.communicate(json.dumps(told).encode(), timeout=within_s)
        except subprocess.TimeoutExpired:
            _end(process)
            raise CheckpointError(
                f"That took longer than {within_s:.0f} s and was ended.\n"
                "  The command line has no such limit: hypertuner export, hypertuner show."
            ) from None
        finally:
            _end(process)
    if process.returncode != 0 or len(said) > _MOST_BYTES:
        last = trouble.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
        raise CheckpointError(f"The process that looked into the file ended with {process.returncode}: {last}")
    answer: dict[str, Any] = json.loads(said)
    if "error" in answer:
        kind = CorruptFileError if answer["error"] == "CorruptFileError" else CheckpointError
        raise kind(answer["message"])
    return answer


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that nobody has waited for yet, so that its number is its own, and all of its group: what it has
    left behind may hold its output open when it has ended itself."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def exported(path: Path, form: str) -> tuple[Any, int]:
    """(an open file, its size): a checkpoint's weights in another form. It has no name any more, and goes when closed.

    Raises: as `ask` does; OSError.
    """
    target = settings.cache_folder() / "exports" / f"{os.urandom(8).hex()}.part"
    files.make_folder(target.parent, mode=0o700)
    try:
        ask("export", path=str(path), target=str(target), form=form)
        file = target.open("rb", buffering=0)
        return file, os.fstat(file.fileno()).st_size
    finally:
        with suppress(FileNotFoundError):
            files.remove(target)
