"""`hypertuner queue`: drain it, change it; `hypertuner stop`."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Sequence

from hypertuner import files
from hypertuner.cli.queue_says import Says, last_summary
from hypertuner.cli.terminal import count_text, plain, say, state_cell
from hypertuner.errors import QueueError
from hypertuner.index.selection import select
from hypertuner.queue import stopping, tree
from hypertuner.queue.drain import Drainer, leaving_on_signals
from hypertuner.queue.executor import LocalExecutor
from hypertuner.queue.slots import Slots
from hypertuner.queue.spawn import python_running
from hypertuner.queue.turn import drained_by, is_drained
from hypertuner.queue.waiting import Entry, Queue
from hypertuner.store import Run, RunState, Storage

_BY_A_QUEUE_S = 60.0
_COMMAND = "from hypertuner.cli import main; sys.exit(main())"


def drain(storage: Storage, *, slots: int | None, per_gpu: int, cpu: bool, stays: bool, zygote: bool = True) -> int:
    """Drain the queue in the foreground; 1 when a run has failed."""
    queue = Queue(storage)
    said = Says(storage)
    drainer = Drainer(queue, LocalExecutor(storage, zygote=zygote), Slots(slots, per_gpu, use_gpus=not cpu), said)
    entries = queue.entries()
    if not entries and not stays:
        say(f"Nothing waits in {storage.path}.")
        say(last_summary(queue) or "  hypertuner run train.py learning_rate=0.1,0.01 --queue   makes two runs that do.")
        return 0
    room = f"{count_text(drainer.slots.count, 'slot')}"
    if drainer.slots.gpus:
        room += f" on {count_text(len(drainer.slots.gpus), 'GPU')}"
    waiting = sum(entry.is_waiting for entry in entries)
    say(f"{count_text(waiting, 'run')} in the queue of {storage.path}, {room}")
    with leaving_on_signals(drainer):
        drainer.run(until_empty=not stays)
    said.summary(queue, drainer)
    return int(said.has_failed)


def drain_detached(storage: Storage, words: Sequence[str]) -> None:
    """Start a drainer that outlives this terminal. Raises: QueueError when one is there already."""
    queue = Queue(storage)
    if (drains := drained_by(queue)) is not None:
        raise is_drained(queue, drains)
    files.make_folder(queue.layout.folder)
    with contextlib.closing(files.Appender(queue.layout.log)) as log:
        process = subprocess.Popen(
            [*python_running(_COMMAND), "queue", *words, "--storage", str(storage.path)],
            stdin=subprocess.DEVNULL,
            stdout=log.fileno(),
            stderr=log.fileno(),
            start_new_session=True,
        )
    until = time.monotonic() + 10
    while time.monotonic() < until and process.poll() is None and drained_by(queue) is None:
        time.sleep(0.05)
    code = process.poll()
    if code is not None and drained_by(queue) is None:
        if code:
            raise QueueError(f"The drainer ended with {code}: {queue.layout.log} says why.")
        say(f"Nothing waits in {storage.path} any more; what it did: {queue.layout.log}")
        return
    say(f"Process {process.pid} drains {storage.path}; what it does: {queue.layout.log}")
    say("  hypertuner queue ls   what waits and runs; hypertuner queue stop   ends it, and lets what runs go on")


def move(storage: Storage, name: str, *, before: str | None, last: bool) -> None:
    """Change the place of a run that waits. Raises: QueueError when it, or the other, does not wait."""
    if before == name:
        raise QueueError(f"{name} cannot be moved before itself.\n  Name another run: --before RUN")
    queue = Queue(storage)
    entry = _waiting(queue, name)
    queue.move(entry, before=_waiting(queue, before) if before else None, last=last)
    names = [one.name for one in queue.waiting()]
    say(f"{name} is number {names.index(name) + 1} of {len(names)}" if name in names else f"{name} has just started")


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
        is_out = queue.withdraw(entry)
        say(f"{run.name} is out of the queue" if is_out else f"{run.name} runs, and is not tried again")


def pause(storage: Storage, words: Sequence[str], *, held: bool) -> None:
    """Let the whole queue, or some of its runs, wait; or let them go on."""
    from hypertuner.cli.queueing import say_who_drains

    queue = Queue(storage)
    if not words:
        (queue.pause if held else queue.unpause)()
        say("Nothing new starts; what runs goes on." if held else "The queue goes on.")
        if not held:
            say_who_drains(queue)
        return
    for run in select(words, storage):
        queue.hold(_waiting(queue, run.name), held=held)
        say(f"{run.name} is held" if held else f"{run.name} goes on")
    if not held:
        say_who_drains(queue)


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
    if drained_by(queue) is not None:
        say(f"Process {drains.identity.pid} was asked to end, and still drains it.")
        return 1
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
        if stopping.withdraw_if_waiting(queue, run):
            say(f"{run.name} is out of the queue")
            continue
        if problem := stopping.ask(run):
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
