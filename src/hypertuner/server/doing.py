"""What people do to runs from the page: as the command line does it, run by run; what could not be done is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hypertuner.checkpoint import offer, pins
from hypertuner.errors import ConfigError, HypertunerError, QueueError, RunNotFoundError, first_line
from hypertuner.queue import combining, make, stopping
from hypertuner.queue import resume as resuming
from hypertuner.queue.code import changed_sources
from hypertuner.queue.waiting import Entry, Queue, Terms
from hypertuner.server.contract.acting import (
    Action,
    ActionAsked,
    ActionDone,
    Failed,
    LaunchAsked,
    NotesChange,
    TrashEntry,
    TrashView,
)
from hypertuner.server.engines import Engines
from hypertuner.server.launching import launch
from hypertuner.server.launching.asked import make_out, resolved
from hypertuner.server.weights.family import children
from hypertuner.store import Run, RunState, Storage
from hypertuner.store.care import check_one_may_leave, check_tag, retag, waiting_children
from hypertuner.store.names import is_name
from hypertuner.store.trash import Trash, Trashed

OF_THE_OWNER = frozenset({"stop", "requeue", "resume", "withdraw", "hold", "release", "trash", "restore"})
"""Actions about what runs, or whether a run is there: who may do them may start scripts."""
_UNDO: Mapping[str, Action] = {
    "archive": "unarchive",
    "unarchive": "archive",
    "star": "unstar",
    "unstar": "star",
    "tag": "untag",
    "untag": "tag",
    "trash": "restore",
    "hold": "release",
    "release": "hold",
    "pin": "unpin",
    "unpin": "pin",
}
_WORDS = {
    "archive": "archived",
    "unarchive": "in sight again",
    "star": "starred",
    "unstar": "without a star",
    "tag": "tagged",
    "untag": "without the tag",
    "trash": "in the trash",
    "restore": "back from the trash",
    "stop": "asked to stop",
    "requeue": "in the queue",
    "withdraw": "out of the queue",
    "resume": "in the queue, to go on",
    "hold": "held",
    "release": "going on",
    "pin": "pinned",
    "unpin": "pinned no longer",
}
_LONGEST_NOTE = 100_000
_MOST_TAGS = 200


def act(asked: ActionAsked, engines: Engines) -> ActionDone:
    """Do it, to each run for itself. Raises: ConfigError for a tag that is none."""
    acts = _Acts(engines, asked)
    with engines.acts:
        done, failed = _each(
            asked.references if asked.action in ("pin", "unpin") else asked.names, acts.of(asked.action)
        )
    engines.draining.revision += 1
    thing = "checkpoint" if asked.action in ("pin", "unpin") else "run"
    count = f"{len(done)} {thing}{'' if len(done) == 1 else 's'}"
    told = f"{count} {'is' if len(done) == 1 else 'are'} {_WORDS[asked.action]}." if done else "Nothing was changed."
    return ActionDone(
        done=done,
        failed=failed,
        undo=_UNDO.get(asked.action) if done else None,
        message=" ".join([told, *acts.notes]),
    )


def _each(names: Sequence[str], do: Callable[[str], str]) -> tuple[list[str], list[Failed]]:
    done: list[str] = []
    failed: list[Failed] = []
    for name in dict.fromkeys(names):
        try:
            done.append(do(name))
        except (HypertunerError, OSError) as error:
            failed.append(Failed(name=name, message=first_line(error)))
    return done, failed


class _Acts:
    """One action that was asked for."""

    def __init__(self, engines: Engines, asked: ActionAsked) -> None:
        self._engines = engines
        self._storage = engines.storage
        self._queue = Queue(engines.storage)
        self._tag = check_tag(asked.tag) if asked.action in ("tag", "untag") else ""
        self._names = asked.names
        self.notes: list[str] = []
        """What is worth telling besides."""

    def of(self, action: Action) -> Callable[[str], str]:
        """What is done to each name; it returns the name of what it was done to."""
        if action == "trash":
            self._look_for_children()
        if action == "restore":
            self._there = Trash(self._storage.path).list()
        acts: Mapping[str, Callable[[str], str]] = {
            "archive": lambda name: self._note(name, archived=True),
            "unarchive": lambda name: self._note(name, archived=False),
            "star": lambda name: self._note(name, starred=True),
            "unstar": lambda name: self._note(name, starred=False),
            "tag": lambda name: self._retag(name, [self._tag], []),
            "untag": lambda name: self._retag(name, [], [self._tag]),
            "trash": self._trash,
            "restore": self._restore,
            "stop": self._stop,
            "requeue": self._requeue,
            "withdraw": self._withdraw,
            "resume": self._resume,
            "hold": lambda name: self._hold(name, held=True),
            "release": lambda name: self._hold(name, held=False),
            "pin": lambda reference: self._pin(reference, off=False),
            "unpin": lambda reference: self._pin(reference, off=True),
        }
        return acts[action]

    def _note(self, name: str, **change: bool) -> str:
        run = self._storage.open(name)
        run.write_notes(replace(run.notes(), **change))  # type: ignore[arg-type]  # each is a switch of the notes
        return run.name

    def _retag(self, name: str, added: Sequence[str], removed: Sequence[str]) -> str:
        run = self._storage.open(name)
        if len(run.notes().tags) + len(added) > _MOST_TAGS:
            raise ConfigError(f"{name} has {_MOST_TAGS} tags already.")
        retag([run], added, removed)
        return run.name

    def _look_for_children(self) -> None:
        """Which runs begin from those that are to go: one that waits or runs holds its parent in its place."""
        rows = self._engines.known.with_parent()
        born = children(self._engines.family.births(rows))
        leaving = [Run(self._storage.path / name) for name in self._names if is_name(name)]
        alive = (row for row in rows if row.state in (RunState.queued, RunState.running))
        self._needed = waiting_children(self._storage, leaving, among=[Run(Path(row.folder)) for row in alive])
        gone = set(self._names)
        kept = [birth.child for name in self._names for birth in born.get(name, ()) if birth.child not in gone]
        if kept:
            listed = ", ".join(kept[:4]) + (f" and {len(kept) - 4} more" if len(kept) > 4 else "")
            self.notes.append(f"What began from them keeps its weights in files of its own: {listed}.")

    def _trash(self, name: str) -> str:
        run = self._storage.open(name)
        check_one_may_leave(run, self._needed)
        self._storage.delete(run)
        return run.name

    def _restore(self, name: str) -> str:
        trashed = next((one for one in self._there if name in (trash_id(one), one.run.name)), None)
        if trashed is None:
            raise RunNotFoundError(f"The trash holds no run {name[:80]!r}.\n  Was it restored, or cleaned away?")
        self._there.remove(trashed)
        run = Trash(self._storage.path).restore(trashed)
        if not trashed.is_whole:
            offer.refresh(run)
        return run.name

    def _stop(self, name: str) -> str:
        run = self._storage.open(name)
        if not stopping.withdraw_if_waiting(self._queue, run) and (problem := stopping.ask(run)):
            raise QueueError(f"{name}: {problem}")
        return run.name

    def _entry(self, name: str) -> Entry:
        entry = self._queue.entry(self._storage.open(name))
        if entry is None or not entry.is_waiting:
            raise QueueError(f"Run {name!r} does not wait.")
        return entry

    def _withdraw(self, name: str) -> str:
        entry = self._queue.entry(self._storage.open(name))
        if entry is None:
            raise QueueError(f"Run {name!r} is not in the queue.")
        if not self._queue.withdraw(entry):
            raise QueueError(f"Run {name!r} has started: it goes on, and is not tried again.\n  Stop it.")
        return entry.name

    def _hold(self, name: str, *, held: bool) -> str:
        self._queue.hold(entry := self._entry(name), held=held)
        return entry.name

    def _requeue(self, name: str) -> str:
        """A draft waits; of a run that has ended, a new one like it does."""
        run = self._storage.open(name)
        order = make_out(
            LaunchAsked(from_run=name),
            self._storage,
            self._engines.scripts,
            self._engines.checkpoints,
            self._engines.known,
        )
        if run.newest_attempt() is None:
            launch.requeue(run, self._storage, bool(changed_sources(run, order.script.path)))
            return run.name
        resuming.check_is_over(run)
        return launch.again(order, run, self._storage).name

    def _resume(self, name: str) -> str:
        goes_on = resuming.resumable(f"{self._storage.open(name).name}@last", self._storage)
        order = make.order_of(goes_on.run)
        self._engines.scripts.check(order.script)
        terms = Terms(live_code=True, retries=combining.RETRIES)
        self._queue.add(goes_on.run, order.arguments, terms, resume=goes_on.which)
        return goes_on.run.name

    def _pin(self, reference: str, *, off: bool) -> str:
        pins.pin(resolved(reference, self._storage, self._engines.checkpoints), off=off)
        return reference


def change_notes(storage: Storage, name: str, change: NotesChange) -> Run:
    """Replace what of a run's notes is given. Raises: RunNotFoundError; ConfigError."""
    run = storage.open(name)
    notes = run.notes()
    if change.tags is not None:
        if len(change.tags) > _MOST_TAGS:
            raise ConfigError(f"{len(change.tags):,} tags: a run has at most {_MOST_TAGS}.", key="tags")
        notes = replace(notes, tags=tuple(dict.fromkeys(check_tag(tag) for tag in change.tags)))
    if change.note is not None:
        if len(change.note) > _LONGEST_NOTE:
            raise ConfigError(f"A note takes at most {_LONGEST_NOTE:,} signs.", key="note")
        notes = replace(notes, note=change.note)
    if change.starred is not None:
        notes = replace(notes, starred=change.starred)
    if change.archived is not None:
        notes = replace(notes, archived=change.archived)
    if change.colour is not None:
        notes = replace(notes, colour=str(change.colour))
    run.write_notes(notes)
    return run


def trash_id(trashed: Trashed) -> str:
    """Names one thing in the trash: when and with what it was deleted. It is compared, and never a path."""
    return f"{trashed.run.folder.parent.name}:{trashed.run.name}"


def trash_view(storage: Storage) -> TrashView:
    """What can be restored, newest first."""
    return TrashView(
        entries=[
            TrashEntry(id=trash_id(one), name=one.run.name, deleted_at=one.deleted_at, nbytes=one.run.size_bytes())
            for one in Trash(storage.path).list()
        ]
    )
