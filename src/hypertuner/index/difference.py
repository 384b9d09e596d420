"""What differs between two runs, or checkpoints: config, metrics, environment and code, read from their files."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from hypertuner.checkpoint import reference
from hypertuner.checkpoint.format import archive
from hypertuner.errors import CheckpointNotFoundError, CorruptFileError
from hypertuner.index.runs import read_row
from hypertuner.store import Run, Storage
from hypertuner.store.run import is_run_folder

_CONTEXT_LINES = 3
_TOLD_BY_RUNS = re.compile(r"best\(|(platform|gpus)$|variables\.")


class Absent:
    """Stands where one side has no such key."""

    def __repr__(self) -> str:
        return "not set"


ABSENT: Final = Absent()


class Change(NamedTuple):
    """The values of one key on the two sides; ABSENT where a side has none."""

    a: Any
    b: Any


@dataclass(frozen=True)
class Side:
    """One of the two that are compared."""

    name: str
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    environment: Mapping[str, Any]
    """Flat: 'python', 'packages.torch', 'git.commit', 'variables.OMP_NUM_THREADS'."""
    source: Mapping[str, str] = field(repr=False)
    """Text of the source files that were kept, by their place."""
    is_run: bool = True
    """False for a checkpoint or a file, which tells less."""


@dataclass(frozen=True)
class Difference:
    """What differs; keys in the order of side a, then those of b alone."""

    a: Side
    b: Side
    config: Mapping[str, Change]
    metrics: Mapping[str, Change]
    environment: Mapping[str, Change]
    code: Mapping[str, tuple[str, ...]]
    """Lines of a unified diff for each file that differs."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.config or self.metrics or self.environment or self.code)


def difference(a: str, b: str, storage: Storage) -> Difference:
    """What differs between two runs, checkpoints or files, by the references that name them.

    Raises: RunNotFoundError; CheckpointNotFoundError; CorruptFileError.
    """
    one, other = _side(a, storage), _side(b, storage)
    return Difference(
        one,
        other,
        changes(one.config, other.config),
        _of_both(changes(one.metrics, other.metrics), one, other),
        _of_both(changes(one.environment, other.environment), one, other),
        dict(_code(one, other)),
    )


def _of_both(found: Mapping[str, Change], a: Side, b: Side) -> dict[str, Change]:
    """Without what only runs tell, where one side is a checkpoint: that it lacks it is no difference."""
    if a.is_run and b.is_run:
        return dict(found)
    return {key: change for key, change in found.items() if not _TOLD_BY_RUNS.match(key)}


def changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Change]:
    """The keys whose values differ; 1 and 1.0 are one value, 1 and True are not, NaN is NaN."""
    pairs = {key: Change(a.get(key, ABSENT), b.get(key, ABSENT)) for key in (*a, *(key for key in b if key not in a))}
    return {key: pair for key, pair in pairs.items() if not _is_same(*pair)}


def _is_same(a: Any, b: Any) -> bool:
    if a != a and b != b:
        return True
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def _side(name: str, storage: Storage) -> Side:
    path = Path(name)
    if is_run_folder(path):
        return _of_run(name, Run(path.absolute()))
    if "@" not in name and "/" not in name and not path.is_file():
        return _of_run(name, storage.open(name))
    found = reference.resolve(name, storage)
    index = archive.inspect(found.path)
    environment = dict(_flat_environment(index.environment))
    source = _source(found.run) if found.run else {}
    return Side(name, index.hyperparameters, index.metrics, environment, source, is_run=False)


def _of_run(name: str, run: Run) -> Side:
    row = read_row(run)
    best = {f"best({key})": value for key, value in row.best.items()}
    return Side(name, row.config, {**row.metrics, **best}, dict(_environment(run)), _source(run))


def _environment(run: Run) -> Iterator[tuple[str, Any]]:
    attempt = run.newest_attempt()
    started = attempt.started if attempt is not None else None
    if started is not None:
        told = {"python": started.python, "platform": started.platform, "host": started.host, "user": started.user}
        yield from told.items()
        yield "gpus", ", ".join(started.gpus)
        for key, value in started.environment.items():
            if not key.startswith("HYPERTUNER_"):
                yield f"variables.{key}", value
        git = started.git or {}
        for key in ("commit", "branch"):
            if git.get(key):
                yield f"git.{key}", git[key]
        if git:
            yield "git.uncommitted changes", bool(git.get("diff"))
    # What was imported is known when something was saved.
    with contextlib.suppress(CheckpointNotFoundError, CorruptFileError):
        index = archive.inspect(reference.resolve(run).path)
        yield from ((key, value) for key, value in _flat_environment(index.environment) if key.startswith("packages."))


def _flat_environment(environment: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in environment.items():
        if key in ("packages", "git") and isinstance(value, Mapping):
            yield from ((f"{key}.{name}", inner) for name, inner in value.items())
        elif key in ("python", "host", "user"):
            yield key, value


def _source(run: Run) -> dict[str, str]:
    folder = run.layout.source
    return {
        path.relative_to(folder).as_posix(): path.read_text(errors="replace")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _code(a: Side, b: Side) -> Iterator[tuple[str, tuple[str, ...]]]:
    if not a.source or not b.source:
        return  # one of them kept none: then nothing can be said
    for name in sorted({*a.source, *b.source}):
        lines = difflib.unified_diff(
            a.source.get(name, "").splitlines(),
            b.source.get(name, "").splitlines(),
            f"{a.name}/{name}" if name in a.source else "/dev/null",
            f"{b.name}/{name}" if name in b.source else "/dev/null",
            n=_CONTEXT_LINES,
            lineterm="",
        )
        if found := tuple(lines):
            yield name, found
