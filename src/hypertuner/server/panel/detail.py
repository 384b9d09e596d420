"""One run, whole: what the run panel shows of it, read from its folder now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hypertuner.checkpoint.reference import resolve
from hypertuner.errors import HypertunerError, StorageError
from hypertuner.index.difference import ABSENT, changes
from hypertuner.index.row import RunRow as Row
from hypertuner.queue import make
from hypertuner.server.contract.detail import AttemptView, ConfigEntry, FileEntry, RunDetail
from hypertuner.server.contract.runs import RunRow
from hypertuner.server.panel import folder
from hypertuner.server.panel.failure import failure_of
from hypertuner.server.weights import code
from hypertuner.server.weights.checkpoints import Saved
from hypertuner.server.weights.family import Birth
from hypertuner.store import Attempt, Run, RunState, Storage, records
from hypertuner.store.output import OutputReader

_MOST_FILES_TOLD = 2000
_OVER = (RunState.finished, RunState.failed, RunState.stopped, RunState.pruned, RunState.crashed)


def detail_of(
    run: Run,
    row: Row,
    shown: RunRow,
    *,
    storage: Storage,
    saved: Sequence[Saved],
    born: Sequence[Birth],
    parent: Birth | None,
    has_media: bool,
) -> RunDetail:
    """Everything about one run; `shown` is its row as tables have it, `born` are the runs that began from it.

    Raises: CorruptFileError, when one of its files is damaged.
    """
    attempts = run.attempts()
    record = run.record()
    newest = run.newest_attempt()
    loaded = newest.loaded() if newest is not None else None
    return RunDetail(
        row=shown,
        folder=str(run.folder),
        config=config_of(run, row, storage, parent),
        arguments=list(record.arguments) if record is not None else [],
        parent=f"{parent.parent}@{parent.step}" if parent and parent.step is not None else row.parent,
        parent_how=record.parent.how if record is not None and record.parent is not None else None,
        parent_share=loaded.share if loaded is not None and loaded.how != "resume" else None,
        children=[birth.child for birth in born],
        attempts=[attempt_view(attempt) for attempt in attempts],
        checkpoints=[one.row(born) for one in saved],
        failure=failure_of(run, row.config, row.metrics),
        metrics=list(row.metrics),
        has_media=has_media,
        files=_files(run),
        can_resume=can_resume(run, saved),
        is_waiting=run.is_waiting(),
        load_code=_load_code(run),
    )


def config_of(run: Run, row: Row, storage: Storage, parent: Birth | None) -> list[ConfigEntry]:
    """The config of a run, with what its parent had, where that is known, and what the script never reads."""
    before = _config_of_parent(storage, parent)
    changed = changes(before, row.config) if before is not None else {}
    unread = unread_of(run.attempts())
    found = []
    for key, value in row.config.items():
        was = changed[key].a if key in changed else None
        found.append(
            ConfigEntry(
                key=key,
                value=value,
                parent=None if was is ABSENT else was,
                is_changed=key in changed,
                is_read=None if unread is None else key not in unread,
            )
        )
    return found


def unread_of(attempts: Iterable[Attempt]) -> frozenset[str] | None:
    """The keys that a run's script has never read, as its newest attempt that finished says; None: nothing is known."""
    for attempt in reversed(list(attempts)):
        try:
            ended = attempt.exit()
        except StorageError:
            continue
        if ended is not None and ended.unread is not None:
            return frozenset(ended.unread)
    return None


def _config_of_parent(storage: Storage, parent: Birth | None) -> Mapping[str, Any] | None:
    if parent is None or not parent.is_here:
        return None
    try:
        return storage.open(parent.parent).effective_config()
    except StorageError:
        return None


def attempt_view(attempt: Attempt) -> AttemptView:
    """What happened to one attempt."""
    started, ended, loaded = attempt.started, attempt.exit(), attempt.loaded()
    has_output, nbytes = _output(attempt)
    cause = ended.cause if ended is not None else ""
    resumed = f"{loaded.run or ''}@{loaded.step}" if loaded is not None and loaded.how == "resume" else None
    return AttemptView(
        number=attempt.number,
        state="void" if attempt.is_void() else str(attempt.state()),
        started_at=records.seconds(started.started_at) if started is not None else None,
        ended_at=records.seconds(ended.ended_at) if ended is not None else None,
        reason=ended.reason if ended is not None else None,
        cause=records.CAUSES.get(cause, cause) or None,
        code=ended.code if ended is not None else None,
        signal=ended.signal if ended is not None else None,
        host=started.host if started is not None else None,
        pid=started.pid if started is not None else None,
        gpus=list(started.assigned or started.gpus) if started is not None else [],
        peak_memory_bytes=ended.peak_memory_bytes if ended is not None else None,
        resumed_from=resumed,
        has_output=has_output,
        output_bytes=nbytes,
        environment=dict(_environment(started)) if started is not None else {},
    )


def _output(attempt: Attempt) -> tuple[bool, int]:
    nbytes = 0
    for number in attempt.layout.output_parts():
        try:
            nbytes += attempt.layout.output_part(number).stat().st_size
        except OSError:  # a part that was removed meanwhile
            continue
    return OutputReader(attempt.layout).exists(), nbytes


def _environment(started: records.Started) -> Iterable[tuple[str, Any]]:
    """What was recorded of where it ran; secrets were left out when it was."""
    yield from {"python": started.python, "platform": started.platform, "user": started.user}.items()
    git = started.git or {}
    yield from ((f"git.{key}", git[key]) for key in ("commit", "branch") if git.get(key))
    if git:
        yield "git.uncommitted changes", bool(git.get("diff"))
    yield from ((key, value) for key, value in started.environment.items() if not key.startswith("HYPERTUNER_"))


def _files(run: Run) -> list[FileEntry]:
    try:
        files = folder.list_files(run)
    except OSError:  # a run's folder that is a link to elsewhere is not looked into
        return []
    return [
        FileEntry(id=file.id, name=file.name, nbytes=file.nbytes, changed_at=file.changed_at)
        for file in files[:_MOST_FILES_TOLD]
    ]


def can_resume(run: Run, saved: Sequence[Saved]) -> bool:
    """Whether the run may go on from its last checkpoint."""
    try:
        if run.state() not in _OVER or run.is_waiting():
            return False
        make.order_of(run)
    except (HypertunerError, OSError):
        return False
    last = next((one for one in reversed(saved) if one.is_last and not one.is_alone), None)
    return last is not None and last.about is not None and not last.about.is_thinned


def _load_code(run: Run) -> str:
    try:
        path = resolve(run).path
    except (HypertunerError, OSError):
        return ""
    return code.load_code(run, None, has_object=code.has_object(path))
