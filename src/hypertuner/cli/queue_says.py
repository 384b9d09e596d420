"""What a draining queue says: a line for all that happens, and at its end what came of it, and what to do next."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from hypertuner import files, settings
from hypertuner.cli.terminal import (
    age_text,
    count_text,
    duration_text,
    is_number,
    plain,
    rough_text,
    say,
    state_cell,
    value_text,
)
from hypertuner.errors import CorruptFileError, StorageError, first_line
from hypertuner.index.runs import read_row
from hypertuner.index.table import RunRow
from hypertuner.queue.drain import Drainer, Event
from hypertuner.queue.waiting import Queue
from hypertuner.store import Run, Storage, records
from hypertuner.store.monitor import watched_metric
from hypertuner.store.written import FileClock

_NAMES = 6
_LONGEST = 70
_REASONS = 3


class Says:
    """Tells what happens to the runs of a queue, a line each, and sums it up."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._began = time.time()
        self._ended: dict[str, tuple[RunRow, records.Exit | None]] = {}
        self._more: Counter[str] = Counter()
        """Runs that ended and whose files could not be read."""
        self._is_heard = True

    @property
    def has_failed(self) -> bool:
        """Whether a run has failed."""
        return bool(self._more) or any(row.state in ("failed", "crashed") for row, _ in self._ended.values())

    def __call__(self, event: Event) -> None:
        """Say what has happened."""
        name = plain(event.entry.name)
        match event.kind:
            case "started":
                told = f"{name} started{self._config(event.entry.run)}{f', {event.text}' if event.text else ''}"
            case "again":
                told = f"{name} is queued again: {plain(event.text)}"
            case "trouble":
                told = f"{name} cannot be seen to, and is tried again: {plain(event.text)}"
            case "void":
                told = f"{name} has not started: {plain(event.text)}"
            case _:
                told = self._end(event)
        self.say(f"{_clock()}  {told}")

    def say(self, text: str) -> None:
        """Say it, as long as anybody listens: a pipe or a terminal that is gone ends no draining."""
        if self._is_heard:
            try:
                say(text)
            except (OSError, SystemExit):  # SystemExit is rich's answer to a closed pipe
                self._is_heard = False

    def _config(self, run: Run) -> str:
        record = run.record()
        config = run.config()
        keys = [key for key in (record.asked if record is not None else ()) if key in config]
        return "".join(f" {plain(key)}={plain(value_text(config[key]))}" for key in keys[:6])

    def _end(self, event: Event) -> str:
        run = event.entry.run
        attempt = run.newest_attempt()
        try:
            row, ended = read_row(run), attempt.exit() if attempt is not None else None
        except (CorruptFileError, OSError) as error:
            self._more[run.name] += 1
            return f"{plain(run.name)} has ended: {plain(first_line(error))}"
        self._ended[run.name] = row, ended
        parts = [f"{plain(row.name)} {state_cell(row.state).text} after {duration_text(row.duration_s)}"]
        if row.state != "finished":
            parts.append(plain(event.text))
        if (best := _best_of([row])) is not None:
            parts.append(f"best {plain(best[1])} {value_text(best[2])}")
        return ", ".join(parts)

    def summary(self, queue: Queue, drainer: Drainer) -> None:
        """Say what came of it, and what to do next; and keep it for whoever looks later."""
        lines = [*self._came(), *self._next()]
        if running := drainer.running:
            lines.append(f"{count_text(len(running), 'run')} still going: {_names([one.name for one in running])}")
        # Read anew: what a drainer has started itself, its own queue still takes for waiting.
        going = {one.name for one in running}
        if waiting := [entry for entry in Queue(self._storage).waiting() if entry.name not in going]:
            why = "the queue is paused: " if queue.is_paused else ""
            command = command_line(self._storage, "queue", "resume" if queue.is_paused else "ls")
            lines.append(f"{count_text(len(waiting), 'run')} still waiting: {why}{command}")
        if not lines:
            return
        self.say("")
        self.say("\n".join(lines))
        if self._ended:
            with contextlib.suppress(OSError, StorageError):
                files.replace(queue.layout.summary, "\n".join([*lines, ""]).encode(errors="backslashreplace"))

    def _came(self) -> list[str]:
        if not self._ended:
            return []
        rows = [row for row, _ in self._ended.values()]
        states = Counter(row.state for row in rows)
        parts = [f"{states['finished']} finished"] if states["finished"] else []
        for state in sorted(states.keys() - {"finished"}):
            parts.append(f"{states[state]} {state}: {self._reasons(state)}")
        when = f"done {_when(time.time())}, in {rough_text(time.time() - self._began)}"
        lines = ["; ".join(parts), when]
        if len(rows) > 1:
            longest = max(rows, key=lambda row: row.duration_s or 0.0)
            lines[1] += f"; longest: {plain(longest.name)}, {rough_text(longest.duration_s or 0.0)}"
        if (best := _best_of(rows)) is not None:
            row, metric, value, mode = best
            having = [other for other in rows if is_number(other.best.get(metric)) and other.name != row.name]
            having.sort(key=lambda other: other.best[metric], reverse=mode == "max")
            then = f", then {plain(having[0].name)} {value_text(having[0].best[metric])}" if having else ""
            label = f" ({plain(told)})" if (told := self._config(Run(self._storage.path / row.name)).strip()) else ""
            lines.append(f"best {plain(metric)}: {value_text(value)} {plain(row.name)}{label}{then}")
        return lines

    def _reasons(self, state: str) -> str:
        """Why runs ended in a state, each reason with who did: 'CUDA out of memory (calm-otter, bold-crow)'."""
        by_reason: dict[str, list[str]] = {}
        for name, (row, ended) in self._ended.items():
            if row.state == state:
                by_reason.setdefault(_short(ended), []).append(name)
        ordered = sorted(by_reason.items(), key=lambda pair: -len(pair[1]))
        told = [f"{plain(reason)} ({_names(names)})" for reason, names in ordered[:_REASONS]]
        more = sum(len(names) for _, names in ordered[_REASONS:])
        return ", ".join([*told, f"and {more} more"] if more else told)

    def _next(self) -> list[str]:
        """Commands that can be typed as they are."""
        lines = []
        rows = [row for row, _ in self._ended.values()]
        failed = [name for name, (row, _) in self._ended.items() if row.state in ("failed", "crashed")]
        if failed:
            change = self._change(failed)
            said = "run those again" if change else "run those again, with a change (add key=value)"
            words = ["run", "--like", self._which(failed), *change, "--queue"]
            lines.append(f"{said if len(failed) > 1 else said.replace('those', 'it')}:")
            lines.append(f"  {command_line(self._storage, *words)}")
        if (best := _best_of(rows)) is not None and Run(self._storage.path / best[0].name).layout.model.exists():
            lines.append("start the next from the best one's weights:")
            lines.append(f"  {command_line(self._storage, 'run', '--from', best[0].name)}")
        elif not failed and self._ended:
            lines.append(f"look at them: {command_line(self._storage, 'ls')}")
        return lines

    def _which(self, failed: Sequence[str]) -> str:
        """The failed runs, as --like takes them."""
        if len(failed) == 1:
            return failed[0]
        if len(failed) <= _NAMES:
            return f"name in [{', '.join(repr(name) for name in failed)}]".replace("'", '"')
        oldest = min(self._ended[name][0].created for name in failed)
        # Ages count from when a run was made, and it takes a while until this is typed.
        days = int((time.time() - oldest) // 86400) + 2
        return f'state == "failed" and age < "{days}d"'

    def _change(self, failed: Sequence[str]) -> list[str]:
        """What may help: half the batch, where the memory of a GPU was not enough."""
        ended = [self._ended[name] for name in failed]
        if not all(one is not None and one.cause in ("gpu memory", "cpu memory") for _, one in ended):
            return []
        for key in ("batch_size", "batch", "bs"):
            sizes = [row.config.get(key) for row, _ in ended]
            whole = [size for size in sizes if isinstance(size, int) and not isinstance(size, bool) and size > 1]
            if len(whole) == len(sizes):
                return [f"{key}={min(whole) // 2}"]
        return []


def command_line(storage: Storage, *words: str) -> str:
    """A command about a storage, as it is typed here."""
    usual = Storage(settings.storage_path()).path
    place = [] if storage.path == usual else ["--storage", str(storage.path)]
    at = 2 if words[0] == "queue" else len(words)
    return shlex.join(["hypertuner", *words[:at], *place, *words[at:]])


def last_summary(queue: Queue) -> str:
    """What came of the last draining, and how long ago that was; '' when nothing is known of one."""
    path = queue.layout.summary
    try:
        text, written = path.read_text(encoding="utf-8", errors="replace"), path.stat().st_mtime
    except OSError:
        return ""
    age = age_text(FileClock(queue.storage.path).age(written))
    return f"The last time, {age}:\n" + "\n".join(f"  {line}" for line in text.rstrip().splitlines())


def _best_of(rows: Sequence[RunRow]) -> tuple[RunRow, str, Any, str] | None:
    """(run, metric, value, 'min' or 'max'): the best of these by what is watched; None when nothing tells."""
    logged = {name: value for row in rows for name, value in row.metrics.items()}
    watched = watched_metric(logged, None, None)
    if watched is None:
        return None
    metric, mode = watched
    having = [row for row in rows if is_number(row.best.get(metric))]
    if not having:
        return None
    best = (min if mode == "min" else max)(having, key=lambda row: row.best[metric])
    return best, metric, best.best[metric], mode


def _short(ended: records.Exit | None) -> str:
    """Why an attempt ended, in a few words that are the same for the same cause."""
    if ended is None:
        return "ended without a word"
    if ended.cause == "gpu memory":
        return "CUDA out of memory"
    if ended.cause == "cpu memory":
        return "out of memory"
    reason = first_line(ended.reason)
    return reason if len(reason) <= _LONGEST else f"{reason[: _LONGEST - 1]}…"


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(plain(name) for name in names[:_NAMES])
    return f"{shown} and {len(names) - _NAMES} more" if len(names) > _NAMES else shown


def _clock() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().strftime("%a %H:%M")
