"""Rows in little memory: one tuple a run. A hundred thousand of them, each as objects and dicts, took 600 MB.

What a row is called by is kept once for all runs that have the same names: a `Shape`. The tuple holds the shape, the
facts, then the values of the config and of the metrics, in the order in which the shape names them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from hypertuner.index.operators import NOTHING, Test
from hypertuner.index.query import Query
from hypertuner.index.row import RunRow

Packed = tuple[Any, ...]
"""A row: its shape, and at the places below what the index calls so."""

SHAPE, NAME, STATE, TAGS, CREATED, DURATION, STEP, CHECKPOINTS, NBYTES, PARENT, SCRIPT, NOTE = range(12)
STARRED, ARCHIVED, REASON, COLOUR, WROTE_AT, _FACTS_END = range(12, 18)

_FACTS = {
    "name": NAME,
    "state": STATE,
    "tags": TAGS,
    "created": CREATED,
    "duration": DURATION,
    "step": STEP,
    "checkpoints": CHECKPOINTS,
    "size": NBYTES,
    "parent": PARENT,
    "script": SCRIPT,
    "note": NOTE,
    "starred": STARRED,
    "archived": ARCHIVED,
}
_COMPUTED = frozenset({"age", "tags"})
"""What a query is told otherwise than it lies in the tuple."""
_PARTS = ("config", "metrics", "first", "lowest", "highest", "best")
_OVER_STEPS = {"first": "first", "metrics": "last", "lowest": "min", "highest": "max", "best": "best"}


class Shape:
    """The names of a row's values, and where in its tuple they lie."""

    __slots__ = ("at", "begins", "names")

    def __init__(self, names: tuple[tuple[str, ...], ...]) -> None:
        self.names: dict[str, tuple[str, ...]] = dict(zip(_PARTS, names, strict=True))
        self.begins: dict[str, int] = {}
        position = _FACTS_END
        for part, keys in self.names.items():
            self.begins[part] = position
            position += len(keys)
        # As the query language has it: a fact before a config key, that before a metric, that before an explicit name.
        self.at: dict[str, int] = {}
        for part, function in _OVER_STEPS.items():
            self.at.update((f"{function}({key})", place) for key, place in self._places(part))
        self.at.update((f"metric.{key}", place) for key, place in self._places("metrics"))
        self.at.update((f"config.{key}", place) for key, place in self._places("config"))
        self.at.update(self._places("metrics"))
        self.at.update(self._places("config"))
        self.at.update(_FACTS)

    def _places(self, part: str) -> list[tuple[str, int]]:
        return [(key, self.begins[part] + index) for index, key in enumerate(self.names[part])]

    def part(self, row: Packed, part: str) -> dict[str, Any]:
        """The config, or the metrics' last, first, lowest, highest or best values."""
        begin = self.begins[part]
        keys = self.names[part]
        return dict(zip(keys, row[begin : begin + len(keys)], strict=True))

    def place(self, part: str, key: str) -> int | None:
        """Where one value of a part lies; None where runs of this shape lack it."""
        keys = self.names[part]
        return self.begins[part] + keys.index(key) if key in keys else None


class Shapes:
    """All shapes, each once; and short texts that many rows have, too."""

    def __init__(self) -> None:
        self._shapes: dict[tuple[tuple[str, ...], ...], Shape] = {}
        self._texts: dict[str, str] = {}

    def pack(self, row: RunRow) -> Packed:
        """A row as one tuple."""
        parts = [getattr(row, part) for part in _PARTS]
        names = tuple(map(tuple, parts))
        shape = self._shapes.get(names)
        if shape is None:
            shape = self._shapes[names] = Shape(names)
        return (
            shape,
            row.name,
            self._once(row.state),
            row.tags,
            row.created,
            row.duration_s,
            row.step,
            row.checkpoints,
            row.nbytes,
            row.parent,
            self._once(row.script),
            row.note,
            row.starred,
            row.archived,
            row.reason,
            row.colour,
            row.wrote_at,
            *map(self._once, parts[0].values()),
            *(value for part in parts[1:] for value in part.values()),
        )

    def _once(self, value: Any) -> Any:
        if type(value) is not str or len(value) > 100:
            return value
        if len(self._texts) > 10_000:
            self._texts.clear()
        return self._texts.setdefault(value, value)


class _Unpacked(RunRow):
    """A row whose settings and metrics are made when they are asked for: of 100,000 rows, most never are."""

    def __getattr__(self, name: str) -> Any:
        if name not in _PARTS:
            raise AttributeError(name)
        row: Packed = self.__dict__["_packed"]
        value = self.__dict__[name] = row[SHAPE].part(row, name)
        return value


_OF_A_ROW = (
    ("name", NAME),
    ("state", STATE),
    ("tags", TAGS),
    ("created", CREATED),
    ("duration_s", DURATION),
    ("step", STEP),
    ("checkpoints", CHECKPOINTS),
    ("nbytes", NBYTES),
    ("parent", PARENT),
    ("script", SCRIPT),
    ("note", NOTE),
    ("starred", STARRED),
    ("archived", ARCHIVED),
    ("reason", REASON),
    ("colour", COLOUR),
    ("wrote_at", WROTE_AT),
)


def unpack(row: Packed, folder: str) -> RunRow:
    """The row that was packed."""
    made = _Unpacked.__new__(_Unpacked)
    values = {name: row[place] for name, place in _OF_A_ROW}
    made.__dict__.update(values, folder=folder, label="", differs={}, _packed=row)
    return made


def newest_first(row: Packed) -> tuple[float, str]:
    """What rows are put in order by."""
    return -row[CREATED], row[NAME]


def matching(query: Query, rows: Collection[Packed], now: float) -> list[Packed]:
    """The rows that a query describes, in their order."""
    if query.tests is not None and not _COMPUTED.intersection(query.names):
        # Name after name is twice as fast as row after row.
        passing = rows if isinstance(rows, list) else list(rows)
        shapes = {row[SHAPE] for row in passing}
        for name, test in query.tests:
            passing = _passing(passing, shapes, name, test)
        return passing
    takers: dict[Shape, Callable[[Packed], Mapping[str, Any]]] = {}
    matches = query.matches
    found = []
    for row in rows:
        shape = row[0]
        take = takers.get(shape)
        if take is None:
            take = takers[shape] = _taker(query.names, shape, now)
        if matches(take(row)):
            found.append(row)
    return found


def _passing(rows: list[Packed], shapes: Collection[Shape], name: str, test: Test) -> list[Packed]:
    places = {shape: shape.at.get(name) for shape in shapes}
    if len(places) == 1 and (place := next(iter(places.values()))) is not None:
        return [row for row in rows if test(row[place])]
    return [row for row in rows if test(NOTHING if (at := places[row[SHAPE]]) is None else row[at])]


def _taker(names: Collection[str], shape: Shape, now: float) -> Callable[[Packed], Mapping[str, Any]]:
    """A function that gives the values that a row of this shape has of some names of the query language.

    It gives one mapping again and again, with other values: making one for each row takes as long as asking.
    """
    found = [(name, shape.at[name]) for name in names if name in shape.at and name not in _COMPUTED]
    values: dict[str, Any] = {}

    def take_all(row: Packed) -> Mapping[str, Any]:
        for name, place in found:
            values[name] = row[place]
        if "age" in names:
            values["age"] = now - row[CREATED]
        if "tags" in names:
            values["tags"] = list(row[TAGS])
        return values

    if not found or _COMPUTED.intersection(names) or len(found) > 2:
        return take_all
    first, place = found[0]
    second, other = found[-1]

    def take_one(row: Packed) -> Mapping[str, Any]:
        values[first] = row[place]
        return values

    def take_two(row: Packed) -> Mapping[str, Any]:
        values[first] = row[place]
        values[second] = row[other]
        return values

    return take_one if len(found) == 1 else take_two
