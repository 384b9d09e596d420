"""Making runs out of model files that are there already: ordinary runs, written by the ordinary writer.

A run holds the checkpoints of one training: same tensors, same settings. Its time is that of the files, its note says
where they are, and run.json keeps a hash of each, by which a second adoption knows them. The files are only read.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from hypertuner import files
from hypertuner.checkpoint import commit, offer
from hypertuner.checkpoint.adoption import Found, Skipped, find
from hypertuner.checkpoint.format.table import FORMAT
from hypertuner.errors import HypertunerError, MissingExtraError, UnsafeFileError
from hypertuner.frameworks.adapter import torch_adapter
from hypertuner.store import Attempt, Run, RunState, Storage, capture, metrics, records
from hypertuner.store.monitor import watched_metric
from hypertuner.store.names import is_name
from hypertuner.store.process import ProcessIdentity

if TYPE_CHECKING:
    from hypertuner.frameworks.torch.adoption import Contents

_CHUNK = 16 << 20
_LONGEST_NAME = 48
_GLOBALS_SHOWN = 12


@dataclass(frozen=True)
class Adopted:
    """A run that was made, and what it was made of."""

    run: Run
    paths: tuple[Path, ...]
    """One a checkpoint, in the order of their steps."""
    steps: tuple[int, ...]
    made_by: str
    settings: int
    metrics: tuple[str, ...]
    left_out: tuple[str, ...]
    """What the files held besides and could not be kept."""


@dataclass(frozen=True)
class _Read:
    """One checkpoint that was looked at; its weights are read again when they are written."""

    found: Found
    contents: Contents
    weights: str
    signature: str
    file_hash: str
    written: float


def adopt(paths: Sequence[Path], storage: Storage, *, trust: bool = False) -> Iterator[Adopted | Skipped]:
    """Make runs of the checkpoints at `paths`; each run as it is made, and each file that was left out.

    `trust` also reads pickled objects, which runs their code. Raises: MissingExtraError without torch;
    StorageFullError: the run that was being made is marked as failed, the others are whole.
    """
    found, skipped = find(paths, storage.path)
    yield from skipped
    known = _known(storage)
    trainings: dict[tuple[Path, str], list[Found]] = {}
    for one in found:
        trainings.setdefault(one.training, []).append(one)
    for members in trainings.values():
        readings: list[_Read] = []
        for one in members:
            looked_at = _look(one, known, trust)
            if isinstance(looked_at, Skipped):
                yield looked_at
            else:
                readings.append(looked_at)
        by_signature: dict[str, list[_Read]] = {}
        for reading in readings:
            by_signature.setdefault(reading.signature, []).append(reading)
        for same in by_signature.values():
            kept, twins = _without_twins(same)
            yield from twins
            yield _make(kept, same, storage, trust)


def _known(storage: Storage) -> dict[str, str]:
    """Hash of each file that was adopted before → the run that was made of it."""
    found: dict[str, str] = {}
    for run in storage.list():
        try:
            record = run.record()
            if record is not None and record.adopted and run.state() == RunState.finished:
                found.update(dict.fromkeys(map(str, record.adopted.values()), run.name))
        except HypertunerError:
            continue
    return found


def _look(found: Found, known: Mapping[str, str], trust: bool) -> Skipped | _Read:
    try:
        from hypertuner.frameworks.torch import adoption
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError("PyTorch", "torch", "Adopting models") from error
    try:
        file_hash = _hash(found.files)
        if file_hash in known:
            return Skipped(found.path, f"was adopted before: {known[file_hash]}")
        contents = adoption.read(found, trust=trust)
        if not contents.weights:
            return Skipped(found.path, "holds no weights")
        weights, signature = adoption.digest(contents), adoption.signature(contents)
    except (HypertunerError, OSError) as error:
        return Skipped(found.path, _why(error, found))
    contents.weights.clear()
    contents.training.clear()
    return _Read(found, contents, weights, signature, file_hash, found.files[0].stat().st_mtime)


def _why(error: Exception, found: Found) -> str:
    """An error about a file as the reason why it was left out, without naming the file again."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, UnsafeFileError):
        named = ", ".join(error.globals[:_GLOBALS_SHOWN])
        more = f" and {len(error.globals) - _GLOBALS_SHOWN} more" if len(error.globals) > _GLOBALS_SHOWN else ""
        return (
            "holds whole pickled objects, and reading them runs code.\n"
            f"It would import: {named}{more}\n"
            "If you know who made it: hypertuner adopt --trust"
        )
    for path in (*found.files, found.path):
        error_text = str(error).replace(f"{path} ", "").replace(f"{path}: ", "")
        if error_text != str(error):
            return error_text
    return str(error)


def _hash(paths: Iterable[Path]) -> str:
    digest = xxhash.xxh3_128()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _without_twins(readings: list[_Read]) -> tuple[list[_Read], list[Skipped]]:
    """Each model once, under the name that tells its step ('last.ckpt' is a copy), in the order of their steps."""
    kept: dict[str, _Read] = {}
    twins = []
    for reading in sorted(readings, key=lambda one: (one.found.step is None and one.found.epoch is None, one.written)):
        if (first := kept.setdefault(reading.weights, reading)) is not reading:
            twins.append(Skipped(reading.found.path, f"holds the same weights as {first.found.path.name}"))
    return sorted(kept.values(), key=lambda one: (_step(one, list(kept.values())), one.written)), twins


def _step(reading: _Read, group: Sequence[_Read]) -> int:
    """Its step; where the files count epochs only, the epoch; where they say neither, the newest."""
    steps = [_first(one.contents.step, one.found.step) for one in group]
    epochs = [_first(one.contents.epoch, one.found.epoch) for one in group]
    chosen = steps if any(step is not None for step in steps) else epochs
    mine = chosen[list(group).index(reading)]
    return mine if mine is not None else max((step for step in chosen if step is not None), default=0)


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _make(readings: list[_Read], all_readings: list[_Read], storage: Storage, trust: bool) -> Adopted:
    first = min(reading.written for reading in readings)
    last = max(reading.written for reading in readings)
    config = readings[-1].contents.config
    root = _root([reading.found.path for reading in readings])
    record = records.RunRecord(
        script=None,
        arguments=(),
        folder=str(root if root.is_dir() else root.parent),
        created=_moment(first),
        adopted={str(reading.found.path): reading.file_hash for reading in all_readings},
    )
    run = storage.create(_free_name(readings[0].found.name, storage), record, config)
    about = {"python": "", "platform": sys.platform, "user": capture.user()}
    attempt = run.claim_attempt(
        records.Started.here(exit_by="supervisor", config=config, started_at=_moment(first), **about)
    )
    run.write_notes(records.Notes(note=f"adopted from {root}"))
    try:
        steps = _write(run, attempt, readings, trust)
    except (HypertunerError, OSError) as error:
        _end(run, attempt, "failed", f"adopting ended early: {error}", records.now())
        raise
    _end(run, attempt, "finished", f"adopted from {root}", _moment(last))
    return Adopted(
        run=run,
        paths=tuple(reading.found.path for reading in readings),
        steps=tuple(steps),
        made_by=readings[0].contents.made_by,
        settings=len(config),
        metrics=tuple(dict.fromkeys(name for reading in readings for name in _metrics(reading))),
        left_out=tuple(dict.fromkeys(name for reading in readings for name in reading.contents.left_out)),
    )


def _end(run: Run, attempt: Attempt, state: str, reason: str, when: str) -> None:
    run.end_attempt(attempt, records.Exit(state=state, code=0, signal=None, reason=reason, ended_at=when))


def _write(run: Run, attempt: Attempt, readings: list[_Read], trust: bool) -> list[int]:
    from hypertuner.frameworks.torch import adoption

    steps = [_step(reading, readings) for reading in readings]
    names = {name: value for reading in readings for name, value in _metrics(reading).items()}
    told = next((reading.contents.monitor for reading in readings if reading.contents.monitor), None)
    monitor, mode = watched_metric({told: 0.0} if told else names, None, None) or (None, None)
    log = files.Appender(attempt.layout.metrics)
    logged: set[int] = set()
    try:
        for reading, step in zip(readings, steps, strict=True):
            _log(log, reading, step, logged)
            contents = adoption.read(reading.found, trust=trust)
            about = {
                "name": run.name,
                "step": step,
                "step_given": True,
                "epoch": _first(contents.epoch, reading.found.epoch),
                "logged_step": step,
                "saved_at": _moment(reading.written),
                "attempt": attempt.number,
                "metrics_bytes": log.size,
                "monitor": monitor,
                "mode": mode,
            }
            _commit(run, attempt, step, contents, _metrics(reading), about, reading.found.path)
    finally:
        log.close()
    offer.offer(run)
    return steps


def _commit(
    run: Run,
    attempt: Attempt,
    step: int,
    contents: Contents,
    values: Mapping[str, float],
    about: Mapping[str, Any],
    origin: Path,
) -> None:
    config = contents.config
    origin_of = {"host": ProcessIdentity.mine().host, "user": capture.user()}
    header: dict[str, Any] = {
        "run": about,
        "hyperparameters": config,
        "metrics": dict(values),
        "parent": None,
        "environment": origin_of,
        "adopted": str(origin),
    }
    document = {
        "format": FORMAT,
        "hyperparameters": config,
        "run": {**about, "metrics": dict(values), "parent": None},
    }

    captured = torch_adapter().capture(contents.weights, document, contents.training, {})
    try:
        about = captured.about()
        header |= {**about, "environment": {**origin_of, **about["environment"]}}
        path = commit.free_path(attempt, step)
        commit.commit(attempt, run, path, lambda file, key: captured.write(file, header, key))
    finally:
        captured.release()


def _log(log: files.Appender, reading: _Read, step: int, logged: set[int]) -> None:
    """What was logged up to this checkpoint, as far as it is known and not yet written."""
    history = reading.contents.history or ((step, _metrics(reading)),)
    for at, values in history:
        if values and at not in logged and at <= step:
            log.append(metrics.encode(at, reading.written, dict(values)))
    logged.update(at for at, _ in history if at <= step)


def _metrics(reading: _Read) -> dict[str, float]:
    return {**reading.found.metrics, **reading.contents.metrics}


def _free_name(wished: str, storage: Storage) -> str:
    plain = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._-") else "-" for sign in wished)
    name = plain.strip("._-")[:_LONGEST_NAME].strip("._-") or "adopted"
    name = name if is_name(name) else f"adopted-{name}"
    taken = {there.casefold() for there in storage.folder_names()}
    number, free = 1, name
    while free.casefold() in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _root(paths: Sequence[Path]) -> Path:
    """What one says where the checkpoints are: the file, or the folder that has them all."""
    return paths[0] if len(paths) == 1 else Path(*_common([path.parent.parts for path in paths]))


def _common(parts: Sequence[tuple[str, ...]]) -> list[str]:
    return [names[0] for names in zip(*parts, strict=False) if len(set(names)) == 1]


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
