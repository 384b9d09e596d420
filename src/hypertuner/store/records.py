"""What the JSON files of a run say, as frozen dataclasses: run.json, notes.json, started.json, exit.json, parent.json.

Readers ignore keys they do not know; a file that is not JSON, or has a wrong type where one matters, is a
CorruptFileError that names it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import orjson

from hypertuner.errors import CorruptFileError
from hypertuner.opening import open_regular
from hypertuner.store.process import ProcessIdentity

CAUSES = {
    "exception": "the script raised, or left with a code",
    "gpu memory": "out of memory on the GPU",
    "cpu memory": "out of memory on the CPU",
    "stopped": "somebody stopped it",
    "time limit": "its time was up",
    "terminated": "SIGTERM from outside: the machine shuts down, or a cluster wants its node back",
    "killed": "SIGKILL from outside",
    "lost": "its supervisor or its machine is gone",
    "not started": "nothing could be started",
}
INFRASTRUCTURE = frozenset({"terminated", "killed", "lost"})
"""The causes that the script cannot be blamed for."""

MOST_BYTES = 16 * 1024 * 1024  # of one JSON file; started.json with a large diff takes half a megabyte

T = TypeVar("T")


@dataclass(frozen=True)
class Parent:
    """The checkpoint a run began from."""

    reference: str
    """As it was named: 'brave-otter@best', or a path."""
    how: str
    """'start from' (weights only) or 'fork' (full state)."""
    run: str | None = None
    step: int | None = None
    checkpoint: str | None = None
    """xxh3-128 of the parent's file, in hex."""


@dataclass(frozen=True)
class RunRecord:
    """run.json: what a run is, besides its config."""

    script: str | None
    """Path of the script, relative to `folder` when it lies in it; None in a notebook."""
    arguments: tuple[str, ...]
    folder: str
    """Working folder the script is started in."""
    created: str
    parent: Parent | None = None
    study: str | None = None
    asked: tuple[str, ...] = ()
    """Keys of the config that were set by hand when it was made: what the script then never reads is said."""
    adopted: Mapping[str, str] = field(default_factory=dict)
    """Of a run made out of files that were there: their absolute paths, each with the xxh3-128 of what it held."""
    processes: int = 0
    """How many processes torchrun starts for it on one machine; 0: it is started as `python SCRIPT`."""


@dataclass(frozen=True)
class Notes:
    """notes.json: what people edit."""

    name: str | None = None
    """The name shown in place of the folder's."""
    tags: tuple[str, ...] = ()
    note: str = ""
    starred: bool = False
    colour: str | None = None
    archived: bool = False
    pins: tuple[str, ...] = ()
    """Checkpoints that stay whatever else goes, as attempt and file name: '1/step-00001200'."""
    former: Mapping[str, str] = field(default_factory=dict)
    """Names that the run had before, each with the time until which it had it: children know it by one of them."""


@dataclass(frozen=True)
class Started:
    """started.json: where an attempt runs, and on what."""

    attempt: int
    started_at: str
    host: str
    boot_id: str | None
    pid_namespace: str | None
    pid: int
    process_started: float | None
    """Start time of the process, in the units of the host: tells a process from a later one with its pid."""
    exit_by: str
    """Who writes exit.json: 'script', or who waits for it: 'supervisor', or 'command' (`hypertuner run`)."""
    config: Mapping[str, Any]
    """The effective config: as given, with what the script has changed since."""
    python: str
    platform: str
    user: str
    argv: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    git: Mapping[str, Any] | None = None
    machine: str | None = None
    """The machine's own number (/etc/machine-id): two hosts may have one name."""
    slots: int = 0
    """How many of the queue's slots it takes; 0: the queue did not start it."""
    assigned: tuple[str, ...] = ()
    """UUIDs of the GPUs that the queue gave it."""

    @classmethod
    def here(cls, *, exit_by: str, config: Mapping[str, Any], started_at: str | None = None, **about: Any) -> Started:
        """What an attempt says that this process starts, now or at `started_at`; `about` as `capture.gather` gives it.

        Its number is given to it when it is claimed.
        """
        mine = ProcessIdentity.mine()
        return cls(
            attempt=0,
            started_at=started_at or now(),
            host=mine.host,
            boot_id=mine.boot_id,
            pid_namespace=mine.pid_namespace,
            pid=mine.pid,
            process_started=mine.started,
            exit_by=exit_by,
            config=config,
            machine=mine.machine,
            **about,
        )


@dataclass(frozen=True)
class Exit:
    """exit.json: how an attempt ended. script-exit.json: what the script said of it, where another writes exit.json."""

    state: str
    """'finished', 'failed', 'stopped' or 'pruned'."""
    code: int | None
    signal: str | None
    reason: str
    """One line for people: 'ValueError: …', 'stopped by Ctrl-C'."""
    ended_at: str
    traceback: str | None = None
    peak_memory_bytes: int | None = None
    lost_records: int = 0
    """Records that `log` could not write."""
    cause: str = ""
    """What ended it, for whoever decides whether to try again: one of `CAUSES`, or '' where the script alone knows."""
    unread: tuple[str, ...] | None = None
    """Of one that finished: keys of its config that the script has not read; None where that is not known."""


@dataclass(frozen=True)
class ParentLoaded:
    """attempts/<n>/parent.json: a checkpoint was put into the model when the attempt began."""

    reference: str
    how: str
    """'start from' (weights only), 'fork' (full state, another run's) or 'resume' (full state, this run's)."""
    loaded_at: str
    tensors: int
    share: float
    """Share of the model's parameters that came from it, 0 to 1."""
    run: str | None = None
    attempt: int | None = None
    step: int | None = None
    metrics_bytes: int | None = None
    """How long metrics.jsonl of that attempt was when it was saved: where the curve goes on."""
    saved_at: str | None = None
    restored: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()


def now() -> str:
    """The time, in UTC, as records spell it: '2026-11-24T10:12:26.123Z'."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(moment: str | None) -> float | None:
    """A record's time as seconds since 1970, or None when it is not a time."""
    try:
        return datetime.fromisoformat((moment or "").replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError, OSError):  # the latter two: a year that the platform cannot count from
        return None


def to_bytes(record: object) -> bytes:
    """JSON text of a record or a plain dict, readable by people."""
    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SORT_KEYS
    try:
        return orjson.dumps(record, option=option)
    except orjson.JSONEncodeError:
        # A file name or an argument that is no UTF-8 is text with surrogates in Python, and JSON knows none.
        plain = dataclasses.asdict(record) if dataclasses.is_dataclass(record) else record  # type: ignore[arg-type]
        return orjson.dumps(_in_utf8(plain), option=option)


def _in_utf8(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_in_utf8(key): _in_utf8(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_in_utf8(item) for item in value]
    return value


def to_text(value: object) -> str:
    """JSON text of a value, on one line."""
    return orjson.dumps(value).decode()


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. FileNotFoundError if there is none; CorruptFileError if it is something else."""
    with open_regular(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > MOST_BYTES:
            raise CorruptFileError(
                f"{path} has {size:,} bytes; no {path.name} is larger than {MOST_BYTES:,}.\n"
                "  Restore it from a copy, or remove it.",
                path=path,
            )
        data = file.readall()
    try:
        value = _loads(data)
    except orjson.JSONDecodeError as error:
        raise CorruptFileError(
            f"{path} is not JSON: {error}.\n  It is {len(data)} bytes long. Restore it from a copy, or remove it.",
            path=path,
        ) from error
    if not isinstance(value, dict):
        raise CorruptFileError(f"{path} holds a JSON {type(value).__name__}, not an object.", path=path)
    return value


def _loads(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        # What Python's own json writes (NaN, Infinity) and editors add (a byte order mark) is read all the same.
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise error from None


def read(kind: type[T], path: Path) -> T | None:
    """The record in a file, or None when there is no file."""
    try:
        values = read_json(path)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return None
    try:
        return from_dict(kind, values)
    except TypeError as error:
        raise CorruptFileError(
            f"{path} is not a {path.name} that can be understood: {error}.\n  Restore it from a copy, or remove it.",
            path=path,
        ) from error


def from_dict(kind: type[T], values: Mapping[str, Any]) -> T:
    """A record from a JSON object, ignoring keys it does not know.

    Raises: TypeError when a needed one is missing, or one has a value of another type.
    """
    known: dict[str, Any] = {}
    for name, fits in _checks(kind):  # type: ignore[arg-type]  # a type is hashable, whatever T is
        if name in values:
            value = values[name]
            if isinstance(value, list):
                value = tuple(value)
            elif name == "parent" and isinstance(value, Mapping):
                value = from_dict(Parent, value)
            if not fits(value):
                raise TypeError(f"{name!r} is {value!r:.80}")
            known[name] = value
    return kind(**known)


@functools.cache
def _checks(kind: Any) -> tuple[tuple[str, Callable[[object], bool]], ...]:
    """For each field of a record, whether a value is of its type."""
    hints = typing.get_type_hints(kind)
    return tuple((entry.name, _check_of(hints[entry.name])) for entry in dataclasses.fields(kind))


def _check_of(hint: Any) -> Callable[[object], bool]:
    """Whether a JSON value is of a type, as far as the types of records go."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        checks = [_check_of(one) for one in typing.get_args(hint)]
        return lambda value: any(check(value) for check in checks)
    if origin is tuple:
        return lambda value: isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    if hint is int:
        return lambda value: type(value) is int
    if hint is float:
        return lambda value: type(value) in (int, float)
    return lambda value: isinstance(value, origin or hint)
