"""Logger: metrics into the current run's folder, one write a record.

What `log` has returned for survives `kill -9`. It never raises into training: what cannot be recorded is said
once, counted, and the count is shown when the run ends.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from hypertuner.errors import HypertunerError
from hypertuner.frameworks import scalars
from hypertuner.store import current, media
from hypertuner.store.active import ActiveRun
from hypertuner.store.said import say


class Logger:
    """Logs metrics of the current run; may be made anywhere, any number of times."""

    def __init__(self) -> None:
        # A thread has no `new_run` of its own: what it logs belongs to the run the logger was made in.
        self._made_in = current.run()

    def log(
        self,
        values: Mapping[str, Any] | None = None,
        step: float | None = None,
        *,
        logs: Mapping[str, Any] | None = None,
        framenum: float | None = None,
    ) -> None:
        """Append one record to the run's metrics.

        Args:
            values: Names to numbers, bools, text, zero-dimensional tensors, nested mappings (flattened to
                'train/loss'), `hypertuner.Image`, `Text` or `Histogram`.
            step: Whole number ≥ 0; None counts up by one. A float is kept as the time, as in 1.0.4.
            logs: What 1.0.4 called values.
            framenum: What 1.0.4 called step.

        A CUDA tensor is read later, without stalling the GPU: its record is written by the next `log` or
        `save`, or at exit. NaN and infinity are kept. Never raises.
        """
        active = current.run_for(self._made_in)
        if not active.writes:
            return
        try:
            journal_of(active).log(logs if values is None else values, framenum if step is None else step)
        except Exception as error:  # the edge: nothing that goes wrong here may end a training
            lose(active, error)


def lose(active: ActiveRun, error: Exception) -> None:
    """Count a record that could not be written, and say the first one."""
    active.lost_records += 1
    if active.lost_records == 1:
        what = str(error) if isinstance(error, (HypertunerError, _BadValue)) else f"{type(error).__name__}: {error}"
        say(f"a record could not be logged: {what}\n  Training goes on; the number of lost records is kept.")


_LARGEST = 2**53


class _BadValue(Exception):
    """A value that no metric can be."""


class Journal:
    """What one run logs, in order, with the records that wait for the GPU."""

    def __init__(self, active: ActiveRun) -> None:
        self._active = active
        self._waiting: list[tuple[int, float | None, dict[str, Any]]] = []
        # A resumed run, or a fork, goes on counting.
        self._next_step = 0 if active.last_step is None else active.last_step + 1
        self._said: set[str] = set()
        # Reentrant: a signal that ends the run may come in the middle of `log`, in the same thread.
        self._lock = threading.RLock()

    def log(self, values: Mapping[str, Any] | None, step: Any) -> None:
        """Write one record, or hold it back until the GPU has made its numbers."""
        if not isinstance(values, Mapping):
            raise _BadValue(f"log() takes a mapping of names to values, got {type(values).__name__}: {values!r:.80}")
        with self._lock:
            time = None
            if type(step) is int and step >= self._next_step:  # as it is nearly always
                number = step
            else:
                number, time = self._step(step)
            self._next_step = number + 1
            if self._waiting:
                self._flush()
            if _is_plain(values):
                self._active.log(number, values, time)
                return
            record = dict(self._flat(values))
            if any(scalars.is_pending(value) for value in record.values()):
                self._waiting.append((number, time, record))
            else:
                self._write(number, time, record)

    def flush(self) -> None:
        """Write the records that waited for the GPU."""
        try:
            with self._lock:
                self._flush()
        except Exception as error:  # the same edge as `log`
            lose(self._active, error)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for number, time, record in waiting:
            self._write(number, time, {name: scalars.settle(value) for name, value in record.items()})

    def _write(self, step: int, time: float | None, record: dict[str, Any]) -> None:
        for name in [name for name, value in record.items() if isinstance(value, media.Media)]:
            try:
                record[name] = record[name].write(self._active.attempt().layout.media, name, step)
            except (OSError, ValueError, TypeError, HypertunerError) as error:
                del record[name]
                self._leave_out(name, f"{name!r} could not be written: {error}; left out.")
        self._active.log(step, record, time)

    def _step(self, step: float | None) -> tuple[int, float | None]:
        time = None
        if step is None:
            number = self._next_step
        else:
            step = scalars.plain(step)
            if isinstance(step, bool) or not isinstance(step, (int, float)) or not math.isfinite(step):
                raise _BadValue(f"a step is a whole number ≥ 0, got {step!r}")
            if isinstance(step, float) and not step.is_integer():
                # 1.0.4 took any number as the x, and time.time() when it was given none.
                number, time = self._next_step, step
            else:
                number = int(step)
            if number < 0:
                raise _BadValue(f"a step is a whole number ≥ 0, got {step!r}")
        if number < self._next_step - 1:
            self._once(
                "step",
                f"the step went back from {self._next_step - 1} to {number}: your loop restarts at {number}. "
                "All records are kept.",
            )
        return number, time

    def _flat(self, values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        for key, value in values.items():
            name = scalars.text(f"{prefix}{key}")
            if isinstance(value, Mapping):
                yield from self._flat(value, f"{name}/")
                continue
            try:
                yield name, scalars.readable(value)
            except TypeError:
                self._leave_out(
                    name,
                    f"{name!r} is {type(value).__module__}.{type(value).__name__}, which no metric can be; left out. "
                    "Log numbers, text, tensors with one element, hypertuner.Image, Text or Histogram.",
                )

    def _leave_out(self, name: str, text: str) -> None:
        """Count a value that is not kept, and say the first one of its name."""
        self._active.lost_values += 1
        self._once(name, text)

    def _once(self, key: str, text: str) -> None:
        if key not in self._said:
            self._said.add(key)
            say(text)


def _is_plain(values: Mapping[str, Any]) -> TypeGuard[dict[str, Any]]:
    """Whether a record can be written as it is, which most can: numbers that JSON spells, under plain names."""
    for name, value in values.items():
        kind = type(value)
        if kind is not float and kind is not bool and not (kind is int and -_LARGEST <= value <= _LARGEST):
            return False
        if type(name) is not str or not name.isascii():
            return False
    return type(values) is dict


def journal_of(active: ActiveRun) -> Journal:
    """The one journal of a run."""
    journal = active.claims.get("journal")
    if isinstance(journal, Journal):
        return journal
    made = Journal(active)
    if (kept := active.claims.setdefault("journal", made)) is made:
        active.on_flush(made.flush)
    assert isinstance(kept, Journal)
    return kept
