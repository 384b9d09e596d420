"""A run's config as options of a script that has an argparse parser, as the parser's source declares them.

Nothing is executed or imported. An option that cannot be read from the source is handed over as `--key=value`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypertuner.store import capture, records

_FLAGS = ("store_true", "store_false", "BooleanOptionalAction")


class Unknown:
    """Stands for a value that only running the script would tell."""


UNKNOWN = Unknown()


@dataclass(frozen=True)
class Argument:
    """What one `add_argument` of a script says."""

    key: str
    option: str
    """As it is written on a command line: the longest spelling."""
    action: str
    """'store' unless it says another; '' where only running the script tells."""
    said: Mapping[str, ast.expr]
    """Its keywords."""

    @property
    def is_positional(self) -> bool:
        """Whether it is told by its place, not by its name."""
        return not self.option.startswith("-")

    @property
    def is_flag(self) -> bool:
        """Whether it takes no value."""
        return self.action in _FLAGS

    @property
    def is_several(self) -> bool:
        """Whether it takes several values."""
        return value_of(self.said.get("nargs")) not in (UNKNOWN, None, "?") or self.action in ("append", "extend")


def words(script: Path, config: Mapping[str, Any]) -> list[str]:
    """The words that hand a config to a script: none where it makes an Args, which takes its config itself."""
    trees = _trees_of(script)
    if _make_args(trees):
        return []
    declared = {argument.key: argument for argument in arguments_in(trees)}
    by_key = {key.replace("-", "_"): value for key, value in config.items()}
    placed = [argument for key, argument in declared.items() if argument.is_positional and by_key.get(key) is not None]
    places: list[str] = []
    for argument in placed:
        value = by_key[argument.key]
        places += map(_text, value if argument.is_several and isinstance(value, list) else [value])
    found: list[str] = []
    for key, value in config.items():
        known = declared.get(key.replace("-", "_"))
        if known is None:
            found.append(f"--{key}={_text(value)}")
        elif not known.is_positional:
            found += _words(known, value)
    if any(word.startswith("-") for word in places):
        return [*found, "--", *places]
    return [*places, *found]  # before the options: none that takes several values takes these


def _words(argument: Argument, value: Any) -> list[str]:
    option = argument.option
    if value is None:
        return []
    if argument.is_flag and isinstance(value, bool):
        if argument.action == "BooleanOptionalAction":
            return [option if value else f"--no-{option.lstrip('-')}"]
        return [option] if value is (argument.action == "store_true") else []
    if argument.is_several and isinstance(value, list):
        if argument.action == "append":
            return [word for one in value for word in (option, _text(one))]
        return [option, *map(_text, value)]
    return [f"{option}={_text(value)}"] if option.startswith("--") else [option, _text(value)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else records.to_text(value)


def makes_args(script: Path) -> bool:
    """Whether the script makes an Args, which takes its config itself; found by reading, in its local modules too."""
    return _make_args(_trees_of(script))


def _make_args(trees: Iterable[ast.Module]) -> bool:
    calls = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(name_of(call.func) == "Args" for call in calls)


def _trees_of(script: Path) -> list[ast.Module]:
    """The source of a script and of the local modules that it imports, as far as it can be read."""
    return [tree for tree in capture.local_trees(script.absolute()).values() if tree is not None]


def arguments_in(trees: Iterable[ast.Module]) -> Iterator[Argument]:
    """What `add_argument` declares in them, of all parsers that there are; of one key the first."""
    found: dict[str, Argument] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or name_of(node.func) != "add_argument":
                continue
            if (argument := _argument(node)) is not None:
                found.setdefault(argument.key, argument)
    yield from found.values()


def _argument(call: ast.Call) -> Argument | None:
    options = [value for value in map(value_of, call.args) if isinstance(value, str)]
    said = {one.arg: one.value for one in call.keywords if one.arg}
    if not options or len(options) != len(call.args):
        return None
    longest = next((option for option in options if option.startswith("--")), options[0])
    key = value_of(said.get("dest"))
    key = key if isinstance(key, str) else longest.lstrip("-").replace("-", "_")
    action = value_of(said["action"]) if "action" in said else "store"
    return Argument(key, longest, action if isinstance(action, str) else name_of(said["action"]), said)


def name_of(node: ast.expr) -> str:
    """The last part of a dotted name; '' of anything else."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def value_of(node: ast.expr | None) -> Any:
    """The value that an expression spells; UNKNOWN where only running it would tell."""
    if node is None:
        return UNKNOWN
    if isinstance(node, ast.Dict):
        keys = [value_of(key) for key in node.keys]
        if not all(isinstance(key, str) for key in keys):
            return UNKNOWN
        return dict(zip(keys, map(value_of, node.values), strict=True))
    if isinstance(node, ast.Call) and name_of(node.func) == "dict" and not node.args:
        return {one.arg: value_of(one.value) for one in node.keywords if one.arg}
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return UNKNOWN
