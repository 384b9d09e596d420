"""What is known of one run where many are listed; `row.py` is how it is asked, `portrait.py` how it is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What every run has, whatever its script does; these win over a config key or a metric of the same name.
FACTS = frozenset(
    "name state tags created age duration step checkpoints size parent script note starred archived".split()
)


@dataclass(frozen=True)
class RowFields:
    """One run, as far as a table shows it.

    `metrics` holds the last logged values, `first` the first ones, `lowest` and `highest` the extremes over all steps,
    `best` one of these for the metrics whose direction is known. `created` is seconds since 1970. `differs` is the part
    of `config` that tells this run from the others of the table it was taken from. `label` is that in a
    few words, without what only other scripts lack: 'lr=0.01 hidden=32'. `folder` is where it lies.
    `wrote_at` is when one that has not ended wrote last, in seconds since 1970 by the clock of its file system.
    `reason` is what ended it, on one line, where that was not the end of its script. `colour` is what people chose.
    """

    name: str
    state: str
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    best: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    created: float = 0.0
    duration_s: float | None = None
    step: int | None = None
    checkpoints: int = 0
    nbytes: int = 0
    parent: str | None = None
    script: str | None = None
    note: str = ""
    starred: bool = False
    archived: bool = False
    first: Mapping[str, Any] = field(default_factory=dict)
    lowest: Mapping[str, Any] = field(default_factory=dict)
    highest: Mapping[str, Any] = field(default_factory=dict)
    differs: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    folder: str = ""
    wrote_at: float | None = None
    reason: str | None = None
    colour: str | None = None
