"""What type a key's values have, and how text or JSON becomes a value of that type.

A kind comes from a default, or from a dataclass's annotation. Reading never loses anything: a whole number given as
0.01 becomes a float and is not truncated, text stays text even if it reads '1', None takes what the text looks like.
What cannot be read is a ValueError; the caller knows which key and which file to name.
"""

from __future__ import annotations

import ast
import datetime
import json
import sys
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypertuner.store.values import to_json

BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


@dataclass(frozen=True)
class Kind:
    """The type of a key's values. `of` is `object` where anything goes, and a list's `items` likewise."""

    of: type = object
    items: Kind | None = None
    optional: bool = False
    choices: tuple[Any, ...] = ()
    default: Any = None

    def read_text(self, text: str) -> Any:
        """The value that `text`, from the command line, stands for."""
        if self.optional and text.lower() in ("none", "null"):
            return None
        if self.choices:
            return self._choice(text)
        if self.of is str:
            return text
        if self.of is object:
            return literal(text)
        return self._read(text)

    def read_json(self, value: Any) -> Any:
        """The value that `value`, from a config file, stands for. Numbers may come as text, and text as numbers."""
        if value is None and self.optional:
            return None
        if self.choices:
            return self._choice(value)
        if self.of is object:
            return value
        if self.of is str and isinstance(value, (bool, int, float)):
            return json.dumps(value)  # somebody typed tag=1 where the type was not known
        return self._read(value)

    def __str__(self) -> str:
        if self.choices:
            said = f"one of {', '.join(repr(to_json(choice)) for choice in self.choices)}"
        elif self.of in _COLLECTIONS:
            _, plural = _NAMES.get(self.items.of if self.items else object, _NAMES[object])
            said = f"a {self.of.__name__} of {plural}"
        elif issubclass(self.of, PurePath):
            said = "a path"
        else:
            said, _ = _NAMES.get(self.of, (f"a {self.of.__qualname__}", ""))
        return f"{said} or none" if self.optional and self.of is not object else said

    def _choice(self, value: Any) -> Any:
        spellings = [(choice, _spellings(choice)) for choice in self.choices]
        for choice, ways in spellings:
            if any(way == value and isinstance(way, bool) == isinstance(value, bool) for way in ways):
                return choice
        for choice, ways in spellings:
            if isinstance(value, str) and value.lower() in (str(way).lower() for way in ways):
                return choice
        raise ValueError(value)

    def _read(self, value: Any) -> Any:
        if self.of in _READERS:
            return _READERS[self.of](value)
        if self.of in _COLLECTIONS:
            return self._collection(value)
        if self.of is dict:
            return self._dict(value)
        # What a config holds of the default itself is what was recorded of it.
        if self.default is not None and value == to_json(self.default):
            return self.default
        if not isinstance(value, (str, int, float)) or isinstance(value, bool):
            raise ValueError(value)
        if issubclass(self.of, PurePath):
            return self.of(_str(value))
        if issubclass(self.of, (datetime.date, datetime.time)):
            return self.of.fromisoformat(_str(value))
        return _named(value, self.of)

    def _collection(self, value: Any) -> Any:
        item = self.items or Kind()
        if isinstance(value, str):
            return self.of(
                item.read_text(_str(one)) if isinstance(one, str) else item.read_json(one) for one in split(value)
            )
        if isinstance(value, (bool, dict)) or value is None:
            raise ValueError(value)
        return self.of(item.read_json(one) for one in (value if isinstance(value, (list, tuple)) else [value]))

    def _dict(self, value: Any) -> dict[Any, Any]:
        """A dict under keys that JSON turns into text: their type comes from the default's keys."""
        if isinstance(value, str):
            value = literal(value)
        if not isinstance(value, dict):
            raise ValueError(value)
        keys = _of_all(self.default or {})
        items = self.items or Kind()
        return {
            keys.read_text(key) if isinstance(key, str) else key: items.read_json(entry) for key, entry in value.items()
        }


def kind_of(default: Any) -> Kind:
    """The kind of the values of a key with this default."""
    if default is None:
        return Kind()
    if isinstance(default, Enum):
        return Kind(of=type(default), choices=tuple(type(default)), default=default)
    for simple in _READERS:
        if isinstance(default, simple):
            return Kind(of=simple, default=default)
    for collection in _COLLECTIONS:
        if isinstance(default, collection):
            return Kind(of=collection, items=_of_all(list(default)), default=default)  # type: ignore[call-overload]
    if type(default) is dict:
        return Kind(of=dict, items=_of_all(default.values()), default=default)
    return Kind(of=type(default), default=default)


def kind_of_annotation(hint: Any, default: Any = None) -> Kind:
    """The kind that a dataclass's annotation declares; where it says too little, the kind of the default."""
    while get_origin(hint) is Annotated or hasattr(hint, "__supertype__"):
        hint = hint.__supertype__ if hasattr(hint, "__supertype__") else get_args(hint)[0]
    origin, args = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, types.UnionType):
        one_of = [arg for arg in args if arg is not type(None)]
        kind = kind_of_annotation(one_of[0], default) if len(one_of) == 1 else Kind(default=default)
        return Kind(kind.of, kind.items, len(one_of) < len(args), kind.choices, default)
    if origin is Literal:
        chosen = tuple(arg for arg in args if arg is not None)
        return Kind(optional=len(chosen) < len(args), choices=chosen, default=default)
    if isinstance(origin, type) and issubclass(origin, Enum):
        return Kind(of=origin, choices=tuple(origin), default=default)
    if origin in (bool, int, float, str):
        return Kind(of=origin, default=default)
    if isinstance(origin, type) and (of := next((of for of in _COLLECTIONS if issubclass(origin, of)), None)):
        # tuple[int, ...] and tuple[int, int] say one thing about every item; tuple[str, int] does not.
        kinds = {arg: kind_of_annotation(arg) for arg in args if arg is not Ellipsis}
        return Kind(of=of, items=next(iter(kinds.values())) if len(kinds) == 1 else None, default=default)
    if isinstance(origin, type) and issubclass(origin, PurePath):
        return Kind(of=origin, default=default)
    return kind_of(default)


def literal(text: str) -> Any:
    """What `text` looks like: true, none, a number, a list or dict, quoted text; else the text itself."""
    word = text.strip()
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    if word.lower() in ("none", "null"):
        return None
    if "_" not in word:
        try:
            return int(word)
        except ValueError:
            pass
        try:
            return float(word)
        except ValueError:
            pass
    if word[:1] in ("[", "{", "(", '"', "'"):
        try:
            return json.loads(word)
        except ValueError:
            return _python_literal(word, text)
    return text


def split(text: str) -> list[Any]:
    """The items of a list as people type it: `[1, 2]`, `(1, 2)` or `1,2`; '' has none."""
    word = text.strip()
    if word[:1] in ("[", "("):
        items = literal(word)
        if isinstance(items, (list, tuple)):
            return list(items)
        word = word.strip("[]()")  # [adam, sgd]: without the quotes that JSON wants
    return [item.strip() for item in word.split(",")] if word.strip() else []


def _python_literal(word: str, otherwise: str) -> Any:
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return otherwise


def _of_all(values: Iterable[Any]) -> Kind:
    """The one kind of all these values; whole numbers among floats are numbers; else anything."""
    kinds = {Kind(of=kind.of, choices=kind.choices) for kind in map(kind_of, values)}
    if kinds == {Kind(of=int), Kind(of=float)}:
        return Kind(of=float)
    return kinds.pop() if len(kinds) == 1 and not kinds & {Kind(of=dict)} else Kind()


def _spellings(choice: Any) -> list[Any]:
    """How a config or a person may write `choice`: what is recorded of it; an enum's name or value."""
    return [to_json(choice), choice.name, choice.value] if isinstance(choice, Enum) else [to_json(choice)]


def _bool(value: Any) -> bool:
    word = str(value).strip().lower()
    if isinstance(value, float) or word not in BOOLEANS:
        raise ValueError(value)
    return BOOLEANS[word]


def _int(value: Any) -> int | float:
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = _float(value)
    return int(number) if number.is_integer() else number


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(value)
    try:
        return float(value)
    except OverflowError:
        raise ValueError(value) from None


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value


def _named(value: Any, of: type) -> Any:
    """A value of another library's type: a constant of its module ('torch.float16'), or made from the text."""
    constant = getattr(sys.modules.get(of.__module__), str(value).rpartition(".")[2], None)
    if isinstance(constant, of):
        return constant
    if of.__module__.partition(".")[0] not in ("torch", "numpy", "decimal", "fractions", "uuid"):
        raise ValueError(value)
    try:
        return of(value)
    except (TypeError, RuntimeError, ArithmeticError):
        raise ValueError(value) from None


_COLLECTIONS: tuple[type, ...] = (list, tuple, set, frozenset)
_READERS: dict[type, Callable[[Any], Any]] = {bool: _bool, int: _int, float: _float, str: _str}
_NAMES: dict[type, tuple[str, str]] = {
    bool: ("true or false", "true or false"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "text"),
    dict: ("a dict", "dicts"),
    object: ("anything", "anything"),
}
