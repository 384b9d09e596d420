"""The keys that a script declares, and how given values take their place.

A declaration comes from defaults (a dict, nested or dotted) or from a dataclass. Values arrive from a config file or
from the command line; each finds its key (`-` and `_` alike), takes that key's kind, or is a ConfigError that names
where it came from.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypertuner.args.group import Group
from hypertuner.args.kinds import Kind, kind_of, kind_of_annotation, literal
from hypertuner.errors import ConfigError, did_you_mean
from hypertuner.store.values import flatten, is_group, to_json, unflatten

COMMAND_LINE = "the command line"
REQUIRED: Any = dataclasses.MISSING


@dataclass(frozen=True)
class Key:
    """One key that a script declares; `default` is REQUIRED where a dataclass gives none."""

    default: Any
    kind: Kind
    help: str = ""


class Declaration:
    """The keys of a script in the order declared, flat; `build` makes the tree of their values."""

    def __init__(self, keys: Mapping[str, Key], computed: Iterable[str] = (), dataclass: Any = None) -> None:
        self.keys = dict(keys)
        self._computed = frozenset(computed)
        self._dataclass = dataclass
        self._by_spelling = {_spelling(key): key for key in self.keys}

    @classmethod
    def of_defaults(cls, defaults: Mapping[str, Any]) -> Declaration:
        """A key for every default."""
        return cls({key: Key(value, kind_of(value)) for key, value in flatten(defaults).items()})

    @classmethod
    def of_dataclass(cls, declared: Any) -> Declaration:
        """A key for every field of a dataclass, or of an instance, whose values are then the defaults.

        The values are those of a new instance: `__post_init__` checks them, and what it computes is there.
        """
        keys: dict[str, Key] = {}
        computed: list[str] = []
        _collect(declared, "", keys, computed)
        return cls(keys, computed, declared)

    def build(self, values: Mapping[str, Any]) -> Group:
        """The tree of these flat values; a dataclass is made of its own ones, and what it computes is in the tree."""
        if self._dataclass is None:
            return Group(unflatten(values))
        own = {key: value for key, value in values.items() if self.find(key) is not None}
        group = _group_of(_construct(self._dataclass, unflatten(own)))
        for key, value in values.items():
            if key not in own:
                group[key] = value
        return group

    def find(self, name: str) -> str | None:
        """The key that `name` means; a name inside a dict that a key holds is that dotted name."""
        if name in self.keys:
            return name
        if (key := self._by_spelling.get(_spelling(name))) is not None:
            return key
        return name if self._holder(name) is not None else None

    def group(self, name: str) -> list[str]:
        """The keys below `name`, where it is a group and no key."""
        return [key for key in self.keys if key.startswith(f"{name}.")]

    def missing(self, values: Mapping[str, Any]) -> list[str]:
        """Keys that have neither a default nor a value."""
        required = [name for name, key in self.keys.items() if key.default is REQUIRED]
        return [name for name in required if values.get(name, REQUIRED) is REQUIRED]

    def apply(self, values: dict[str, Any], given: Mapping[str, Any], where: str, *, text: bool) -> list[str]:
        """Put `given` into `values`, both flat, and return the names that are not declared."""
        undeclared = []
        for name, value in given.items():
            if self._computed.intersection([name, *_above(name)]):
                if text:
                    raise ConfigError(f"{where}: {name} is computed by the dataclass and cannot be given.", key=name)
                continue
            key = self.find(name)
            if key is None and self.group(name):
                inside = literal(value) if text else value
                if not isinstance(inside, dict):
                    raise wrong(name, value, f"a dict of {', '.join(self.group(name))}", where)
                below = {f"{name}.{k}": v for k, v in flatten(inside).items()}
                undeclared += self.apply(values, below, where, text=False)
            elif key is None:
                if (above := self._scalar_above(name)) is not None:
                    raise wrong(above, {name: value}, self._expected(above), where)
                values[name] = literal(value) if text else value
                undeclared.append(name)
            elif key in self.keys:
                values.update(self._leaf(key, self._read(key, value, where, text=text)))
            else:
                self._into_dict(values, key, literal(value) if text else value, where)
        return undeclared

    def _read(self, key: str, value: Any, where: str, *, text: bool) -> Any:
        kind = self.keys[key].kind
        try:
            return kind.read_text(value) if text else kind.read_json(value)
        except ValueError:
            raise wrong(key, value, self._expected(key), where) from None

    def _leaf(self, key: str, value: Any) -> dict[str, Any]:
        # A dict given where anything goes has keys with dotted names, like one that was declared.
        return (
            {f"{key}.{k}": v for k, v in flatten(value).items()}
            if type(value) is dict and is_group(value)
            else {key: value}
        )

    def _holder(self, name: str) -> str | None:
        """The key whose value is the dict that `name` lies in."""
        above = next((key for key in _above(name) if key in self.keys), None)
        return above if above is not None and self.keys[above].kind.of in (dict, object) else None

    def _scalar_above(self, name: str) -> str | None:
        return next((key for key in _above(name) if key in self.keys), None)

    def _into_dict(self, values: dict[str, Any], name: str, value: Any, where: str) -> None:
        holder = self._holder(name)
        assert holder is not None
        held = values.get(holder)
        if held:  # a dict under keys that are not text
            added = self._read(holder, {name[len(holder) + 1 :]: value}, where, text=False)
            values[holder] = {**held, **added}
        else:
            values.pop(holder, None)
            values[name] = value

    def _expected(self, key: str) -> str:
        declared = self.keys[key]
        default = "" if declared.default is REQUIRED else f" (the script's default is {to_json(declared.default)!r})"
        return f"{declared.kind}{default}"


def wrong(key: str, got: Any, expected: str, where: str) -> ConfigError:
    """The error for a value of the wrong type."""
    return ConfigError(
        f"{key}={got!r} is {_type_name(got)}.\n  {where} gives it; expected {expected}.", key=key, path=file_of(where)
    )


def unknown(name: str, known: Iterable[str], where: str, hint: str = "") -> ConfigError:
    """The error for a name that the script does not declare."""
    names = list(known)
    close = did_you_mean(name.lstrip("-").partition("=")[0].replace("-", "_"), names)
    takes = f"The script takes: {', '.join(names)}." if names else "The script takes no keys."
    return ConfigError(f"{where}: unknown {name!r}.{close}\n  {takes}{hint}", key=name)


def file_of(where: str) -> Path | None:
    """The file that `where` names, if it names one."""
    name = where.removeprefix("HYPERTUNER_CONFIG=").removeprefix("--config=")
    return Path(name) if name.endswith(".json") else None


def _spelling(name: str) -> str:
    return name.replace("-", "_")


def _above(name: str) -> list[str]:
    names = name.split(".")
    return [".".join(names[:depth]) for depth in range(len(names) - 1, 0, -1)]


def _type_name(value: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "none"}
    return names.get(type(value), f"a {type(value).__name__}")


def _collect(declared: Any, prefix: str, keys: dict[str, Key], computed: list[str]) -> None:
    cls = declared if isinstance(declared, type) else type(declared)
    hints = _hints(cls)
    for field in dataclasses.fields(cls):
        name = prefix + field.name
        hint = hints.get(field.name)
        default = _default(declared, field)
        if not field.init:
            computed.append(name)
        elif default is not REQUIRED and _is_instance(default):
            _collect(default, f"{name}.", keys, computed)
        elif default is REQUIRED and isinstance(hint, type) and dataclasses.is_dataclass(hint):
            _collect(hint, f"{name}.", keys, computed)
        else:
            said = str(field.metadata.get("help", ""))
            entries = _flat(name, default)
            for key, value in entries.items():
                known = None if value is REQUIRED else value
                kind = kind_of_annotation(hint, known) if key == name and hint is not None else kind_of(known)
                keys[key] = Key(value, kind, said)


def _flat(name: str, value: Any) -> dict[str, Any]:
    return (
        {f"{name}.{k}": v for k, v in flatten(value).items()}
        if type(value) is dict and is_group(value)
        else {name: value}
    )


def _default(declared: Any, field: dataclasses.Field[Any]) -> Any:
    if not isinstance(declared, type):
        return getattr(declared, field.name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except (NameError, TypeError):  # a name that only the type checker sees: the defaults say enough
        return {}


def _is_instance(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _construct(declared: Any, values: Mapping[str, Any]) -> Any:
    """An instance with these values. The one that the script made itself is kept when nothing in it changes."""
    cls = declared if isinstance(declared, type) else type(declared)
    hints = _hints(cls)
    made: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        if field.init and field.name in values:
            value, default = values[field.name], _default(declared, field)
            nested = default if _is_instance(default) else _dataclass_in(hints.get(field.name))
            made[field.name] = _construct(nested, value) if nested is not None and is_group(value) else value
    if isinstance(declared, type):
        return cls(**made)
    changes = {name: value for name, value in made.items() if not _same(value, getattr(declared, name))}
    return dataclasses.replace(declared, **changes) if changes else declared


def _dataclass_in(hint: Any) -> type | None:
    """The dataclass of an annotation, `Optional` or not."""
    for one in (hint, *typing.get_args(hint)):
        if isinstance(one, type) and dataclasses.is_dataclass(one):
            return one
    return None


def _same(value: Any, current: Any) -> bool:
    return value is current or (type(value) is dict and bool(value == current))


def _group_of(instance: Any) -> Group:
    values: dict[str, Any] = {}
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name, None)
        values[field.name] = _group_of(value) if _is_instance(value) else value
    return Group(values, stands_for=type(instance))
