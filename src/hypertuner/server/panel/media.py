"""The images, texts and histograms that a run's script logged: found in its metrics, files opened by descriptor."""

from __future__ import annotations

import math
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
import xxhash

from hypertuner.errors import CorruptFileError
from hypertuner.opening import open_regular
from hypertuner.server.contract.series import HistogramValue, MediaItem, MediaList
from hypertuner.server.panel.folder import NoSuchFileError, open_file
from hypertuner.store import Attempt, Run
from hypertuner.store.metrics import MOST_LINE_BYTES

_FILE = re.compile(r"[0-9]{8,18}-[0-9a-f]{16}(?:\.[0-9]{1,9})?\.(?:png|jpg|txt)")
_MARK = b'"media":'
_MOST = 20_000
_MOST_TEXT_BYTES = 4 << 20
_MOST_IMAGE_BYTES = 64 << 20
_MOST_BINS = 10_000
_KEPT = 32
_KINDS: dict[str, Literal["image", "text", "histogram"]] = {
    "image": "image",
    "text": "text",
    "histogram": "histogram",
}


@dataclass(frozen=True)
class Logged:
    """Something that was logged and is no number."""

    id: str
    name: str
    step: int
    attempt: int
    said: Mapping[str, Any]
    """What the line of metrics says of it."""

    @property
    def kind(self) -> Literal["image", "text", "histogram"]:
        """What it is."""
        return _KINDS[self.said["media"]]


@dataclass
class _Read:
    """How far the metrics of an attempt were looked through."""

    position: int = 0
    found: list[Logged] = field(default_factory=list)


class MediaOf:
    """The media of runs. Metrics are looked through once, and then what was added. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, int], _Read] = OrderedDict()

    def all_of(self, run: Run) -> list[Logged]:
        """What the attempts of a run logged, by name and step."""
        found = [one for attempt in run.attempts() for one in self._of(attempt)]
        return sorted(found, key=lambda one: (one.name, one.step, one.attempt))

    def listed(self, run: Run) -> MediaList:
        """The same, as the page gets it."""
        return MediaList(
            items=[
                MediaItem(
                    name=one.name,
                    step=one.step,
                    kind=one.kind,
                    caption=str(one.said.get("caption") or "")[:2000],
                    url=f"/api/runs/{run.name}/media/{one.id}",
                    attempt=one.attempt,
                )
                for one in self.all_of(run)
            ]
        )

    def find(self, run: Run, media_id: str) -> Logged:
        """The one of that id. Raises: NoSuchFileError."""
        for one in self.all_of(run):
            if one.id == media_id:
                return one
        raise NoSuchFileError(f"Run {run.name!r} has logged nothing of that name.", path=run.folder)

    def _of(self, attempt: Attempt) -> list[Logged]:
        path = attempt.layout.metrics
        try:
            key = str(path), path.stat().st_ino
        except OSError:
            return []
        with self._lock:
            read = self._known.pop(key, None) or _Read()
            self._known[key] = read
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
            try:
                _read_on(attempt, read)
            except (OSError, CorruptFileError):
                return []
            return list(read.found)


def _read_on(attempt: Attempt, read: _Read) -> None:
    with open_regular(attempt.layout.metrics) as raw:
        raw.seek(read.position)
        rest = b""
        while len(read.found) < _MOST and (data := raw.read(1 << 20)):
            whole, cut, rest = (rest + data).rpartition(b"\n")
            if not cut:
                if len(rest) > MOST_LINE_BYTES:  # nobody's record
                    read.position += len(rest)
                    rest = b""
                continue
            if _MARK in whole:
                at = read.position
                for line in whole.split(b"\n"):
                    if _MARK in line:
                        read.found += _in_line(attempt.number, at, line)
                    at += len(line) + 1
            read.position += len(whole) + 1


def _in_line(attempt: int, at: int, line: bytes) -> list[Logged]:
    try:
        record = orjson.loads(line)
        step, values = int(record["step"]), record["values"]
        media = [
            (name, said) for name, said in values.items() if isinstance(said, dict) and said.get("media") in _KINDS
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    return [
        Logged(xxhash.xxh3_64_hexdigest(f"{attempt}:{at}:{name}".encode()), name, step, attempt, said)
        for name, said in media
    ]


def text_of(run: Run, logged: Logged) -> str:
    """A logged text. Raises: NoSuchFileError."""
    if isinstance(text := logged.said.get("text"), str):
        return text
    return _read(run, logged, _MOST_TEXT_BYTES).decode("utf-8", "replace")


def image_of(run: Run, logged: Logged) -> tuple[str, bytes]:
    """(type, bytes) of a logged image: a PNG or JPEG by its first bytes, or nothing. Raises: NoSuchFileError."""
    data = _read(run, logged, _MOST_IMAGE_BYTES)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png", data
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg", data
    raise NoSuchFileError(f"The image that {run.name!r} logged at step {logged.step} is no PNG or JPEG file.")


def histogram_of(logged: Logged) -> HistogramValue:
    """A logged histogram. Raises: NoSuchFileError for what is none."""
    counts, edges = _numbers(logged.said.get("counts")), _numbers(logged.said.get("edges"))
    if counts is None or edges is None or len(edges) != len(counts) + 1:
        raise NoSuchFileError(f"The histogram {logged.name!r} at step {logged.step} is damaged.")
    return HistogramValue(edges=edges, counts=counts)


def _numbers(values: object) -> list[float] | None:
    if not isinstance(values, list) or len(values) > _MOST_BINS:
        return None
    if not all(type(value) in (int, float) and math.isfinite(value) for value in values):
        return None
    return [float(value) for value in values]


def _read(run: Run, logged: Logged, most_bytes: int) -> bytes:
    name = logged.said.get("file")
    if not isinstance(name, str) or not _FILE.fullmatch(name):
        raise NoSuchFileError(
            f"What {run.name!r} logged as {logged.name!r} at step {logged.step} names no file of its."
        )
    with open_file(run, ("attempts", str(logged.attempt), "media", name)) as file:
        data = file.read(most_bytes + 1) or b""
    if len(data) > most_bytes:
        raise NoSuchFileError(
            f"{logged.name!r} at step {logged.step} has more than {most_bytes >> 20} MB: get the file."
        )
    return data
