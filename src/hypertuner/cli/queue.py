"""`hypertuner queue`: drain it, look at it, change it; `hypertuner stop`."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from hypertuner import files
from hypertuner.cli.terminal import (
    Cell,
    Column,
    age_text,
    count_text,
    duration_text,
    plain,
    say,
    show_json,
    show_table,
    state_cell,
    value_text,
)
from hypertuner.errors import QueueError, first_line
from hypertuner.index.runs import read_row
from hypertuner.index.selection import select
from hypertuner.queue import tree
from hypertuner.queue.drain import Drainer, Event, leaving_on_signals
from hypertuner.queue.executor import LocalExecutor
from hypertuner.queue.slots import Slots
from hypertuner.queue.supervisor import ask_to_stop
from hypertuner.queue.turn import drained_by
from hypertuner.queue.waiting import Entry, Queue
from hypertuner.store import Run, RunState, Storage, records
from hypertuner.store.monitor import watched_metric
from hypertuner.store.process import ProcessIdentity

_BY_A_QUEUE_S = 60.0


def drain(storage: Storage, *, slots: int | None, per_gpu: int, cpu: bool, stays: bool, zygote: bool = True) -> int:
    """Drain the queue in the foreground; 1 when a run has failed."""
    queue = Queue(storage)
    said = _Says(storage)
    drainer = Drainer(queue, LocalExecutor(storage, zygote=zygote), Slots(slots, per_gpu, use_gpus=not cpu), said)
    waiting = queue.waiting()
    if not waiting and not stays and not any(not entry.is_waiting for entry in queue.entries()):
        say(f"Nothing waits in {storage.path}.")
        say("  hypertuner run train.py learning_rate=0.1,0.01 --queue   makes two runs that do.")
        return 0
    room = f"{count_text(drainer.slots.count, 'slot')}"
    if drainer.slots.gpus:
        room += f" on {count_text(len(drainer.slots.gpus), 'GPU')}"
    say(f"{count_text(len(waiting), 'run')} in the queue of {storage.path}, {room}")
    with leaving_on_signals(drainer):
        drainer.run(until_empty=not stays)
    said.summary(queue, drainer)
    return int(said.ended["failed"] + said.ended["crashed"] > 0)


def drain_detached(storage: Storage, words: Sequence[str]) -> None:
    """Start a drainer that outlives this terminal. Raises: QueueError when one is there already."""
    queue = Queue(storage)
    if (drains := drained_by(queue)) is not None:
        raise QueueError(
            f"Process {drains.identity.pid} on {drains.identity.host} drains this storage since {drains.since}."
        )
    files.make_folder(queue.layout.folder)
    with contextlib.closing(files.Appender(queue.layout.log)) as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "hypertuner", "queue", *words, "--storage", str(storage.path)],
            stdin=subprocess.DEVNULL,
            stdout=log.fileno(),
            stderr=log.fileno(),
            start_new_session=True,
        )
    until = time.monotonic() + 10
    while time.monotonic() < until and process.poll() is None and drained_by(queue) is None:
        time.sleep(0.05)
    if process.poll() not in (None, 0) and drained_by(queue) is None:
        raise QueueError(f"The drainer ended with {process.returncode}: {queue.layout.log} says why.")
    say(f"Process {process.pid} drains {storage.path}; what it does: {queue.layout.log}")
    say("  hypertuner queue ls   what waits and runs; hypertuner queue stop   ends it, and lets what runs go on")


class _Says:
    """Tells what happens to the runs of a queue, a line each."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._began = time.time()
        self.ended: Counter[str] = Counter()
        self._failed: list[tuple[str, str]] = []
        self._best: tuple[str, float, str] | None = None

    def __call__(self, event: Event) -> None:
        name = plain(event.entry.name)
        clock = datetime.now(timezone.utc).astimezone().strftime("%H:%M:%S")
        match event.kind:
            case "started":
                say(f"{clock}  {name} started{self._config(event.entry.run)}{f', {event.text}' if event.text else ''}")
            case "again":
                say(f"{clock}  {name} is queued again: {plain(event.text)}")
            case "void":
                say(f"{clock}  {name} has not started: {plain(event.text)}")
            case _:
                say(f"{clock}  {self._end(event)}")

    def _config(self, run: Run) -> str:
        record = run.record()
        config = run.config()
        keys = [key for key in (record.asked if record is not None else ()) if key in config]
        return "".join(f" {plain(key)}={plain(value_text(config[key]))}" for key in keys[:6])

    def _end(self, event: Event) -> str:
        row = read_row(event.entry.run)
        self.ended[row.state] += 1
        parts = [f"{plain(row.name)} {state_cell(row.state).text} after {duration_text(row.duration_s)}"]
        if row.state != "finished":
            parts.append(plain(event.text))
        if row.state == "failed":
            self._failed.append((row.name, event.text))
        if (watched := watched_metric(row.metrics, None, None)) is not None and watched[0] in row.best:
            metric, mode = watched[0], watched[1]
            value = row.best[metric]
            parts.append(f"best {plain(metric)} {value_text(value)}")
            before = self._best
            if before is None or before[0] != metric or (value < before[1] if mode == "min" else value > before[1]):
                self._best = (metric, value, row.name)
        return ", ".join(parts)

    def summary(self, queue: Queue, drainer: Drainer) -> None:
        """What came of it, and what to do next."""
        reasons = Counter(first_line(reason) for _, reason in self._failed).most_common(3)
        why = "; ".join(f"{plain(reason)[:90]}{f' ({count} times)' if count > 1 else ''}" for reason, count in reasons)
        parts = [f"{count} {state}" for state, count in sorted(self.ended.items()) if count and state != "failed"]
        parts += [f"{self.ended['failed']} failed: {why}"] if self.ended["failed"] else []
        if parts:
            say(", ".join(parts))
        if self._best is not None:
            metric, value, name = self._best
            best = f"best {plain(metric)} {value_text(value)}: {plain(name)}"
            if Run(self._storage.path / name).layout.model.exists():
                best += f"; start the next from its weights: hypertuner run --from {name}@best"
            say(best)
        if self._failed:
            names = [name for name, _ in self._failed]
            since = f"{int((time.time() - self._began) // 3600) + 1}h"
            which = names[0] if len(names) == 1 else f'\'state == "failed" and age < "{since}"\''
            say(f"run the failed again, with a change: hypertuner run --like {which} key=value --queue")
        if running := drainer.running:
            say(f"{count_text(len(running), 'run')} go on: {', '.join(plain(entry.name) for entry in running)}")
        waiting = queue.waiting()
        if waiting:
            why = "the queue is paused: hypertuner queue resume" if queue.is_paused else "hypertuner queue ls says why"
            say(f"{count_text(len(waiting), 'run')} still wait: {why}")


def show(storage: Storage, *, as_json: bool) -> None:
    """Print what runs and what waits, in order, and why."""
    queue = Queue(storage)
    entries = queue.entries()
    drains = drained_by(queue)
    rows = [_row(queue, entry, position) for position, entry in enumerate(entries, start=1)]
    if as_json:
        drainer = (
            {**dataclasses.asdict(drains.identity), "since": drains.since, "slots": drains.slots} if drains else None
        )
        show_json({"drainer": drainer, "paused": queue.is_paused, "runs": rows, "unreadable": queue.unreadable})
        return
    if not rows:
        say(f"Nothing waits in {storage.path}.")
    else:
        show_table(
            [
                Column("", [Cell(str(row["position"]) if row["waits"] else "", "dim") for row in rows], is_number=True),
                Column("name", [Cell(plain(row["name"]), "bold") for row in rows]),
                Column("state", [state_cell(row["state"]) for row in rows]),
                Column("config", [Cell(plain(row["config"])) for row in rows], rank=2),
                Column("since", [Cell(age_text(row["since_s"]), "dim") for row in rows], rank=1),
                Column("waits for", [Cell(plain(row["why"])) for row in rows], rank=1),
            ]
        )
    for name, problem in queue.unreadable.items():
        say(f"{plain(name)}: {plain(problem)}")
    if queue.is_paused:
        say("The queue is paused: nothing new starts. hypertuner queue resume")
    if drains is not None:
        where = f"process {drains.identity.pid} on {drains.identity.host}"
        say(f"Drained by {where} since {drains.since}, {count_text(drains.slots, 'slot')}.")
    elif rows:
        say("Nothing drains this queue. Start it: hypertuner queue   (--detach lets it outlive this terminal)")


def _row(queue: Queue, entry: Entry, position: int) -> dict[str, Any]:
    run, queued = entry.run, entry.queued
    record = run.record()
    config = run.config()
    asked = [key for key in (record.asked if record is not None else ()) if key in config]
    why = ""
    if entry.is_waiting:
        over = [name for name in queued.after if _state_of(queue.storage, name) != "finished"]
        why = "held: hypertuner queue resume " + run.name if queued.held else ""
        why = why or (", ".join(f"{name} ({_state_of(queue.storage, name)})" for name in over))
        why = why or queued.why
    began = entry.attempt.started.started_at if entry.attempt and entry.attempt.started else queued.queued_at
    since = records.seconds(queued.queued_at if entry.is_waiting else began)
    return {
        "name": run.name,
        "state": str(run.state()),
        "position": position,
        "waits": entry.is_waiting,
        "config": " ".join(f"{key}={value_text(config[key])}" for key in asked),
        "since_s": max(0.0, time.time() - (since or time.time())),
        "why": why,
        "priority": queued.priority,
        "attempt": queued.attempt,
        "retries": queued.retries,
        "after": list(queued.after),
        "held": queued.held,
        "time_limit_s": queued.time_limit_s,
    }


def _state_of(storage: Storage, name: str) -> str:
    run = Run(storage.path / name)
    return str(run.state()) if run.exists() else "gone"


def move(storage: Storage, name: str, *, before: str | None, last: bool) -> None:
    """Change the place of a run that waits. Raises: QueueError when it, or the other, does not wait."""
    queue = Queue(storage)
    entry = _waiting(queue, name)
    queue.move(entry, before=_waiting(queue, before) if before else None, last=last)
    names = [one.name for one in queue.waiting()]
    say(f"{name} is number {names.index(name) + 1} of {len(names)}")


def _waiting(queue: Queue, name: str) -> Entry:
    entry = queue.entry(queue.storage.open(name))
    if entry is None or not entry.is_waiting:
        raise QueueError(f"Run {name!r} does not wait.\n  What does: hypertuner queue ls")
    return entry


def withdraw(storage: Storage, words: Sequence[str]) -> None:
    """Take runs out of the queue; they stay as they are."""
    queue = Queue(storage)
    for run in select(words, storage):
        entry = queue.entry(run)
        if entry is None:
            say(f"{run.name} is not in the queue")
            continue
        queue.withdraw(entry)
        say(f"{run.name} is out of the queue" if entry.is_waiting else f"{run.name} runs, and is not tried again")


def pause(storage: Storage, words: Sequence[str], *, held: bool) -> None:
    """Let the whole queue, or some of its runs, wait; or let them go on."""
    queue = Queue(storage)
    if not words:
        (queue.pause if held else queue.unpause)()
        say("Nothing new starts; what runs goes on." if held else "The queue goes on.")
        if not held:
            from hypertuner.cli.queueing import say_who_drains

            say_who_drains(queue)
        return
    for run in select(words, storage):
        queue.hold(_waiting(queue, run.name), held=held)
        say(f"{run.name} is held" if held else f"{run.name} goes on")


def leave(storage: Storage) -> int:
    """Ask whoever drains the queue to end; what runs goes on. 1 when nobody could be asked."""
    queue = Queue(storage)
    drains = drained_by(queue)
    if drains is None:
        say(f"Nothing drains {storage.path}.")
        return 0
    if not tree.send(drains.identity, signal.SIGTERM):
        say(f"It is drained on {drains.identity.host}, by process {drains.identity.pid}: stop it there.")
        return 1
    until = time.monotonic() + 10
    while drained_by(queue) is not None and time.monotonic() < until:
        time.sleep(0.05)
    running = [entry.name for entry in queue.entries() if not entry.is_waiting]
    goes_on = f"; {', '.join(running)} go on (hypertuner stop RUN)" if running else ""
    say(f"Process {drains.identity.pid} drains it no longer{goes_on}.")
    return 0


def stop(storage: Storage, words: Sequence[str], *, wait: bool) -> int:
    """Stop runs: those that wait leave the queue. 1 when one could not be stopped."""
    queue = Queue(storage)
    asked: list[Run] = []
    failed = 0
    for run in select(words, storage):
        entry = queue.entry(run)
        if entry is not None and entry.is_waiting:
            queue.withdraw(entry)
            say(f"{run.name} is out of the queue")
            continue
        if problem := _stop(run):
            failed = 1
            say(f"{run.name}: {problem}")
        else:
            asked.append(run)
            say(f"{run.name} is asked to stop")
    until = time.monotonic() + _BY_A_QUEUE_S
    while wait and asked and time.monotonic() < until:
        for run in [run for run in asked if run.state() != RunState.running]:
            asked.remove(run)
            attempt = run.newest_attempt()
            ended = attempt.exit() if attempt is not None else None
            say(f"{run.name} {state_cell(str(run.state())).text}: {plain(ended.reason) if ended else ''}")
        time.sleep(0.1)
    for run in asked if wait else ():
        say(f"{run.name} still runs: it is killed when its grace is over")
    return failed


def _stop(run: Run) -> str | None:
    """Ask a run to stop; why that cannot be, or None."""
    attempt = run.newest_attempt()
    state = run.state()
    if attempt is None or state not in (RunState.running, RunState.unknown):
        return f"it does not run: it is {state}"
    started = attempt.started
    assert started is not None
    if started.exit_by == "supervisor":
        ask_to_stop(attempt)
        return None
    if state == RunState.unknown:
        return f"it runs, or ran, on {started.host} as process {started.pid}: stop it there"
    owner = attempt.owner()
    mine = ProcessIdentity.mine()
    if owner is None or owner == mine or not tree.send(owner, signal.SIGTERM):
        return "it has just ended"
    return None
