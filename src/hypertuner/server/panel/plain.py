"""A run's row as the contract has it, where no catalogue of rows is at hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import xxhash

from hypertuner.index.row import RunRow as Row
from hypertuner.server.contract.runs import RunRow


def look(name: str) -> tuple[int, int]:
    """(colour, mark) of a run, by its name."""
    number = xxhash.xxh3_64_intdigest(name.encode())
    return number % 8, number // 8 % 4


def shown(row: Row) -> RunRow:
    """The row of one run by itself: it is not told from others, and nothing was learnt from them."""
    colour, mark = look(row.name)
    nonfinite = {key: repr(value) for key, value in row.metrics.items() if not _is_finite(value)}
    return RunRow(
        name=row.name,
        state=row.state,
        config=dict(row.config),
        metrics=_finite(row.metrics),
        best=_finite(row.best),
        first=_finite(row.first),
        lowest=_finite(row.lowest),
        highest=_finite(row.highest),
        nonfinite=nonfinite,
        tags=list(row.tags),
        note=row.note,
        starred=row.starred,
        archived=row.archived,
        created=row.created,
        duration_s=row.duration_s,
        step=row.step,
        last_step=None,
        left_s=None,
        checkpoints=row.checkpoints,
        nbytes=row.nbytes,
        parent=row.parent,
        script=row.script,
        reason=None,
        wrote_at=row.wrote_at,
        colour=colour,
        mark=mark,
        label=row.label,
    )


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value if _is_finite(value) else None for key, value in values.items()}
