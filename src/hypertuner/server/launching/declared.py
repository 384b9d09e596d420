"""The settings that a script declares, read from its source: of `hypertuner.Args(…)`, a dataclass, an argparse parser.

Nothing is executed or imported. What only running the script could tell (a default that is computed) is not known, and
said to be so.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from hypertuner.args.kinds import Kind, kind_of
from hypertuner.queue.options import UNKNOWN, Argument, Unknown, arguments_in, name_of, value_of
from hypertuner.store.capture import local_trees
from hypertuner.store.values import flatten, to_json

Word = Literal["int", "float", "bool", "str", "list", "unknown"]
DeclaredBy = Literal["Args", "argparse", "dataclass", "runs", "nothing"]
_MOST_SETTINGS = 2000
_DEEPEST = 6
_WORDS: tuple[tuple[type, Word], ...] = ((bool, "bool"), (int, "int"), (float, "float"), (str, "str"))
_TYPES: Mapping[str, type] = {"int": int, "float": float, "str": str, "bool": bool, "Path": str, "PurePath": str}
_LISTS = {"list", "List", "tuple", "Tuple", "Sequence", "set", "Set"}


ANYTHING = Kind()


@dataclass(frozen=True)
class Setting:
    """One setting of a script."""

    key: str
    kind: Kind = ANYTHING
    default: Any = UNKNOWN
    """UNKNOWN where there is none, or only running the script tells it."""
    is_required: bool = False
    help: str = ""

    @property
    def word(self) -> Word:
        """Its type, in a word."""
        if self.kind.of in (list, tuple, set, frozenset):
            return "list"
        if self.kind.choices and self.kind.of is object:
            return _word_of(self.kind.choices[0])
        return next((word for kind, word in _WORDS if self.kind.of is kind), "unknown")


@dataclass(frozen=True)
class Declared:
    """What a script declares, and by what."""

    settings: tuple[Setting, ...] = ()
    by: DeclaredBy = "nothing"
    problem: str | None = None
    """Why it could not be read."""
    makes_args: bool = False

    @property
    def by_key(self) -> dict[str, Setting]:
        """The settings by their keys."""
        return {setting.key: setting for setting in self.settings}


def settings_of_values(config: Mapping[str, Any]) -> tuple[Setting, ...]:
    """Settings as a config tells them: by what they were."""
    return tuple(Setting(key, kind_of(value), value) for key, value in list(config.items())[:_MOST_SETTINGS])


def read(script: Path) -> Declared:
    """What a script, or a local module that it imports, declares."""
    sources = local_trees(script.absolute())
    trees = [tree for tree in sources.values() if tree is not None]
    problem = _problem(script) if sources.get(script.absolute()) is None else None
    classes = {node.name: node for tree in reversed(trees) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    made = [
        node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call) and name_of(node.func) == "Args"
    ]
    for call in made:
        if call.keywords and not call.args:
            values = {one.arg: value_of(one.value) for one in call.keywords if one.arg and one.arg != "extra"}
            return Declared(_of_values(values), "Args", problem, makes_args=True)
        if call.args and (found := _of_dataclass(call.args[0], classes)):
            return Declared(found, "dataclass", problem, makes_args=True)
        if call.args and isinstance(values := value_of(call.args[0]), dict):
            return Declared(_of_values(values), "Args", problem, makes_args=True)
    if found := tuple(_of_parsers(trees)):
        return Declared(found[:_MOST_SETTINGS], "argparse", problem, makes_args=bool(made))
    return Declared((), "nothing", problem, makes_args=bool(made))


def _problem(script: Path) -> str:
    try:
        ast.parse(script.read_bytes())
    except SyntaxError as error:
        return f"It cannot be read: {error.msg}, line {error.lineno}."
    except (ValueError, RecursionError, OSError):
        pass
    return "It cannot be read."


def _of_values(values: Mapping[str, Any]) -> tuple[Setting, ...]:
    found = []
    for key, value in list(flatten(values).items())[:_MOST_SETTINGS]:
        known = not isinstance(value, Unknown)
        found.append(Setting(key, kind_of(value) if known else Kind(), _plain(value, key)))
    return tuple(found)


def _plain(value: Any, key: str) -> Any:
    return value if isinstance(value, Unknown) else to_json(value, key)


# --- dataclasses


def _of_dataclass(
    node: ast.expr, classes: Mapping[str, ast.ClassDef], prefix: str = "", depth: int = 0
) -> tuple[Setting, ...]:
    """The fields of a dataclass, or of an instance of one; those of nested ones by dotted keys."""
    given: dict[str, Any] = {}
    if isinstance(node, ast.Call):
        given = {one.arg: value_of(one.value) for one in node.keywords if one.arg}
        node = node.func
    found = classes.get(name_of(node))
    if found is None or depth > _DEEPEST or not any("dataclass" in ast.unparse(one) for one in found.decorator_list):
        return ()
    settings: list[Setting] = []
    for base in found.bases:
        settings += _of_dataclass(base, classes, prefix, depth + 1)
    for entry in found.body:
        if not isinstance(entry, ast.AnnAssign) or not isinstance(entry.target, ast.Name):
            continue
        key = f"{prefix}{entry.target.id}"
        if "ClassVar" in ast.unparse(entry.annotation):
            continue
        if inner := _of_dataclass(entry.annotation, classes, f"{key}.", depth + 1):
            settings += inner
            continue
        default, is_required, is_setting = _default_of(entry.value)
        if entry.target.id in given:
            default, is_required = given[entry.target.id], False
        if is_setting:
            settings += _field(key, entry.annotation, default, is_required=is_required)
    return tuple({setting.key: setting for setting in settings}.values())[:_MOST_SETTINGS]


def _field(key: str, annotation: ast.expr, default: Any, *, is_required: bool) -> Iterator[Setting]:
    if isinstance(default, dict) and default:
        yield from (replace(one, key=f"{key}.{one.key}") for one in _of_values(default))
        return
    kind = _kind_of_annotation(annotation)
    if kind.of is object and not kind.choices and not isinstance(default, Unknown):
        kind = kind_of(default)
    yield Setting(key, kind, _plain(default, key), is_required)


def _default_of(node: ast.expr | None) -> tuple[Any, bool, bool]:
    """(default, whether it must be given, whether it is a setting at all) of a dataclass's field."""
    if node is None:
        return UNKNOWN, True, True
    if not isinstance(node, ast.Call) or name_of(node.func) != "field":
        return value_of(node), False, True
    said = {one.arg: one.value for one in node.keywords}
    is_setting = value_of(said.get("init")) is not False
    if "default" in said:
        return value_of(said["default"]), False, is_setting
    factory = said.get("default_factory")
    if isinstance(factory, ast.Lambda):
        return value_of(factory.body), False, is_setting
    if factory is not None:
        made: Any = {"list": [], "dict": {}, "tuple": ()}.get(name_of(factory), UNKNOWN)
        return made, False, is_setting
    return UNKNOWN, True, is_setting


def _kind_of_annotation(node: ast.expr) -> Kind:
    """The kind that an annotation says; of what is not known here, anything."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            return _kind_of_annotation(ast.parse(node.value, mode="eval").body)
        except SyntaxError:
            return Kind()
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union([node.left, node.right])
    if isinstance(node, ast.Subscript):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        name = name_of(node.value)
        if name == "Literal":
            values = tuple(value_of(one) for one in inner)
            return Kind(choices=values) if UNKNOWN not in values else Kind()
        if name == "Optional":
            return replace(_kind_of_annotation(inner[0]), optional=True)
        if name == "Union":
            return _union(inner)
        if name in _LISTS:
            return Kind(list, items=_kind_of_annotation(inner[0]))
        return Kind()
    name = name_of(node)
    return Kind(list) if name in _LISTS else Kind(_TYPES.get(name, object))


def _union(nodes: Sequence[ast.expr]) -> Kind:
    others = [node for node in nodes if not (isinstance(node, ast.Constant) and node.value is None)]
    if len(others) != 1:
        return Kind(optional=len(others) < len(nodes))
    return replace(_kind_of_annotation(others[0]), optional=len(others) < len(nodes))


# --- argparse


def _of_parsers(trees: Iterable[ast.Module]) -> Iterator[Setting]:
    """What `add_argument` says, of all parsers that there are."""
    return (setting for argument in arguments_in(trees) if (setting := _of_argument(argument)) is not None)


def _of_argument(argument: Argument) -> Setting | None:
    key, said, action = argument.key, argument.said, argument.action
    if action in ("help", "version") or key in ("help", "config"):
        return None
    default = value_of(said["default"]) if "default" in said else None
    if argument.is_flag:
        kind = Kind(bool, optional=action == "BooleanOptionalAction")
        is_on = action == "store_false" if default is None else _plain(default, key)
        return Setting(key, kind, is_on, False, _text(said.get("help")))
    if action not in ("store", "append", "extend"):
        return None
    is_required = not argument.option.startswith("-") or value_of(said.get("required")) is True
    return Setting(
        key,
        _kind_of_argument(argument, default),
        UNKNOWN if is_required and default is None else _plain(default, key),
        is_required and value_of(said.get("nargs")) not in ("?", "*"),
        _text(said.get("help")),
    )


def _kind_of_argument(argument: Argument, default: Any) -> Kind:
    said = argument.said
    choices = value_of(said.get("choices"))
    if isinstance(choices, (list, tuple, set, range)) and len(choices) <= _MOST_SETTINGS:
        return Kind(type(next(iter(choices), "")), choices=tuple(choices), optional=default is None)
    of: type = object
    if "type" in said:
        of = _TYPES.get(name_of(said["type"]), object)
    elif default is None or isinstance(default, str):
        of = str
    if argument.is_several:
        return Kind(list, items=Kind(of), optional=True)
    return Kind(of, optional=default is None)


def _text(node: ast.expr | None) -> str:
    value = value_of(node)
    return value[:500] if isinstance(value, str) else ""


def _word_of(value: Any) -> Word:
    return next((word for kind, word in _WORDS if type(value) is kind), "unknown")
