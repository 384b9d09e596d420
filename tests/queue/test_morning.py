"""The morning after: what a queue says at its end, and what people see of runs that run and wait."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.queue.conftest import Place, is_running, until

from hypertuner.cli.outlook import outlook_text
from hypertuner.server.draining.outlook import empty_in
from hypertuner.store import records

TRAINS = """
    import os, time, hypertuner
    args = hypertuner.Args(learning_rate=0.1, batch_size=32, epochs=3)
    logger = hypertuner.Logger()
    for epoch in range(args.epochs):
        if args.batch_size > 64:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if args.learning_rate > 1:
            raise ValueError("learning rate out of range")
        logger.log({"val_accuracy": 1 - args.learning_rate - epoch / 100}, epoch)
        time.sleep(float(os.environ.get("PAUSE", "0")))
"""


def summary(said: str) -> list[str]:
    """The lines after the empty one."""
    return said.partition("\n\n")[2].splitlines()


def command(said: str, beginning: str) -> list[str]:
    """The words of the command in a summary that begins so."""
    return shlex.split(next(line for line in said.splitlines() if line.strip().startswith(beginning)))[1:]


def test_the_summary_tells_what_came_of_it_and_its_command_works_as_it_is_typed(place: Place):
    place.script(TRAINS)
    place.hypertuner("run", "train.py", "learning_rate=0.1,0.01", "batch_size=32,128", "--queue")
    said = place.hypertuner("queue", "--slots", 2, "--cpu", code=1)
    names = {run.name for run in place.storage.list() if run.config()["batch_size"] == 128}
    first, when, best, *todo = summary(said)
    assert first.startswith("2 finished; 2 failed: CUDA out of memory (")
    assert all(name in first for name in names)
    assert when.startswith("done ") and "; longest: " in when
    assert best.startswith("best val_accuracy: 0.99 ") and "(learning_rate=0.01 batch_size=32), then " in best
    assert todo[0] == "run those again:"
    # Half the batch of those that had no room: what is shown is typed, and nothing else.
    place.hypertuner(*command(said, "hypertuner run --like"))
    again = [entry.run for entry in place.queue.waiting()]
    assert sorted((run.config()["learning_rate"], run.config()["batch_size"]) for run in again) == [
        (0.01, 64),
        (0.1, 64),
    ]
    assert "2 finished" in place.hypertuner("queue", "--cpu")


def test_reasons_of_several_kinds_are_told_apart_and_no_change_is_made_up(place: Place):
    place.script(TRAINS)
    place.hypertuner("run", "train.py", "learning_rate=2,3", "--queue")
    place.hypertuner("run", "train.py", "batch_size=128", "--name", "greedy", "--queue")
    said = place.hypertuner("queue", "--cpu", code=1)
    assert "3 failed: ValueError: learning rate out of range (" in said
    assert "), CUDA out of memory (greedy)" in said
    assert "run those again, with a change (add key=value):" in said
    words = command(said, "hypertuner run --like")
    assert "batch_size" not in " ".join(words)
    place.hypertuner(*words[:-1], "learning_rate=0.5", "batch_size=8", "--queue")
    assert {entry.run.config()["learning_rate"] for entry in place.queue.waiting()} == {0.5}


def test_the_best_ones_weights_are_offered_by_a_command_that_works_in_a_storage_elsewhere(place: Place):
    pytest.importorskip("torch")
    place.script("""
        import torch, hypertuner
        args = hypertuner.Args(lr=0.1)
        saver = hypertuner.Saver(torch.nn.Linear(2, 1))
        hypertuner.Logger().log({"val_accuracy": 1 - args.lr}, 0)
        saver.save()
    """)
    elsewhere = place.folder / "my runs"
    place.hypertuner("run", "train.py", "lr=0.5,0.2", "--queue", "--storage", elsewhere)
    said = place.hypertuner("queue", "--cpu", "--storage", elsewhere)
    words = command(said, "hypertuner run --from")
    assert f"'{elsewhere}'" in said
    assert "✓ finished" in place.hypertuner(*words)


def test_whoever_comes_later_finds_the_summary_of_the_last_time(place: Place):
    place.script(TRAINS)
    place.hypertuner("run", "train.py", "--name", "otter", "--queue")
    place.hypertuner("queue", "--cpu", "--detach")
    until(lambda: "The last time, " in place.hypertuner("queue", "ls"))
    for said in (place.hypertuner("queue", "ls"), place.hypertuner("queue")):
        assert "  1 finished\n" in said
        assert "best val_accuracy: 0.9 otter" in said


def test_what_still_waits_at_the_end_is_named_with_the_command_that_tells_why(place: Place):
    place.script(TRAINS)
    place.hypertuner("run", "train.py", "learning_rate=7", "--name", "fails", "--queue")
    place.hypertuner("run", "train.py", "--name", "later", "--after", "fails", "--queue")
    said = place.hypertuner("queue", "--cpu", code=1)
    assert "1 run still waiting: hypertuner queue ls" in said
    assert "waits for fails, which has failed" in place.hypertuner("queue", "ls")


# --- the failed ones again


def test_by_query_each_is_queued_with_its_own_config_and_the_change_times_seeds(place: Place):
    place.script(TRAINS)
    place.hypertuner("run", "train.py", "learning_rate=0.1,0.2", "batch_size=128", "epochs=2", "--queue")
    place.hypertuner("run", "train.py", "learning_rate=0.3", "--queue")
    place.hypertuner("queue", "--cpu", code=1)
    said = place.hypertuner(
        "run", "--like", 'state == "failed"', "batch_size=16,8", "--seeds", 2, "--queue", "--name", "again"
    )
    assert "8 runs, like 2 runs that there are: batch_size 16, 8 × seed 0, 1" in said
    made = [entry.run.config() for entry in place.queue.waiting()]
    assert sorted((one["learning_rate"], one["batch_size"], one["seed"]) for one in made) == [
        (rate, size, seed) for rate in (0.1, 0.2) for size in (8, 16) for seed in (0, 1)
    ]
    assert {one["epochs"] for one in made} == {2}


def test_a_script_that_is_gone_is_said_before_anything_is_queued(place: Place):
    place.script(TRAINS)
    place.script(TRAINS, "other.py")
    place.hypertuner("run", "train.py", "batch_size=128", "--name", "first", "--queue")
    place.hypertuner("run", "other.py", "batch_size=128", "--name", "second", "--queue")
    place.hypertuner("queue", "--cpu", code=1)
    (place.folder / "other.py").unlink()
    said = place.hypertuner("run", "--like", 'state == "failed"', "batch_size=16", "--queue", code=1)
    assert "The script of run 'second' is not there any more" in said
    assert place.queue.waiting() == []
    assert len(list(place.storage.list())) == 2


def test_a_query_that_nothing_matches_queues_nothing_and_says_so(place: Place):
    place.script(TRAINS)
    place.hypertuner("run", "train.py", "--queue")
    said = place.hypertuner("run", "--like", 'state == "failed"', "batch_size=16", "--queue", code=2)
    assert "No run matches 'state == \"failed\"'" in said


# --- what is seen of a queue


def test_progress_is_shown_where_a_run_of_the_same_length_has_finished(place: Place, monkeypatch):
    place.script(TRAINS)
    place.hypertuner("run", "train.py", "epochs=400", "--name", "before", "--queue")
    place.hypertuner("queue", "--cpu")
    monkeypatch.setenv("PAUSE", "0.2")
    place.hypertuner("run", "train.py", "epochs=400", "learning_rate=0.2,0.3", "--queue", "--name", "now")
    place.hypertuner("queue", "--cpu", "--detach")
    until(lambda: is_running(place.run("now-1")) and len(list(place.run("now-1").logged())) > 5)
    said = place.hypertuner("queue", "ls")
    assert " of 399 " in said and "1 slot; empty in about " in said
    shown = json.loads(place.hypertuner("queue", "ls", "--json"))
    runs, waits = shown["runs"]
    assert (runs["progress"]["last_step"], runs["waits"]) == (399, False)
    assert 0 < runs["progress"]["left_s"] < 400
    assert (waits["why"], waits["config"]["learning_rate"], waits["position"]) == ("all slots are taken", 0.3, 2)
    assert "private" not in waits
    told = place.hypertuner("show", "now-1")
    assert " of 399, " in told and " left" in told
    assert "▶ running " in place.hypertuner("ls")
    assert json.loads(place.hypertuner("show", "now-1", "--json"))["progress"]["last_step"] == 399
    assert "number 1 of 1 in the queue: all slots are taken" in place.hypertuner("show", "now-2")
    place.hypertuner("stop", "now-2", "now-1")


def test_every_reason_to_wait_that_the_folders_tell_is_told(place: Place):
    script = place.script(TRAINS)
    for name in ("plain", "held", "later", "foreign"):
        place.add(script, name, after=("plain",) if name == "later" else ())
    entry = place.queue.entry(place.run("foreign"))
    place.queue.write(entry.run, dataclasses.replace(entry.queued, private="0" * 32))
    place.hypertuner("queue", "pause", "held")
    why = {run["name"]: run["why"] for run in json.loads(place.hypertuner("queue", "ls", "--json"))["runs"]}
    assert why["plain"] == "nothing drains the queue"
    assert why["held"] == "held"
    assert why["later"] == "waits for plain, which waits"
    assert why["foreign"].startswith("its environment is not here")
    place.hypertuner("queue", "pause")
    said = place.hypertuner("queue", "ls")
    assert "The queue is paused, nothing new starts. Let it go on: hypertuner queue resume" in said
    assert "What is held goes on by: hypertuner queue resume RUN" in said


def test_a_run_on_another_host_is_unknown_with_when_it_wrote_last(place: Place):
    run = place.add(TRAINS, "far")
    about = {"python": "", "platform": "", "user": ""}
    started = records.Started.here(exit_by="supervisor", config={}, slots=1, **about)
    attempt = run.claim(1, dataclasses.replace(started, host="gpu-box", machine="another", boot_id=None))
    attempt.layout.output.write_bytes(b"epoch 1\n")
    past = time.time() - 190
    for path in (attempt.layout.output, attempt.layout.started):
        os.utime(path, (past, past))
    for words in (("ls",), ("queue", "ls"), ("show", "far")):
        assert "? unknown, wrote 3 min ago" in place.hypertuner(*words)
    (row,) = json.loads(place.hypertuner("queue", "ls", "--json"))["runs"]
    assert 185 < row["wrote_s_ago"] < 240
    attempt.layout.metrics.write_bytes(b"")
    assert re.search(r"\? unknown, wrote (just now|[0-9]+ s ago)", place.hypertuner("ls"))


def test_attempts_are_listed_with_how_each_ended_and_what_the_last_took(place: Place, monkeypatch):
    monkeypatch.setenv("HYPERTUNER_SYSTEM_EVERY_S", "0.2")
    run = place.add(
        """
        import os, pathlib, time
        mark = pathlib.Path("once")
        if not mark.exists():
            mark.touch()
            time.sleep(60)
        time.sleep(1)
        """,
        "twice",
        retries=1,
    )
    process = place.start("queue", "--cpu")
    until(lambda: (place.folder / "once").exists())
    script = json.loads(run.attempts()[0].layout.started.read_text())["pid"]
    os.kill(script, 9)
    assert process.wait(60) == 0
    said = place.hypertuner("show", "twice")
    lines = said.partition("\nattempts\n")[2].splitlines()
    assert lines[1].split()[:3] == ["1", "✗", "failed"] and lines[2].split()[:3] == ["2", "✓", "finished"]
    assert "machine, attempt 2" in said and "CPU cores" in said
    facts = json.loads(place.hypertuner("show", "twice", "--json"))
    assert [(one["attempt"], one["state"], one["cause"]) for one in facts["attempt_list"]] == [
        (1, "failed", facts["attempt_list"][0]["cause"]),
        (2, "finished", ""),
    ]
    assert facts["attempt_list"][0]["cause"] in records.INFRASTRUCTURE
    assert facts["system"]["samples"] >= 1 and facts["system"]["memory_bytes"]["most"] > 0


# --- when a queue will be empty

shares = st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1e6)), max_size=20)


@given(st.integers(1, 4), shares, shares)
def test_a_queue_is_empty_no_sooner_than_its_work_divided_and_no_later_than_one_after_the_other(
    slots, running, waiting
):
    ahead = empty_in(slots, running, waiting)
    everything = [(min(max(1, taken), slots), left) for taken, left in (*running, *waiting)]
    if not everything:
        assert ahead.left_s is None
        return
    total = sum(left for _, left in everything)
    assert ahead.left_s <= total * (1 + 1e-9)
    assert ahead.left_s >= max(left for _, left in everything) * (1 - 1e-9)
    assert ahead.left_s >= sum(taken * left for taken, left in everything) / slots * (1 - 1e-9)


def test_what_nobody_knows_is_said_and_nothing_is_made_of_it():
    assert outlook_text(empty_in(1, [(1, None)], [(1, None)])) == ""
    told = outlook_text(empty_in(1, [(1, 60.0)], [(1, None)]))
    assert told == "empty in 1 min or more: how long 1 run will take is open"
    assert outlook_text(empty_in(2, [(1, 60.0)], [(1, 30.0), (2, 60.0)])) == "empty in about 2 min"
