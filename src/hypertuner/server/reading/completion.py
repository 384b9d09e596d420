"""What may stand at a place of a query: names, values, operators, functions; and what is wrong with it as it stands."""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from hypertuner.errors import QueryError
from hypertuner.index.fields import FACTS
from hypertuner.index.query import OVER_STEPS, Query
from hypertuner.index.row import FACT_COLUMNS, config_column, metric_column
from hypertuner.server.reading.asking import by_shape
from hypertuner.server.reading.catalogue import Catalogue
from hypertuner.server.reading.packed import STATE, TAGS, Packed
from hypertuner.store import RunState

_MOST = 50
_MOST_LOOKED_AT = 20_000
_MOST_READ = 300
_COMPARISON = re.compile(
    r"""(?P<name>[\w.\-/]+|(?:config|metric)\["[^"]*"\])\s*(?P<sign>==|!=|<=|>=|<|>|\bnot\s+in\b|\bin\b)\s*"""
    r"""(?P<list>[\[({](?:[^\])}]*,)?\s*)?(?P<begun>"[^"]*|'[^']*|[\w.+\-]*)$"""
)
_TAG = re.compile(r"""(?P<begun>"[^"]*|'[^']*)$""")
_WORD = re.compile(r"""(?:(?:config|metric)\["[^"\]]*|[\w.\-/]*)$""")
_BRACKET = re.compile(r"""(?:config|metric)\["[^"\]]*$""")
_PLAIN = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*(?:/[^\W\d]\w*(?:\.[^\W\d]\w*)*)*")
_WORDS = frozenset({"and", "or", "not", "in", "is"})
_TIMES = {"age": ("1h", "12h", "1d", "7d", "30d"), "duration": ("1m", "10m", "1h", "12h")}
_FACT_HINTS = {
    "name": "the run's name",
    "state": "running, finished, failed …",
    "tags": 'a list: "mnist" in tags',
    "created": 'a date: created >= "2026-03-01"',
    "age": 'how long ago it was made: age < "12h"',
    "duration": 'how long it took: duration > "1h30m"',
    "step": "the last step that it logged",
    "checkpoints": "how many it has",
    "size": "bytes on the disk",
    "parent": "the checkpoint it began from",
    "script": "what it runs",
    "note": "what people wrote",
    "starred": "True or False",
    "archived": "True or False",
}


class _Place(NamedTuple):
    """What is to be replaced: [start, end) of the query."""

    start: int
    end: int


def complete(catalogue: Catalogue, text: str, position: int) -> dict[str, Any]:
    """Completions at `position`, likeliest first, and the mistake in the query, if there is one."""
    position = min(max(position, 0), len(text))
    before = text[:position]
    rest = re.compile(
        r'[^"\]]*(?:"\])?' if _BRACKET.search(text[max(0, position - _MOST_READ) : position]) else r"[\w.\-/]*"
    ).match(text, position)
    end = position if rest is None else rest.end()
    found = list(_offers(catalogue, before, end))
    unique = {offer["text"]: offer for offer in reversed(found)}
    return {"completions": list(reversed(unique.values()))[:_MOST], "error": _mistake(catalogue, text)}


def _mistake(catalogue: Catalogue, text: str) -> dict[str, Any] | None:
    try:
        query = Query(text)
        if len(catalogue):
            query.check(catalogue.known_names())
    except QueryError as error:
        return {"error": "QueryError", "message": str(error), "position": error.position, "key": None}
    return None


def _offers(catalogue: Catalogue, before: str, end: int) -> Iterator[dict[str, Any]]:
    rows = catalogue.newest_first()[:_MOST_LOOKED_AT]
    # What was typed last tells; a search through all of a long query could take seconds.
    skipped = max(0, len(before) - _MOST_READ)
    compared = _COMPARISON.search(before[skipped:])
    if compared is not None and compared["name"] not in _WORDS:
        place = _Place(skipped + compared.start("begun"), end)
        if (values := _values(rows, _plain_name(compared["name"]))) is not None:
            begun = compared["begun"].lstrip("\"'").lower()
            for value, hint in values:
                if begun in value.lower():
                    yield _offer(value, "value", hint, place)
            return
    is_named = _BRACKET.search(before[skipped:]) is not None
    tag = None if is_named else _TAG.search(before[skipped:])
    if tag is not None and before[: skipped + tag.start("begun")].count('"') % 2 == 0:
        # Text that stands first is mostly a tag.
        begun = tag["begun"][1:].lower()
        for name, count in Counter(name for row in rows for name in row[TAGS]).most_common():
            if begun in name.lower():
                yield _offer(
                    f"{_quoted(name)} in tags", "value", _runs(count), _Place(skipped + tag.start("begun"), end)
                )
        return
    word = _WORD.search(before[skipped:])
    begin = skipped + word.start() if word is not None else len(before)
    begun = before[begin:]
    ahead = before[:begin].rstrip()
    if begun.strip() == "" and _ends_operand(ahead):
        yield from _operators(ahead, _Place(len(before), end))
        return
    yield from _names(rows, begun, _Place(begin, end))


def _names(rows: list[Packed], begun: str, place: _Place) -> Iterator[dict[str, Any]]:
    groups = by_shape(rows)
    config: Counter[str] = Counter()
    metrics: Counter[str] = Counter()
    for shape, members in groups.items():
        config.update(dict.fromkeys(shape.names["config"], len(members)))
        metrics.update(dict.fromkeys(shape.names["metrics"], len(members)))
    named = [
        *((_spelled(config_column(key), "config", key), f"setting of {_runs(count)}") for key, count in _most(config)),
        *(
            (_spelled(metric_column(key, config), "metric", key), f"metric of {_runs(count)}")
            for key, count in _most(metrics)
        ),
        *((name, _FACT_HINTS[name]) for name in [*FACT_COLUMNS, "age"]),
    ]
    sought = begun.lower()
    ranked = [(_rank(text.lower(), sought), text, hint) for text, hint in named]
    for rank, text, hint in sorted(ranked, key=lambda each: each[0]):
        if rank < _NOT:
            yield _offer(text, "name", hint, place)
    for function in OVER_STEPS:
        if function.startswith(sought):
            yield _offer(f"{function}(", "function", "of a metric, over all steps", place)
    for word in ("not",):
        if word.startswith(sought):
            yield _offer(f"{word} ", "operator", "turns what follows round", place)


_NOT = 9


def _rank(text: str, sought: str) -> int:
    if text.startswith(sought):
        return 0
    if re.search(rf"[\W_]{re.escape(sought)}", text):
        return 1
    return 2 if sought in text else _NOT


def _operators(ahead: str, place: _Place) -> Iterator[dict[str, Any]]:
    space = "" if place.start > len(ahead) else " "
    for sign, hint in (
        ("and", "both"),
        ("or", "one of both"),
        ("<", "less"),
        (">", "greater"),
        ("<=", "at most"),
        (">=", "at least"),
        ("==", "equal"),
        ("!=", "other"),
        ("in", "one of a list, or a part of text"),
        ("not in", "none of a list"),
        ("is None", "the run has none"),
    ):
        yield _offer(f"{space}{sign} ", "operator", hint, place)


def _ends_operand(ahead: str) -> bool:
    """Whether what stands there may be followed by an operator."""
    if not ahead or (ahead[-1] not in ")]}\"'" and not re.search(r"\w$", ahead)):
        return False
    last = re.search(r"\w+$", ahead)
    return last is None or last[0] not in _WORDS


def _values(rows: list[Packed], name: str) -> list[tuple[str, str]] | None:
    """(value as a query spells it, hint) for a name that has such; None where values are not to be listed."""
    if name == "state":
        counted = Counter(row[STATE] for row in rows)
        return [(_quoted(str(state)), _runs(counted[str(state)])) for state in RunState]
    if name in ("starred", "archived"):
        return [("True", ""), ("False", "")]
    if name in _TIMES:
        return [(_quoted(value), "") for value in _TIMES[name]]
    if name in FACTS and name not in ("script", "parent", "name"):
        return None
    found: Counter[str] = Counter()
    for shape, members in by_shape(rows).items():
        place = shape.place("config", name) if name not in FACTS else shape.at[name]
        if place is not None:
            found.update(_literal(row[place]) for row in members)
    found.pop("", None)
    if not found:
        return None
    return [(value, _runs(count)) for value, count in found.most_common(_MOST)]


def _plain_name(name: str) -> str:
    found = re.fullmatch(r'(?:config|metric)\["([^"]*)"\]', name)
    return found[1] if found else name.removeprefix("config.")


def _literal(value: Any) -> str:
    if value is None or isinstance(value, (bool, int)):
        return repr(value)
    if isinstance(value, float):
        return repr(value) if value == value and abs(value) != float("inf") else ""
    return _quoted(value) if isinstance(value, str) and len(value) <= 100 else ""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _spelled(column: str, space: str, key: str) -> str:
    """A name as a query spells it: plain where that can be read, else with its space."""
    if _PLAIN.fullmatch(column) and not set(re.split(r"[./]", column)) & _NO_NAMES:
        return column
    return f"{space}[{_quoted(key)}]"


_NO_NAMES = frozenset(keyword.kwlist)


def _offer(text: str, kind: str, hint: str, place: _Place) -> dict[str, Any]:
    return {"text": text, "kind": kind, "hint": hint, "start": place.start, "end": place.end}


def _most(counted: Counter[str]) -> Iterable[tuple[str, int]]:
    return counted.most_common()


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count:,} runs"
