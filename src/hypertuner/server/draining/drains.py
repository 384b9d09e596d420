"""Draining the storage's queue beside the requests: in a thread, as `hypertuner queue` does it in a process.

The server may be killed at any moment: what runs goes on under its supervisors, and the next drainer adopts it. While
another process drains the storage this one waits until that ends. It installs no signal handler.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque

from hypertuner.errors import QueueError, StorageError, first_line
from hypertuner.queue.drain import Drainer, Event
from hypertuner.queue.executor import LocalExecutor
from hypertuner.queue.slots import Slots
from hypertuner.queue.waiting import Queue
from hypertuner.server.contract.series import Said
from hypertuner.store import Storage

_TRIES_EVERY_S = 1.0
_TRIES_AFTER_TROUBLE_S = 5.0
_LEAVES_WITHIN_S = 10.0
_KEPT = 1000
_KINDS = {"started": "started", "ended": "ended", "again": "again"}
_log = logging.getLogger("hypertuner.server")


class Draining:
    """Drains one storage while it is started. Safe for several threads."""

    def __init__(self, storage: Storage, slots: int | None = None) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._slots = slots
        self._drainer: Drainer | None = None
        self._thread: threading.Thread | None = None
        self._ends = threading.Event()
        self._said: deque[tuple[int, Said]] = deque(maxlen=_KEPT)
        self._count = 0
        self.revision = 0
        """Grows when the queue may have changed."""
        self.problem: str | None = None
        """Why it does not drain, where it should: another process does, or the disk is away."""

    def start(self) -> None:
        """Begin to drain, as soon as nobody else does. Raises: QueueError for slots that cannot be."""
        if self._thread is None:
            Slots(self._slots)  # what cannot be is told now
            self._ends.clear()
            self._thread = threading.Thread(target=self._keep_draining, name="hypertuner-queue", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Start nothing more; what runs goes on."""
        self._ends.set()
        with self._lock:
            if self._drainer is not None:
                self._drainer.leave()
        if self._thread is not None:
            self._thread.join(_LEAVES_WITHIN_S)
            self._thread = None

    @property
    def is_ours(self) -> bool:
        """Whether this server drains the storage now."""
        drainer = self._drainer
        return drainer is not None and drainer.has_turn

    @property
    def reasons(self) -> dict[str, str]:
        """Why runs wait, as far as only their drainer knows."""
        drainer = self._drainer
        return dict(drainer.reasons) if drainer is not None else {}

    @property
    def running(self) -> frozenset[str]:
        """The names of what it has started, or adopted."""
        drainer = self._drainer
        return drainer.running_names if drainer is not None else frozenset()

    @property
    def slots(self) -> int:
        """How many runs at once, here."""
        drainer = self._drainer
        return drainer.slots.count if drainer is not None else self._slots or 1

    def resize(self, slots: int) -> None:
        """Let so many run at once. Raises: QueueError for more than the GPUs hold, or where another process drains."""
        with self._lock:
            if self._drainer is None or not self._drainer.has_turn:
                who = self.problem or "nobody drains this storage"
                raise QueueError(f"The slots are not this server's to set: {who}.\n  Set them where it is drained.")
            made = Slots(slots)
            self._slots = slots
            self._drainer.resize(made)
        self.revision += 1

    def said(self, after: int = 0) -> list[tuple[int, Said]]:
        """What has happened since event number `after`, with numbers; the last 1,000 are kept."""
        with self._lock:
            return [one for one in self._said if one[0] > after]

    def _keep_draining(self) -> None:
        while not self._ends.is_set():
            pause_s = _TRIES_EVERY_S
            try:
                self._drain()
            except QueueError as error:  # another process drains it: its turn ends one day
                self.problem = first_line(error).rstrip(".")
            except (OSError, StorageError) as error:
                self.problem, pause_s = first_line(error), _TRIES_AFTER_TROUBLE_S
            except Exception:  # the edge of the thread: a fault of ours must not end the user's night
                _log.exception("draining the queue")
                self.problem, pause_s = "a fault in draining it, which the server's log tells", _TRIES_AFTER_TROUBLE_S
            self.revision += 1
            self._ends.wait(pause_s)

    def _drain(self) -> None:
        drainer = Drainer(Queue(self._storage), LocalExecutor(self._storage), Slots(self._slots), self._tell)
        with self._lock:
            self._drainer = drainer
            if self._ends.is_set():
                return
        try:
            drainer.run(until_empty=False)
        finally:
            with self._lock:
                self._drainer = None

    def _tell(self, event: Event) -> None:
        kind = _KINDS.get(event.kind, "trouble")
        said = Said(run=event.entry.name, kind=kind, text=_words(event))  # type: ignore[arg-type]  # one of the four
        with self._lock:
            self._count += 1
            self._said.append((self._count, said))
        self.revision += 1


def _words(event: Event) -> str:
    name = event.entry.name
    if event.kind == "started":
        return f"{name} started{f' on {event.text}' if event.text else ''}"
    if event.kind == "ended":
        state = _state_of(event)
        return f"{name} {state}" + (f": {first_line(event.text)}" if state != "finished" and event.text else "")
    if event.kind == "again":
        return f"{name} is queued again: {first_line(event.text)}"
    return f"{name}: {first_line(event.text)}"


def _state_of(event: Event) -> str:
    for _ in range(3):
        try:
            return str(event.entry.run.state())
        except (OSError, StorageError):  # being written in this moment
            time.sleep(0.05)
    return "ended"
