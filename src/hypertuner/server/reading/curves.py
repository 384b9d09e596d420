"""Curves of runs: the points along a run's path, with those that a later attempt went back before in grey.

The columns of the files that were asked for last stay in memory, up to a size; a curve is cut out of them.
"""

from __future__ import annotations

import struct
import sys
import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from hypertuner.checkpoint import offer
from hypertuner.errors import StorageError
from hypertuner.server.reading.points import Cut, Points
from hypertuner.server.reading.shown import dumps
from hypertuner.store import Run, Storage
from hypertuner.store.names import is_name

MOST_BYTES = 256 * 1024 * 1024
_MOST_ANCESTORS = 100
_MOST_EVEN = 100_000


class Part(NamedTuple):
    """A stretch of one metrics file: the records that end after `begin` and up to `end` (None: all that follow)."""

    run: str
    attempt: int
    path: Path
    begin: int
    end: int | None
    is_abandoned: bool


class Curve(NamedTuple):
    """One run's curve of one metric: its header, and its points in pieces."""

    header: dict[str, Any]
    cuts: list[Cut]


class Curves:
    """The curves of one storage's runs."""

    def __init__(self, storage: Storage, most_bytes: int = MOST_BYTES) -> None:
        self._storage = storage
        self._most_bytes = most_bytes
        self._points: OrderedDict[Path, Points] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Memory that all columns take."""
        with self._lock:
            return sum(points.nbytes for points in self._points.values())

    def answer(self, names: Sequence[str], metric: str) -> bytes:
        """The curves of some runs in the binary form of the contract."""
        curves, missing = self.curves(names, metric)
        header = dumps({"series": [curve.header for curve in curves], "missing": missing})
        header += b" " * (-(len(header) + 4) % 8)
        parts = [struct.pack("<I", len(header)), header]
        for curve in curves:
            for column in range(3) if curve.header["even_steps"] is None else (1, 2):
                parts += [_little(cut[column]) for cut in curve.cuts]
        return b"".join(parts)

    def curves(self, names: Sequence[str], metric: str) -> tuple[list[Curve], list[str]]:
        """The curves of those runs that are there, and the names of those that are not."""
        found: list[Curve] = []
        missing: list[str] = []
        for name in dict.fromkeys(names):
            run = Run(self._storage.path / name)
            if is_name(name) and run.exists():
                found.append(self._curve(run, metric))
            else:
                missing.append(name)
        self._make_room()
        return found, missing

    def points(self, names: Sequence[str], metric: str) -> Iterator[tuple[str, int, float, float, float, bool]]:
        """(run, attempt, step, time, value, whether a later attempt went back before it) of each point."""
        for curve in self.curves(names, metric)[0]:
            for segment, cut in zip(curve.header["segments"], curve.cuts, strict=True):
                for step, time, value in zip(*cut, strict=True):
                    yield curve.header["run"], segment["attempt"], step, time, value, segment["is_abandoned"]

    def _curve(self, run: Run, metric: str) -> Curve:
        segments: list[dict[str, Any]] = []
        cuts: list[Cut] = []
        count = 0
        parts = parts_of(run)
        cursor = cursor_of(run, parts, 0)
        for part in parts:
            points = self._of_file(part.path)
            cut = points.cut(metric, part.begin, part.end)
            if not part.is_abandoned and part.end is None:
                cursor = cursor_of(run, parts, points.bytes)
            if not len(cut.values):
                continue
            cuts.append(cut)
            segments.append(
                {
                    "run": part.run,
                    "attempt": part.attempt,
                    "start": count,
                    "end": count + len(cut.values),
                    "is_abandoned": part.is_abandoned,
                }
            )
            count += len(cut.values)
        parent, offset = _descent(run)
        header = {
            "run": run.name,
            "metric": metric,
            "points": count,
            "even_steps": _even_steps([cut.steps for cut in cuts], count),
            "segments": segments,
            "marks": list(_marks(run)),
            "step_offset": offset,
            "parent": parent,
            "cursor": cursor,
        }
        return Curve(header, cuts)

    def _of_file(self, path: Path) -> Points:
        with self._lock:
            points = self._points.get(path)
            if points is None:
                points = self._points[path] = Points(path)
            self._points.move_to_end(path)
        points.read_on()
        return points

    def _make_room(self) -> None:
        with self._lock:
            total = sum(points.nbytes for points in self._points.values())
            while total > self._most_bytes and len(self._points) > 1:
                _, oldest = self._points.popitem(last=False)
                total -= oldest.nbytes


def parts_of(run: Run) -> list[Part]:
    """What makes up a run's curve: its ancestors up to the fork, then its own attempts in order."""
    path = run.path()
    found = [
        Part(one.run.name, one.attempt.number, one.attempt.layout.metrics, 0, one.metrics_bytes, False)
        for one in path
        if one.run.folder != run.folder
    ]
    own = {one.attempt.number: one for one in path if one.run.folder == run.folder}
    for attempt in run.attempts():
        file, number = attempt.layout.metrics, attempt.number
        if number not in own:
            found.append(Part(run.name, number, file, 0, None, True))
            continue
        upto = own[number].metrics_bytes
        found.append(Part(run.name, number, file, 0, upto, False))
        if upto is not None:
            found.append(Part(run.name, number, file, upto, None, True))
    if not found:
        found.append(Part(run.name, 0, run.layout.old_metrics, 0, None, False))
    return found


def going_on(parts: Sequence[Part]) -> Part | None:
    """The attempt whose points come next; None where none has begun."""
    return next((part for part in reversed(parts) if not part.is_abandoned and part.end is None and part.attempt), None)


def cursor_of(run: Run, parts: Sequence[Part], nbytes: int) -> str:
    """Where the live stream goes on: in which attempt, and after how many bytes of its metrics file."""
    last = going_on(parts)
    return f"{last.attempt if last is not None and last.run == run.name else 0}:{nbytes}"


def _marks(run: Run) -> Iterator[dict[str, Any]]:
    try:
        files = offer.on_path(run)
    except (StorageError, OSError):
        return
    try:
        model = run.layout.model.stat().st_ino
    except OSError:
        model = 0
    for file in files:
        try:
            status = file.path.stat()
        except OSError:  # cleaned away meanwhile
            continue
        yield {
            "reference": f"{run.name}@{file.step}",
            "step": file.step,
            "time": status.st_mtime,
            # model.pt is a link to the best, or, where nothing is watched, to the newest.
            "is_best": status.st_ino == model,
            "is_last": file is files[-1],
        }


def _descent(run: Run) -> tuple[str | None, int]:
    """The run's parent, and how many steps its ancestors took before it that its own curve does not hold."""
    parent, offset = None, 0
    seen = {run.folder}
    at: Run | None = run
    while at is not None and len(seen) < _MOST_ANCESTORS:
        try:
            record = at.record()
            if record is None or record.parent is None:
                break
            above = at.parent()
        except (StorageError, OSError):
            break
        if at is run:
            parent = above.name if above is not None else record.parent.run
        if record.parent.how != "fork":
            offset += record.parent.step or 0
        if above is not None and above.folder in seen:
            break
        at = above
        if at is not None:
            seen.add(at.folder)
    return parent, offset


def _even_steps(columns: Sequence[array[float]], count: int) -> tuple[int, int] | None:
    """(first, by) where each step is the one before and `by`: a third of what a curve takes on its way, and told by two
    numbers."""
    if not 2 <= count <= _MOST_EVEN:
        return None
    steps = b"".join(map(bytes, columns))
    first, second = struct.unpack_from("=2d", steps)
    if not (first.is_integer() and second.is_integer() and first < second):
        return None
    by = int(second - first)
    return (int(first), by) if steps == _evenly(int(first), by, count) else None


@lru_cache(maxsize=16)  # runs that are compared have mostly logged at the same steps
def _evenly(first: int, by: int, count: int) -> bytes:
    return array("d", range(first, first + by * count, by)).tobytes()


def _little(column: array[float]) -> bytes:
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column.tobytes()
