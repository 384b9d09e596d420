"""What the acting routes work with: the queue, the machine, what was read of outputs, media, checkpoints and births."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypertuner.index.row import RunRow as Row
from hypertuner.index.runs import runs
from hypertuner.index.table import RunTable
from hypertuner.server.contract.queue import QueueView
from hypertuner.server.contract.runs import RunRow
from hypertuner.server.draining.drains import Draining
from hypertuner.server.draining.machine import Machine
from hypertuner.server.draining.view import QueueSeen
from hypertuner.server.launching.scripts import ScriptsOf
from hypertuner.server.panel import plain
from hypertuner.server.panel.media import MediaOf
from hypertuner.server.panel.output import Outputs
from hypertuner.server.weights.checkpoints import Checkpoints
from hypertuner.server.weights.family import Birth, Family
from hypertuner.store import Storage

_GOOD_FOR_S = 1.0
_LOOKS_WORTH = 10


@dataclass(frozen=True)
class Lately:
    """All runs at one moment, and which began from which."""

    table: RunTable
    births: Sequence[Birth]


class Engines:
    """The engines of one server. Nothing runs before `start`; `stop` ends what does, and the user's runs go on."""

    def __init__(
        self, storage: Storage, launchable: Path | None = None, *, drains: bool = True, slots: int | None = None
    ) -> None:
        self.storage = storage
        self.rows: Callable[[], RunTable] = lambda: runs(storage=storage)
        """The runs as they are now."""
        self.shown: Callable[[Row], RunRow] = plain.shown
        """A run's row as the page gets it."""
        self.look: Callable[[str], tuple[int, int]] = plain.look
        """Colour and mark of a run."""
        self.outputs = Outputs()
        self.media = MediaOf()
        self.checkpoints = Checkpoints()
        self.family = Family(storage)
        self.scripts = ScriptsOf(storage, launchable)
        self.machine = Machine(storage.path)
        self.draining = Draining(storage, slots)
        self.acts = threading.Lock()
        """Held while runs are changed: two tabs that ask at once are answered one after the other."""
        self._drains = drains
        self._queue = QueueSeen(storage, self.draining, lambda: self.lately().table)
        self._lately: tuple[float, int, Lately] | None = None
        self._looking = threading.Lock()

    def start(self) -> None:
        """Begin to sample the machine, and to drain the queue where this server is to. Raises: QueueError."""
        if self._drains:
            self.draining.start()
        self.machine.start()

    def stop(self) -> None:
        """End both; runs go on."""
        self.machine.stop()
        self.draining.stop()

    def lately(self) -> Lately:
        """All runs, as they were a second ago at most, or some looks' worth of time where there are very many; and as
        they are where something was changed here since."""
        with self._looking:
            known, revision = self._lately, self.draining.revision
            if known is not None and known[1] == revision and time.monotonic() < known[0]:
                return known[2]
            began = time.monotonic()
            table = self.rows()
            found = Lately(table, self.family.births(table.rows))
            now = time.monotonic()
            self._lately = now + max(_GOOD_FOR_S, _LOOKS_WORTH * (now - began)), revision, found
            return found

    def queue(self) -> QueueView:
        """The queue as it is."""
        return self._queue.now()
