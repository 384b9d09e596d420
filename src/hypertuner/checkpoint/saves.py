"""The saves of one run in this process: their order, those that are still being written, and what they cost.

A save in the background is captured while the script waits, and written by a thread of its own, one after another. At
most two are captured and not yet durable. An error is raised at the next save, at `wait`, or told when the run ends;
the run does not end before everything is written.
"""

from __future__ import annotations

import _thread
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hypertuner.store.active import ActiveRun
from hypertuner.store.said import say

WHEN_BUSY = ("wait", "skip", "coalesce")
"""What a save does while two are under way: waits; is left out; takes the place of the one that waits."""
_MOST_UNDER_WAY = 2
_DEAR_SHARE, _DEAR_S = 0.05, 1.0


class UnderWay:
    """One save that is captured, and durable when `wait` returns."""

    def __init__(self, what: str, write: Callable[[], None], release: Callable[[], None]) -> None:
        self.what = what
        self.error: BaseException | None = None
        self.is_told = False
        self._write, self._release = write, release
        self._done = threading.Event()
        self._successor: UnderWay | None = None

    @property
    def is_done(self) -> bool:
        """Whether it was written, or failed, or gave way to a later one."""
        return self._done.is_set()

    def wait(self) -> None:
        """Return when it is durable, or the one that took its place. Raises what writing it raised."""
        self._done.wait()
        if self._successor is not None:
            self._successor.wait()
        if self.error is not None:
            self.is_told = True
            raise self.error

    def run(self) -> None:
        """Write it."""
        try:
            self._write()
        except BaseException as error:  # the thread's edge: whoever saves next, or waits, gets it
            self.error = error
        finally:
            self.end()

    def end(self, successor: UnderWay | None = None) -> None:
        """Give its memory back, and let those that wait go on, or wait for its successor."""
        self._release()
        self._successor = successor
        self._done.set()


class Saves:
    """The saves of one run in this process."""

    def __init__(self, active: ActiveRun) -> None:
        self._active = active
        self._changed = threading.Condition()  # re-entrant: a signal handler may ask while a save is being handed over
        self._queue: deque[UnderWay] = deque()
        self._failed: list[UnderWay] = []
        self._is_at_work = False
        self._pid = os.getpid()
        self._seconds = 0.0
        self._in_background = False
        active.on_end(self._end)

    @classmethod
    def of(cls, active: ActiveRun) -> Saves:
        """Those of a run."""
        found = active.claims.get("saves")
        if not isinstance(found, cls):
            found = active.claims["saves"] = cls(active)
        return found

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time of a block as time for which training waited."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._seconds += time.monotonic() - began

    def raise_earlier(self) -> None:
        """Raise what an earlier save failed with in the background, once."""
        for failed in self._failed:
            if not failed.is_told:
                say(f"{failed.what} failed in the background; its error is raised by this save")
                failed.wait()

    def make_room(self, when_busy: str) -> bool:
        """Whether one more save may be captured; waits for it where that is asked."""
        with self._changed:
            while len(self._queue) >= _MOST_UNDER_WAY:
                if when_busy == "skip":
                    return False
                if when_busy == "coalesce":
                    return True
                self._changed.wait()
        return True

    def start(self, save: UnderWay) -> None:
        """Write `save` in the background, after those before it; one that still waits gives way where it is full."""
        self._in_background = True
        with self._changed:
            while len(self._queue) >= _MOST_UNDER_WAY:
                self._queue.pop().end(successor=save)
            self._queue.append(save)
            if self._is_at_work:
                return
            self._is_at_work = True
        try:
            # Not Thread.start: that waits until the thread is at work, and it then has the interpreter first.
            _thread.start_new_thread(self._work, ())
        except RuntimeError:  # the interpreter is ending and starts no thread any more
            self._work()

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._queue:
                    self._is_at_work = False
                    return
                save = self._queue[0]
            save.run()
            with self._changed:
                self._queue.popleft()
                if save.error is not None:
                    self._failed.append(save)
                self._changed.notify_all()

    def drain(self) -> None:
        """Return when all is written. In a child process there is nothing to wait for."""
        if self._pid != os.getpid():
            return
        with self._changed:
            while self._queue:
                self._changed.wait()

    def _end(self) -> str | None:
        """What the run's end must tell of its saves: why it failed, or None."""
        with self.timed():
            self.drain()
        lost = [failed for failed in self._failed if not failed.is_told]
        for failed in lost:
            failed.is_told = True
            say(f"{failed.what} failed in the background: {failed.error}")
        whole = time.monotonic() - self._active.began
        if self._seconds > max(_DEAR_S, _DEAR_SHARE * whole):
            remedy = (
                "save less often, or let saves be left out while two are under way: background='skip'"
                if self._in_background
                else "Saver(…, background=True) writes while training goes on; or save less often"
            )
            share = 100 * self._seconds / whole
            say(f"saving took {share:.0f} % of the run's time ({self._seconds:.0f} s of {whole:.0f} s): {remedy}")
        return f"{lost[0].what} failed: {lost[0].error}" if lost else None
