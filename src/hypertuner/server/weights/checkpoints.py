"""The checkpoints of a storage's runs, each as a row: what its index says, read once while the file is the same."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hypertuner.checkpoint import offer
from hypertuner.checkpoint.about import About, about
from hypertuner.checkpoint.pins import pin_of
from hypertuner.errors import CheckpointNotFoundError, QueryError, StorageError, did_you_mean, first_line
from hypertuner.index.row import RunRow
from hypertuner.server.contract.detail import CheckpointRow
from hypertuner.server.contract.models import CheckpointsPage
from hypertuner.server.weights.family import Birth
from hypertuner.server.weights.remembered import Remembered
from hypertuner.store import CheckpointFile, Run, records
from hypertuner.store.attempt import names_in
from hypertuner.store.direction import direction
from hypertuner.store.layout import AttemptLayout

MODEL = "model"
"""What stands for the checkpoint of a run that has no other file than its model.pt."""
_BY_PLACE = ("saved_at", "size", "step", "run")
_SETTING = "config."
"""What the name of a setting begins with, where checkpoints are sorted by one of their runs' settings."""


@dataclass(frozen=True)
class Saved:
    """One checkpoint of a run, as far as its files tell."""

    run: str
    file: CheckpointFile
    about: About | None
    nbytes: int
    changed_at: float
    is_best: bool
    is_last: bool
    is_offered: bool
    is_pinned: bool
    problem: str | None
    is_alone: bool = False
    """It is a run's model.pt, and has no other name."""

    @property
    def which(self) -> str:
        """How it is named within its run."""
        return MODEL if self.is_alone else str(self.file.step)

    @property
    def reference(self) -> str:
        """How it is named."""
        return self.run if self.is_alone else f"{self.run}@{self.file.step}"

    def row(self, born: Iterable[Birth]) -> CheckpointRow:
        """As the page gets it; `born` are the runs that began from its run."""
        told = self.about
        saved_at = records.seconds(str(told.run.get("saved_at") or "")) if told is not None else None
        metrics = {key: _finite(value) for key, value in (told.metrics if told is not None else {}).items()}
        return CheckpointRow(
            reference=self.reference,
            run=self.run,
            attempt=self.file.attempt,
            step=self.file.step,
            saved_at=saved_at if saved_at is not None else self.changed_at,
            metrics=metrics,
            nbytes=self.nbytes,
            is_best=self.is_best,
            is_last=self.is_last,
            is_offered=self.is_offered,
            is_pinned=self.is_pinned,
            has_training=told is not None and told.has_training,
            children=[birth.child for birth in born if self.is_alone or birth.step == self.file.step],
            problem=self.problem,
        )


class _Place(NamedTuple):
    """Where a checkpoint lies, as far as folders tell: enough to find a window of ten thousand."""

    run: Run
    step: int
    changed_at: float
    nbytes: int


class Checkpoints:
    """The checkpoints of runs. Safe for several threads."""

    def __init__(self, storage: Path) -> None:
        self._remembered = Remembered(storage)
        self._lock = threading.Lock()
        self._known: dict[str, tuple[object, list[Saved]]] = {}
        self._listed: dict[str, tuple[object, list[_Place]]] = {}

    def of(self, run: Run) -> list[Saved]:
        """Those of one run that a reference can name, oldest first; [] for one that cannot be read."""
        key = str(run.folder)
        try:
            stamp = _stamp(run)
            with self._lock:
                known = self._known.get(key)
            if known is not None and known[0] == stamp:
                return known[1]
            found = _saved(run)
        except (StorageError, OSError):
            return []
        with self._lock:
            self._known[key] = stamp, found
        return found

    def find(self, run: Run, which: str) -> Saved:
        """The one that `which` names: 'last', 'best', a step, 'model'. Raises: CheckpointNotFoundError."""
        found = self.of(run)
        for saved in reversed(found):
            is_it = {"last": saved.is_last, "best": saved.is_best, MODEL: saved.is_offered or saved.is_alone}
            if is_it.get(which, which == saved.which):
                return saved
        has = ", ".join(saved.which for saved in found[-10:]) or "none yet"
        raise CheckpointNotFoundError(f"Run {run.name!r} has no checkpoint {which[:40]!r}.\n  It has: {has}.")

    def page(
        self,
        rows: Sequence[RunRow],
        born: Mapping[str, Sequence[Birth]],
        *,
        sort: str | None,
        descending: bool | None,
        offset: int,
        limit: int,
    ) -> CheckpointsPage:
        """A window of the checkpoints of these runs; newest first unless `sort` says. Raises: QueryError."""
        runs = [Run(Path(row.folder)) for row in rows if row.checkpoints and row.folder]
        if sort in (None, *_BY_PLACE) or sort.startswith(_SETTING):
            places = [place for run in runs for place in self._places(run)]
            if sort is not None and sort.startswith(_SETTING):
                places = _by_setting(places, rows, sort.removeprefix(_SETTING), bool(descending))
            else:
                places = _in_order(places, sort or "saved_at", descending)
            matched, nbytes = len(places), sum(place.nbytes for place in places)
            of = {place.run.name: place.run for place in places[offset : offset + limit]}
            known = {(name, saved.file.step): saved for name, run in of.items() for saved in self.of(run)}
            wanted = [known.get((place.run.name, place.step)) for place in places[offset : offset + limit]]
            window = [saved for saved in wanted if saved is not None]
        else:
            self._remembered.recall()
            found = _sorted([saved for run in runs for saved in self.of(run)], sort, descending)
            self._remembered.keep()
            matched, nbytes = len(found), sum(saved.nbytes for saved in found)
            window = found[offset : offset + limit]
        return CheckpointsPage(
            matched=matched,
            offset=offset,
            rows=[saved.row(born.get(saved.run, ())) for saved in window],
            nbytes=nbytes,
        )

    def _places(self, run: Run) -> list[_Place]:
        """The same as `of`, without reading a file."""
        key = str(run.folder)
        try:
            stamp = _stamp(run)
            with self._lock:
                known = self._listed.get(key)
            if known is not None and known[0] == stamp:
                return known[1]
            found = _placed(run)
        except (StorageError, OSError):
            return []
        with self._lock:
            self._listed[key] = stamp, found
        return found


def _stamp(run: Run) -> object:
    """Differs when a checkpoint came or went, was thinned, pinned, or offered."""
    places = [run.layout.attempts, run.layout.notes, run.layout.model]
    for name in names_in(run.layout.attempts):
        attempt = AttemptLayout(run.layout.attempts / name)
        places += [attempt.checkpoints, attempt.parent]
    return tuple(_stamp_of(place) for place in sorted(places))


def _stamp_of(path: Path) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), status.st_ino, status.st_mtime_ns


def _saved(run: Run) -> list[Saved]:
    files = offer.on_path(run)
    best = offer.best_of(files)
    pins = set(run.notes().pins)
    model = run.layout.model.stat() if run.layout.model.exists() else None
    by_step = {file.step: file for file in files}  # a reference names the last that was saved at a step
    found = []
    for file in by_step.values():
        try:
            status = file.path.stat()
        except OSError:  # retention took it meanwhile
            continue
        told, problem = _told(file.path)
        found.append(
            Saved(
                run=run.name,
                file=file,
                about=told,
                nbytes=status.st_size,
                changed_at=status.st_mtime,
                is_best=best is not None and best.path == file.path,
                is_last=file == files[-1],
                is_offered=model is not None and (model.st_dev, model.st_ino) == (status.st_dev, status.st_ino),
                is_pinned=pin_of(file) in pins,
                problem=problem,
            )
        )
    if not found and model is not None:
        told, problem = _told(run.layout.model)
        step = told.run.get("step") if told is not None else None
        file = CheckpointFile(run.layout.model, 0, step if isinstance(step, int) and step >= 0 else 0, 0)
        found = [
            Saved(run.name, file, told, model.st_size, model.st_mtime, False, True, True, False, problem, is_alone=True)
        ]
    return found


def _placed(run: Run) -> list[_Place]:
    found = []
    latest = math.inf
    for file in reversed({file.step: file for file in offer.on_path(run)}.values()):
        try:
            status = file.path.stat()
        except OSError:  # retention took it meanwhile
            continue
        # Taking the training state out of an older one has written it anew: none was saved after the next.
        latest = min(latest, status.st_mtime)
        found.append(_Place(run, file.step, latest, status.st_size))
    if found or not run.layout.model.exists():
        return found
    return [_Place(run, saved.file.step, saved.changed_at, saved.nbytes) for saved in _saved(run)]


def _in_order(places: list[_Place], sort: str, descending: bool | None) -> list[_Place]:
    keys: Mapping[str, Callable[[_Place], Any]] = {
        "saved_at": lambda place: (place.changed_at, place.step),
        "size": lambda place: place.nbytes,
        "step": lambda place: place.step,
        "run": lambda place: (place.run.name, place.step),
    }
    return sorted(places, key=keys[sort], reverse=sort != "run" if descending is None else descending)


def _by_setting(places: list[_Place], rows: Sequence[RunRow], key: str, descending: bool) -> list[_Place]:
    """By what their runs have there: numbers, then everything else as text; at last those of runs without it."""
    values = {row.name: row.config[key] for row in rows if row.config.get(key) is not None}
    if rows and not any(key in row.config for row in rows):
        todo = did_you_mean(key, sorted({known for row in rows for known in row.config}))
        raise QueryError(f"No run here has the setting {key[:80]!r} to sort by.{todo}", query=key, position=0)

    def rank(place: _Place) -> tuple[bool, float, str]:
        value = values[place.run.name]
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
        return (False, value, "") if is_number else (True, 0.0, str(value))

    present = sorted((place for place in places if place.run.name in values), key=rank, reverse=descending)
    return present + [place for place in places if place.run.name not in values]


def _told(path: Path) -> tuple[About | None, str | None]:
    try:
        return about(path), None
    except (StorageError, OSError) as error:
        return None, first_line(error)


def _sorted(found: list[Saved], sort: str, descending: bool | None) -> list[Saved]:
    names = {key for saved in found if saved.about is not None for key in saved.about.metrics}
    if found and sort not in names:
        todo = did_you_mean(sort, [*_BY_PLACE, *sorted(names)])
        raise QueryError(f"No checkpoint has {sort[:80]!r} to sort by.{todo}", query=sort, position=0)
    if descending is None:
        descending = direction(sort) == "max"
    valued = [(_value(saved, sort), saved) for saved in found]
    present = [(value, saved) for value, saved in valued if value is not None]
    present.sort(key=lambda pair: pair[0], reverse=descending)
    return [saved for _, saved in present] + [saved for value, saved in valued if value is None]


def _value(saved: Saved, sort: str) -> float | None:
    value: Any = saved.about.metrics.get(sort) if saved.about is not None else None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
    return float(value) if is_number else None


def _finite(value: Any) -> Any:
    """A metric as JSON can hold it."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
