"""Looking at the folders: at once what the index says, then every folder, the newest runs first, then what may change.

One thread. Several times a second it looks at the runs that go on or wait; as soon as the storage's folder changes, at
what is new in it; now and then, which two questions a run answer, at whether an ended one was edited or tried again;
and rarely at everything. Each has a share of a core that it never exceeds: with more runs it comes round later.
Nothing is held open, no file system is asked to tell.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from hypertuner.errors import StorageError
from hypertuner.index import facts
from hypertuner.index.database import Place
from hypertuner.index.row import RunRow
from hypertuner.index.runs import index_of, look
from hypertuner.server.reading.catalogue import Catalogue
from hypertuner.server.reading.looks import key_of
from hypertuner.server.reading.outlook import Outlook
from hypertuner.server.reading.packed import NAME, STATE
from hypertuner.store import Run, RunState
from hypertuner.store.layout import QueueLayout, RunLayout
from hypertuner.store.run import Glance

_TICK_S = 0.1
_ALIVE_EVERY_S = 1.0
_EDITED_EVERY_S = 1.0
_ALL_EVERY_S = 60.0
_SAVE_EVERY_S = 2.0
_MOST_UNSAVED = 500
_SETTLED_NS = 50_000_000  # some ticks of the kernel: a change within one tick of the last is not seen by its time
_FIRST_PAGE, _PAGE = 200, 500
_PAUSE_S = 0.005
_LIVE_SHARE, _EDITED_SHARE, _ALL_SHARE = 1 / 20, 1 / 50, 1 / 50
_MAY_CHANGE = frozenset({RunState.running, RunState.unknown, RunState.queued, RunState.draft})
_WAITS = frozenset({RunState.queued, RunState.draft})


class Looking:
    """Keeps a catalogue as the folders are."""

    def __init__(self, catalogue: Catalogue, outlook: Outlook) -> None:
        self._catalogue = catalogue
        self._outlook = outlook
        self._storage = catalogue.storage
        self._index = index_of(self._storage)
        self._facts: dict[str, facts.Facts] = {}
        """Of runs that go on: what was read of their metrics needs not be read again."""
        self._live: set[str] = set()
        """Runs that go on or wait."""
        self._stamps: dict[str, int] = {}
        self._alive_at: dict[str, float] = {}
        self._strangers: set[str] = set()
        """What lies in the storage and is no run, or not yet one."""
        self._unsaved: dict[str, tuple[float, bytes]] = {}
        self._gone: set[str] = set()
        self._saved_at = 0.0
        self._listed: tuple[int, ...] = ()
        self._due: dict[str, float] = {}
        self._one = threading.RLock()
        """Held while one run is looked at: what was read first never takes the place of what was read later."""
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look. The newest runs that the index knows are there when it returns."""
        self._stopping.clear()
        self._open_newest()
        self._thread = threading.Thread(target=self._go_on, name="looking", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and put what was read into the index."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(10)

    def look(self, names: Iterable[str]) -> None:
        """Look at these runs now: somebody has changed, made or removed them."""
        for name in names:
            self._look(name)

    def _go_on(self) -> None:
        self._open()
        # Where a folder cannot be read for a while, as on a network, it is tried again.
        while not self._catalogue.is_complete and not self._stopping.is_set():
            with suppress(OSError, StorageError):
                self._look_at_all()
                self._catalogue.complete()
                # Rows stay: looking for cycles among 100,000 of them stopped every request for 0.1 s now and then.
                gc.collect()
                gc.freeze()
        while not self._stopping.wait(_TICK_S):
            with suppress(OSError, StorageError):
                self._watch()
        with suppress(OSError, StorageError):
            self._save(now=True)

    def _open_newest(self) -> None:
        """What the index says of the first few, which a page shows."""
        if self._index is None:
            return
        page, _ = self._index.newest(_FIRST_PAGE)
        found = [facts.decode(entry)[0] for _, entry in page]
        self._catalogue.looks.remember(self._index.looks([key_of(each.row.name, each.row.created) for each in found]))
        self._take(found)

    def _open(self) -> None:
        """What the index says, the newest first."""
        if self._index is None:
            return
        self._catalogue.looks.remember(self._index.looks())
        for page in self._pages():
            self._take([facts.decode(entry)[0] for _, entry in page])
            # Whoever asks meanwhile is answered meanwhile.
            self._stopping.wait(_PAUSE_S)

    def _take(self, found: list[facts.Facts]) -> None:
        rows = [each.complete() for each in found]
        self._facts.update((each.row.name, each) for each in found if each.owner is not None)
        self._live.update(row.name for row in rows if row.state in _MAY_CHANGE)
        self._catalogue.put(rows)

    def _pages(self) -> Iterator[list[tuple[str, bytes]]]:
        if self._index is None:
            return
        place: Place | None = None
        count = _FIRST_PAGE
        while not self._stopping.is_set():
            page, place = self._index.newest(count, place)
            if place is None:
                return
            yield page
            count = _PAGE

    def _look_at_all(self) -> None:
        """Every folder, the newest runs first; what the index says of it where that still holds."""
        self._list()
        unread = set(self._storage.folder_names())
        for page in self._pages():
            for name, entry in page:
                if self._stopping.is_set():
                    return
                if name not in unread:
                    self._gone.add(name)
                    continue
                unread.discard(name)
                self._check(name, entry)
            self._save()
        for name in sorted(unread, key=self._changed, reverse=True):
            if self._stopping.is_set():
                return
            self._look(name)
            self._save()
        there = set(self._storage.folder_names())
        self._forget([name for name in self._catalogue.names() if name not in there])

    def _check(self, name: str, entry: bytes) -> None:
        folder = str(self._storage.path / name)
        stamp = _stamp(folder)
        known, signature = facts.decode(entry)
        if signature is None or not signature.holds(folder) or self._catalogue.get(name) is None:
            self._look(name, known)
        else:
            self._stamps[name] = stamp

    def _changed(self, name: str) -> float:
        try:
            return (self._storage.path / name).stat().st_mtime
        except OSError:
            return 0.0

    def _watch(self) -> None:
        self._list_anew()
        self._in_turn("live", 0.0, _LIVE_SHARE, self._look_at_live)
        self._in_turn("edited", _EDITED_EVERY_S, _EDITED_SHARE, self._look_at_edited)
        self._in_turn("all", _ALL_EVERY_S, _ALL_SHARE, self._look_at_all)
        self._save()

    def _in_turn(self, what: str, every_s: float, share: float, do: Callable[[], None]) -> None:
        """Do it when its time has come; the next time is so far off that it takes no more than its share."""
        begun = time.monotonic()
        if begun < self._due.setdefault(what, begun + every_s):
            return
        do()
        taken = time.monotonic() - begun
        self._due[what] = begun + max(every_s, taken / share)

    def _list(self) -> tuple[int, ...]:
        """What tells that runs were made or removed, or the queue was changed."""
        found = []
        for path in (self._storage.path, QueueLayout(self._storage.path).changed):
            try:
                status = path.stat()
            except OSError:
                found += [0, 0]
                continue
            # One that changed just now may change again without a trace.
            is_settled = status.st_mtime_ns < time.time_ns() - _SETTLED_NS
            found += [status.st_mtime_ns if is_settled else -time.monotonic_ns(), status.st_ino]
        self._listed = tuple(found)
        return self._listed

    def _list_anew(self) -> None:
        before = self._listed
        if self._list() == before:
            return
        there = set(self._storage.folder_names())
        known = set(self._catalogue.names())
        self._forget(known - there)
        for name in sorted(there - known, key=self._changed, reverse=True):
            self._look(name)
        for name in self._live:
            if name not in self._facts:
                self._stamps.pop(name, None)

    def _look_at_live(self) -> None:
        now = time.monotonic()
        for name in list(self._live):
            row = self._catalogue.get(name)
            if row is None:
                self._live.discard(name)
                continue
            state = row[STATE]
            folder = str(self._storage.path / name)
            stamp = _stamp(folder) if state in _WAITS else _live_stamp(folder)
            if stamp != self._stamps.get(name):
                self._look(name)
                self._stamps[name] = stamp
            elif state not in _WAITS and now - self._alive_at.get(name, 0.0) > _ALIVE_EVERY_S:
                self._alive_at[name] = now
                known = self._facts.get(name)
                found = known.complete() if known is not None else None
                if found is None or found.state != state:
                    self._look(name)
                else:
                    self._put(found)

    def _look_at_edited(self) -> None:
        for row in self._catalogue.newest_first():
            if row[NAME] not in self._live:
                stamp = _stamp(str(self._storage.path / row[NAME]))
                if self._stamps.get(row[NAME]) != stamp:
                    self._look(row[NAME])
        for name in list(self._strangers):
            self._look(name)

    def _look(self, name: str, known: facts.Facts | None = None) -> None:
        """Read what a run's folder says into the catalogue, and, for later, into the index."""
        with self._one:
            run = Glance(self._storage.path / name)
            if not run.exists():
                self._forget([name])
                if run.folder.is_dir():
                    self._strangers.add(name)
                return
            self._strangers.discard(name)
            folder = str(run.folder)
            self._stamps[name] = _stamp(folder)
            signature = facts.signature_of(folder)
            try:
                found, row = look(run, self._facts.get(name, known))
            except (StorageError, OSError) as error:
                if not Run(run.folder).exists():
                    self._forget([name])
                    return
                row = RunRow(name=name, state=str(RunState.unknown), note=str(error), folder=folder)
                self._catalogue.put([row])
                return
            if found.owner is not None and row.state in (RunState.running, RunState.unknown):
                self._facts[name] = found
                self._stamps[name] = _live_stamp(folder)
                self._alive_at[name] = time.monotonic()
            else:
                self._facts.pop(name, None)
            before = self._catalogue.get(name)
            self._put(row)
            # What changes all the time is written when it has ended, or is new.
            if (before is None or name not in self._facts) and (data := facts.encode(found, signature)) is not None:
                self._unsaved[name] = (row.created, data)

    def _put(self, row: RunRow) -> None:
        if row.state in _MAY_CHANGE:
            self._live.add(row.name)
        else:
            self._live.discard(row.name)
        self._outlook.take(row)
        self._catalogue.put([row])

    def _forget(self, names: Collection[str]) -> None:
        gone = [name for name in names if self._catalogue.get(name) is not None]
        self._strangers.difference_update(names)
        for name in gone:
            self._facts.pop(name, None)
            self._stamps.pop(name, None)
            self._unsaved.pop(name, None)
            self._outlook.forget(name)
        self._gone.update(gone)
        self._catalogue.drop(gone)

    def _save(self, now: bool = False) -> None:
        """Put what was read into the index, now and then."""
        moment = time.monotonic()
        if self._index is None or not (self._unsaved or self._gone or self._catalogue.unsaved_looks):
            return
        if not now and len(self._unsaved) < _MOST_UNSAVED and moment - self._saved_at < _SAVE_EVERY_S:
            return
        self._saved_at = moment
        with self._one:
            unsaved, self._unsaved = self._unsaved, {}
            gone, self._gone = self._gone, set()
            looks, self._catalogue.unsaved_looks = self._catalogue.unsaved_looks, {}
        self._index.write(
            {name: data for name, (_, data) in unsaved.items()},
            gone - unsaved.keys(),
            {name: created for name, (created, _) in unsaved.items()},
            looks,
        )


def _stamp(folder: str) -> int:
    """Changes when something in a run's own folder, or a new attempt, does."""
    return hash((_time(folder), _time(f"{folder}{os.sep}attempts")))


def _live_stamp(folder: str) -> int:
    """Changes, too, when its newest attempt writes a file that a row shows something of."""
    attempts = RunLayout(Path(folder)).attempts
    try:
        numbers = [int(name) for name in os.listdir(attempts) if name.isdecimal()]  # noqa: PTH208  # many times a second
    except OSError:
        return _stamp(folder)
    place = f"{attempts}{os.sep}{max(numbers, default=0)}"
    files = ("", f"{os.sep}metrics.jsonl", f"{os.sep}checkpoints")
    return hash((_stamp(folder), len(numbers), *(_time(place + name) for name in files)))


def _time(path: str) -> tuple[int, int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116  # asked thousands of times a second: a Path costs more than the call
    except OSError:
        return (0, 0, 0)
    return status.st_mtime_ns, status.st_ino, status.st_size
