"""Everything that reads for one server, as one engine that starts and stops."""

from __future__ import annotations

from typing import Any

from hypertuner.errors import RunNotFoundError
from hypertuner.server.reading.asking import Asking
from hypertuner.server.reading.catalogue import Catalogue
from hypertuner.server.reading.curves import Curves
from hypertuner.server.reading.looking import Looking
from hypertuner.server.reading.looks import of_one_gone
from hypertuner.server.reading.outlook import Outlook
from hypertuner.server.reading.pulse import Pulse
from hypertuner.server.reading.shown import Showing
from hypertuner.store import Storage


class Reading:
    """Rows, questions about them, curves, and the pulse of the live stream."""

    def __init__(self, storage: Storage) -> None:
        self.catalogue = Catalogue(storage)
        self.outlook = Outlook(self.catalogue)
        self.asking = Asking(self.catalogue)
        self.showing = Showing(self.catalogue, self.outlook)
        self.curves = Curves(storage)
        self.pulse = Pulse(self.catalogue)
        self._looking = Looking(self.catalogue, self.outlook)

    def start(self) -> None:
        """Begin to look at the folders."""
        self._looking.start()
        self.pulse.start()

    def stop(self) -> None:
        """End."""
        self.pulse.stop()
        self._looking.stop()

    def look(self, *names: str) -> None:
        """Look at runs now that were changed, made or removed."""
        self._looking.look(names)

    def row(self, name: str) -> dict[str, Any]:
        """The row of a run as its folder says now. Raises: RunNotFoundError."""
        self.look(name)
        packed = self.catalogue.get(name)
        if packed is None:
            raise RunNotFoundError(f"There is no run {name!r:.80}.", path=self.catalogue.storage.path)
        return self.showing.rows([packed], self.asking.ask().label_keys())[0]

    def look_of(self, name: str) -> tuple[int, int]:
        """(colour, mark) of a run, also of one that is no more."""
        packed = self.catalogue.get(name)
        return of_one_gone(name) if packed is None else self.catalogue.looks.of(packed)
