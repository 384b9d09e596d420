"""`hypertuner queue ls`: what runs and what waits, in order, and why."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypertuner.cli.doing import doing, left_text, progress_json, step_text
from hypertuner.cli.outlook import outlook_text
from hypertuner.cli.queue_says import command_line, last_summary
from hypertuner.cli.terminal import (
    Cell,
    Column,
    count_text,
    is_terminal,
    json_safe,
    plain,
    rough_text,
    say,
    show_json,
    show_table,
    value_text,
)
from hypertuner.index.progress import Learnt, Progress, progress_of
from hypertuner.index.runs import runs
from hypertuner.index.table import RunRow
from hypertuner.queue.reasons import slots_of, why_waiting
from hypertuner.queue.turn import Drains, drained_by
from hypertuner.queue.waiting import Entry, Queue
from hypertuner.server.draining.outlook import Outlook, outlook
from hypertuner.store import RunState, Storage, records
from hypertuner.store.written import FileClock

_CONFIG = 28
_WHY = 60


@dataclass(frozen=True)
class _Seen:
    """A queue at one moment."""

    queue: Queue
    entries: list[Entry]
    drains: Drains | None
    rows: Mapping[str, RunRow]
    progress: Mapping[str, Progress]
    reasons: Mapping[str, str]
    ahead: Outlook
    clock: FileClock

    @classmethod
    def now(cls, storage: Storage) -> _Seen:
        queue, clock = Queue(storage), FileClock(storage.path)
        entries, drains = queue.entries(), drained_by(queue)
        table = runs(storage=storage) if entries else ()
        rows = {row.name: row for row in table}
        learnt = Learnt(rows.values())
        progress = {
            entry.name: progress_of(rows[entry.name], learnt)
            for entry in entries
            if not entry.is_waiting and entry.name in rows and rows[entry.name].state == RunState.running
        }
        reasons = why_waiting(queue, entries, drains)
        return cls(
            queue,
            entries,
            drains,
            rows,
            progress,
            reasons,
            outlook(queue, entries, drains, rows, progress, learnt),
            clock,
        )


def show(storage: Storage, *, as_json: bool) -> None:
    """Print what runs and what waits, in order, and why."""
    seen = _Seen.now(storage)
    if as_json:
        show_json(_json(seen))
        return
    if seen.entries:
        _show_table(seen)
    else:
        say(f"Nothing runs or waits in the queue of {storage.path}.")
    for name, problem in seen.queue.unreadable.items():
        say(f"{plain(name)}: {plain(problem)}")
    _say_how_it_goes(storage, seen)


def _show_table(seen: _Seen) -> None:
    entries = sorted(seen.entries, key=lambda entry: entry.is_waiting)  # what runs first
    places = {entry.name: place for place, entry in enumerate((one for one in entries if one.is_waiting), start=1)}
    known = [seen.progress.get(entry.name, Progress()) for entry in entries]
    columns = [
        Column("", [Cell(str(places.get(entry.name, "")), "dim") for entry in entries], is_number=True),
        Column("name", [Cell(plain(entry.name), "bold") for entry in entries]),
        Column("state", [_state(seen, entry) for entry in entries]),
        Column("config", [Cell(_cut(plain(_config(entry)), _CONFIG)) for entry in entries], rank=2),
        Column("step", [Cell(step_text(one)) for one in known], is_number=True, rank=3),
        Column("left", [Cell(left_text(one)) for one in known], is_number=True, rank=1),
        Column("why it waits", [Cell(_cut(plain(_why(seen, entry)), _WHY)) for entry in entries], rank=1),
    ]
    hidden = show_table([column for column in columns if any(cell.text for cell in column.cells)])
    if hidden:
        say(f"no room for {', '.join(hidden)} (--json has all)", "dim")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most or not is_terminal() else f"{text[: most - 1]}…"


def _state(seen: _Seen, entry: Entry) -> Cell:
    if (row := seen.rows.get(entry.name)) is None:
        return Cell(str(entry.run.state()))
    cell = doing(row, seen.clock)
    if entry.is_waiting:
        cell = Cell(f"{cell.text} {rough_text(_waits_s(entry))}", cell.style)
    return cell


def _waits_s(entry: Entry) -> float:
    queued_at = records.seconds(entry.queued.queued_at)
    return max(0.0, time.time() - queued_at) if queued_at is not None else 0.0


def _config(entry: Entry) -> str:
    """The settings that were asked for when it was made."""
    record, config = entry.run.record(), entry.run.config()
    asked = [key for key in (record.asked if record is not None else ()) if key in config]
    return " ".join(f"{key}={value_text(config[key])}" for key in asked)


def _why(seen: _Seen, entry: Entry) -> str:
    """Why a run waits, in the words of a table: what all wait for is said below it."""
    reason = seen.reasons.get(entry.name, "")
    if reason in ("the queue is paused", "nothing drains the queue", "all slots are taken"):
        reason = ""
    again = f"again, as {entry.queued.why}" if entry.queued.why and entry.is_waiting else ""
    return "; ".join(filter(None, [reason, again]))


def _say_how_it_goes(storage: Storage, seen: _Seen) -> None:
    waiting = sum(entry.is_waiting and not entry.queued.held for entry in seen.entries)
    if seen.queue.is_paused:
        say(f"The queue is paused, nothing new starts. Let it go on: {command_line(storage, 'queue', 'resume')}")
    if any(entry.is_waiting and entry.queued.held for entry in seen.entries):
        say(f"What is held goes on by: {command_line(storage, 'queue', 'resume', 'RUN')}")
    if seen.drains is not None:
        drains = seen.drains
        since = records.seconds(drains.since)
        began = f" for {rough_text(max(0.0, time.time() - since))}" if since is not None else ""
        where = f"Process {drains.identity.pid} on {drains.identity.host}"
        told = outlook_text(seen.ahead)
        ahead = f"; {told}" if told else ""
        say(f"{where} drains it{began}, with {count_text(drains.slots, 'slot')}{ahead}.")
    elif waiting:
        say(
            f"{'It waits' if waiting == 1 else 'They wait'}, and nothing drains this queue. Start it: "
            f"{command_line(storage, 'queue')}   (--detach lets it outlive this terminal)"
        )
    if not seen.entries and (last := last_summary(seen.queue)):
        say(last)


def _json(seen: _Seen) -> Any:
    drains = seen.drains
    return json_safe(
        {
            "drainer": {**dataclasses.asdict(drains.identity), "since": drains.since, "slots": drains.slots}
            if drains
            else None,
            "paused": seen.queue.is_paused,
            "empty_in_s": seen.ahead.left_s,
            "unknown_durations": seen.ahead.unknown,
            "runs": [_row(seen, entry, position) for position, entry in enumerate(seen.entries, start=1)],
            "unreadable": seen.queue.unreadable,
        }
    )


def _row(seen: _Seen, entry: Entry, position: int) -> dict[str, Any]:
    row = seen.rows.get(entry.name)
    began = entry.attempt.started.started_at if entry.attempt and entry.attempt.started else None
    queued = dataclasses.asdict(entry.queued)
    del queued["private"]  # names a file of secrets
    return {
        **queued,
        "name": entry.name,
        "state": row.state if row is not None else str(entry.run.state()),
        "position": position,
        "waits": entry.is_waiting,
        "why": seen.reasons.get(entry.name, ""),
        "queued_again_because": entry.queued.why,
        "config": entry.run.config(),
        "slots": slots_of(entry, seen.drains.slots) if seen.drains is not None else None,
        "started_at": began if not entry.is_waiting else None,
        "since_s": _waits_s(entry) if entry.is_waiting else (row.duration_s if row is not None else None),
        "wrote_s_ago": seen.clock.age(row.wrote_at) if row is not None and row.wrote_at is not None else None,
        "progress": progress_json(seen.progress.get(entry.name, Progress())),
    }
