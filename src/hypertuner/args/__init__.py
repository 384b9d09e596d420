"""Args: the config of the current run, as the script sees it.

Precedence: the command line, the config that the run was given, the defaults. What the script is given is what is
recorded: `config.json` holds the values as they were declared, each checkpoint the values as they then are.
Nothing is written here, and argparse and dataclasses of the script stay as they are.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, cast

from hypertuner.args import commandline
from hypertuner.args.declared import COMMAND_LINE, Declaration
from hypertuner.args.group import Group, MissingKeyError
from hypertuner.errors import ConfigError, did_you_mean
from hypertuner.store import Run, Storage, current, names
from hypertuner.store.active import ActiveRun, PendingParent
from hypertuner.store.said import say_once
from hypertuner.store.values import flatten, is_namespace, plain, to_config, unflatten

if TYPE_CHECKING:
    import argparse

__all__ = ["Args", "MissingKeyError", "new_run"]


class Args(Mapping[str, Any]):
    """The hyperparameters of the current run: `args.lr`, `args["lr"]`, `args.optimizer.lr`, `args["optimizer.lr"]`.

    Args(lr=0.1, epochs=10)   keys with their defaults; a value given takes its default's type
    Args(Settings)            a dataclass, or an instance of one: its fields, nested ones dotted
    Args(parser)              an argparse parser; stands where `parser.parse_args()` stood
    Args(values)              a namespace, a dict, a Hydra config: recorded as it is, nothing is read
    Args()                    the config that the run was given

    The first two own the command line (`lr=0.1`, `--lr 0.1`, `--no-flag`, `--help`): a name that they do not know is
    an error, unless `extra="keep"` leaves it to the script.

    A mapping: `in`, `get`, `len`, iteration, `vars(args)` and `f(**args)` work, over the names of the first level.
    A missing name is an AttributeError or a KeyError, so `getattr(args, "amp", False)` works. Values may be set.
    A key that is no identifier, or is called `get`, `keys`, `items`, `values`, `conf` or `unread`, is reached as
    `args["items"]` only: as an attribute that is the method.

    Raises: ConfigError: a wrong type, an unknown name, a second and different Args in the same run, a change to the
    config of a run that has started before.
    """

    __slots__ = ("__weakref__", "_root")
    _root: Group

    def __new__(cls, source: Any = None, /, **_: Any) -> Args:
        """An Args; for a parser one that is an argparse.Namespace too, which some libraries ask for."""
        return object.__new__(_namespace_class() if cls is Args and _is_parser(source) else cls)

    def __init__(self, source: Any = None, /, *, extra: Literal["error", "keep"] = "error", **defaults: Any) -> None:
        if extra not in ("error", "keep"):
            raise ValueError(f"extra={extra!r}: expected 'error' or 'keep' (a key of that name fits in a dataclass)")
        if source is not None and defaults:
            raise TypeError(f"Args takes a {type(source).__name__} or defaults, not both: {', '.join(defaults)}")
        run = current.run()
        source = plain(source)
        keep = extra == "keep"
        if _is_parser(source):
            root = _of_parser(source, run, keep=keep)
        elif dataclasses.is_dataclass(source):
            root = _of_declaration(Declaration.of_dataclass(source), run, keep=keep)
        elif isinstance(source, Mapping) or is_namespace(source):
            root = _of_record(source if isinstance(source, Mapping) else vars(source), run)
        elif source is not None:
            raise TypeError(
                f"Args takes defaults, a dataclass, an argparse parser, a namespace or a dict; "
                f"got a {type(source).__name__}"
            )
        elif defaults:
            root = _of_declaration(Declaration.of_defaults(defaults), run, keep=keep)
        else:
            root = _of_given(run)
        self._fill(root)
        run.declare(self, self._effective)

    def _fill(self, root: Group) -> None:
        object.__setattr__(self, "_root", root)
        if hidden := [key for key in _METHODS if dict.__contains__(root, key)]:
            names = ", ".join(f"args[{key!r}]" for key in hidden)
            say_once(f"{names}: as attributes these are methods of Args; use the brackets.")

    def _effective(self) -> dict[str, Any]:
        """The values as they are now, flat and JSON-able; reading them here does not count."""
        values = self._root.plain()
        return to_config({key: value for key, value in values.items() if key not in self._root._ledger.unrecorded})

    @property
    def conf(self) -> dict[str, Any]:
        """A plain dict of the values, nested; all of them count as read."""
        self._root.read_all()
        return self._root.plain()

    def unread(self) -> list[str]:
        """Dotted names of the values that the script has not read, in the order declared.

        Whoever takes all at once (`vars(args)`, `**args`, `args.conf`, a copy) has read all.
        """
        return [name for name in self._root.names() if name not in self._root._ledger.read]

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        """What `vars(args)` gives: the values themselves, to be read and set."""
        self._root.read_all()
        return self._root

    def __getitem__(self, key: str) -> Any:
        return self._root[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._root[key] = value

    def __delitem__(self, key: str) -> None:
        del self._root[key]

    def __getattr__(self, name: str) -> Any:
        if name in Args.__slots__:  # an object that copy or pickle has not filled yet
            raise AttributeError(name)
        return self._root[name] if name in self._root else self._root._from_class(name, self)

    def __setattr__(self, name: str, value: Any) -> None:
        self._root[name] = value

    def __delattr__(self, name: str) -> None:
        del self._root[name]

    def __contains__(self, key: object) -> bool:
        return key in self._root

    def __iter__(self) -> Iterator[str]:
        return iter(self._root)

    def __len__(self) -> int:
        return len(self._root)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(type(self)), *_METHODS, *self._root})

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Args):
            return self._root.plain() == other._root.plain()
        if is_namespace(other):
            return self._root.plain() == vars(other)
        return self._root.plain() == other if isinstance(other, Mapping) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        # Not a reading of values: `print(args)` is the first thing that many scripts do.
        return f"Args({', '.join(f'{key}={value!r}' for key, value in self._root.plain().items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        self._root.read_all()  # who reads the copy is not seen from here
        return _restored, (isinstance(self, _namespace_class()) if _parsers_are_used() else False, self._root)


@contextmanager
def new_run(
    name: str | None = None,
    *,
    parent: str | None = None,
    how: Literal["start from", "fork"] = "start from",
    resume: bool | str = False,
    **values: Any,
) -> Iterator[Args]:
    """A new run with these values, current inside the `with`: Args, Logger and Saver made there belong to it.

    Without `name` it gets a friendly one. `parent` is a reference to the checkpoint it begins from; `how` says
    whether it takes only the weights ("start from") or goes on in full ("fork"). Values given here stand above the
    command line, for the script itself chose them.

    With `resume=True` a run of that `name` that is there already goes on from its newest checkpoint, as its next
    attempt, with the config that it has; one that is not there is made. `resume="best"` or `resume="1200"` goes on
    from that checkpoint, which must be there.

    Raises: QueueError when the run to resume is running; ConfigError when a value is another than it has.
    """
    flat = flatten(values)
    if resume:
        if name is None:
            raise TypeError("new_run(resume=…) needs the name of the run")
        run, which = _resumable(name, resume, values)
        if run is not None:
            with current.new_run(name, run.config(), run=run, resume=which) as active:
                yield from _made(active, unflatten(run.config()))
            return
    pending = _parent(parent, how) if parent is not None else None
    with current.new_run(name, to_config(values), pending) as active:
        active.asked.update(flat)
        yield from _made(active, unflatten(flat))


def _made(active: ActiveRun, values: Mapping[str, Any]) -> Iterator[Args]:
    """The Args of a run that a block made."""
    if active.parent is not None or active.resume is not None:
        from hypertuner.frameworks.guard import guard_parent

        guard_parent(active)
    token = _made_here.set(active)
    try:
        yield _of_values(values, active)
    finally:
        _made_here.reset(token)


def _resumable(name: str, resume: bool | str, values: Mapping[str, Any]) -> tuple[Run | None, str | None]:
    """(the run that goes on, or None; its checkpoint, or None to begin anew)."""
    from hypertuner.queue import resume as resuming

    if isinstance(resume, str):
        found = resuming.resumable(f"{name}@{resume}")
        resuming.check_config(found.run, values)
        return found.run, found.which
    run = Run(Storage().path / names.check_name(name))
    if not run.exists():
        return None, None
    goes_on = resuming.next_of(run, values)
    return run, goes_on.which if goes_on is not None else None


def _parent(reference: str, how: str) -> PendingParent:
    # Only a run that has a parent pays for the import of the file format.
    from hypertuner.checkpoint.parents import parent_of
    from hypertuner.checkpoint.reference import resolve

    return parent_of(resolve(reference), how)


# The run that the innermost new_run made: there, the config is the script's own word.
_made_here: ContextVar[ActiveRun | None] = ContextVar("made_here", default=None)


def _of_declaration(declared: Declaration, run: ActiveRun, *, keep: bool) -> Group:
    argv, given = commandline.arguments(run, own_config=declared.find("config") is not None)
    where = _where(run)
    if commandline.asks_for_help(argv, declared):
        print(commandline.help_text(declared, given, where))
        raise SystemExit(0)
    typed = commandline.read(argv, declared, others="keep" if keep else "error")
    values, undeclared = _merged(declared, given, typed, run)
    run.asked.update(typed)
    if missing := declared.missing(values):
        raise ConfigError(
            f"no value for {', '.join(missing)}: the dataclass has no default for it.\n"
            f"  {f'{where} and {COMMAND_LINE} do' if given else f'{COMMAND_LINE} does'} not give it.\n"
            f"  Write {' '.join(f'{name}=…' for name in missing)} on the command line.",
            key=missing[0],
        )
    _say_undeclared(undeclared, declared.keys, where)
    return declared.build(values)


def _of_given(run: ActiveRun) -> Group:
    argv, given = commandline.arguments(run, own_config=False)
    declared = Declaration.of_defaults(unflatten(given))
    typed = commandline.read(argv, declared, others="take")
    run.asked.update(typed)
    values, _ = _merged(declared, {}, typed, run)
    root = declared.build(values)
    if not given:
        root._ledger.hint = _NO_CONFIG
    return root


def _merged(
    declared: Declaration, given: Mapping[str, Any], typed: Mapping[str, str], run: ActiveRun
) -> tuple[dict[str, Any], list[str]]:
    """Defaults under the config under the command line, and the config's names that are not declared."""
    values = {name: key.default for name, key in declared.keys.items()}
    undeclared = declared.apply(values, given, _where(run), text=False)
    final = dict(values)
    declared.apply(final, typed, COMMAND_LINE, text=True)
    if run is _made_here.get():
        final.update({key: values[key] for key in values if key in run.given})
    elif run.started_before:
        _refuse_changes(run, to_config(unflatten(values)), to_config(unflatten(final)))
    return final, undeclared


def _of_parser(parser: argparse.ArgumentParser, run: ActiveRun, *, keep: bool) -> Group:
    from hypertuner.args import parsers  # its users have imported argparse already

    argv, given = commandline.arguments(run, own_config=parsers.has_option(parser, "--config"))
    fixed = run is _made_here.get()
    parsed = parsers.parse(parser, argv, given, _where(run), keep=keep, fixed=fixed)
    root = Group(unflatten(flatten(parsed.values)))
    root._ledger.read.update(parsed.commands)
    root._ledger.unrecorded.update(parsed.functions)
    run.asked.update(parsed.typed)
    if run.started_before:
        _refuse_changes(run, given, {key: value for key, value in to_config(root.plain()).items() if key in given})
    _say_undeclared(parsed.undeclared, parsed.values, _where(run))
    return root


def _of_record(values: Mapping[Any, Any], run: ActiveRun) -> Group:
    root = Group(unflatten(flatten({str(key): value for key, value in values.items()})))
    root.read_all()  # the script goes on with its own object: what it reads of that is not seen from here
    now = to_config(root.plain())
    differ = {key: value for key, value in now.items() if key in run.given and run.given[key] != value}
    if differ and run.started_before:
        _refuse_changes(run, run.given, differ)
    if differ and not run.has_started:  # of one that this process began, its own first Args gave the config
        names = ", ".join(f"{key}={run.given[key]!r} (the script uses {value!r})" for key, value in differ.items())
        say_once(
            f"{_where(run)} gives {names}: Args of a dict or namespace only records. "
            "Args(parser), Args(**defaults) or Args(Dataclass) let the config in."
        )
    return root


def _of_values(values: Mapping[str, Any], run: ActiveRun) -> Args:
    """Args of a new run's own values. They are the run's config already, so a function called inside may declare
    its own Args; only a value that changes has to be told."""
    args = _restored(False, Group(values))

    def declare() -> None:
        args._root._ledger.before_change = None
        run.declare(args, args._effective)

    args._root._ledger.before_change = declare
    return args


def _refuse_changes(run: ActiveRun, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    changed = {key: value for key, value in after.items() if key not in before or before[key] != value}
    if not changed:
        return
    said = ", ".join(f"{key}: {before.get(key, 'not set')!r} → {value!r}" for key, value in changed.items())
    raise ConfigError(
        f"run {run.name!r} has started before, so its config does not change ({said}).\n"
        f"  A new run with the changed config: {commandline.command_for_new_run(run, changed)}",
        key=next(iter(changed)),
    )


def _say_undeclared(names: list[str], known: Iterable[str], where: str) -> None:
    if names:
        others = [key for key in known if key not in names]
        hints = {name: did_you_mean(name, others).strip() for name in names}
        said = ", ".join(
            f"{name!r} ({hint[0].lower()}{hint[1:]})" if hint else repr(name) for name, hint in hints.items()
        )
        say_once(f"{where} has keys that the script does not declare, kept: {said}")


def _where(run: ActiveRun) -> str:
    return run.given_from or "the run's config"


def _is_parser(source: object) -> bool:
    return _parsers_are_used() and isinstance(source, sys.modules["argparse"].ArgumentParser)


def _parsers_are_used() -> bool:
    return "argparse" in sys.modules


@cache
def _namespace_class() -> type[Args]:
    """Args that are an argparse.Namespace too."""
    import argparse

    members = {"__slots__": (), "__dict__": vars(Args)["__dict__"], "__module__": __name__, "__doc__": Args.__doc__}
    return cast("type[Args]", type("Args", (Args, argparse.Namespace), members))


def _restored(is_namespace: bool, values: Mapping[str, Any]) -> Args:
    """Args of these values that belong to no run: what copy and pickle make."""
    args = object.__new__(_namespace_class() if is_namespace else Args)
    stands_for = values._stands_for if isinstance(values, Group) else None
    object.__setattr__(args, "_root", Group(values, stands_for=stands_for))
    return args


_METHODS = ("conf", "get", "items", "keys", "unread", "values")
_NO_CONFIG = "\n  The run was given no config. Start it with --config=storage/<run>/config.json, or write Args(lr=0.1)."
