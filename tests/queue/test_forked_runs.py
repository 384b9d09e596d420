"""Runs that a queue forks from a zygote are what runs that it starts plainly are."""

from __future__ import annotations

import os
import signal

import psutil
import pytest
from tests.queue.conftest import Place, is_running, pids_of, until

from hypertuner.queue.drain import Drainer
from hypertuner.store import RunState

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux: nothing is forked elsewhere")
pytest.importorskip("torch")

TRAINS = """
    import os, signal, time, torch, hypertuner
    args = hypertuner.Args(lr=0.1, sleep=0.0, die=False)
    torch.manual_seed(0)
    net = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=args.lr, momentum=0.9)
    saver = hypertuner.Saver(net, optimizer=optimizer)
    logger = hypertuner.Logger()
    for step in range(saver.next_step, 5):
        loss = net(torch.randn(8, 4)).pow(2).mean()
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        logger.log({"loss": loss.item()}, step)
        saver.save()
        if args.die and step == 2 and not os.path.exists("died"):
            open("died", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(args.sleep)
    print("ended at", step, loss.item().hex())
"""


@pytest.fixture
def forking(place: Place):
    """A drainer whose zygote is ready: every run that it starts is forked."""
    drainer = place.drainer(slots=2, zygote=True)
    yield drainer
    drainer.executor.close()


def ready(drainer: Drainer, place: Place) -> None:
    entry = place.queue.waiting()[0]
    executor = drainer.executor
    environment = executor._environment(entry, ())
    assert executor._zygote(entry.queued.python, environment, 10) is None, "it imports for a while"
    until(lambda: executor._zygote(entry.queued.python, environment, 0) is not None, timeout=120)


def finish(drainer: Drainer) -> None:
    until(lambda: drainer.step() or (not drainer.running and not drainer.queue.waiting()))


def test_a_forked_run_computes_saves_and_ends_as_a_plain_one(place: Place, forking: Drainer):
    script = place.script(TRAINS)
    for name in ("plain", "forked"):
        place.add(script, name)
    waiting = place.queue.waiting()
    place.queue.hold(waiting[1], held=True)
    place.drain()
    place.queue.hold(place.queue.waiting()[0], held=False)
    ready(forking, place)
    finish(forking)
    plain, forked = place.run("plain"), place.run("forked")
    assert [record.values for record in plain.logged()] == [record.values for record in forked.logged()]
    assert place.output("plain").splitlines()[1:] == place.output("forked").splitlines()[1:]
    assert forked.state() == RunState.finished and forked.config() == plain.config()
    assert place.hypertuner("verify", "forked@last")
    folders = [run.attempts()[0].layout.folder for run in (plain, forked)]
    there = [{path.name for path in folder.iterdir()} - {"system.jsonl"} for folder in folders]  # only of a long run
    assert there[0] == there[1]


def test_a_forked_run_goes_on_when_its_drainer_and_its_zygote_are_gone_and_is_stopped(place: Place, forking: Drainer):
    place.add("import time, hypertuner; hypertuner.Logger().log({'a': 1}); time.sleep(600)", "long")
    ready(forking, place)
    until(lambda: forking.step() or is_running(place.run("long")))
    guard, _ = pids_of(place.run("long"))
    (zygote,) = forking.executor._zygotes
    assert psutil.Process(guard).ppid() == zygote.pid
    forking.executor.close()
    until(lambda: not psutil.pid_exists(zygote.pid))
    assert place.run("long").state() == RunState.running
    family = psutil.Process(guard).children(recursive=True)
    place.hypertuner("stop", "long")
    assert place.exit("long").cause == "stopped"
    assert not psutil.wait_procs(family, timeout=60)[1]


def test_when_a_forked_supervisor_is_killed_its_script_dies_and_the_run_goes_on_from_its_checkpoint(
    place: Place, forking: Drainer
):
    script = place.script(TRAINS.replace("sleep=0.0", "sleep=0.5"))
    run = place.add(script, "killed", retries=1)
    ready(forking, place)
    until(lambda: forking.step() or (is_running(run) and run.checkpoints()))
    guard, supervisor = pids_of(run)
    family = psutil.Process(guard).children(recursive=True)
    os.kill(supervisor, signal.SIGKILL)
    finish(forking)
    assert not psutil.wait_procs(family, timeout=60)[1]
    assert run.attempts()[0].exit().cause == "lost"
    assert run.state() == RunState.finished and len(run.attempts()) == 2
    assert "resumes killed@last" in place.output("killed", 2)


def test_a_forked_script_that_dies_of_a_signal_is_tried_again(place: Place, forking: Drainer):
    run = place.add(place.script(TRAINS.replace("die=False", "die=True")), "dies", retries=1)
    ready(forking, place)
    finish(forking)
    assert [attempt.exit().cause for attempt in run.attempts()] == ["killed", ""]


def test_a_run_with_another_environment_is_started_plainly(place: Place, forking: Drainer, monkeypatch):
    place.add("print('first')", "first")
    ready(forking, place)
    place.queue.withdraw(place.queue.waiting()[0])
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr("tests.conftest.THREADS", {})
    place.add("import os; print(os.environ['OMP_NUM_THREADS'], os.getppid())", "other")
    finish(forking)
    assert place.run("other").state() == RunState.finished
    assert place.output("other").startswith("2 ")


def test_a_queue_that_is_told_so_forks_nothing(place: Place):
    for number in range(4):
        place.add("import sys; print('torch' in sys.modules)", f"run-{number}")
    place.hypertuner("queue", "--cpu", "--no-zygote")
    assert {place.output(f"run-{number}") for number in range(4)} == {"False\n"}
