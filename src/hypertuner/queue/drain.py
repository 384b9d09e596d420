"""Draining a queue: starting what waits as long as there is room for it, and seeing to what has ended.

The drainer keeps nothing that the run folders do not say. It may be killed at any moment: what runs goes on under its
supervisors, and the next drainer takes up where this one was. One process at a time drains a storage.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType

from hypertuner import files
from hypertuner.errors import HypertunerError, StorageError, first_line
from hypertuner.queue import ending, launch, make, private, tree
from hypertuner.queue.executor import Executor, Handle
from hypertuner.queue.reasons import GOOD, blocked
from hypertuner.queue.slots import Slots, Taken
from hypertuner.queue.turn import Turn
from hypertuner.queue.waiting import Entry, Queue
from hypertuner.store import Attempt, RunState, records, supervised
from hypertuner.store.together import RUN_VARIABLE

_EVERY_S = 0.1
_LOOK_EVERY_S = 5.0
"""How often all run folders are looked at, when nothing has told that they changed."""
_WORTH = 30
"""Where a look takes long, for there are very many runs: no more than this share of the time goes into it."""
_START_EVERY_S = 1.0
"""How often it is seen what can be started, when nothing has ended or come: a GPU gets free, a pause is over."""
_GONE_FOR_S = 5.0
"""How long an attempt without an owner may stay so: what is left of its supervisor may be writing its end."""
_LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True)
class Event:
    """Something that happened to a run of the queue."""

    kind: str
    """'started', 'ended', 'again', 'void', 'trouble'."""
    entry: Entry
    text: str = ""


@dataclass
class _Running:
    entry: Entry
    taken: Taken
    number: int
    handle: Handle | None
    gone_since: float | None = None


@dataclass
class _Pause:
    until: float = 0.0
    length_s: float = 0.5
    reason: str = ""


@dataclass
class Drainer:
    """Drains one queue with what `slots` allows."""

    queue: Queue
    executor: Executor
    slots: Slots
    tell: Callable[[Event], None] = lambda event: None
    reasons: dict[str, str] = field(default_factory=dict)
    """Why each run that waits does, in words."""

    def __post_init__(self) -> None:
        self._running: dict[str, _Running] = {}
        self._entries: dict[str, Entry] = {}
        self._pauses: dict[str, _Pause] = {}
        self._troubles: dict[str, str] = {}
        self._seen: object = None
        self._looked_at = 0.0
        self._look_took_s = 0.0
        self._next_start = 0.0
        self._leaves = False
        self._turn: Turn | None = None

    def leave(self) -> None:
        """Start nothing more, and let `run` return; what runs goes on."""
        self._leaves = True

    @property
    def has_turn(self) -> bool:
        """Whether it drains the storage now."""
        return self._turn is not None

    def resize(self, slots: Slots) -> None:
        """Drain with other slots from here on; what runs goes on, also where it takes more than there are now."""
        self.slots = slots
        self._next_start = 0.0
        if self._turn is not None:
            self._turn.tell(slots.count)

    def run(self, *, until_empty: bool = True) -> None:
        """Drain until nothing runs and nothing that waits can ever start, or for ever.

        Raises: QueueError when another process drains this storage.
        """
        with Turn(self.queue, self.slots.count) as self._turn:
            try:
                while not self._leaves:
                    self.step()
                    if until_empty and not self._running and not self._may_start():
                        break
                    time.sleep(_EVERY_S)
                self.queue.sweep()
            finally:
                self._turn = None
                self.executor.close()

    def step(self) -> None:
        """Look around once: see to what has ended, and start what can be."""
        has_changed = False
        for running in list(self._running.values()):
            with self._in_spite_of_the_disk(running.entry):
                if self._has_ended(running):
                    has_changed = True
                    del self._running[running.entry.name]
                    self._refresh(running.entry)
        changed = self.queue.changed()
        if changed != self._seen or time.monotonic() - self._looked_at > max(_LOOK_EVERY_S, self._look_took_s * _WORTH):
            self._seen = changed
            self._look()
            has_changed = True
        now = time.monotonic()
        if (has_changed or now >= self._next_start) and not self.queue.is_paused and not self._leaves:
            self._next_start = now + _START_EVERY_S
            self._start_what_can()

    @contextlib.contextmanager
    def _in_spite_of_the_disk(self, entry: Entry) -> Iterator[None]:
        """A disk without room, or one that is away for a moment, ends nobody's night: it is told, and tried again."""
        try:
            yield
        except (OSError, StorageError) as error:
            if self._troubles.get(entry.name) != str(error):
                self._troubles[entry.name] = str(error)
                self.tell(Event("trouble", entry, first_line(error)))

    @property
    def running(self) -> list[Entry]:
        """What runs."""
        return [running.entry for running in self._running.values()]

    @property
    def running_names(self) -> frozenset[str]:
        """The names of what runs; another thread may ask."""
        return frozenset(self._running)

    def _look(self) -> None:
        """Read the whole queue."""
        began = time.monotonic()
        self._entries = {}
        for entry in self.queue.entries():
            with self._in_spite_of_the_disk(entry):
                self._take_up(entry)
        self._looked_at = time.monotonic()
        self._look_took_s = self._looked_at - began

    def _refresh(self, entry: Entry) -> None:
        """Read one run again."""
        self._entries.pop(entry.name, None)
        if (now := self.queue.entry(entry.run)) is not None:
            self._take_up(now)
        self._seen = self.queue.changed()

    def _take_up(self, entry: Entry) -> None:
        self._entries[entry.name] = entry
        if entry.name in self._running:
            self._running[entry.name].entry = entry
        elif not entry.is_waiting:
            self._adopt_or_settle(entry)

    def _adopt_or_settle(self, entry: Entry) -> None:
        attempt = entry.attempt
        assert attempt is not None
        started = attempt.started
        state = attempt.state()
        if state == RunState.unknown and attempt.exit() is None:
            self.reasons[entry.name] = f"attempt {attempt.number} may run on {started.host if started else '?'}"
        elif state in (RunState.running, RunState.crashed):
            taken = Taken(started.slots if started else 0, tuple(started.assigned) if started else ())
            self._running[entry.name] = _Running(entry, taken, attempt.number, None)
        else:
            self._settle(entry, attempt, attempt.exit())

    def _has_ended(self, running: _Running) -> bool:
        """Whether a run is over here, and seen to: it is settled where it has ended."""
        if running.handle is not None:
            if (said := running.handle.poll()) is None:
                return False
            running.handle = None
            if said:
                self._could_not_start(running, said)
        attempt = running.entry.run.newest_attempt()
        if attempt is None or attempt.number < running.number:
            if self.queue.entry(running.entry.run) is not None:  # else somebody took it out of the queue
                self._pause(running.entry, "its supervisor was gone before it had started anything")
            return True
        state = attempt.state()
        if state == RunState.running:
            return False
        if state == RunState.unknown and attempt.exit() is None:
            return True  # it has turned out to run elsewhere, and is for the drainer of that machine
        if state == RunState.crashed and attempt.exit() is None:
            # Both processes of its supervisor are gone. What is left of them may still be ending what they started.
            running.gone_since = running.gone_since or time.monotonic()
            if time.monotonic() - running.gone_since < _GONE_FOR_S:
                return False
            self._end_what_is_left(running, attempt)
        if (entry := self.queue.entry(running.entry.run)) is not None and not entry.is_waiting:
            self._settle(entry, attempt, attempt.exit())
        return True

    def _end_what_is_left(self, running: _Running, attempt: Attempt) -> None:
        marks = {RUN_VARIABLE: str(running.entry.run.folder.absolute()), supervised.VARIABLE: str(attempt.number)}
        tree.end_marked(marks)
        reason = "its supervisor was killed, or the machine was restarted"
        running.entry.run.end_attempt(
            attempt, ending.lost(records.read(records.Exit, attempt.layout.script_exit), reason)
        )

    def _settle(self, entry: Entry, attempt: Attempt, ended: records.Exit | None) -> None:
        """See to a run whose attempt is over: it waits for another one, or the queue is done with it."""
        queued, run = entry.queued, entry.run
        ended = ended or ending.lost(None, "it ended without a word")
        retriable = ended.cause in records.INFRASTRUCTURE or (queued.retry_on == "any" and ended.state == "failed")
        withdrawn = attempt.layout.stop.exists()
        self._pauses.pop(entry.name, None)
        if retriable and queued.retries > 0 and not withdrawn and ended.state != "finished":
            again = dataclasses.replace(
                queued,
                attempt=attempt.number + 1,
                retries=queued.retries - 1,
                resume="last" if run.checkpoints() else queued.resume,
                why=f"attempt {attempt.number}: {ended.reason}",
            )
            self.queue.write(run, again)
            self._entries[entry.name] = dataclasses.replace(entry, queued=again)
            self.tell(Event("again", entry, ended.reason))
            return
        with contextlib.suppress(FileNotFoundError):
            files.remove(run.layout.queued)
        self._entries.pop(entry.name, None)
        self.tell(Event("ended", entry, ended.reason))

    def _start_what_can(self) -> None:
        waiting = sorted((entry for entry in self._entries.values() if entry.is_waiting), key=lambda one: one.order)
        # What waits is judged anew, what has left the queue needs no reason; one that may run elsewhere keeps its own.
        self.reasons = {
            name: reason
            for name, reason in self.reasons.items()
            if name in self._entries and not self._entries[name].is_waiting
        }
        for position, entry in enumerate(waiting):
            if entry.name in self._running:
                continue
            if (reason := self._blocked(entry)) is not None:
                self.reasons[entry.name] = reason
                continue
            processes = launch.processes_for(entry.run, entry.queued)
            share = self.slots.share(processes, [self._taken(running) for running in self._running.values()])
            if isinstance(share, str):
                # None that wants less goes before it: it would wait for ever.
                for later in waiting[position:]:
                    self.reasons.setdefault(later.name, share)
                return
            with self._in_spite_of_the_disk(entry):
                self._start(entry, share.slots, share.gpus, more=len(waiting) - position - 1)

    def _taken(self, running: _Running) -> Taken:
        """What a run uses, with its processes where they are to be told from strangers'."""
        attempt = running.entry.run.newest_attempt() if self.slots.gpus else None
        if attempt is None or attempt.started is None:
            return running.taken
        return dataclasses.replace(running.taken, pids=tree.family(attempt.started.pid))

    def _blocked(self, entry: Entry) -> str | None:
        """Why a run may not start, whatever room there is."""
        if (pause := self._pauses.get(entry.name)) is not None and time.monotonic() < pause.until:
            return f"waits {pause.length_s:.0f} s: {pause.reason}"
        return blocked(self.queue, entry)

    def _may_start(self) -> bool:
        """Whether anything that waits could start one day without somebody's doing."""
        if self.queue.is_paused:
            return False
        waiting = [
            entry
            for entry in self._entries.values()
            if entry.is_waiting
            and not entry.queued.held
            and private.read(self.queue.storage.path, entry.queued.private) is not None
        ]
        possible = set(self._running)
        # What only waits for itself, in a circle, never gets in.
        while more := {
            entry.name
            for entry in waiting
            if entry.name not in possible
            and all(name in possible or self._is_good(name) for name in entry.queued.after)
        }:
            possible |= more
        return any(entry.name in possible for entry in waiting)

    def _is_good(self, name: str) -> bool:
        """Whether a run that another waits for has finished, or will without us."""
        try:
            return self.queue.open(name).state() in (*GOOD, RunState.running)
        except HypertunerError:
            return False

    def _start(self, entry: Entry, slots: int, gpus: tuple[str, ...], more: int) -> None:
        number = entry.run.next_number()
        if not entry.run.is_waiting():
            self._refresh(entry)
            return
        self.reasons.pop(entry.name, None)
        if entry.queued.begins_from is not None and not self._give_parent(entry):
            return
        running = _Running(entry, Taken(slots, gpus), number, None)
        try:
            running.handle = self.executor.submit(entry, number, slots, gpus, more)
        except (OSError, ValueError) as error:  # the latter: a name that no file can have
            why = error.strerror if isinstance(error, OSError) else str(error)
            self._could_not_start(running, f"{entry.queued.python}: {why}")
            self._refresh(entry)
            return
        self._running[entry.name] = running
        self.tell(Event("started", entry, "GPU " + ", ".join(gpus) if gpus else ""))

    def _give_parent(self, entry: Entry) -> bool:
        """Let a run begin from the checkpoint that it waited for; where that cannot be, it fails."""
        queued = entry.queued
        assert queued.begins_from is not None
        try:
            make.give_parent(entry.run, queued.begins_from, queued.begins_how)
        except (HypertunerError, OSError) as error:
            self._could_not_start(_Running(entry, Taken(0), entry.run.next_number(), None), str(error))
            self._refresh(entry)
            return False
        self.queue.write(entry.run, dataclasses.replace(queued, begins_from=None))
        return True

    def _could_not_start(self, running: _Running, reason: str) -> None:
        """Nothing claimed the attempt and nothing will: it is recorded as one that could not be started."""
        run = running.entry.run
        if run.next_number() != running.number:
            return
        with contextlib.suppress(FileExistsError, StorageError, OSError):
            about = {"python": "", "platform": "", "user": ""}
            started = records.Started.here(exit_by="supervisor", config=run.config(), **about)
            attempt = run.claim(running.number, started)
            run.end_attempt(attempt, ending.not_started(f"it could not be started: {first_line(reason)}"))
            if (entry := self.queue.entry(run)) is not None:
                self._settle(dataclasses.replace(entry, attempt=attempt), attempt, attempt.exit())

    def _pause(self, entry: Entry, reason: str) -> None:
        """Let some time pass before a run that could not be started is tried again."""
        pause = self._pauses.setdefault(entry.name, _Pause())
        pause.reason = reason
        pause.until = time.monotonic() + pause.length_s
        self.tell(Event("void", entry, f"{reason}; once more in {pause.length_s:g} s"))
        pause.length_s = min(2 * pause.length_s, _LONGEST_PAUSE_S)


@contextlib.contextmanager
def leaving_on_signals(drainer: Drainer) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM make a drainer leave, while the block runs."""

    def leave(number: int, frame: FrameType | None) -> None:
        drainer.leave()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, leave) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
