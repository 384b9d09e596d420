"""Which logged metric tells the best checkpoint, when nobody said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hypertuner.errors import CheckpointError
from hypertuner.store.direction import direction

_HELD_OUT = re.compile(r"(^|[^a-z])(val|valid|validation|eval|dev|test|holdout)", re.IGNORECASE)
_TRAINING = re.compile(r"(^|[^a-z])(train|training|batch|step|running)", re.IGNORECASE)


def watched_metric(metrics: Mapping[str, Any], monitor: str | None, mode: str | None) -> tuple[str, str] | None:
    """(metric, 'min' or 'max') that tells the best checkpoint, or None when no logged metric does.

    Measured on held-out data comes first, and what goes up before what goes down. A plain 'loss' is the training
    loss of one batch: the lowest is an accident, so it is not taken unless asked for.
    Raises: CheckpointError when `monitor`'s direction cannot be told from its name and `mode` is not given.
    """
    if monitor is not None:
        way = mode or direction(monitor)
        if way is None:
            raise CheckpointError(
                f"Saver(monitor={monitor!r}): whether high or low is good cannot be told from the name.\n"
                "  Say it: mode='max' or mode='min'."
            )
        return monitor, way
    candidates = []
    for name, value in metrics.items():
        way = direction(name)
        if way is None or isinstance(value, (bool, str)) or not isinstance(value, (int, float)):
            continue
        held_out = bool(_HELD_OUT.search(name))
        if held_out or (way == "max" and not _TRAINING.search(name)):
            candidates.append((not held_out, way != "max", len(name), name, way))
    return (candidates and (min(candidates)[3], min(candidates)[4])) or None
