"""Curves: the header of the binary answer, and what the WebSocket says.

GET /api/series answers `application/octet-stream`: u32 little-endian length of the header, the header (JSON, padded
with spaces so that what follows begins at a multiple of 8), then for each series, one after the other: `points` float64
steps (none where `even_steps` says them), `points` float64 times (seconds since 1970), `points` float64 values (NaN and
infinity as they are).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from hypertuner.server.contract.queue import MachineSample, QueueView
from hypertuner.server.contract.runs import RunRow, Value


class Segment(BaseModel):
    """Points [start, end) of a series: what one attempt logged. `is_abandoned`: a later attempt began before them."""

    run: str
    """The run itself, or one that it was forked from."""
    attempt: int
    start: int
    end: int
    is_abandoned: bool


class Mark(BaseModel):
    """A saved checkpoint on a run's curves."""

    reference: str
    """`run@step`: what `start from` takes."""
    step: int
    time: float
    is_best: bool
    is_last: bool


class SeriesHeader(BaseModel):
    """One run's curve of one metric. `cursor` is where the live stream goes on, for all metrics of the run."""

    run: str
    metric: str
    points: int
    even_steps: tuple[int, int] | None
    """(first, by): the step of point i is first + i * by. None where steps are not so, or too many to be looked at."""
    segments: list[Segment]
    marks: list[Mark]
    step_offset: int
    """Steps that its ancestors took before it: x of 'steps since root' is step + step_offset. 0 for a fork, whose curve
    holds its parent's points itself."""
    parent: str | None
    cursor: str


class SeriesAnswer(BaseModel):
    """The JSON header of the binary answer; `missing` are runs that are no more."""

    series: list[SeriesHeader]
    missing: list[str]


class Subscribe(BaseModel):
    """What a tab wants to hear of; each message replaces the one before it.

    `series`: run → cursor; `metrics`: which of their metrics. `rows`: runs that change. `output`: of one attempt.
    """

    type: Literal["subscribe"] = "subscribe"
    rows: bool = True
    series: dict[str, str] = {}
    metrics: list[str] = []
    output: OutputCursor | None = None
    machine: bool = False


class OutputCursor(BaseModel):
    """Where the output of an attempt was read up to."""

    run: str
    attempt: int
    cursor: str


class Hello(BaseModel):
    """The first message. `server` changes when the server was started anew: everything is fetched again then."""

    type: Literal["hello"] = "hello"
    server: str
    revision: int


class RowsChanged(BaseModel):
    """Runs that are new or have changed, and those that are gone, since `since`."""

    type: Literal["rows"] = "rows"
    since: int
    revision: int
    rows: list[RunRow]
    gone: list[str]
    total: int
    is_complete: bool
    has_more: bool
    """More has changed than is said here: fetch the window again."""


class Points(BaseModel):
    """What a run has logged since its cursor, of one metric. Non-finite values are null, and spelled in `nonfinite` by
    their position. `restart`: the curve is another one now (a new attempt): fetch it again."""

    type: Literal["points"] = "points"
    run: str
    metric: str
    cursor: str
    step: list[int]
    time: list[float]
    value: list[float | None]
    nonfinite: dict[int, str] = {}
    restart: bool = False


class OutputGrew(BaseModel):
    """What a script has printed since the cursor."""

    type: Literal["output"] = "output"
    run: str
    attempt: int
    cursor: str
    text: str


class QueueChanged(BaseModel):
    """The queue as it is now."""

    type: Literal["queue"] = "queue"
    queue: QueueView


class MachineSampled(BaseModel):
    """The machine, every two seconds, for those that asked."""

    type: Literal["machine"] = "machine"
    sample: MachineSample


class Said(BaseModel):
    """Something that happened to a run, for the live region and the notice bar: it started, ended, was tried again."""

    type: Literal["said"] = "said"
    run: str
    kind: Literal["started", "ended", "again", "trouble"]
    text: str


LiveMessage = Hello | RowsChanged | Points | OutputGrew | QueueChanged | MachineSampled | Said


class LiveMessages(BaseModel):
    """Every message that the server says on the WebSocket, here so that the page's types have them."""

    server: LiveMessage


class MediaItem(BaseModel):
    """Something that a script logged which is no number; `url` answers with it (text and histograms as JSON)."""

    name: str
    step: int
    kind: Literal["image", "text", "histogram"]
    caption: str
    url: str
    attempt: int


class MediaList(BaseModel):
    """All media of one run, by name and step."""

    items: list[MediaItem]


class HistogramValue(BaseModel):
    """A logged histogram: `counts[i]` lies between `edges[i]` and `edges[i + 1]`."""

    edges: list[float]
    counts: list[float]


class OneValue(BaseModel):
    """One value."""

    value: Value


Subscribe.model_rebuild()
