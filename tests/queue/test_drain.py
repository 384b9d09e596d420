"""A queue keeps its order, its limits and its promises, whoever drains it and whatever happens to that."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import signal
import time

import pytest
from tests.queue.conftest import Place, is_running, until

from hypertuner.errors import QueueError
from hypertuner.queue.drain import Drainer
from hypertuner.queue.executor import LocalExecutor
from hypertuner.queue.slots import Slots
from hypertuner.queue.supervisor import Task, ask_to_stop
from hypertuner.queue.turn import Turn, drained_by
from hypertuner.queue.waiting import Queue
from hypertuner.store import RunState, records

NOTHING = "pass"
SLEEPS = "import time, hypertuner; hypertuner.Logger().log({'a': 1}); time.sleep(600)"


def started(place: Place) -> list[str]:
    return [event.entry.name for event in place.events if event.kind == "started"]


def test_runs_start_in_the_order_in_which_they_were_queued(place: Place):
    for name in ("third", "first", "second"):
        place.add(NOTHING, name)
    place.drain()
    assert started(place) == ["third", "first", "second"]


def test_a_higher_priority_goes_first(place: Place):
    place.add(NOTHING, "usual")
    place.add(NOTHING, "urgent", priority=1)
    place.add(NOTHING, "idle", priority=-1)
    place.add(NOTHING, "urgent-too", priority=1)
    place.drain()
    assert started(place) == ["urgent", "urgent-too", "usual", "idle"]


def test_a_run_is_moved_before_another_to_the_front_and_to_the_end(place: Place):
    for name in "abcd":
        place.add(NOTHING, name)
    place.hypertuner("queue", "mv", "d")
    place.hypertuner("queue", "mv", "a", "--last")
    place.hypertuner("queue", "mv", "c", "--before", "b")
    place.drain()
    assert started(place) == ["d", "c", "b", "a"]


def test_no_more_run_at_once_than_there_are_slots(place: Place):
    source = """
        import os, time
        open(f"up-{os.getpid()}", "w").close()
        print(len([name for name in os.listdir() if name.startswith("up-")]))
        time.sleep(0.3)
        os.remove(f"up-{os.getpid()}")
    """
    for number in range(6):
        place.add(source, f"run-{number}")
    place.drain(slots=2)
    most = max(int(place.output(f"run-{number}")) for number in range(6))
    assert most == 2


def test_a_run_waits_until_the_one_that_it_comes_after_has_finished(place: Place):
    place.add(NOTHING, "later", after=())
    place.add("open('made', 'w').close()", "before")
    entry = place.queue.entry(place.run("later"))
    place.queue.write(entry.run, dataclasses.replace(entry.queued, after=("before",)))
    place.drain(slots=2)
    assert started(place) == ["before", "later"]


def test_what_comes_after_a_run_that_failed_waits_on_and_the_drainer_ends(place: Place):
    place.add("raise ValueError('no')", "before")
    place.add(NOTHING, "later", after=("before",))
    place.add(NOTHING, "much-later", after=("later",))
    place.drain()
    assert started(place) == ["before"]
    assert place.run("later").state() == RunState.queued
    assert "waits for before, which has failed" in place.hypertuner("queue", "ls")


def test_a_paused_queue_starts_nothing_and_goes_on_when_it_is_told(place: Place):
    place.add(NOTHING, "waits")
    place.hypertuner("queue", "pause")
    assert "still waiting: the queue is paused" in place.hypertuner("queue", "--cpu")
    assert place.run("waits").state() == RunState.queued
    place.hypertuner("queue", "resume")
    place.hypertuner("queue", "--cpu")
    assert place.run("waits").state() == RunState.finished


def test_a_run_that_is_held_lets_others_pass(place: Place):
    place.add(NOTHING, "held")
    place.add(NOTHING, "next")
    place.hypertuner("queue", "pause", "held")
    place.drain()
    assert started(place) == ["next"]
    place.hypertuner("queue", "resume", "held")
    place.drain()
    assert started(place) == ["next", "held"]


def test_a_run_that_is_taken_out_of_the_queue_is_a_draft(place: Place):
    place.add(NOTHING, "unwanted")
    place.hypertuner("queue", "rm", "unwanted")
    assert place.run("unwanted").state() == RunState.draft
    assert place.drain() == []


def test_what_several_values_make_is_said_first_and_belongs_together(place: Place):
    place.script("import hypertuner; args = hypertuner.Args(lr=0.1, size=1, layers=[1], seed=0)")
    said = place.hypertuner("run", "train.py", "lr=0.1,0.01", "size=32,64", "layers=[8,8]", "--queue")
    assert said.startswith("4 runs: lr 0.1, 0.01 × size 32, 64\n")
    runs = list(place.storage.list())
    assert {(run.config()["lr"], run.config()["size"]) for run in runs} == {
        (0.1, 32),
        (0.1, 64),
        (0.01, 32),
        (0.01, 64),
    }
    assert all(run.config()["layers"] == [8, 8] for run in runs)
    assert len({run.record().study for run in runs}) == 1 and runs[0].record().study


def test_seeds_make_a_run_each(place: Place):
    place.script("import hypertuner; args = hypertuner.Args(lr=0.1, seed=0)")
    place.hypertuner("run", "train.py", "--queue", "--seeds", "3", "--name", "try")
    assert [place.run(f"try-{number}").config()["seed"] for number in (1, 2, 3)] == [0, 1, 2]


def test_a_text_with_a_comma_and_a_space_is_one_value(place: Place):
    place.script("import hypertuner; args = hypertuner.Args(prompt='')")
    place.hypertuner("run", "train.py", "prompt=Hello, world", "--queue", "--name", "one")
    assert place.run("one").config()["prompt"] == "Hello, world"


def test_terms_of_the_queue_are_refused_for_a_run_in_the_foreground(place: Place):
    place.script("")
    assert "--retries: for runs that wait" in place.hypertuner("run", "train.py", "--retries", "2", code=2)


def test_queueing_says_how_to_start_when_nothing_drains(place: Place):
    place.script("")
    assert "Start it: hypertuner queue" in place.hypertuner("run", "train.py", "--queue")


def test_one_process_drains_and_a_second_is_told_who_does(place: Place):
    place.add(SLEEPS, "busy")
    first = place.start("queue", "--cpu")
    until(lambda: drained_by(place.queue) is not None)
    said = place.hypertuner("queue", "--cpu", code=1)
    assert f"Process {first.pid} on" in said and "drains this storage" in said
    until(lambda: is_running(place.run("busy")))
    assert "drains it no longer; busy go on" in place.hypertuner("queue", "stop")
    first.wait(timeout=60)
    assert place.run("busy").state() == RunState.running
    place.hypertuner("stop", "busy")


def test_a_turn_ends_with_its_process_whatever_killed_it(place: Place):
    place.add(SLEEPS, "busy")
    first = place.start("queue", "--cpu")
    until(lambda: is_running(place.run("busy")))
    first.kill()
    first.wait()
    assert drained_by(place.queue) is None
    with Turn(place.queue, 1):
        assert drained_by(place.queue) is not None
        with pytest.raises(QueueError, match="drains this storage"), Turn(Queue(place.storage), 1):
            pass
    ask_to_stop(place.run("busy").attempts()[0])
    until(lambda: place.run("busy").state() == RunState.stopped)


def test_the_next_drainer_takes_up_what_runs_and_starts_nothing_twice(place: Place):
    place.add(SLEEPS, "busy")
    place.add(NOTHING, "next")
    first = place.start("queue", "--cpu")
    until(lambda: is_running(place.run("busy")))
    first.kill()
    first.wait()
    drainer = place.drainer()
    with Turn(place.queue, 1):
        for _ in range(20):
            drainer.step()
            time.sleep(0.02)
        assert [entry.name for entry in drainer.running] == ["busy"]
        assert started(place) == []
        ask_to_stop(place.run("busy").attempts()[0])
        until(lambda: drainer.step() or (started(place) and not drainer.running))
    assert place.run("next").state() == RunState.finished
    assert len(place.run("busy").attempts()) == 1


def test_a_detached_drainer_outlives_the_command_that_started_it(place: Place):
    place.add(NOTHING, "one")
    said = place.hypertuner("queue", "--detach", "--cpu", "--slots", "2")
    assert "drains" in said
    until(lambda: place.run("one").state() == RunState.finished)
    until(lambda: drained_by(place.queue) is None)
    assert "one ✓ finished" in (place.storage.path / ".queue" / "drainer.log").read_text()


def test_ctrl_c_ends_the_drainer_and_lets_what_runs_go_on(place: Place):
    place.add(SLEEPS, "busy")
    drainer = place.start("queue", "--cpu")
    until(lambda: is_running(place.run("busy")))
    drainer.send_signal(signal.SIGINT)
    drainer.wait(timeout=60)
    said = (place.folder / "said.txt").read_text()
    assert "1 run still going: busy\n" in said and "waiting" not in said
    assert place.run("busy").state() == RunState.running
    place.hypertuner("stop", "busy")


def test_a_run_queued_by_another_machine_waits_and_says_why(place: Place):
    run = place.add(NOTHING, "elsewhere")
    place.queue.write(run, dataclasses.replace(run.queued(), private="0" * 32))
    drainer = place.drainer()
    drainer.run()
    assert started(place) == []
    assert "its environment is not here" in drainer.reasons["elsewhere"]


def test_a_damaged_place_in_the_queue_is_told_and_stops_nobody_else(place: Place):
    run = place.add(NOTHING, "damaged")
    place.add(NOTHING, "whole")
    run.layout.queued.write_text("{")
    place.drain()
    assert started(place) == ["whole"]
    assert "damaged: " in place.hypertuner("queue", "ls")


def test_two_drainers_on_a_file_system_without_locks_start_nothing_twice(place: Place):
    """Each believes that it is alone; the claim of the attempt is what counts."""
    for number in range(4):
        place.add("import os; open(f'ran-{os.getpid()}', 'w').close()", f"run-{number}")
    drainers = [place.drainer(slots=2), place.drainer(slots=2)]
    until(lambda: [one.step() for one in drainers] and not place.queue.entries())
    until(lambda: [one.step() for one in drainers] and not any(one.running for one in drainers))
    assert len(list(place.folder.glob("ran-*"))) == 4
    assert all(len(place.run(f"run-{number}").attempts()) == 1 for number in range(4))


class _DiesBeforeItStarts(LocalExecutor):
    """Starts supervisors of which the first few are killed as soon as they have claimed their attempt."""

    def __init__(self, place: Place, times: int) -> None:
        super().__init__(place.storage)
        self._left = times

    def submit(self, entry, number, slots, gpus, more=0):
        if self._left:
            self._left -= 1
            mine = records.Started.here(exit_by="supervisor", config={}, python="", platform="", user="")
            pid = os.fork()
            if pid == 0:
                from hypertuner.store.process import ProcessIdentity

                me = ProcessIdentity.mine()
                entry.run.claim(number, dataclasses.replace(mine, pid=me.pid, process_started=me.started))
                os.kill(os.getpid(), signal.SIGKILL)
            os.waitpid(pid, 0)
            return _Over()
        return super().submit(entry, number, slots, gpus, more)


class _Over:
    def poll(self):
        return ""


def test_an_attempt_that_was_claimed_and_never_started_is_void_and_the_next_number_starts(place: Place):
    place.add("print('ran')", "void")
    drainer = Drainer(place.queue, _DiesBeforeItStarts(place, 2), Slots(1, use_gpus=False), place.events.append)
    drainer.run()
    run = place.run("void")
    assert run.state() == RunState.finished
    assert [attempt.is_void() for attempt in run.attempts()] == [True, True, False]
    assert run.newest_attempt().number == 3
    assert place.output("void", 3) == "ran\n"


@pytest.mark.parametrize(
    ("runs", "kills"),
    [
        (40, 8),
        pytest.param(2_000, 200, marks=[pytest.mark.slow, pytest.mark.timeout(3600)]),
        pytest.param(10_000, 1_000, marks=[pytest.mark.slow, pytest.mark.timeout(14_400)]),
    ],
)
def test_a_drainer_that_is_killed_again_and_again_loses_nothing_and_starts_nothing_twice(place: Place, runs, kills):
    """Each run appends its name to one file when it starts: exactly once for each."""
    chance = random.Random(f"{runs}")
    script = place.script(
        """
        import os
        name = os.environ["HYPERTUNER_RUN"].rpartition("/")[2]
        descriptor = os.open("ran.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, (name + "\\n").encode())
        """
    )
    for number in range(runs):
        place.add(script, f"run-{number}")
    for _ in range(kills):
        drainer = place.start("queue", "--cpu", "--no-zygote", "--slots", "4")
        with contextlib.suppress(Exception):
            drainer.wait(timeout=chance.uniform(0.3, 1.5) if runs < 1000 else chance.uniform(0.5, 3.0))
        drainer.kill()
        drainer.wait()
    assert place.start("queue", "--cpu", "--no-zygote", "--slots", "4").wait(timeout=7000) == 0
    ran = (place.folder / "ran.txt").read_text().split()
    assert sorted(ran) == sorted(f"run-{number}" for number in range(runs)), "none lost, none twice"
    assert place.queue.entries() == []
    states = {place.run(f"run-{number}").state() for number in range(runs)}
    assert states == {RunState.finished}, "none stuck"


TRAINS = """
    import torch, hypertuner
    args = hypertuner.Args(lr=0.1, epochs=2)
    torch.manual_seed(0)
    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=args.lr)
    saver = hypertuner.Saver(net, optimizer=optimizer)
    logger = hypertuner.Logger()
    for epoch in range(saver.next_epoch, args.epochs):
        logger.log({"loss": 1.0 / (epoch + 1)}, epoch)
        saver.save(epoch=epoch)
        print("epoch", epoch)
"""


def test_a_run_may_begin_from_the_weights_of_one_that_has_still_to_train_them(place: Place):
    pytest.importorskip("torch")
    place.script(TRAINS)
    place.hypertuner("run", "train.py", "--queue", "--name", "first")
    place.hypertuner("run", "train.py", "lr=0.01", "--from", "first@last", "--queue", "--name", "second")
    assert place.run("second").record().parent is None
    assert place.run("second").queued().after == ("first",)
    place.hypertuner("queue", "--cpu", "--slots", "2")
    second = place.run("second")
    assert second.state() == RunState.finished
    assert second.record().parent.run == "first" and second.layout.parent.exists()
    assert second.attempts()[0].loaded().share == 1.0


def test_a_run_whose_parent_never_made_the_checkpoint_fails_and_says_so(place: Place):
    place.add("pass", "first")
    place.hypertuner("run", "first.py", "--from", "first@last", "--queue", "--name", "second")
    place.drain(slots=2)
    ended = place.exit("second")
    assert (ended.state, ended.cause) == ("failed", "not started")
    assert "first" in ended.reason


def test_a_run_is_resumed_from_the_queue(place: Place):
    pytest.importorskip("torch")
    script = place.script(TRAINS)
    breaks = "if epoch == 0: 1/0"
    script.write_text(f"{script.read_text()}    {breaks}\n")
    place.hypertuner("run", "train.py", "--queue", "--name", "once")
    place.drain()
    assert place.run("once").state() == RunState.failed
    script.write_text(script.read_text().replace(breaks, ""))
    place.hypertuner("resume", "once", "--queue")
    place.drain()
    assert place.run("once").state() == RunState.finished
    lines = place.output("once", 2).splitlines()
    assert "epoch 1" in lines and "epoch 0" not in lines


def test_a_task_goes_through_json(tmp_path):
    import json
    from pathlib import Path

    task = Task(Path("/storage/run"), 3, 2, ("GPU-1",))
    assert json.loads(json.dumps(task.to_json())) == {"run": "/storage/run", "number": 3, "slots": 2, "gpus": ["GPU-1"]}
