"""What the processes of one training tell each other: words under keys, each told by one rank; never a collective.

A word hangs in up to two places, and whoever asks looks in both: the store of the process group, once it is
initialised; and, when a launcher started the processes on this machine, a private folder of that launcher's, which
is removed by the next launch after the launcher is gone. Telling and asking never wait for another process; `wait`
does, for a bounded time.

A word in the folder counts while the process that told it runs, or when it was told since this process was started:
what an earlier set of processes said is over, what one of this set said before it ended is not. `ask_of_launch`, by
which processes that torchrun starts again find their run, takes it all the same.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hypertuner import files
from hypertuner.store import process, ranks

_POLL_S = (0.001, 0.05)  # the first pause between two looks, and the longest


def tell(key: str, word: bytes, *, everywhere: bool = True) -> None:
    """Hang a word up; one told before under this key is replaced.

    Without `everywhere` the folder is left alone where there is a store: enough for who asks when the group is there.
    """
    store = _store()
    if store is not None:
        with contextlib.suppress(RuntimeError):  # the process that serves it is gone, and the training with it
            store.set(_in_store(key), word)
    if (everywhere or store is None) and (folder := _folder()) is not None:
        with contextlib.suppress(OSError):
            files.make_folder(folder, mode=0o700)
            files.replace(folder / _file_name(key), _signature() + word, mode=0o600)


def ask(key: str) -> bytes | None:
    """The word under a key; None when nobody has told one."""
    if (store := _store()) is not None:
        with contextlib.suppress(RuntimeError):
            if store.check([_in_store(key)]):
                return bytes(store.get(_in_store(key)))
    return _read(key, of_this_set=True)


def ask_of_launch(key: str) -> bytes | None:
    """The word under a key in the launcher's folder, also when the process that told it is gone."""
    return _read(key, of_this_set=False)


def wait(keys: Iterable[str], timeout_s: float) -> dict[str, bytes]:
    """The words under `keys` that are there, or come, within a time."""
    missing = list(keys)
    found: dict[str, bytes] = {}
    end = time.monotonic() + timeout_s
    pause = _POLL_S[0]
    while True:
        for key in list(missing):
            if (word := ask(key)) is not None:
                found[key] = word
                missing.remove(key)
        if not missing or time.monotonic() >= end:
            return found
        time.sleep(min(pause, max(0.0, end - time.monotonic())))
        pause = min(2 * pause, _POLL_S[1])


def forget(key: str) -> None:
    """Take a word down."""
    if (store := _store()) is not None:
        with contextlib.suppress(RuntimeError, NotImplementedError):
            store.delete_key(_in_store(key))
    if (folder := _folder()) is not None:
        with contextlib.suppress(OSError):
            files.remove(folder / _file_name(key))


def reaches_all() -> bool:
    """Whether what is told here is seen by every process of the training."""
    return _store() is not None or (_folder() is not None and ranks.is_one_node())


def sweep() -> None:
    """Remove what launchers that are gone have left."""
    home = _home()
    if home is None:
        return
    with contextlib.suppress(OSError):
        for folder in home.iterdir():
            pid, _, started = folder.name.partition("-")
            if pid.isdecimal() and str(process.process_start(int(pid))) != started.partition("-")[0]:
                files.remove_folder(folder)


def _store() -> Any:
    """The store of the process group; None without one."""
    distributed = ranks.process_group()
    if distributed is None:
        return None
    try:
        return distributed.distributed_c10d._get_default_store()
    except (AttributeError, ValueError, KeyError):
        return None


def _in_store(key: str) -> str:
    return f"hypertuner/{key}"


def _file_name(key: str) -> str:
    return key.replace("/", "_")


def _read(key: str, *, of_this_set: bool) -> bytes | None:
    folder = _folder()
    if folder is None:
        return None
    path = folder / _file_name(key)
    try:
        told_at = path.stat().st_mtime
        signature, _, word = path.read_bytes().partition(b"\n")
        pid, _, started = signature.decode().partition(" ")
        counts = not of_this_set or told_at >= process.began_at() or str(process.process_start(int(pid))) == started
    except (OSError, ValueError):
        return None
    return word if counts else None


def _signature() -> bytes:
    return f"{os.getpid()} {process.process_start(os.getpid())}\n".encode()


@functools.cache
def _launch(pid: int) -> str | None:
    """What tells this process's launcher from every other; None for a process that no launcher started."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return None
    launcher = os.getppid()
    started = process.process_start(launcher)
    names = (os.environ.get("TORCHELASTIC_RUN_ID", ""), os.environ.get("MASTER_PORT", ""))
    # torchrun may take another port when it starts the processes again; its run id stays.
    return f"{launcher}-{started}-{_digest(names[0] or names[1])[:16]}"


def _digest(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def _folder() -> Path | None:
    launch = _launch(os.getpid())
    home = _home() if launch is not None else None
    return home / launch if home is not None and launch is not None else None


def _home() -> Path | None:
    """The private folder of this user's launchers; None where somebody else holds its name."""
    import tempfile

    if not hasattr(os, "getuid"):
        user = os.environ.get("USERNAME", "user")
        return Path(tempfile.gettempdir()) / f"hypertuner-{_digest(user)[:8]}"
    home = Path(tempfile.gettempdir()) / f"hypertuner-{os.getuid()}"
    try:
        there = os.lstat(home)
    except FileNotFoundError:
        return home
    is_private = stat.S_ISDIR(there.st_mode) and there.st_uid == os.getuid() and not there.st_mode & 0o022
    return home if is_private else None
