"""How an attempt ended, and why: from the return code, from what its script said, and from what was asked of it."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hypertuner.queue import launch
from hypertuner.store import Attempt, Run, exits, records
from hypertuner.store.gpus import list_gpus

# The line that ends a traceback, and what a launcher or the system says instead of one.
_ERROR_LINE = re.compile(
    r"[\w.-]+\.py: error: .|(?:[A-Za-z_][\w.]*)?(?:Error|Exception|Interrupt|Exit|Warning)\b(?:: .*)?$"
)
_LONGEST = 300
_KILLED = -getattr(signal, "SIGKILL", 9)  # Windows has no such signal


@dataclass(frozen=True)
class Asked:
    """What somebody, or a limit, asked of an attempt before it ended."""

    cause: str
    """'stopped', 'time limit' or 'terminated'."""
    reason: str


@dataclass(frozen=True)
class Seen:
    """What a supervisor, or a command that waited for its script, saw of an attempt, besides the return code."""

    asked: Asked | None = None
    signals: Sequence[int] = ()
    """The signals that somebody sent, by a terminal or to the command, in order to stop it: the script may have
    answered them as it likes."""
    output: Sequence[str] = ()
    """The last lines that the script printed."""
    killed_for_memory: bool = False
    """Whether the kernel has killed a process of it for want of memory, or had every reason to."""
    peak_memory_bytes: int | None = None
    gpus: Sequence[str] = ()
    """UUIDs of the GPUs that it was given."""


def signal_name(number: int) -> str:
    """'SIGTERM'; 'signal 40' of one that has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _read_code(run: Run, attempt: Attempt, code: int) -> tuple[str, str]:
    """(state, reason) of an attempt, as far as the return code of its process tells."""
    record = run.record()
    state, reason = "finished", "the script ended"
    if code < 0:
        number = -code
        stopped = number in (signal.SIGINT, signal.SIGTERM)
        state = "stopped" if stopped else "failed"
        reason = "stopped by Ctrl-C" if number == signal.SIGINT else f"{state} by {signal_name(number)}"
    elif code > 0:
        state, reason = "failed", f"exit code {code}"
    elif record is not None and record.parent is not None and not attempt.layout.parent.exists():
        state, reason = "failed", f"parent never loaded: the script made no Saver for {record.parent.reference}"
    return state, reason


def _told(code: int, said: records.Exit | None) -> records.Exit:
    """exit.json of a process that ended with a return code, with what its script said of its end."""
    return records.Exit(
        state="finished",
        code=code if code >= 0 else None,
        signal=signal_name(-code) if code < 0 else None,
        reason="",
        ended_at=records.now(),
        traceback=said.traceback if said else None,
        peak_memory_bytes=said.peak_memory_bytes if said else None,
        lost_records=said.lost_records if said else 0,
        unread=said.unread if said else None,
    )


def conclude(
    run: Run, attempt: Attempt, code: int, seen: Seen, processes: int, end: Callable[[Attempt, records.Exit], None]
) -> None:
    """Say by `end` how an attempt that was claimed for a script ended; and the one that torchrun made of it, when it
    started its ranks again.

    Args:
        code: return code of the process; below 0 the signal that killed it.
        processes: how many processes torchrun was to start; 0 without it.
    """
    said = records.read(records.Exit, attempt.layout.script_exit)
    newest = run.attempts()[-1]
    if newest.number != attempt.number and said is None:
        said = newest.exit()  # the last of the ranks know
    end(attempt, _ended(run, attempt, code, said, seen, processes))
    if newest.number != attempt.number:
        end(newest, _ended(run, newest, code, said, seen, processes))


def _ended(
    run: Run, attempt: Attempt, code: int, said: records.Exit | None, seen: Seen, processes: int
) -> records.Exit:
    ended = _told(code, said)
    ended = replace(ended, peak_memory_bytes=max(seen.peak_memory_bytes or 0, ended.peak_memory_bytes or 0) or None)
    if seen.asked is not None:
        # Also when it left with 0: a script that answers SIGTERM by saving and leaving has not come to its end.
        return replace(ended, state="stopped", reason=seen.asked.reason, cause=seen.asked.cause)
    if said is not None and not (said.state == "finished" and code != 0):
        better = launch.verdict(said, code, seen.signals) if processes else None
        state, reason = better or (said.state, said.reason)
        return _explained(replace(ended, state=state, reason=reason, cause=exits.cause_of(state, reason)), seen)
    if seen.signals and code != 0 and said is None and not processes:
        # Python that was stopped as it started ends with 1; who presses Ctrl-C again and again has it killed.
        reason = launch.stopped_by(seen.signals)
        reason += ", and killed as it went on" if code == _KILLED else ""
        return replace(ended, state="stopped", reason=reason, cause=exits.cause_of("stopped", reason))
    if code == _KILLED:
        peak = f" (it had {_gigabytes(ended.peak_memory_bytes)})" if ended.peak_memory_bytes else ""
        if seen.killed_for_memory:
            return replace(
                ended,
                state="failed",
                reason=f"out of memory on the CPU: the kernel killed it{peak}",
                cause="cpu memory",
            )
        return replace(ended, state="failed", reason="killed by SIGKILL from outside", cause="killed")
    better = launch.verdict(said, code, seen.signals) if processes else None
    state, reason = better or _read_code(run, attempt, code)
    if state == "failed" and code > 0 and (line := _error_line(seen.output)):
        reason = line
    return _explained(replace(ended, state=state, reason=reason, cause=exits.cause_of(state, reason)), seen)


def _explained(ended: records.Exit, seen: Seen) -> records.Exit:
    """With who else holds memory of the GPUs, where there was not enough of it."""
    if ended.cause != "gpu memory":
        return ended
    told = []
    for gpu in list_gpus():
        if seen.gpus and gpu.uuid not in seen.gpus:
            continue
        held = ", ".join(
            f"process {one.pid} ({one.command[:40]}, {one.user})"
            + (f" {_gigabytes(one.memory_bytes)}" if one.memory_bytes else "")
            for one in gpu.holders
        )
        others = f", others hold: {held}" if held else ", nobody else held any"
        told.append(f"GPU {gpu.index} has {_gigabytes(gpu.memory_bytes)}{others}")
    return replace(ended, reason="; ".join([ended.reason, *told]))


def lost(said: records.Exit | None, reason: str) -> records.Exit:
    """exit.json of an attempt whose supervisor was killed: what the script said of its end, if it came to that."""
    if said is not None:
        return replace(said, cause=exits.cause_of(said.state, said.reason))
    return records.Exit(state="failed", code=None, signal=None, reason=reason, ended_at=records.now(), cause="lost")


def not_started(reason: str) -> records.Exit:
    """exit.json of an attempt of which nothing could be started."""
    return records.Exit(
        state="failed", code=None, signal=None, reason=reason, ended_at=records.now(), cause="not started"
    )


def _error_line(output: Sequence[str]) -> str | None:
    """What the script printed as its last word, where that is an error's line."""
    for line in reversed(output):
        if line.strip():
            return line.strip()[:_LONGEST] if _ERROR_LINE.match(line) else None
    return None


def _gigabytes(nbytes: int | None) -> str:
    return f"{(nbytes or 0) / 1e9:.1f} GB"
