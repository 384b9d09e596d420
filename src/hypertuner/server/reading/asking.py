"""What a query describes, in an order: kept for as long as nothing has changed, brought up to date where little has."""

from __future__ import annotations

import math
import threading
import time
from bisect import insort
from collections import OrderedDict
from collections.abc import Collection
from functools import partial
from typing import Any

from hypertuner.errors import QueryError, did_you_mean
from hypertuner.index.fields import FACTS
from hypertuner.index.query import OVER_STEPS, Query
from hypertuner.index.row import label_order
from hypertuner.index.spelling import text_of
from hypertuner.server.reading.catalogue import Catalogue
from hypertuner.server.reading.packed import ARCHIVED, NAME, SHAPE, Packed, Shape, matching, newest_first
from hypertuner.store.direction import direction

_MOST_KEPT = 16
_NEWEST_FIRST = frozenset({"created", "starred", "archived"})
_PASSING = frozenset({"age", "duration"})
"""What changes while nothing does."""
_GOOD_FOR_S = 1.0
_LABELS_GOOD_FOR_S = 2.0
_MANY = 5_000


class Answer:
    """The runs that a query describes."""

    def __init__(self, rows: list[Packed], revision: int, is_passing: bool) -> None:
        self.rows = rows
        """The newest first; not to be changed."""
        self.revision = revision
        self.made_at = time.monotonic()
        self.is_passing = is_passing
        self.orders: dict[tuple[str, bool | None], list[Packed]] = {}
        self.labels: tuple[float, tuple[str, ...]] | None = None
        self.columns: dict[str, Any] | None = None
        """What a table of them can show, once somebody has asked."""
        self._lock = threading.Lock()

    def label_keys(self) -> tuple[str, ...]:
        """The settings that tell these runs apart, as a label has them."""
        # One at a time, as they are asked for: the table and the charts ask in the same moment.
        with self._lock:
            if self.labels is None:
                self.labels = (time.monotonic(), label_order(telling(self.rows)))
            return self.labels[1]


class Asking:
    """Answers queries about a catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._answers: OrderedDict[tuple[str, bool], Answer] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, text: str = "", *, archived: bool = False) -> Answer:
        """The runs that a query describes: those in sight, unless it speaks of `archived`; or the archived ones alone.

        Raises: QueryError, also for a name that no run has.
        """
        query = Query(text)
        if len(self._catalogue):
            query.check(self._catalogue.known_names())
        # One at a time: who asks the same meanwhile finds it answered.
        with self._lock:
            found = self._answers.pop((text, archived), None)
            answer = self._up_to_date(query, archived, found)
            self._answers[text, archived] = answer
            if len(self._answers) > _MOST_KEPT:
                self._answers.popitem(last=False)
        return answer

    def _up_to_date(self, query: Query, archived: bool, found: Answer | None) -> Answer:
        revision = self._catalogue.revision
        is_passing = bool(query.names & _PASSING)
        if found is not None and is_passing and time.monotonic() - found.made_at > _GOOD_FOR_S:
            found = None
        if found is not None and found.revision == revision:
            return found
        keep = partial(_in_sight, archived=archived, asks_archived="archived" in query.names)
        changes = None if found is None else self._catalogue.changes(found.revision)
        if found is None or changes is None:
            everything = self._catalogue.newest_first()
            rows = matching(query, keep(everything), time.time()) if query.text.strip() else keep(everything)
            return Answer(rows, revision, is_passing)
        again = {row[NAME] for row in changes.rows} | set(changes.gone)
        rows = [row for row in found.rows if row[NAME] not in again]
        for row in matching(query, keep(changes.rows), time.time()):
            insort(rows, row, key=newest_first)
        answer = Answer(rows, changes.revision, is_passing)
        if found.labels is not None and len(rows) > _MANY and time.monotonic() - found.labels[0] < _LABELS_GOOD_FOR_S:
            answer.labels = found.labels
        return answer

    def ordered(self, answer: Answer, sort: str, descending: bool | None) -> list[Packed]:
        """Its runs by a metric, config key or fact, as `RunTable.sort` has it. Raises: QueryError."""
        self._check_name(sort)
        if sort == "created" and descending in (None, True):
            return answer.rows
        if (sort, descending) not in answer.orders:
            answer.orders[sort, descending] = _sorted(answer.rows, sort, descending)
        return answer.orders[sort, descending]

    def _check_name(self, name: str) -> None:
        plain = name
        function, opened, rest = name.partition("(")
        if opened and function in OVER_STEPS and rest.endswith(")"):
            plain = rest[:-1]
        known = self._catalogue.known_names() | FACTS
        if len(self._catalogue) and not (
            {name, plain, name.removeprefix("config."), name.removeprefix("metric.")} & known
        ):
            todo = did_you_mean(plain, sorted(known)) or "\n  Sort by a fact, a setting or a metric."
            raise QueryError(f"No run has {name!r} to sort by.{todo}", query=name, position=0)


def _in_sight(rows: list[Packed], *, archived: bool, asks_archived: bool) -> list[Packed]:
    if archived:
        return [row for row in rows if row[ARCHIVED]]
    return rows if asks_archived else [row for row in rows if not row[ARCHIVED]]


def _sorted(rows: list[Packed], name: str, descending: bool | None) -> list[Packed]:
    if descending is None:
        descending = name in _NEWEST_FIRST or (name not in FACTS and direction(name) == "max")
    if name == "age":
        return _sorted(rows, "created", not descending)
    places = {shape: shape.at.get(name) for shape in {row[SHAPE] for row in rows}}
    values = [None if (place := places[row[SHAPE]]) is None else row[place] for row in rows]
    present = [index for index, value in enumerate(values) if value is not None and value == value]
    kinds = {type(values[index]) for index in present}
    keys: list[Any] = values if kinds <= {int, float, bool} or kinds == {str} else list(map(_by_kind, values))
    present.sort(key=keys.__getitem__, reverse=descending)
    if len(present) == len(rows):
        return [rows[index] for index in present]
    missing = [row for row, value in zip(rows, values, strict=True) if value is None or value != value]
    return [rows[index] for index in present] + missing


def _by_kind(value: Any) -> tuple[int, float, str]:
    """Numbers, then text, then the rest by its text."""
    if isinstance(value, (int, float)):
        return (0, value, "")
    return (
        (1, 0, value) if isinstance(value, str) else (2, 0, text_of(list(value) if isinstance(value, tuple) else value))
    )


def is_same(left: Any, right: Any) -> bool:
    """Whether two values of a setting are one: True is not 1, NaN is NaN."""
    # True is 1 for Python, but a switch that was on is not a number that was one.
    return (left == right and isinstance(left, bool) == isinstance(right, bool)) or (left != left and right != right)


def by_shape(rows: Collection[Packed]) -> dict[Shape, list[Packed]]:
    """The rows of each shape."""
    found: dict[Shape, list[Packed]] = {}
    for row in rows:
        shape = row[SHAPE]
        if shape in found:
            found[shape].append(row)
        else:
            found[shape] = [row]
    return found


def telling(rows: Collection[Packed]) -> list[str]:
    """The settings of which two runs have different values, in the order in which runs have them."""
    groups = by_shape(rows)
    keys = dict.fromkeys(key for shape in groups for key in shape.names["config"])
    return [key for key in keys if _has_two_values(groups, key)]


def _has_two_values(groups: dict[Shape, list[Packed]], key: str) -> bool:
    first: Any = _NONE
    for shape, rows in groups.items():
        if (place := shape.place("config", key)) is None:
            continue
        if first is _NONE:
            first = rows[0][place]
        for row in rows:
            value = row[place]
            # The same object is the same value: texts of a setting are kept once.
            if value is not first and not is_same(value, first):
                return True
    return False


_NONE = object()


def number(value: Any) -> float | None:
    """A value as a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None
