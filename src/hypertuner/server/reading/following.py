"""What a page was told of a run's curves and of an attempt's output, and what it has not been told yet.

A cursor says how far: plain text that holds for ever, also for another server. Points are read on from there, so that
after a broken connection none is lost and none comes twice.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from hypertuner.errors import StorageError
from hypertuner.opening import open_regular
from hypertuner.server.reading.curves import going_on, parts_of
from hypertuner.store import Run, metrics
from hypertuner.store.output import START, OutputReader

_MOST_BYTES = 256 * 1024
_SETTLED_NS = 50_000_000  # some ticks of the kernel: a change within one tick of the last is not seen by its time


class FollowedRun:
    """The points of some metrics of one run, as one page gets them."""

    def __init__(self, run: Run, cursor: str, wanted: Sequence[str]) -> None:
        self.run = run
        self.is_over = False
        """The curve is another one now: it must be fetched again."""
        self.attempt, base, ahead = _read_cursor(cursor)
        self._metrics = {metric: ahead.get(metric, base) for metric in wanted}
        """How far the page was told of each metric, in bytes of the file."""

        self._stamp: tuple[int, ...] | None = None
        self._newest = ""
        self.is_moved = False
        """Other files tell now that there is more: `paths` has changed."""

    def paths(self) -> list[str]:
        """The files that change when there is more."""
        place = self.run.layout
        found = [str(self.run.folder), str(place.attempts), self._newest]
        if self.attempt > 0:
            found.append(str(place.attempt(self.attempt).metrics))
        return [path for path in found if path]

    def more(self) -> tuple[list[dict[str, Any]], bool]:
        """Messages with what was logged since, and whether there is still more than was read now."""
        if self.is_over or not self._metrics:
            return [], False
        try:
            if not self._goes_on():
                return self._restart(), False
            path = self.run.layout.attempt(self.attempt).metrics
            return self._read(path) if self.attempt else ([], False)
        except FileNotFoundError:
            return (self._restart() if any(self._metrics.values()) else []), False
        except (StorageError, OSError):
            return [], False

    def _goes_on(self) -> bool:
        """Whether the attempt is still the one whose points come next. Asked all the time: two stats tell mostly."""
        stamp = self._folders()
        if stamp is not None and stamp == self._stamp:
            return True
        attempts = self.run.attempts()
        newest = str(attempts[-1].layout.folder) if attempts else ""
        if newest != self._newest:
            self._newest, self.is_moved = newest, True
            stamp = self._folders()
        last = going_on(parts_of(self.run))
        self._stamp = stamp
        return self.attempt == (last.attempt if last is not None and last.run == self.run.name else 0)

    def _folders(self) -> tuple[int, ...] | None:
        """What changes with a new attempt and with the first that it writes; None where that may be just now."""
        found = []
        for path in (str(self.run.layout.attempts), self._newest):
            try:
                found.append(os.stat(path).st_mtime_ns if path else 0)  # noqa: PTH116  # a Path costs more than the call
            except OSError:
                found.append(0)
        return tuple(found) if max(found) < time.time_ns() - _SETTLED_NS else None

    def _restart(self) -> list[dict[str, Any]]:
        self.is_over = True
        return [self._message(metric, [], [], [], is_restart=True) for metric in self._metrics]

    def _read(self, path: Any) -> tuple[list[dict[str, Any]], bool]:
        begin = min(self._metrics.values())
        if os.stat(path).st_size == begin:  # noqa: PTH116  # as above
            return [], False
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size < begin:
                return self._restart(), False
            if size == begin:
                return [], False
            file.seek(max(0, begin - 1))
            data = file.read(_MOST_BYTES + 1) or b""
        if begin:
            if data[:1] != b"\n":
                return self._restart(), False
            data = data[1:]
        end = data.rfind(b"\n") + 1
        if not end:
            # A line longer than what is read at once: it comes when the curve is fetched.
            return (self._restart(), False) if len(data) >= _MOST_BYTES else ([], False)
        return list(self._messages(data[:end], begin)), begin + end < size

    def _messages(self, data: bytes, begin: int) -> Iterator[dict[str, Any]]:
        found: dict[str, tuple[list[int], list[float], list[float]]] = {}
        end = begin
        for line in data.split(b"\n")[:-1]:
            end += len(line) + 1
            record = metrics.decode(line)
            if record is None:
                continue
            for metric, told in self._metrics.items():
                value = record.values.get(metric)
                if told < end and isinstance(value, (int, float)):
                    steps, times, values = found.setdefault(metric, ([], [], []))
                    steps.append(record.step)
                    times.append(record.time)
                    values.append(float(value))
        for metric in self._metrics:
            if metric not in found:
                self._metrics[metric] = max(self._metrics[metric], end)
        for metric, (steps, times, values) in found.items():
            # The cursor of each message holds even when the next one is never received.
            self._metrics[metric] = max(self._metrics[metric], end)
            yield self._message(metric, steps, times, values)

    def _message(
        self, metric: str, steps: list[int], times: list[float], values: list[float], is_restart: bool = False
    ) -> dict[str, Any]:
        return {
            "type": "points",
            "run": self.run.name,
            "metric": metric,
            "cursor": self.cursor(),
            "step": steps,
            "time": times,
            "value": values,
            "nonfinite": {index: repr(value) for index, value in enumerate(values) if not math.isfinite(value)},
            "restart": is_restart,
        }

    def cursor(self) -> str:
        """How far the page was told."""
        base = min(self._metrics.values())
        ahead = {metric: nbytes for metric, nbytes in self._metrics.items() if nbytes != base}
        return f"{self.attempt}:{base}" + (f":{orjson.dumps(ahead).decode()}" if ahead else "")


def _read_cursor(text: str) -> tuple[int, int, dict[str, int]]:
    """(attempt, bytes, bytes of the metrics that are further); where it is no cursor, one that fits nothing."""
    try:
        attempt, base, *rest = text.split(":", 2)
        ahead = orjson.loads(rest[0]) if rest else {}
        return max(0, int(attempt)), max(0, int(base)), {str(metric): int(nbytes) for metric, nbytes in ahead.items()}
    except (ValueError, AttributeError, TypeError):
        return -1, 0, {}


class FollowedOutput:
    """What an attempt prints, as one page gets it."""

    def __init__(self, run: Run, attempt: int, cursor: str) -> None:
        self.run = run
        self.attempt = attempt
        self._layout = run.layout.attempt(attempt)
        self._reader = OutputReader(self._layout)
        self._position = _read_position(cursor)

    def paths(self) -> list[str]:
        """The files that change when there is more."""
        numbers = self._layout.output_parts()
        return [str(self._layout.folder), *(str(self._layout.output_part(number)) for number in numbers[-2:])]

    def more(self) -> tuple[list[dict[str, Any]], bool]:
        """The messages with what was printed since, and whether there may still be more."""
        try:
            data, position = self._reader.read(self._position)
        except (StorageError, OSError):
            return [], False
        cut = _cut_sign(data)
        if not data or cut == len(data):
            return [], False
        self._position = (position[0], position[1] - cut)
        message = {
            "type": "output",
            "run": self.run.name,
            "attempt": self.attempt,
            "cursor": f"{self._position[0]}:{self._position[1]}",
            "text": data[: len(data) - cut].decode(errors="replace"),
        }
        return [message], True


def _read_position(cursor: str) -> tuple[int, int]:
    part, _, offset = cursor.partition(":")
    return (int(part), int(offset)) if part.isdecimal() and offset.isdecimal() else START


def _cut_sign(data: bytes) -> int:
    """How many bytes at the end begin a sign of UTF-8 that is not whole yet."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if back < needed else 0
        if byte < 0x80:
            return 0
    return 0
