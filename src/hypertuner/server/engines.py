"""What the acting routes work with: the queue, the machine, what was read of outputs, media, checkpoints and births."""

from __future__ import annotations

import threading
from pathlib import Path

from hypertuner.queue.waiting import Queue
from hypertuner.server.contract.queue import QueueView
from hypertuner.server.draining.drains import Draining
from hypertuner.server.draining.machine import Machine
from hypertuner.server.draining.view import QueueSeen
from hypertuner.server.known import Known
from hypertuner.server.launching.scripts import ScriptsOf
from hypertuner.server.launching.trying import Trials
from hypertuner.server.panel.media import MediaOf
from hypertuner.server.panel.output import Outputs
from hypertuner.server.reading.reading import Reading
from hypertuner.server.weights.checkpoints import Checkpoints
from hypertuner.server.weights.family import Birth, Family
from hypertuner.store import Storage


class Engines:
    """The engines of one server. Nothing runs before `start`; `stop` ends what does, and the user's runs go on."""

    def __init__(
        self,
        storage: Storage,
        launchable: Path | None,
        reading: Reading,
        *,
        drains: bool = True,
        slots: int | None = None,
    ) -> None:
        self.storage = storage
        self.reading = reading
        self.known = Known(reading)
        self.outputs = Outputs()
        self.media = MediaOf()
        self.checkpoints = Checkpoints(storage.path)
        self.family = Family(storage)
        self.scripts = ScriptsOf(storage, launchable)
        self.trials = Trials()
        self.draining = Draining(storage, slots)
        self.machine = Machine(storage.path, self._look_at_queue)
        self.acts = threading.Lock()
        """Held while runs are changed: two tabs that ask at once are answered one after the other."""
        self._drains = drains
        self._queue = QueueSeen(storage, self.draining, self.known)
        self._changes = Queue(storage)
        self._mark: object = None

    def start(self) -> None:
        """Begin to sample the machine, and to drain the queue where this server is to. Raises: QueueError."""
        if self._drains:
            self.draining.start()
        self.machine.start()

    def stop(self) -> None:
        """End both; runs go on."""
        self.machine.stop()
        self.draining.stop()

    def _look_at_queue(self) -> None:
        """Notice what others do to the queue: the command line, another server."""
        mark = self._changes.changed()
        if mark != self._mark:
            self._mark = mark
            self.draining.revision += 1

    def births(self) -> list[Birth]:
        """Which runs began from which."""
        return self.family.births(self.known.with_parent())

    def queue(self) -> QueueView:
        """The queue as it is."""
        return self._queue.now()
