"""The values of a config as a tree of dicts that also answer to attributes and dotted names.

A group is a dict, for scripts that were written with dicts. It knows which of its values were read, and
answers for a dataclass that it stands for: properties, methods and class attributes of that class work.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from types import MappingProxyType
from typing import Any

from hypertuner.errors import ConfigError, did_you_mean
from hypertuner.store.values import is_group, parts


class MissingKeyError(ConfigError, AttributeError, KeyError):
    """The config has no such key. `getattr(args, key, default)` and `except KeyError` work as for any object."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError's own would put the message in quotes


# Not a name that users import; pickled by where it lies.
MissingKeyError.__module__ = __name__


class Ledger:
    """What a tree of groups remembers: the dotted names that were read, names of the first level that are no settings,
    and whom to tell before a change."""

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.unrecorded: set[str] = set()
        self.before_change: Callable[[], None] | None = None
        self.hint = ""


class Group(dict[str, Any]):
    """One level of a config: `group.lr`, `group["lr"]` and, from above, `args["group.lr"]` are the same value.

    A key that is no identifier, or is called like a method of dict, is reached as an item only.
    """

    __slots__ = ("_ledger", "_prefix", "_stands_for")
    _ledger: Ledger
    _prefix: str
    _stands_for: type | None

    def __init__(
        self,
        values: Mapping[str, Any] = MappingProxyType({}),
        prefix: str = "",
        ledger: Ledger | None = None,
        stands_for: type | None = None,
    ) -> None:
        super().__init__()
        object.__setattr__(self, "_ledger", ledger or Ledger())
        object.__setattr__(self, "_prefix", prefix)
        object.__setattr__(self, "_stands_for", stands_for)
        for key, value in dict.items(values) if isinstance(values, dict) else values.items():
            dict.__setitem__(self, key, self._grown(key, value))

    def _grown(self, key: str, value: Any) -> Any:
        """`value` as it is kept here: a dict becomes a group of this tree, so that its keys have dotted names too."""
        if isinstance(value, Group):
            return Group(value, f"{self._prefix}{key}.", self._ledger, value._stands_for)
        if type(value) is dict and (is_group(value) or not value):
            return Group(value, f"{self._prefix}{key}.", self._ledger)
        return value

    def _find(self, key: object) -> tuple[Group, str] | None:
        """The group that holds the dotted name `key`, and its name in there; None when there is no such key."""
        if not isinstance(key, str):
            return None
        if dict.__contains__(self, key):
            return self, key
        head, _, rest = key.partition(".")
        inside = dict.get(self, head)
        return inside._find(rest) if rest and isinstance(inside, Group) else None

    def __contains__(self, key: object) -> bool:
        return self._find(key) is not None

    def __getitem__(self, key: str) -> Any:
        found = self._find(key)
        if found is None:
            raise self._missing(key)
        group, name = found
        value = dict.__getitem__(group, name)
        if not isinstance(value, Group) or not value:
            self._ledger.read.add(group._prefix + name)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        if self._ledger.before_change is not None:
            self._ledger.before_change()
        head, *rest = parts(key)
        inside = dict.get(self, head)
        if not rest or dict.__contains__(self, key) or (head in self and not isinstance(inside, Group)):
            dict.__setitem__(self, key, self._grown(key, value))
            return
        if inside is None:
            inside = Group({}, f"{self._prefix}{head}.", self._ledger)
            dict.__setitem__(self, head, inside)
        inside[".".join(rest)] = value

    def __delitem__(self, key: str) -> None:
        found = self._find(key)
        if found is None:
            raise self._missing(key)
        if self._ledger.before_change is not None:
            self._ledger.before_change()
        dict.__delitem__(*found)

    def __getattr__(self, name: str) -> Any:
        if name in Group.__slots__:  # an object that copy or pickle has not filled yet
            raise AttributeError(name)
        if name in self:
            return self[name]
        return self._from_class(name, self)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self})

    # Python goes around __getitem__ for `**group` and dict(group), unless the class iterates in its own way.
    def __iter__(self) -> Iterator[str]:
        return super().__iter__()

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key` (dotted names too), else `default`."""
        return self[key] if key in self else default  # noqa: SIM401  (this is `get`)

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """Names and values of this level; all of them count as read."""
        self.read_all()
        return super().items()

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """Values of this level; all of them count as read."""
        self.read_all()
        return super().values()

    def pop(self, key: str, *default: Any) -> Any:
        """Remove `key` and return its value, else `default`."""
        if key not in self and default:
            return default[0]
        value = self[key]
        del self[key]
        return value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of `key`, which becomes `default` when there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *others: Any, **values: Any) -> None:
        """Set many values."""
        for key, value in dict(*others, **values).items():
            self[key] = value

    def copy(self) -> dict[str, Any]:
        """A plain dict of this level's values, groups as plain dicts."""
        self.read_all()
        return self.plain()

    def __reduce__(self) -> tuple[Any, ...]:
        self.read_all()  # who reads the copy is not seen from here
        return _restored, (dict(dict.items(self)), self._stands_for)

    def plain(self) -> dict[str, Any]:
        """Nested plain dicts of the values; nothing counts as read."""
        return {key: value.plain() if isinstance(value, Group) else value for key, value in dict.items(self)}

    def names(self) -> Iterator[str]:
        """The dotted names of all leaves below, from the root of the tree; nothing counts as read."""
        for key, value in dict.items(self):
            if isinstance(value, Group) and value:
                yield from value.names()
            else:
                yield self._prefix + key

    def read_all(self) -> None:
        """Count everything below as read."""
        self._ledger.read.update(self.names())

    def _from_class(self, name: str, owner: object) -> Any:
        """Attribute `name` of the dataclass that this stands for, bound to `owner`."""
        if self._stands_for is not None and not name.startswith("__"):
            for cls in self._stands_for.__mro__[:-1]:
                if name in vars(cls):
                    attribute = vars(cls)[name]
                    bind = getattr(type(attribute), "__get__", None)
                    return attribute if bind is None else bind(attribute, owner, self._stands_for)
        raise self._missing(name)

    def _missing(self, key: object) -> MissingKeyError:
        name = f"{self._prefix}{key}"
        if not isinstance(key, str) or key.startswith("__"):
            return MissingKeyError(f"no key {key!r} in the config.", key=name)  # asked by Python, often
        known = [*dict.keys(self), *(leaf.removeprefix(self._prefix) for leaf in self.names())]
        has = f"It has: {', '.join(dict.keys(self))}." if self else "It is empty."
        where = f"args.{self._prefix.rstrip('.')}" if self._prefix else "the config"
        return MissingKeyError(
            f"{where} has no {key!r}.{did_you_mean(key, dict.fromkeys(known))}\n  {has}{self._ledger.hint}", key=name
        )


def _restored(values: dict[str, Any], stands_for: type | None) -> Group:
    return Group(values, stands_for=stands_for)
