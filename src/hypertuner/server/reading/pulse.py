"""The pulse of the live stream: which of the files that somebody follows have grown, told within some 20 ms.

One thread asks for times and sizes, nothing else: often of files that grew lately or whose run goes on, twice a second
of the others, and never for more than a twenty-fifth of a core.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from hypertuner.server.reading.catalogue import Catalogue
from hypertuner.server.reading.packed import STATE
from hypertuner.store import RunState

_TICK_S = 0.02
_CALM_S = 0.5
_LATELY_S = 10.0
_SHARE = 1 / 25

Wake = Callable[[], None]


@dataclass
class _Followed:
    run: str
    stamp: tuple[int, ...]
    due: float = 0.0
    changed_at: float = 0.0
    wakes: dict[Hashable, Wake] = field(default_factory=dict)


class Pulse:
    """Tells followers that files have changed."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._files: dict[str, _Followed] = {}
        self._everyone: dict[Hashable, Wake] = {}
        self.counters: list[Callable[[], int]] = []
        """What else is watched: each tells by another number that something has happened."""
        self._counted: list[int] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        catalogue.listeners.append(self._wake_all)

    def start(self) -> None:
        """Begin."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._go_on, name="pulse", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5)

    def join(self, who: Hashable, wake: Wake) -> None:
        """Wake somebody whenever a row or a counter has changed."""
        with self._lock:
            self._everyone[who] = wake

    def follow(self, who: Hashable, paths: dict[str, str], wake: Wake) -> None:
        """Wake somebody when one of these files (and no others any more) changes; each with the run that it is of."""
        with self._lock:
            for path, followed in list(self._files.items()):
                if who in followed.wakes and path not in paths:
                    self._unfollow(path, who)
            for path, run in paths.items():
                self._files.setdefault(path, _Followed(run, _stamp(path))).wakes[who] = wake

    def leave(self, who: Hashable) -> None:
        """Somebody is gone."""
        with self._lock:
            self._everyone.pop(who, None)
            for path in [path for path, followed in self._files.items() if who in followed.wakes]:
                self._unfollow(path, who)

    def _unfollow(self, path: str, who: Hashable) -> None:
        del self._files[path].wakes[who]
        if not self._files[path].wakes:
            del self._files[path]

    def _go_on(self) -> None:
        pause = _TICK_S
        while not self._stopping.wait(pause):
            if not self._everyone:
                pause = 5 * _TICK_S
                continue
            begun = time.monotonic()
            self._look(begun)
            pause = max(_TICK_S, (time.monotonic() - begun) / _SHARE)

    def _look(self, now: float) -> None:
        with self._lock:
            due = [(path, followed) for path, followed in self._files.items() if followed.due <= now]
        woken: dict[Hashable, Wake] = {}
        for path, followed in due:
            stamp = _stamp(path)
            if stamp != followed.stamp:
                followed.stamp, followed.changed_at = stamp, now
                woken.update(followed.wakes)
            row = self._catalogue.get(followed.run)
            is_lively = now - followed.changed_at < _LATELY_S or (row is not None and row[STATE] == RunState.running)
            followed.due = now if is_lively else now + _CALM_S
        counted = [count() for count in self.counters]
        if counted != self._counted:
            self._counted = counted
            woken.update(self._everyone)
        for wake in woken.values():
            wake()

    def _wake_all(self) -> None:
        with self._lock:
            wakes = list(self._everyone.values())
        for wake in wakes:
            wake()


def _stamp(path: str) -> tuple[int, ...]:
    try:
        status = os.stat(path)  # noqa: PTH116  # asked fifty times a second: a Path costs more than the call
    except OSError:
        return ()
    return status.st_size, status.st_mtime_ns, status.st_ino
