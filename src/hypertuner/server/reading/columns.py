"""What is said of many rows at once: their columns, what differs, the values of some columns, means over groups."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

from hypertuner.errors import QueryError
from hypertuner.index.row import FACT_COLUMNS, config_column, metric_column
from hypertuner.index.spelling import text_of
from hypertuner.server.reading.asking import by_shape, is_same, number
from hypertuner.server.reading.packed import NAME, SCRIPT, SHAPE, STATE, TAGS, Packed, Shape
from hypertuner.store.direction import direction

_MOST_NAMES = 100
_MOST_METRICS = 50
_KINDS = {bool: "bool", int: "int", float: "float", str: "str", list: "list", tuple: "list"}


def columns_of(rows: Collection[Packed]) -> dict[str, Any]:
    """The columns that a table of these rows can show, with how many runs have each."""
    groups = by_shape(rows)
    config = dict.fromkeys(key for shape in groups for key in shape.names["config"])
    metrics: Counter[str] = Counter()
    for shape, members in groups.items():
        for key in shape.names["metrics"]:
            metrics[key] += len(members)
    tags: dict[str, None] = {}
    for row in rows:
        if row[TAGS]:
            tags.update(dict.fromkeys(row[TAGS]))
    return {
        "facts": list(FACT_COLUMNS),
        "config": [_config_column(groups, key) for key in config],
        "metrics": [
            {
                "key": key,
                "name": metric_column(key, config),
                "group": key.rpartition("/")[0],
                "runs": count,
                "direction": direction(key),
            }
            for key, count in metrics.items()
        ],
        "tags": sorted(tags),
        "scripts": sorted({row[SCRIPT] for row in rows if row[SCRIPT] is not None}),
    }


def _config_column(groups: dict[Shape, list[Packed]], key: str) -> dict[str, Any]:
    values: list[Any] = []
    for shape, members in groups.items():
        if (place := shape.place("config", key)) is not None:
            values += [row[place] for row in members]
    kinds = {_KINDS.get(kind, "mixed") for kind in set(map(type, values)) if kind is not type(None)}
    try:
        # A switch and a number may be equal for Python.
        distinct = len(set(map(_distinguished, values) if len(kinds) > 1 else values))
    except TypeError:  # lists
        distinct = len({text_of(value) for value in values})
    if kinds == {"int", "float"}:
        kinds = {"float"}
    kind = kinds.pop() if len(kinds) == 1 else "mixed"
    return {"key": key, "name": config_column(key), "kind": kind, "runs": len(values), "distinct": distinct}


def _distinguished(value: Any) -> Any:
    return (bool, value) if isinstance(value, bool) else value


def differing(rows: Sequence[Packed]) -> dict[str, Any]:
    """The settings in which these runs differ, or which some runs of a script lack; and those that all have alike. What
    another script does not know is neither."""
    configs = {row[NAME]: row[SHAPE].part(row, "config") for row in rows}
    scripts = {row[NAME]: row[SCRIPT] for row in rows}
    keys = dict.fromkeys(key for config in configs.values() for key in config)
    different = []
    equal: dict[str, Any] = {}
    for key in keys:
        having = {name: config[key] for name, config in configs.items() if key in config}
        knowing = {scripts[name] for name in having}
        first = next(iter(having.values()))
        is_one = all(is_same(value, first) for value in having.values())
        if len(having) == len(configs) and is_one:
            equal[key] = first
        elif not is_one or any(name not in having and scripts[name] in knowing for name in configs):
            different.append({"key": key, "values": having})
    return {"differing": different, "equal": equal}


def values_of(rows: Sequence[Packed], columns: Sequence[str], most: int) -> dict[str, Any]:
    """The values that the first rows have of columns, by the names of the query language."""
    shown = rows[:most]
    return {
        "names": [row[NAME] for row in shown],
        "states": [row[STATE] for row in shown],
        "columns": {column: [_value(row, column) for row in shown] for column in columns},
        "matched": len(rows),
    }


def _value(row: Packed, column: str) -> Any:
    place = row[SHAPE].at.get(column)
    return None if place is None else row[place]


def groups_of(rows: Collection[Packed], by: Sequence[str], metrics: Sequence[str], of: str) -> list[dict[str, Any]]:
    """Runs with equal values of some settings, the largest group first; of each metric the mean and the spread.

    Metrics are those asked for, or the first that runs of the group have. A run that lacks all settings is in no group.
    """
    known = {key for shape in by_shape(rows) for key in shape.names["config"]}
    for key in by:
        if rows and key not in known:
            raise QueryError(
                f"No run has a setting {key!r} to group by.\n  Group by a key of the config.", query=key, position=0
            )
    found: dict[tuple[Any, ...], tuple[dict[str, Any], list[Packed]]] = {}
    for row in rows:
        shape: Shape = row[SHAPE]
        places = [(key, place) for key in by if (place := shape.place("config", key)) is not None]
        if not places:
            continue
        values = {key: row[place] for key, place in places}
        told = tuple(_told_apart(values[key]) if key in values else _NONE for key in by)
        if told not in found:
            found[told] = (values, [])
        found[told][1].append(row)
    return [
        {
            "values": values,
            "runs": len(members),
            "names": [row[NAME] for row in members[:_MOST_NAMES]],
            "metrics": {metric: statistics_of(members, metric, of) for metric in metrics or _logged_by(members)},
        }
        for values, members in sorted(found.values(), key=lambda group: -len(group[1]))
    ]


def _logged_by(rows: Collection[Packed]) -> list[str]:
    return list(dict.fromkeys(key for shape in by_shape(rows) for key in shape.names["metrics"]))[:_MOST_METRICS]


def _told_apart(value: Any) -> Any:
    """What is equal for equal settings: 1 and 1.0 are one, True is another, NaN is NaN."""
    if isinstance(value, (bool, list, tuple, dict)):
        return type(value).__name__, text_of(value)
    return "nan" if value != value else value


_NONE = object()


def statistics_of(rows: Collection[Packed], metric: str, of: str) -> dict[str, Any]:
    """Mean, standard deviation (of a sample) and extremes of a metric; NaN and infinity do not count."""
    take = _of_metric(metric, of)
    values = [found for row in rows if (found := number(take(row))) is not None]
    mean = spread = None
    with suppress(OverflowError):  # values at the end of the range of floats
        if values:
            mean = math.fsum(values) / len(values)
        if mean is not None and len(values) > 1:
            spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return {
        "mean": mean,
        "std": spread,
        "lowest": min(values, default=None),
        "highest": max(values, default=None),
        "runs": len(values),
    }


def _of_metric(metric: str, of: str) -> Callable[[Packed], Any]:
    parts = ("best", "metrics") if of == "best" else ("metrics",)

    def take(row: Packed) -> Any:
        shape: Shape = row[SHAPE]
        for part in parts:
            if (place := shape.place(part, metric)) is not None:
                return row[place]
        return None

    return take
