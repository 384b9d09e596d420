"""Rows of the catalogue that acting asks for: never all of a hundred thousand, which would take seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import PurePath

from hypertuner.index.row import RunRow
from hypertuner.server.reading.packed import CHECKPOINTS, NAME, PARENT, SCRIPT, Packed, unpack
from hypertuner.server.reading.reading import Reading

_MOST_OF_A_SCRIPT = 300


class Known:
    """What is known of the runs of one storage, as it is now."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def row(self, name: str) -> RunRow | None:
        """One run; None for one that there is not, or not yet."""
        return self._reading.catalogue.row(name)

    def with_parent(self) -> list[RunRow]:
        """The runs that began from a checkpoint, newest first."""
        return self._unpacked(row for row in self._reading.catalogue.newest_first() if row[PARENT])

    def of_scripts(self, names: Collection[str], most: int = _MOST_OF_A_SCRIPT) -> list[RunRow]:
        """Runs of the scripts of these file names, newest first: of each at most so many."""
        found: list[Packed] = []
        counts: Counter[str] = Counter()
        for row in self._reading.catalogue.newest_first() if names else ():
            if not row[SCRIPT] or (name := PurePath(row[SCRIPT]).name) not in names:
                continue
            counts[name] += 1
            if counts[name] <= most:
                found.append(row)
        return self._unpacked(found)

    def with_checkpoints(self, query: str, most: int) -> tuple[list[RunRow], int]:
        """(the newest runs with a checkpoint that a query describes, how many older ones there are). QueryError."""
        rows = [row for row in self._reading.asking.ask(query).rows if row[CHECKPOINTS]]
        return self._unpacked(rows[:most]), max(0, len(rows) - most)

    def _unpacked(self, rows: Iterable[Packed]) -> list[RunRow]:
        folder = self._reading.catalogue.storage.path
        return [unpack(row, str(folder / row[NAME])) for row in rows]
