"""`hypertuner logs`: what a run's script printed, once or until the run is over.

Bytes of a script reach the terminal only as text and, where there is one, as colours: a sequence that moves the
cursor, names the window or asks the terminal something is left out, and what else steers one is spelled.
"""

from __future__ import annotations

import codecs
import os
import re
import sys
import time

from hypertuner.cli import terminal
from hypertuner.cli.show import run_named
from hypertuner.errors import StorageError
from hypertuner.queue.turn import drained_by
from hypertuner.queue.waiting import Queue
from hypertuner.store import Attempt, Run, RunState, Storage
from hypertuner.store.output import START, Lines, OutputReader

_POLL_S = 0.25
_COLOUR = re.compile(r"(\x1b\[[0-9;:]{0,64}m)")  # and weights: SGR
_STEERING = re.compile(
    r"(?:\x1b\[|\x9b)(?![0-9;:]{0,64}m)[0-?]{0,64}[ -/]{0,8}[@-~]"  # cursor, erasing, modes (CSI), but colours
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x80-\x9f\n]{0,4096}(?:\x07|\x1b\\|\x9c)"  # titles, links
    r"|[\x07\b]"
)
_RESET = "\x1b[0m"


def logs(what: str, storage: Storage, *, follow: bool, lines: int | None, number: int | None) -> None:
    """Print the output of an attempt. Raises: RunNotFoundError; StorageError where there is no such output."""
    run = run_named(what, storage) or storage.open(what)
    attempt: Attempt | None = _attempt(run, number) if number is not None else _newest(run, wait=follow)
    screen = Screen()
    try:
        while attempt is not None:
            _show(run, attempt, screen, follow=follow, lines=lines)
            lines = None
            attempt = _following(run, attempt) if follow and number is None else None
            if attempt is not None:
                screen.end_line()
                screen.write(b"--- attempt %d ---\n" % attempt.number)
    finally:
        screen.close()
    if follow:
        terminal.say(_how_it_is(run))


def _attempt(run: Run, number: int) -> Attempt:
    attempts = run.attempts()
    if (found := next((attempt for attempt in attempts if attempt.number == number), None)) is None:
        there = ", ".join(str(attempt.number) for attempt in attempts)
        raise StorageError(
            f"{run.name} has no attempt {number}.\n  {f'It has {there}.' if there else 'It has not started yet.'}",
            path=run.folder,
        )
    return found


def _newest(run: Run, *, wait: bool) -> Attempt:
    """The newest attempt; with `wait`, that of a run in the queue once it has one."""
    told = False
    while (attempt := run.newest_attempt()) is None:
        is_queued = run.state() == RunState.queued
        if not (is_queued and wait):
            hint = (
                f"hypertuner logs {run.name} --follow   waits for it." if is_queued else "hypertuner ls   lists runs."
            )
            raise StorageError(f"{run.name} has printed nothing: it has not started yet.\n  {hint}", path=run.folder)
        if not told:
            terminal.say(f"{run.name} waits in the queue.")
            told = True
        time.sleep(_POLL_S)
    return attempt


def _following(run: Run, attempt: Attempt) -> Attempt | None:
    """The attempt after one that is over; waited for while the run is in the queue again."""
    queue = Queue(Storage(run.folder.parent))
    while True:
        # Whoever drains the queue decides in a moment whether it is tried again.
        is_undecided = run.layout.queued.exists() and drained_by(queue) is not None
        is_queued = is_undecided or run.state() == RunState.queued
        found = next((other for other in run.attempts() if other.number > attempt.number), None)
        if found is not None or not is_queued:
            return found
        time.sleep(_POLL_S)


def _show(run: Run, attempt: Attempt, screen: Screen, *, follow: bool, lines: int | None) -> None:
    reader = OutputReader(attempt.layout)
    started = attempt.started
    if not reader.exists() and (started is None or started.exit_by != "supervisor"):
        raise StorageError(
            f"What {run.name} printed was not captured: attempt {attempt.number} was started without a supervisor, and "
            "its output went to the terminal.\n  hypertuner run SCRIPT … --queue starts one with it.",
            path=attempt.layout.output,
        )
    position = START
    if lines is not None:
        data, position = reader.tail(lines)
        screen.write(data)
    while True:
        # Asked before reading: what an attempt that is over printed is all there.
        is_over = not follow or attempt.state() not in (RunState.running, RunState.unknown)
        while True:
            data, position = reader.read(position)
            if not data:
                break
            screen.write(data)
        screen.show_pending(is_last=is_over)
        if is_over:
            if position == START:
                terminal.say(f"{run.name} printed nothing.")
            return
        time.sleep(_POLL_S)


def _how_it_is(run: Run) -> str:
    attempt = run.newest_attempt()
    ended = attempt.exit() if attempt is not None else None
    return f"{run.name}: {run.state()}{f', {ended.reason}' if ended is not None and ended.reason else ''}"


class Screen:
    """Where output is printed: collapsed, decoded, harmless."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._is_terminal = terminal.is_terminal()
        self._has_colour = self._is_terminal and not os.environ.get("NO_COLOR")
        self._ends_line = True
        self._was_coloured = False

    def write(self, data: bytes) -> None:
        """Print what is over of `data`, and keep the line that is not."""
        self._print(self._lines.feed(data))

    def show_pending(self, *, is_last: bool = False) -> None:
        """Print the state of the line that is not over: on a terminal, where the next one can take its place."""
        if self._is_terminal or is_last:
            self._print(self._lines.pending())
        sys.stdout.flush()

    def end_line(self) -> None:
        """Begin a new line unless one has begun."""
        self.show_pending(is_last=True)
        if not self._ends_line:
            self._print(b"\n")

    def close(self) -> None:
        """Leave the terminal with its own colours, at the beginning of a line."""
        self._print(b"\n" if self._is_terminal and not self._ends_line else b"")
        if self._was_coloured:
            sys.stdout.write(_RESET)

    def _print(self, data: bytes) -> None:
        if not data:
            return
        self._ends_line = data.endswith(b"\n")
        # Lines hands on a `\r` only where a state takes the place of what was printed of its line.
        parts = [harmless(part, colour=self._has_colour) for part in self._decoder.decode(data).split("\r")]
        self._was_coloured = self._was_coloured or "\x1b" in "".join(parts)
        sys.stdout.write(("\r\x1b[K" if self._is_terminal else "\n").join(parts))


def harmless(text: str, *, colour: bool) -> str:
    """`text` with nothing in it that steers a terminal, but colours if they are wanted."""
    parts = _COLOUR.split(_STEERING.sub("", text))  # every second one is a colour
    return "".join((part if colour else "") if at % 2 else terminal.plain_lines(part) for at, part in enumerate(parts))
