"""A storage that is looked at again and again: what is told is as true as a table read anew."""

from __future__ import annotations

import os

import pytest

from hypertuner.index import runs as runs_module
from hypertuner.index.runs import runs
from hypertuner.index.watching import Watch
from hypertuner.store import Storage, metrics, orders, records

ABOUT = {"python": "", "platform": "", "user": ""}


def made(storage: Storage, name: str):
    return storage.create(name, records.RunRecord("train.py", (), "/project", records.now()), {})


def states(watch: Watch) -> dict[str, str]:
    return {row.name: row.state for row in watch.look()}


def test_what_runs_is_seen_to_log_and_to_end(storage):
    run = made(Storage(storage), "otter")
    attempt = run.claim_attempt(records.Started.here(exit_by="script", config={}, **ABOUT))
    watch = Watch(Storage(storage))
    assert states(watch) == {"otter": "running"}
    attempt.layout.metrics.write_bytes(metrics.encode(3, 1.0, {"loss": 0.5}))
    (row,) = watch.look()
    assert (row.step, row.metrics) == (3, {"loss": 0.5})
    run.end_attempt(attempt, records.Exit("failed", 1, None, "ValueError: x", records.now()))
    assert states(watch) == {"otter": "failed"}


def test_what_waits_is_seen_to_start_and_new_runs_to_come(storage):
    place = Storage(storage)
    run = made(place, "otter")
    run.layout.queued.write_bytes(records.to_bytes(orders.Queued(1, records.now(), 1.0, "python", "none")))
    watch = Watch(place)
    assert states(watch) == {"otter": "queued"}
    run.claim_attempt(records.Started.here(exit_by="script", config={}, **ABOUT))
    made(place, "lynx")
    assert states(watch) == {"lynx": "draft", "otter": "running"}


def test_a_run_that_has_ended_is_not_read_again(storage, monkeypatch):
    place = Storage(storage)
    for number in range(20):
        run = made(place, f"done-{number}")
        attempt = run.claim_attempt(records.Started.here(exit_by="script", config={}, **ABOUT))
        run.end_attempt(attempt, records.Exit("finished", 0, None, "the script ended", records.now()))
    watch = Watch(place)
    watch.look()
    read = []
    look = runs_module.look
    monkeypatch.setattr(
        "hypertuner.index.watching.look", lambda run, before: read.append(run.name) or look(run, before)
    )
    monkeypatch.setattr("hypertuner.index.watching.runs", lambda **_: pytest.fail("all runs are read again"))
    assert len(watch.look()) == 20
    assert read == []


def test_what_is_told_is_what_a_table_read_anew_tells(storage):
    place = Storage(storage)
    for name in ("a", "b", "c"):
        made(place, name)
    watch = Watch(place)
    watch.look()
    os.rename(storage / "b", storage / "d")
    assert list(states(watch).items()) == [(row.name, row.state) for row in runs(storage=str(storage))]
