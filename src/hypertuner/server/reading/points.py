"""The points of one metrics file as binary columns, read once and read on as the file grows.

A piece of the file is parsed at one go: as a list of JSON objects, then column by column; that is five times as fast as
line by line. Where a piece holds anything but plain records (a torn or damaged line), it is read line by line, so that
the points are those of `metrics.read_records` in any case.
"""

from __future__ import annotations

import os
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from hypertuner.store import metrics
from hypertuner.store.metrics import MOST_LINE_BYTES, Record

_PIECE_BYTES = 128 * 1024  # larger ones keep the garbage collector busy
_NUMBERS = (int, float)


class Column:
    """The values of one metric, and of which records they are: None while of the first ones, without a gap."""

    __slots__ = ("at", "values")

    def __init__(self) -> None:
        self.at: array[int] | None = None
        self.values: array[float] = array("d")


class Cut(NamedTuple):
    """Points of one metric, in three columns of equal length."""

    steps: array[float]
    times: array[float]
    values: array[float]


class Piece(NamedTuple):
    """Records of a part of a file: steps, times, where each ends, and of each metric (records, values)."""

    steps: array[float]
    times: array[float]
    ends: array[int]
    columns: dict[str, tuple[Sequence[int] | None, array[float]]]


class Points:
    """What one attempt logged. `path` is its metrics.jsonl, or a logs.csv of hypertuner 1.0.4."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] | None = None
        self._clear()

    def _clear(self) -> None:
        self.bytes = 0
        """How far the file was read."""
        self._inode = 0
        self._tail = ""
        self._steps: array[float] = array("d")
        self._times: array[float] = array("d")
        self._ends: array[int] = array("q")
        self._columns: dict[str, Column] = {}

    @property
    def nbytes(self) -> int:
        """Memory that the columns take."""
        columns = sum(8 * len(each.values) + (4 * len(each.at) if each.at else 0) for each in self._columns.values())
        return 24 * len(self._steps) + columns

    def read_on(self) -> None:
        """Read what was appended since; all of it anew where the file is another one. A file that is gone has none."""
        with self._lock:
            try:
                status = os.stat(self._path)  # noqa: PTH116  # asked for every curve: a Path costs more than the call
            except OSError:
                self._clear()
                self._stamp = None
                return
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            if stamp == self._stamp:
                return
            if self._path.suffix == ".csv":
                self._clear()
                self._add(_of_records([(0, record) for record in metrics.read_old_records(self._path)]))
            else:
                self._read_file()
            self._stamp = stamp

    def cut(self, metric: str, begin: int = 0, end: int | None = None) -> Cut:
        """The points of a metric whose records end after byte `begin` and up to byte `end`."""
        with self._lock:
            column = self._columns.get(metric)
            if column is None:
                return Cut(array("d"), array("d"), array("d"))
            first = bisect_right(self._ends, begin) if begin else 0
            last = len(self._ends) if end is None else bisect_right(self._ends, end)
            if column.at is None:
                last = min(last, len(column.values))
                return Cut(self._steps[first:last], self._times[first:last], column.values[first:last])
            low, high = bisect_left(column.at, first), bisect_left(column.at, last)
            at = column.at[low:high]
            return Cut(
                array("d", map(self._steps.__getitem__, at)),
                array("d", map(self._times.__getitem__, at)),
                column.values[low:high],
            )

    def _read_file(self) -> None:
        with metrics.opened(self._path) as file:
            inode = os.fstat(file.fileno()).st_ino
            if self.bytes and (inode != self._inode or self._tail != metrics.tail_of(file, self.bytes)):
                self._clear()
            self._inode = inode
            file.seek(self.bytes)
            rest = b""
            while data := file.read(_PIECE_BYTES):
                data = rest + data
                end = data.rfind(b"\n") + 1
                rest = data[end:]
                if end:
                    piece = parsed(data[:end])
                    self._add(piece, self.bytes)
                    self.bytes += end
                if len(rest) > MOST_LINE_BYTES:
                    # No logger wrote that: up to its end it is no record.
                    self.bytes += len(rest)
                    rest = b""
                    self._skip_line(file)
            self._tail = metrics.tail_of(file, self.bytes)

    def _skip_line(self, file: Any) -> None:
        while line := file.readline(_PIECE_BYTES):
            self.bytes += len(line)
            if line.endswith(b"\n"):
                return

    def _add(self, piece: Piece, begin: int = 0) -> None:
        before, count = len(self._steps), len(piece.steps)
        self._steps.extend(piece.steps)
        self._times.extend(piece.times)
        self._ends.extend(array("q", (begin + end for end in piece.ends)) if begin else piece.ends)
        for name, (at, values) in piece.columns.items():
            column = self._columns.setdefault(name, Column())
            if at is None and column.at is None and len(column.values) == before:
                column.values.extend(values)
                continue
            if column.at is None:
                column.at = array("I", range(len(column.values)))
            column.at.extend(array("I", (before + index for index in (range(count) if at is None else at))))
            column.values.extend(values)


def parsed(data: bytes) -> Piece:
    """The records of whole lines."""
    return _at_one_go(data) or _line_by_line(data)


def _at_one_go(data: bytes) -> Piece | None:
    """None where it cannot be sure to find what reading line by line would."""
    # Two lines may be one object only where one of them begins or ends within: then this stands in it, or the count
    # of objects is not that of lines.
    if b"},{" in data or b"}, {" in data:
        return None
    lines = data.split(b"\n")
    lines.pop()
    try:
        records = orjson.loads(b"[%b]" % data[:-1].replace(b"\n", b","))
        if len(records) != len(lines) or not _all_are(records, dict):
            return None
        values = [record["values"] for record in records]
        if not _all_are(values, dict):
            return None
        # Steps that are no whole numbers are for the other way.
        steps = array("d", array("q", [record["step"] for record in records]))
        times = array("d", [record["time"] for record in records])
        if b'"nonfinite"' in data:
            for record in records:
                for name, text in record.get("nonfinite", {}).items():
                    record["values"][name] = float(text)
        columns = _columns(values)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    ends = array("q", accumulate(len(line) + 1 for line in lines))
    return Piece(steps, times, ends, columns)


def _line_by_line(data: bytes) -> Piece:
    found: list[tuple[int, Record]] = []
    end = 0
    for line in data.split(b"\n")[:-1]:
        end += len(line) + 1
        if len(line) <= MOST_LINE_BYTES and (record := metrics.decode(line)) is not None:
            found.append((end, record))
    return _of_records(found)


def _of_records(records: Iterable[tuple[int, Record]]) -> Piece:
    found = list(records)
    return Piece(
        array("d", (_as_float(record.step) for _, record in found)),
        array("d", (record.time for _, record in found)),
        array("q", (end for end, _ in found)),
        _columns([record.values for _, record in found]),
    )


def _all_are(values: Iterable[Any], kind: type) -> bool:
    return set(map(type, values)) <= {kind}


def _columns(values: Sequence[dict[str, Any]]) -> dict[str, tuple[Sequence[int] | None, array[float]]]:
    """Of each metric its values, and the records that have one; None: all of them. Only numbers count."""
    keys = list(map(tuple, values))
    groups: dict[tuple[str, ...], list[int]] = {}
    if len(set(keys)) == 1:
        groups[keys[0]] = []
    else:
        for index, key in enumerate(keys):
            groups.setdefault(key, []).append(index)
    parts: dict[str, list[tuple[Sequence[int] | None, array[float]]]] = {}
    for key, members in groups.items():
        rows = [values[index] for index in members] if members else values
        for name, column in zip(key, zip(*map(dict.values, rows), strict=True), strict=True):
            parts.setdefault(name, []).append(_numbers(column, members or None))
    found = {name: some[0] if len(some) == 1 else _merged(some) for name, some in parts.items()}
    return {name: column for name, column in found.items() if len(column[1])}


def _numbers(column: tuple[Any, ...], at: list[int] | None) -> tuple[Sequence[int] | None, array[float]]:
    try:
        return at, array("d", column)
    except (TypeError, OverflowError):  # text, media, None; an integer beyond all floats
        kept = [index for index, value in enumerate(column) if isinstance(value, _NUMBERS)]
        places = kept if at is None else [at[index] for index in kept]
        return places, array("d", (_as_float(column[index]) for index in kept))


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _merged(parts: list[tuple[Sequence[int] | None, array[float]]]) -> tuple[Sequence[int], array[float]]:
    pairs = sorted(pair for at, values in parts for pair in zip(at or (), values, strict=True))
    return [index for index, _ in pairs], array("d", (value for _, value in pairs))
