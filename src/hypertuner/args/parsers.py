"""A script's own argparse parser, fed with the config that its run was given.

The command line is read by the parser alone, by its own rules. A config's values stand where the parser's defaults
would: they satisfy what is required, and are checked against `type` and `choices`. The parser is lent, not changed:
it is as it was when `parse` returns or raises.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from hypertuner.args.declared import file_of
from hypertuner.args.kinds import BOOLEANS, Kind, kind_of, split
from hypertuner.errors import ConfigError
from hypertuner.store.values import is_group, to_json, unflatten


@dataclass(frozen=True)
class Parsed:
    """What the parser made of the command line and the config."""

    values: dict[str, Any]
    functions: set[str]  # names of what `set_defaults(func=…)` leaves there for the script: no settings
    undeclared: list[str]  # keys of the config that the parser does not know
    commands: set[str]  # names that hold a sub-command: naming it has an effect, read or not
    typed: list[str]  # names that the command line set, as far as it set another value than the default


def has_option(parser: argparse.ArgumentParser, option: str) -> bool:
    """Whether the parser takes `option` under exactly this name."""
    return option in parser._option_string_actions


def parse(
    parser: argparse.ArgumentParser, argv: list[str], given: Mapping[str, Any], where: str, *, keep: bool, fixed: bool
) -> Parsed:
    """Values of `parser` for `argv`, over the config `given` (flat keys), over the parser's defaults.

    `keep` leaves arguments that the parser does not know. With `fixed`, the config wins over the command line.
    Exits as argparse does: 0 after `--help`, 2 after a mistake on the command line.

    Raises: ConfigError: a value of the config that the parser would not have taken.
    """
    everyone = list(_parsers(parser))
    actions = [action for one in everyone for action in one._actions]
    defaults = {dest: default for one in everyone for dest, default in one._defaults.items()}
    by_dest, undeclared = _by_dest(given, {action.dest for action in actions} | defaults.keys())
    standing = {
        dest: _Standing(dest, value, [action for action in actions if action.dest == dest], defaults.get(dest))
        for dest, value in by_dest.items()
    }
    with _lent(everyone, standing, lambda one: one.converted(parser, where)):
        argv = _with_command(parser, argv, standing)
        namespace = parser.parse_known_args(argv)[0] if keep else parser.parse_args(argv)
    values = dict(vars(namespace))
    typed = {dest for dest in standing if dest in values and not isinstance(values[dest], _Standing)}
    beaten = set() if fixed else _beaten(values, standing, everyone)
    for dest, one in standing.items():
        if dest in typed and not fixed:
            _check_count(parser, one, values[dest])
        elif dest in beaten:
            values[dest] = _default(parser, one.actions[0])
        elif dest in values:
            values[dest] = one.converted(parser, where)
        else:  # an option of another sub-command
            values[dest] = one.given
    typed_names = [name for name in values if name in typed or _is_set(values[name], name, standing, everyone)]
    values.update({name: given[name] for name in undeclared})
    commands = {action.dest for action in actions if isinstance(action, argparse._SubParsersAction)}
    functions = {name for name in defaults.keys() - {action.dest for action in actions} if callable(values.get(name))}
    return Parsed(values, functions, undeclared, commands, typed_names)


def _is_set(value: Any, dest: str, standing: Mapping[str, _Standing], everyone: list[argparse.ArgumentParser]) -> bool:
    defaults = [parser.get_default(dest) for parser in everyone]
    return dest not in standing and all(value is not default and value != default for default in defaults)


class _Standing:
    """Stands where a default would while argparse works: what is still there afterwards was not typed.

    Actions that add to their default (append, extend, count) add to the parser's own, as they would without us.
    """

    def __init__(self, dest: str, given: Any, actions: list[argparse.Action], default: Any) -> None:
        self.dest = dest
        self.given = given
        self.actions = actions
        self._defaults = [action.default for action in actions] or [default]

    def converted(self, parser: argparse.ArgumentParser, where: str) -> Any:
        """The config's value as the parser would have made it."""
        expected = "anything"
        for action in self.actions:
            try:
                return _converted(parser, action, self.given)
            except argparse.ArgumentError as error:
                expected = error.message
            except ValueError as error:
                expected = f"expected {error}"
        if not self.actions:  # set_defaults(…) without an argument, a function often
            kind = kind_of(self._defaults[0])
            try:
                return self._defaults[0] if callable(self._defaults[0]) else kind.read_json(self.given)
            except ValueError:
                expected = f"expected {kind}"
        raise ConfigError(
            f"{self.dest}={self.given!r}: {expected}.\n  {where} gives it; the script's parser does not take it.",
            key=self.dest,
            path=file_of(where),
        )

    def __copy__(self) -> list[Any]:
        return list(self._defaults[0]) if isinstance(self._defaults[0], (list, tuple)) else []

    def __add__(self, more: int) -> int:
        return int(self._defaults[0] or 0) + more

    def __repr__(self) -> str:  # `%(default)s` in the parser's help
        return str(self.given)


@dataclass(frozen=True)
class _Choices:
    """The choices of a positional argument, and its stand-in: argparse checks a default of nargs='*' as a whole."""

    choices: Any
    standing: object

    def __contains__(self, value: object) -> bool:
        return value is self.standing or value in self.choices

    def __iter__(self) -> Iterator[Any]:
        return iter(self.choices)


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in {id(sub): sub for sub in action.choices.values()}.values():
                yield from _parsers(one)


def _by_dest(given: Mapping[str, Any], known: set[str]) -> tuple[dict[str, Any], list[str]]:
    """The config's values by the parser's names; a dict that an option holds is put together again."""
    spelling = {dest.replace("-", "_"): dest for dest in known}
    found: dict[str, Any] = {}
    undeclared = []
    for key, value in given.items():
        names = key.split(".")
        heads = [".".join(names[:depth]) for depth in range(len(names), 0, -1)]
        dest = next((spelling[head.replace("-", "_")] for head in heads if head.replace("-", "_") in spelling), None)
        if dest is None:
            undeclared.append(key)
        elif len(dest) == len(key):
            found[dest] = value
        else:
            found.setdefault(dest, {})[key[len(dest) + 1 :]] = value
    return {dest: unflatten(value) if is_group(value) else value for dest, value in found.items()}, undeclared


@contextmanager
def _lent(
    parsers: list[argparse.ArgumentParser], standing: Mapping[str, _Standing], convert: Callable[[_Standing], Any]
) -> Iterator[None]:
    """The parsers with stand-ins for defaults, and nothing required that the config gives; afterwards as before."""
    before: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def lend(thing: object, **attributes: Any) -> None:
        # Only these come back afterwards: a parser or an action of the user's own may note things in itself.
        before.append((vars(thing), {name: vars(thing)[name] for name in attributes}))
        vars(thing).update(attributes)

    for parser in parsers:
        lend(parser, _defaults={**parser._defaults, **{k: v for k, v in standing.items() if k in parser._defaults}})
        for action in parser._actions:
            one = standing.get(action.dest)
            if one is None:
                continue
            # A class of the user's own may look at its default: it sees the value.
            known = type(action).__module__ == "argparse"
            lend(action, required=False, default=one if known else convert(one))
            if not action.option_strings and action.nargs not in (argparse.PARSER, argparse.REMAINDER):
                choices = action.choices
                shown = None if choices is None else _Choices(choices, one)
                lend(action, nargs="?" if action.nargs in (None, "?") else "*", choices=shown)
        for group in parser._mutually_exclusive_groups:
            if any(action.dest in standing for action in group._group_actions):
                lend(group, required=False)
    try:
        yield
    finally:
        for attributes, old in reversed(before):
            attributes.update(old)


def _with_command(parser: argparse.ArgumentParser, argv: list[str], standing: Mapping[str, _Standing]) -> list[str]:
    """`argv` with the sub-command that the config names, when it has none itself."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) and action.dest in standing:
            command = standing[action.dest].given
            if command in action.choices and not any(token in action.choices for token in argv):
                return [*argv, command]
    return argv


def _beaten(
    values: Mapping[str, Any], standing: Mapping[str, _Standing], parsers: list[argparse.ArgumentParser]
) -> set[str]:
    """Options of the config that exclude one that was typed: the command line wins, they keep their default."""
    beaten: set[str] = set()
    for parser in parsers:
        for group in parser._mutually_exclusive_groups:
            typed = {action.dest for action in group._group_actions if _is_typed(parser, action, values)}
            if typed:
                beaten.update(action.dest for action in group._group_actions if action.dest not in typed)
    return beaten & standing.keys()


def _is_typed(parser: argparse.ArgumentParser, action: argparse.Action, values: Mapping[str, Any]) -> bool:
    value = values.get(action.dest, action.default)
    return not isinstance(value, _Standing) and value is not action.default and value != _default(parser, action)


def _default(parser: argparse.ArgumentParser, action: argparse.Action) -> Any:
    """The parser's own default: a text goes through the action's type, as argparse has it."""
    return parser._get_value(action, action.default) if isinstance(action.default, str) else action.default


def _check_count(parser: argparse.ArgumentParser, one: _Standing, value: Any) -> None:
    """A positional argument of a fixed number was lent any number."""
    for action in one.actions:
        if not action.option_strings and isinstance(action.nargs, int) and len(value) != action.nargs:
            parser.error(f"argument {action.metavar or action.dest}: expected {action.nargs} arguments")


def _converted(parser: argparse.ArgumentParser, action: argparse.Action, value: Any) -> Any:
    """`value` of a config as `action` would leave it in the namespace.

    Text goes through the action's type, as argparse does with a default; other values are checked against it.

    Raises: argparse.ArgumentError, or ValueError with what was expected.
    """
    if value is None and action.required:
        raise ValueError(_expected(action))
    if action.default is not argparse.SUPPRESS and _same(to_json(action.default), value):
        return _default(parser, action)
    if value is None:
        return None if action.default == argparse.SUPPRESS or action.nargs == "?" else _refuse(_expected(action))
    if action.nargs == 0:
        return _flag(action, value)
    many = action.nargs in ("*", "+", argparse.REMAINDER) or isinstance(action.nargs, int)
    if isinstance(action, argparse._AppendAction):
        values = value if isinstance(value, list) else [value]
        many = many and not isinstance(action, argparse._ExtendAction)
        return [_items(parser, action, one) if many else _one(parser, action, one) for one in values]
    return _items(parser, action, value) if many else _one(parser, action, value)


def _flag(action: argparse.Action, value: Any) -> Any:
    """The value of an action without arguments."""
    if isinstance(action, argparse._CountAction):
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise ValueError("a whole number")
    if isinstance(action, argparse._AppendConstAction):
        return value
    for possible in (action.const, action.default, *_TRUTH.get(type(action), ())):
        if _same(to_json(possible), value):
            return possible
    if isinstance(action.const, bool) or type(action) in _TRUTH:
        return Kind(of=bool).read_json(value) if str(value).lower() in BOOLEANS else _refuse("true or false")
    return _refuse(f"{action.const!r} or {action.default!r}")


def _items(parser: argparse.ArgumentParser, action: argparse.Action, value: Any) -> list[Any]:
    if isinstance(value, str):
        value = split(value)
    values = value if isinstance(value, list) else [value]
    if isinstance(action.nargs, int) and len(values) != action.nargs:
        raise ValueError(f"{action.nargs} values, got {len(values)}")
    return [_one(parser, action, one) for one in values]


def _one(parser: argparse.ArgumentParser, action: argparse.Action, value: Any) -> Any:
    if action.choices is not None:
        for choice in action.choices:
            if _same(to_json(choice), value):
                return choice
    made = _typed(parser, action, value)
    parser._check_value(action, made)
    return made


def _typed(parser: argparse.ArgumentParser, action: argparse.Action, value: Any) -> Any:
    of = action.type
    if of is bool:  # bool("false") is True: nobody means that
        return Kind(of=bool).read_json(value) if str(value).lower() in BOOLEANS else _refuse("true or false")
    if isinstance(value, str):
        return parser._get_value(action, value)
    if of is None or of is str:
        if of is None and action.default is not None and not isinstance(action.default, str):
            return kind_of(action.default).read_json(value) if action.default != argparse.SUPPRESS else value
        return Kind(of=str).read_json(value) if not isinstance(value, (list, dict)) else _refuse("text")
    if of in (int, float):
        number = (
            value if isinstance(value, (int, float)) and not isinstance(value, bool) else _refuse(_expected(action))
        )
        if of is float:
            return float(number)
        return int(number) if number == int(number) else _refuse(_expected(action))
    if isinstance(of, type) and issubclass(of, PurePath):
        return _refuse(_expected(action))
    if not isinstance(value, (list, dict)):
        parser._get_value(action, str(value))  # the script's own function: a check, for its result was recorded
    return tuple(value) if isinstance(action.default, tuple) and isinstance(value, list) else value


def _expected(action: argparse.Action) -> str:
    of = action.type if isinstance(action.type, type) else type(action.default) if action.default is not None else str
    return str(Kind(of=of))


def _refuse(expected: str) -> Any:
    raise ValueError(expected)


def _same(recorded: Any, value: Any) -> bool:
    return type(recorded) is type(value) and bool(recorded == value)


_TRUTH: dict[type, tuple[bool, bool]] = {argparse.BooleanOptionalAction: (True, False)}
