"""The supervisor of one attempt: claims it, starts the script, watches it, and writes how it ended.

Two processes. The first claims the attempt, and then does nothing but wait for the second: `started.json` names it, and
while it lives the attempt is supervised. The second starts the script in a session of its own and does all the rest. If
it is killed, the first ends what it had started and says so in exit.json; if the first is killed, the second does.

What is on the disk tells how far it came: `started.json` without `output.log` is an attempt of which nothing was
started; it is void as soon as its supervisor is gone. An attempt is never started twice.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import signal
import subprocess
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hypertuner import files, settings, syscalls
from hypertuner.errors import HypertunerError, QueueError, StorageError, first_line
from hypertuner.host import host_name
from hypertuner.queue import code, ending, launch, private, start, tree
from hypertuner.queue.figures import Sampler, largest_process_bytes, oom_kills, was_killed_for_memory
from hypertuner.queue.spawn import Spawn, Start, as_fork, as_process, python_running
from hypertuner.store import Attempt, Run, capture, orders, records, supervised
from hypertuner.store.output import OutputReader, OutputWriter

_GUARD_IS_GONE = getattr(signal, "SIGUSR2", signal.SIGTERM)  # Windows has no such signal, and no supervisors
_TICK_S = 0.5
_LEFT_BEHIND_GRACE_S = 5.0
"""How long what the script has left behind may take to end, once the script itself has."""
_WRITES_FOR_S = 60.0
"""How long it is tried to write how an attempt ended."""
TAKEN = 3
"""Exit code of a supervisor that found its attempt claimed by another."""


@dataclass(frozen=True)
class Task:
    """What a supervisor is told: which attempt, and what of the machine it may use."""

    run: Path
    number: int
    slots: int = 1
    gpus: tuple[str, ...] = ()
    """UUIDs."""

    def to_json(self) -> dict[str, Any]:
        """As `main` takes it."""
        return {"run": str(self.run), "number": self.number, "slots": self.slots, "gpus": self.gpus}


def main(argument: Mapping[str, Any], spawn: Spawn | None = None) -> int:
    """Supervise one attempt from its claim to its end; the exit code of the supervisor.

    Args:
        argument: a `Task` as JSON.
        spawn: how the script is started; as a process of its own when None.
    """
    task = Task(Path(argument["run"]), argument["number"], argument["slots"], tuple(argument["gpus"]))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # until there is something to end
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    syscalls.adopt_orphans()
    run = Run(task.run)
    record = run.record()
    about = capture.gather(Path(record.folder) if record is not None else run.folder)  # git takes its time
    about = {**about, "argv": (), "assigned": task.gpus, "slots": task.slots}
    queued = run.queued()
    if queued is None or not run.is_waiting() or run.next_number() != task.number:
        return TAKEN
    try:
        attempt = run.claim(task.number, records.Started.here(exit_by="supervisor", config=run.config(), **about))
    except FileExistsError:
        return TAKEN
    if not run.layout.queued.exists():
        return TAKEN  # taken out of the queue in this moment: nothing is started, and the attempt is void
    guard = os.getpid()
    pid = os.fork()
    if pid == 0:
        syscalls.be_told_of_death(guard, _GUARD_IS_GONE)
        syscalls.adopt_orphans()
        supervisor = _Supervisor(run, attempt, queued, task, spawn or as_process)
        try:
            supervisor.supervise()
        except BaseException:  # whatever it is: the first process ends what was started, and says that this one failed
            supervisor.say(traceback.format_exc())
            os._exit(70)
        os._exit(0)
    return _guard(run, attempt, pid)


def _guard(run: Run, attempt: Attempt, pid: int) -> int:
    """Wait for the supervisor; when it was killed, end what it had started and say so."""
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(pid, number))
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as long as it is not reaped, its pid is nobody else's
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 0 or not attempt.layout.output.exists():
        return 0
    reason = f"its supervisor failed: {attempt.layout.output} says why"
    if code < 0:
        reason = f"its supervisor was killed by {ending.signal_name(-code)}"
    _conclude_loss(run, attempt, reason)
    return 1


def _conclude_loss(run: Run, attempt: Attempt, reason: str) -> None:
    tree.end_descendants(0)
    said = records.read(records.Exit, attempt.layout.script_exit)
    _end(run, attempt, ending.lost(said, f"{reason}; what it had started was ended"))


def _end(run: Run, attempt: Attempt, ended: records.Exit) -> None:
    """Write exit.json. A disk that has no room gets some time to get some."""
    until = time.monotonic() + _WRITES_FOR_S
    while True:
        try:
            run.end_attempt(attempt, ended)
            return
        except (OSError, StorageError):
            if time.monotonic() > until:
                raise
            time.sleep(1)


def main_in_zygote(argument: Mapping[str, Any]) -> int:
    """`main`, in a process that a zygote has forked."""
    return main(argument, as_fork)


class _Supervisor:
    """The process that starts a script and watches it."""

    def __init__(self, run: Run, attempt: Attempt, queued: orders.Queued, task: Task, spawn: Spawn) -> None:
        self._run = run
        self._attempt = attempt
        self._queued = queued
        self._task = task
        self._spawn = spawn
        self._processes = launch.processes_for(run, queued)
        self._asked: ending.Asked | None = None
        self._kill_at: float | None = None
        self._code: int | None = None
        self._guard_is_gone = False
        self._oom_kills = oom_kills()
        self._killed_for_memory = False
        self._peak_memory_bytes = 0
        self._output: OutputWriter | None = None

    def say(self, text: str) -> None:
        """A line of the supervisor's own among what the script prints."""
        if self._output is not None:
            self._output.write(f"hypertuner: {text}\n".encode(errors="replace"))
            self._output.tick()

    def supervise(self) -> None:
        """From the first byte of its output to exit.json."""
        wake, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) if hasattr(os, "pipe2") else _pipe()
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, _GUARD_IS_GONE):
            signal.signal(number, self._noted)
        read, write = os.pipe()
        self._output = output = OutputWriter(self._attempt.layout)
        if not self._attempt.layout.output.exists():
            return  # a full disk: with no mark that something was started nothing is, and the attempt is void
        try:
            pid = self._spawn(self._what(), write)
        except (HypertunerError, OSError) as error:
            self.say(str(error))
            output.close()
            _end(self._run, self._attempt, ending.not_started(first_line(error)))
            return
        os.close(write)
        self._watch(pid, read, wake, output)
        output.close()
        self._conclude()
        output.tick()  # where the disk had no room for the last words, it has now, if its end could be written
        output.close()

    def _what(self) -> Start:
        kept = private.read(self._run.folder.parent, self._queued.private)
        found = code.code_of(self._run, self._queued)
        if found.note:
            self.say(found.note)
        if kept is None:
            where = private.folder_of(self._run.folder.parent)
            raise QueueError(f"The arguments of run {self._run.name!r} are not in {where} any more.")
        environment = {
            **start.environment(self._run, self._queued.resume),
            supervised.VARIABLE: str(self._attempt.number),
        }
        record = self._run.record()
        folder = Path(record.folder) if record is not None else self._run.folder
        if not folder.is_dir():
            raise HypertunerError(f"The working folder of run {self._run.name!r} is not there: {folder}.")
        command = start.command(self._run, found.script, kept.arguments, self._processes)
        own = command[len(launch.interpreter(self._processes)) + 1 :]
        return Start(command, found.script, own, self._processes == 0, environment, folder, found.beside)

    def _noted(self, number: int, frame: FrameType | None) -> None:
        if number == _GUARD_IS_GONE:
            self._guard_is_gone = True
        elif number != signal.SIGCHLD and self._asked is None:
            name = signal.Signals(number).name
            self._asked = ending.Asked("terminated", f"stopped by {name}: the machine shuts down, or by hand")

    def _watch(self, pid: int, read: int, wake: int, output: OutputWriter) -> None:
        os.set_blocking(read, False)
        poll = select.poll()
        poll.register(read, select.POLLIN)
        poll.register(wake, select.POLLIN)
        began, next_tick = time.monotonic(), time.monotonic()
        is_open, passed_on = True, False
        with contextlib.closing(Sampler(self._attempt.layout, os.getpid(), self._task.gpus)) as sampler:
            while self._code is None:
                for descriptor, _ in poll.poll(max(0.0, next_tick - time.monotonic()) * 1000):
                    if descriptor == wake:
                        _drain(wake)
                    elif not _pass_on(read, output):
                        is_open = False
                        poll.unregister(read)
                for ended, status in tree.reap():
                    if ended == pid:
                        self._code = status
                if self._guard_is_gone:
                    _conclude_loss(self._run, self._attempt, "the process that guards its supervisor was killed")
                    os._exit(0)
                if (now := time.monotonic()) < next_tick and not (self._asked and not passed_on):
                    continue
                next_tick = now + _TICK_S
                output.tick()
                sampler.tick()
                self._look_for_reasons(now - began)
                if self._asked is not None and not passed_on:
                    passed_on = True
                    self._kill_at = now + settings.GRACE_S.get()
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGTERM)
                if self._kill_at is not None and now >= self._kill_at and self._code is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            self._seen_of(sampler)
            was_killed = self._kill_at is not None and time.monotonic() >= self._kill_at
            tree.end_descendants(0 if was_killed else _LEFT_BEHIND_GRACE_S)
        if is_open:
            _pass_on(read, output)
        os.close(read)

    def _seen_of(self, sampler: Sampler) -> None:
        largest = largest_process_bytes()
        self._killed_for_memory = sampler.is_short_of_memory() or was_killed_for_memory(self._oom_kills, largest)
        self._peak_memory_bytes = max(sampler.peak_memory_bytes, largest)

    def _look_for_reasons(self, ran_s: float) -> None:
        """See whether somebody has asked it to stop, or its time is up."""
        if self._asked is not None:
            return
        limit = self._queued.time_limit_s
        if limit is not None and ran_s >= limit:
            self._asked = ending.Asked("time limit", f"time limit of {limit:g} s")
        elif self._attempt.layout.stop.exists():
            stop = records.read(orders.Stop, self._attempt.layout.stop)
            by = f" by {stop.by}" if stop is not None and stop.by else ""
            self._asked = ending.Asked("stopped", f"stopped{by}")

    def _conclude(self) -> None:
        assert self._code is not None
        seen = ending.Seen(
            asked=self._asked,
            output=OutputReader(self._attempt.layout).tail(5)[0].decode(errors="replace").splitlines(),
            killed_for_memory=self._killed_for_memory,
            peak_memory_bytes=self._peak_memory_bytes,
            gpus=self._task.gpus,
        )
        end = functools.partial(_end, self._run)
        ending.conclude(self._run, self._attempt, self._code, seen, self._processes, end)


def ask_to_stop(attempt: Attempt) -> None:
    """Ask the supervisor of an attempt to end it, wherever it runs: it looks for this twice a second."""
    stop = orders.Stop(asked_at=records.now(), by=capture.user(), host=host_name())
    with contextlib.suppress(FileExistsError):
        files.put_new(attempt.layout.stop, records.to_bytes(stop))


def _pass_on(read: int, output: OutputWriter) -> bool:
    """Hand what waits in a pipe to the output; False when nobody can write into it any more."""
    for _ in range(64):  # then it is time to look around
        try:
            data = os.read(read, 1 << 16)
        except BlockingIOError:
            return True
        if not data:
            return False
        output.write(data)
    return True


def _drain(descriptor: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(descriptor, 4096):
            pass


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    return read, write


def start_detached(task: Task, python: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the supervisor of an attempt in a session of its own: it outlives whoever starts it.

    It has nothing to say on its standard error, unless it could not even begin.

    Args:
        python: the interpreter; hypertuner is installed in it.

    Raises: OSError when the interpreter cannot be started.
    """
    program = "import json; from hypertuner.queue import supervisor; sys.exit(supervisor.main(json.loads(sys.argv[1])))"
    return subprocess.Popen(
        [*python_running(program, python), json.dumps(task.to_json())],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
