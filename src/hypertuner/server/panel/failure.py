"""Why a run's newest attempt did not end well: in a few words, where in whose code, its last words, what to try."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypertuner.errors import CorruptFileError, first_line
from hypertuner.server.contract.detail import Failure, Suggestion
from hypertuner.store import Attempt, Run, RunState, records
from hypertuner.store.output import OutputReader

_LAST_LINES = 30
_LONGEST_LINE = 2000
_LONGEST_TITLE = 300
_FRAME = re.compile(r'^ *File "(.+)", line ([0-9]{1,9})', re.MULTILINE)
_NAN = re.compile(r"\b(nan|not finite|non-?finite|inf(inity)?|diverged)\b", re.IGNORECASE)
_MISFIT = re.compile(r"probably because ([^ ]{1,200}) ([0-9]{1,12})→[0-9]")
_LOSS = re.compile(r"loss|nll|perplexity|error", re.IGNORECASE)
_TITLES = {
    "gpu memory": "CUDA out of memory",
    "cpu memory": "Out of memory on the CPU",
    "killed": "Killed from outside",
    "lost": "Its supervisor or its machine is gone",
    "time limit": "Its time was up",
    "terminated": "Ended from outside (SIGTERM)",
}
_BATCH = ("batch_size", "batch", "bs", "train_batch_size", "micro_batch_size", "per_device_train_batch_size")
_RATE = ("lr", "learning_rate", "base_lr", "max_lr")
_ILL = (RunState.failed, RunState.crashed)


def failure_of(run: Run, config: Mapping[str, Any], last: Mapping[str, Any]) -> Failure | None:
    """Why the newest attempt of a run failed; None for one that did not. `last` are its last logged values."""
    attempt = run.newest_attempt()
    if attempt is None or run.is_waiting() or attempt.state() not in _ILL:
        return None
    ended = attempt.exit() or records.read(records.Exit, attempt.layout.script_exit)
    trace = ended.traceback or "" if ended is not None else ""
    lines = last_lines(attempt)
    return Failure(
        title=_title(ended),
        where=_where(trace or "\n".join(lines), run),
        after_s=_after_s(attempt, ended),
        trace=trace,
        last_lines=lines,
        suggestion=suggestion(ended, config, last, lines),
    )


def last_lines(attempt: Attempt, count: int = _LAST_LINES) -> list[str]:
    """What an attempt printed last."""
    try:
        data, _ = OutputReader(attempt.layout).tail(count)
    except (OSError, CorruptFileError):
        return []
    lines = data.decode("utf-8", "replace").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    return [line[:_LONGEST_LINE] for line in lines[-count:]]


def suggestion(
    ended: records.Exit | None, config: Mapping[str, Any], last: Mapping[str, Any], lines: list[str]
) -> Suggestion | None:
    """A setting to try instead, where the reason is one that has a usual remedy."""
    if ended is not None and ended.cause in ("gpu memory", "cpu memory"):
        for key in _settings_called(_BATCH, config):
            if type(size := config[key]) is int and size > 1:
                return Suggestion(key=key, value=size, instead=size // 2)
    if ended is not None and (match := _MISFIT.search(ended.traceback or "")) and match[1] in config:
        was = json.loads(match[2])
        return Suggestion(key=match[1], value=config[match[1]], instead=was)
    said = "\n".join([ended.reason if ended is not None else "", *lines[-5:]])
    is_lost = any(
        isinstance(value, float) and not math.isfinite(value) and _LOSS.search(key) for key, value in last.items()
    )
    if is_lost or (ended is not None and ended.cause not in ("gpu memory", "cpu memory") and _NAN.search(said)):
        for key in _settings_called(_RATE, config):
            rate = config[key]
            if isinstance(rate, (int, float)) and not isinstance(rate, bool) and rate > 0:
                return Suggestion(key=key, value=rate, instead=float(f"{rate / 10:.6g}"))
    return None


def _settings_called(names: tuple[str, ...], config: Mapping[str, Any]) -> list[str]:
    """Keys of a config by their last part, in the order of `names`: 'optimizer.lr' is an 'lr'."""
    return [key for name in names for key in config if key.rpartition(".")[2].replace("-", "_").lower() == name]


def _title(ended: records.Exit | None) -> str:
    if ended is None:
        return "Its process is gone without saying goodbye"
    if ended.cause in _TITLES:
        return _TITLES[ended.cause]
    return first_line(ended.reason)[:_LONGEST_TITLE] or "It failed and said nothing"


def _where(trace: str, run: Run) -> str | None:
    """'train.py:88': the innermost place of the user's own code that a traceback names, else the innermost of all."""
    frames = [(Path(match[1]), match[2]) for match in _FRAME.finditer(trace)]
    if not frames:
        return None
    record = run.record()
    own = [run.layout.source, *([Path(record.folder)] if record is not None else [])]
    mine = [
        (path, line)
        for path, line in frames
        if any(path.is_relative_to(folder) for folder in own) and "site-packages" not in path.parts
    ]
    path, line = (mine or frames)[-1]
    for folder in own:
        if path.is_relative_to(folder):
            return f"{path.relative_to(folder).as_posix()}:{line}"
    return f"{path.name}:{line}"


def _after_s(attempt: Attempt, ended: records.Exit | None) -> float | None:
    began = records.seconds(attempt.started.started_at) if attempt.started is not None else None
    over = records.seconds(ended.ended_at) if ended is not None else None
    return max(0.0, over - began) if began is not None and over is not None else None
