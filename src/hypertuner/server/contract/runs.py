"""Runs as the table shows them, and what is asked about many of them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

Value = bool | int | float | str | None | list[Any] | dict[str, Any]
"""A setting or a metric's value, as JSON has it."""


class RunRow(BaseModel):
    """One run. `colour` is 0 to 7 of the palette and `mark` 0 to 3 (circle, diamond, triangle, square), for life."""

    name: str
    state: str
    config: dict[str, Value]
    metrics: dict[str, Value]
    best: dict[str, Value]
    first: dict[str, Value]
    lowest: dict[str, Value]
    highest: dict[str, Value]
    nonfinite: dict[str, str]
    tags: list[str]
    note: str
    starred: bool
    archived: bool
    created: float
    duration_s: float | None
    step: int | None
    last_step: int | None
    """The last step that it will log, as learnt; None where nothing is known."""
    left_s: float | None
    checkpoints: int
    nbytes: int
    parent: str | None
    script: str | None
    reason: str | None
    """Why it failed or was stopped, on one line."""
    wrote_at: float | None
    colour: int
    mark: int
    label: str
    """What tells it from the other runs that were asked for: 'lr=0.01 hidden=32'."""


class RunsPage(BaseModel):
    """A window of the runs that a query describes."""

    total: int
    """Runs in the storage that are not archived."""
    matched: int
    offset: int
    rows: list[RunRow]
    revision: int
    """Grows with every change that the server has seen."""
    is_complete: bool
    """Whether all folders were read since the server started."""


class ConfigColumn(BaseModel):
    """A key that runs have in their config; `name` is how a query asks for it."""

    key: str
    name: str
    kind: Literal["int", "float", "bool", "str", "list", "mixed"]
    runs: int
    distinct: int
    """Different values among these runs; 1: it never differs."""


class MetricColumn(BaseModel):
    """A metric that runs log; `direction` is which way is better, where its name tells."""

    key: str
    name: str
    group: str
    """What stands before its last '/'; '' without one."""
    runs: int
    direction: Literal["min", "max"] | None


class Columns(BaseModel):
    """What a table of these runs can show."""

    facts: list[str]
    config: list[ConfigColumn]
    metrics: list[MetricColumn]
    tags: list[str]
    scripts: list[str]


class Difference(BaseModel):
    """A key that tells runs apart; `values` by run, a run without it is missing."""

    key: str
    values: dict[str, Value]


class Differing(BaseModel):
    """What differs among some runs, and how many settings are equal."""

    differing: list[Difference]
    equal: dict[str, Value]


class Completion(BaseModel):
    """What may stand at the place of the cursor: replace [start, end) of the query by `text`."""

    text: str
    kind: Literal["name", "value", "operator", "function"]
    hint: str
    start: int
    end: int


class Completions(BaseModel):
    """Completions, likeliest first, and what is wrong with the query as it stands."""

    completions: list[Completion]
    error: Problem | None


class Problem(BaseModel):
    """What is wrong, in words for people; every answer that is no success has it as its body."""

    error: str
    """The kind: the name of the exception, or 'unauthorised', 'forbidden', 'not found', 'too much'."""
    message: str
    """What happened, where, and what to do; lines."""
    position: int | None = None
    """Of a mistake in a query."""
    key: str | None = None
    """The setting that is wrong."""


class Statistics(BaseModel):
    """Of one metric over the runs of a group: of each its last value (or its best, where asked)."""

    mean: float | None
    std: float | None
    lowest: float | None
    highest: float | None
    runs: int


class Group(BaseModel):
    """Runs that have the same value of the keys that they are grouped by."""

    values: dict[str, Value]
    runs: int
    names: list[str]
    """The first 100 of them, newest first."""
    metrics: dict[str, Statistics]


class Groups(BaseModel):
    """All groups, largest first."""

    by: list[str]
    groups: list[Group]
    revision: int


class ValueTable(BaseModel):
    """Columns of many runs, for parallel coordinates and scatter: `columns[name][i]` is of run `names[i]`."""

    names: list[str]
    states: list[str]
    columns: dict[str, list[Value]]
    matched: int
    """More than len(names) when only the newest were given."""


Completions.model_rebuild()
