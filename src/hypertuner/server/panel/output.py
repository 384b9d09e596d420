"""What an attempt printed, by the numbers of its lines: a window of a million of them, and search.

Where every some lines begin is kept, and grows as the output does: a window costs what it holds, not what lies before
it. Lines are told as the script left them: of one that `\\r` rewrote its last state, control sequences as they are.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from hypertuner.server.contract.detail import OutputLines, OutputMatches
from hypertuner.store import Attempt
from hypertuner.store.layout import AttemptLayout
from hypertuner.store.output import START, OutputReader, Position, collapse

_EVERY = 512
_MOST_LINES = 5000
_LONGEST = 20_000  # signs of a line that are sent; nobody reads more, and a browser lays them all out
_MOST_WINDOW_BYTES = 8 << 20
_MOST_MATCHES = 10_000
_SEARCHES_FOR_S = 5.0
_KEPT = 32
_NOTICE = re.compile(rb"\[[0-9.]+ [kMGT]?B of output left out\]\n?")
_CONTROL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_ERRORS = (
    "error",
    "exception",
    "traceback",
    "fatal",
    "critical",
    "failed",
    "failure",
    "killed",
    "out of memory",
    "assert",
)


@dataclass
class _Index:
    """Where lines begin, of one attempt."""

    layout: AttemptLayout
    begins: list[Position] = field(default_factory=lambda: [START])
    """Of line 0, 512, 1024, …"""
    lines: int = 0
    """Lines that are over."""
    end: Position = START
    held: int = 0
    """Bytes of the line that is not over."""
    parts: tuple[int, ...] = ()
    left_out: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def total(self) -> int:
        """Lines, with the one that is not over."""
        return self.lines + (self.held > 0)

    def grow(self) -> None:
        """Take in what was printed since."""
        now = tuple(self.layout.output_parts())
        if set(self.parts) - set(now):
            # A part of the middle was removed: what comes after it has other numbers now.
            self.begins, self.lines, self.end, self.held, self.left_out = [START], 0, START, 0, None
        self.parts = now
        reader = OutputReader(self.layout)
        while True:
            data, after = reader.read(self.end)
            if not data:
                return
            if (notice := _NOTICE.search(data)) is not None and not _is_in_file(self.end, after, data):
                self.left_out = notice[0].decode().strip("[]\n")
            self._count(data, after)
            self.end = after

    def _count(self, data: bytes, after: Position) -> None:
        found = data.count(b"\n")
        if (self.lines + found) // _EVERY > self.lines // _EVERY:
            start = (after[0], after[1] - len(data)) if _is_in_file(self.end, after, data) else None
            at = 0
            for lines in range(self.lines - self.lines % _EVERY + _EVERY, self.lines + found + 1, _EVERY):
                ahead = lines - max(self.lines, lines - _EVERY)
                at = len(data) - len(data[at:].split(b"\n", ahead)[-1])
                # Of what stands for removed parts only the end has a place in the files.
                begin = (start[0], start[1] + at) if start is not None else after
                self.begins.append(begin if start is not None or at == len(data) else self.begins[-1])
        self.lines += found
        last = data.rfind(b"\n")
        self.held = self.held + len(data) if last < 0 else len(data) - last - 1


def _is_in_file(before: Position, after: Position, data: bytes) -> bool:
    """Whether a piece stands in the files as it is: else it is what stands for parts that are gone."""
    return after[0] == before[0] or _NOTICE.fullmatch(data.lstrip(b"\n")) is None


class Outputs:
    """The output of all attempts that are looked at. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, int], _Index] = OrderedDict()

    def window(self, attempt: Attempt, first: int, count: int) -> OutputLines:
        """Lines from `first` on; a negative `first` counts from the end."""
        index = self._index(attempt)
        with index.lock:
            index.grow()
            total = index.total
            begin = max(0, total + first) if first < 0 else min(first, total)
            wanted = max(0, min(count, _MOST_LINES, total - begin))
            lines = [line for _, line in _lines(index, begin, wanted)]
            return OutputLines(
                attempt=attempt.number,
                total=total,
                first=begin,
                lines=[line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…" for line in lines],
                cursor=f"{index.end[0]}:{index.end[1]}",
                left_out=index.left_out,
            )

    def search(self, attempt: Attempt, text: str, *, errors: bool) -> OutputMatches:
        """The numbers of the lines that hold `text`, whatever the case of its letters; with `errors`, of those that
        tell of one. It ends after 10,000 of them, or 5 s."""
        index = self._index(attempt)
        with index.lock:
            index.grow()
            total = index.total
        wanted, found, until = text.casefold(), list[int](), time.monotonic() + _SEARCHES_FOR_S
        is_cut = False
        for number, whole in _blocks(index.layout, total):
            plain = _plain(whole)
            if wanted not in plain or (errors and not _tells_of_error(plain)):
                continue
            for place, line in enumerate(plain.split("\n")):
                if "\r" in line:
                    line = line.rstrip("\r").rpartition("\r")[2]
                if wanted in line and (not errors or _tells_of_error(line)):
                    found.append(number + place)
            if len(found) >= _MOST_MATCHES or time.monotonic() > until:
                is_cut = len(found) > _MOST_MATCHES or number + whole.count(b"\n") + 1 < total
                break
        del found[_MOST_MATCHES:]
        return OutputMatches(total=len(found), lines=found, is_cut=is_cut)

    def _index(self, attempt: Attempt) -> _Index:
        # The folder of a run that was deleted may be that of another one now.
        key = str(attempt.layout.folder), attempt.layout.folder.stat().st_ino
        with self._lock:
            index = self._known.pop(key, None) or _Index(attempt.layout)
            self._known[key] = index
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
            return index


def _lines(index: _Index, begin: int, count: int) -> Iterator[tuple[int, str]]:
    """`count` lines from number `begin` on, with their numbers."""
    place = min(begin // _EVERY, len(index.begins) - 1)
    position, number = index.begins[place], place * _EVERY
    reader, rest, told = OutputReader(index.layout), b"", 0
    end = begin + count
    while number < end:
        data, position = reader.read(position)
        if not data:
            if rest and number >= begin:
                yield number, _text(rest)
            return
        whole, cut, rest = (rest + data).rpartition(b"\n")
        if not cut:
            continue
        for line in whole.split(b"\n"):
            if number >= end:
                return
            if number >= begin:
                told += len(line)
                if told > _MOST_WINDOW_BYTES:
                    return
                yield number, _text(line)
            number += 1


def _tells_of_error(text: str) -> bool:
    return any(word in text for word in _ERRORS)


def _blocks(layout: AttemptLayout, total: int) -> Iterator[tuple[int, bytes]]:
    """All lines up to number `total`, many at a time, each lot with the number of its first."""
    reader, position, rest, number = OutputReader(layout), START, b"", 0
    while number < total:
        data, position = reader.read(position)
        if not data:
            if rest:
                yield number, rest
            return
        whole, cut, rest = (rest + data).rpartition(b"\n")
        if cut:
            yield number, whole
            number += whole.count(b"\n") + 1


def _plain(data: bytes) -> str:
    """Output as it is compared: small letters, no control sequences."""
    text = data.decode("utf-8", "replace").casefold()
    return _CONTROL.sub("", text) if "\x1b" in text else text


def _text(line: bytes) -> str:
    return collapse(line).rstrip(b"\r").decode("utf-8", "replace")
