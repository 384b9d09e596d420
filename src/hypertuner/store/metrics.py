"""Metrics of one attempt: append-only JSON lines, one file per writing process.

    {"step":12,"time":1764000000.123,"values":{"train/loss":0.31},"nonfinite":{"grad":"nan"}}

A killed writer leaves at most one line without its end: readers skip it, the next writer closes it. NaN and
infinity are null in `values` and spelled in `nonfinite`. Metrics of hypertuner 1.0.4 (`logs.csv`) read alike.
"""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import xxhash

from hypertuner.opening import open_regular, read_tail

MOST_LINE_BYTES = 4 * 1024 * 1024  # of one record: some 100,000 metrics
_BUFFER_BYTES = 64 * 1024

Value = float | int | str | bool | None


@dataclass(frozen=True)
class Record:
    """What one call of `log` wrote."""

    step: int
    time: float
    values: dict[str, Any]


def encode(step: int, time: float, values: dict[str, Any]) -> bytes:
    """One line of metrics.jsonl. Values are numbers, bools, text, or plain JSON that describes media."""
    record: dict[str, Any] = {"step": step, "time": time, "values": values}
    for name, value in values.items():
        if type(value) is float and value - value != 0.0:  # infinite or NaN; quicker than to ask math.isfinite
            record.setdefault("nonfinite", {})[name] = repr(value)
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def read_records(path: Path, upto: int | None = None) -> Iterator[Record]:
    """The whole records of a metrics file, in the order they were written.

    `upto` stops at that many bytes. Lines that are not records (a torn end, a damaged line) are skipped.
    """
    try:
        with opened(path) as file:
            for position, record in _records(file):
                if upto is not None and position > upto:
                    return
                if record is not None:
                    yield record
    except (FileNotFoundError, NotADirectoryError):
        return


def read_recent(path: Path, most_bytes: int) -> list[Record]:
    """The last records of a metrics file, as far as they lie in its last `most_bytes`."""
    decoded = map(decode, read_tail(path, most_bytes).splitlines())
    return [record for record in decoded if record is not None]


def opened(path: Path) -> BinaryIO:
    """A metrics file, opened for reading. Raises: OSError; CorruptFileError where it is no file."""
    return io.BufferedReader(open_regular(path), _BUFFER_BYTES)


def _records(file: BinaryIO) -> Iterator[tuple[int, Record | None]]:
    """(position after the line, its record or None) for each whole line from where `file` stands."""
    position = file.tell()
    is_rest = False
    while line := file.readline(MOST_LINE_BYTES):
        position += len(line)
        # A piece without an end is the torn last line, or a part of one so long that no logger wrote it.
        if line.endswith(b"\n"):
            yield position, None if is_rest else decode(line)
        is_rest = not line.endswith(b"\n")


def decode(line: bytes) -> Record | None:
    """The record of one line; None for a line that is none."""
    try:
        raw = orjson.loads(line)
        values: Any = raw["values"]
        if not isinstance(values, dict):
            return None
        for name, text in raw.get("nonfinite", {}).items():
            values[name] = float(text)
        return Record(int(raw["step"]), float(raw["time"]), values)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def read_old_records(path: Path) -> Iterator[Record]:
    """The rows of a logs.csv that hypertuner 1.0.4 wrote: a column for each metric, and `frame`.

    1.0.4 used the time as the frame when it was given none: such a row gets its number as step.
    """
    import csv

    try:
        with io.TextIOWrapper(
            io.BufferedReader(open_regular(path)), encoding="utf-8", errors="replace", newline=""
        ) as file:
            written = path.stat().st_mtime
            for number, row in enumerate(csv.DictReader(file)):
                frame = _number(row.pop("frame", None))
                values = {name: _number(text) for name, text in row.items() if name is not None and text is not None}
                if isinstance(frame, (int, float)) and math.isfinite(frame):
                    is_time = frame > 1e9 or frame != int(frame)
                    yield Record(number if is_time else int(frame), frame if is_time else written, values)
                else:
                    yield Record(number, written, values)
    except (FileNotFoundError, NotADirectoryError, csv.Error):
        return


# 1.0.4 wrote str(value): a loss that was still a tensor is spelled 'tensor(0.31, grad_fn=<...>)'.
_TENSOR = re.compile(r"tensor\(\[*([^],)]+)")


def _number(text: str | None) -> Value:
    if text is None:
        return None
    if tensor := _TENSOR.match(text):
        text = tensor[1]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@dataclass
class Summary:
    """What one run logged, in short: of each metric the first, last, least and greatest value."""

    first: dict[str, Any]
    last: dict[str, Any]
    lowest: dict[str, float]
    highest: dict[str, float]
    step: int | None
    time: float | None

    def add(self, record: Record) -> None:
        """Take one more record in; NaN counts as a last value, never as an extreme."""
        self.step, self.time = record.step, record.time
        for name, value in record.values.items():
            kind = type(value)
            if kind is dict:
                continue
            if name not in self.first:
                self.first[name] = value
            self.last[name] = value
            if (kind is float or kind is int) and value == value:
                if name not in self.lowest:
                    self.lowest[name] = self.highest[name] = value
                elif value < self.lowest[name]:
                    self.lowest[name] = value
                elif value > self.highest[name]:
                    self.highest[name] = value


def summarise(records: Iterable[Record]) -> Summary:
    """The summary of records in the order they were written."""
    found = Summary({}, {}, {}, {}, None, None)
    for record in records:
        found.add(record)
    return found


@dataclass(frozen=True)
class Position:
    """How far a metrics file was read: up to the end of a line, and what tells that it is the same file still."""

    bytes: int
    inode: int
    tail: str
    """Hash of what lies just before the position."""


_TAIL_BYTES = 1024


def summarise_on(path: Path, known: tuple[Summary, Position] | None) -> tuple[Summary, Position]:
    """The summary of a metrics file; only what was appended since `known` (which may change) is read.

    Raises: FileNotFoundError.
    """
    with opened(path) as file:
        inode = os.fstat(file.fileno()).st_ino
        found, position = Summary({}, {}, {}, {}, None, None), 0
        if known is not None and known[1].inode == inode and known[1].tail == tail_of(file, known[1].bytes):
            found, position = known[0], known[1].bytes
        file.seek(position)
        for position, record in _records(file):  # noqa: B007  # where the last line ended is told
            if record is not None:
                found.add(record)
        return found, Position(position, inode, tail_of(file, position))


def tail_of(file: BinaryIO, position: int) -> str:
    """Hash of what lies just before a position of a file."""
    begin = max(position - _TAIL_BYTES, 0)
    file.seek(begin)
    return xxhash.xxh3_64_hexdigest(file.read(position - begin))
