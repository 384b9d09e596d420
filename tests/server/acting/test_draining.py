"""The server drains the queue of its storage: it may die, and the next one takes up what it left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest
from tests.queue.conftest import until
from tests.server.acting.test_acting import act, launch
from tests.server.acting.trained import environment
from tests.server.serving import serving
from tests.server.test_live import tab

from hypertuner.queue.waiting import Queue
from hypertuner.server.draining.drains import Draining
from hypertuner.server.draining.machine import Machine
from hypertuner.store import RunState, Storage

WAITS = """
    import os, time, hypertuner
    args = hypertuner.Args(lr=0.1)
    logger = hypertuner.Logger()
    print({name: value for name, value in os.environ.items() if "token" in name.lower()}, os.environ.get("MARK"))
    step = 0
    while not os.path.exists("go"):
        logger.log({"loss": 1.0}, step)
        step += 1
        time.sleep(0.05)
"""


def queue(served):
    return served.ask("GET", "/api/queue").json


def test_a_server_that_is_killed_leaves_runs_going_and_the_next_one_takes_them_up(place, serve):
    place.script(WAITS)
    with serving(place.folder, "train.py", "--slots", "2") as first:
        launch(first, several={"lr": [0.1, 0.2, 0.3]}, name="n")
        until(lambda: [place.run(f"n-{number}").state() for number in (1, 2)] == [RunState.running] * 2)
        until(lambda: len(queue(first)["running"]) == 2)
        pids = [one.pid for one in psutil.Process(first.process.pid).children(recursive=True)]
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    assert place.run("n-1").state() == RunState.running
    second = serve("train.py", "--slots", "2")
    until(lambda: queue(second)["drained_by"] == "this server")
    until(lambda: {one["name"] for one in queue(second)["running"]} == {"n-1", "n-2"})
    (waits,) = queue(second)["waiting"]
    assert (waits["name"], waits["reason"]) == ("n-3", "all slots are taken")
    (place.folder / "go").touch()
    until(lambda: all(place.run(f"n-{number}").state() == RunState.finished for number in (1, 2, 3)))
    assert [len(place.run(f"n-{number}").attempts()) for number in (1, 2, 3)] == [1, 1, 1]
    until(lambda: queue(second)["running"] == [])
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_how_far_a_run_of_the_queue_is_is_told_as_it_goes_on(place, serve):
    place.script(WAITS)
    served = serve("train.py")
    with tab(served) as one:
        launch(served, name="n")
        steps: list[int] = []
        while len(steps) < 3:  # nothing happens to the queue meanwhile
            running = one.next("queue")["queue"]["running"]
            if running and running[0]["step"] is not None and running[0]["step"] not in steps:
                steps.append(running[0]["step"])
        assert steps == sorted(steps)
        (place.folder / "go").touch()
        while one.next("queue")["queue"]["running"]:
            pass


def test_a_run_gets_the_environment_of_the_server_and_no_secret_of_it(place):
    place.script(WAITS)
    (place.folder / "go").touch()
    with serving(place.folder, "train.py", env={"MARK": "mine"}) as served:
        launch(served, name="one")
        until(lambda: place.run("one").state() == RunState.finished)
        output = place.run("one").newest_attempt().layout.output.read_text()
        assert "{} mine" in output
        assert served.token not in output
        kept = b"".join(path.read_bytes() for path in place.storage.path.rglob("*") if path.is_file())
        assert served.token.encode() not in kept


def test_two_servers_do_not_drain_one_storage_and_the_second_takes_over(place, serve):
    place.script(WAITS)
    second = None
    with serving(place.folder, "train.py") as first:
        until(lambda: queue(first)["drained_by"] == "this server")
        second = serve("train.py")
        told = queue(second)
        assert told["drained_by"] == "another process"
        assert str(first.process.pid) in told["drainer"]
        assert second.ask("POST", "/api/queue/slots", {"slots": 3}).status == 409
    until(lambda: queue(second)["drained_by"] == "this server")


def test_the_command_line_sees_the_server_as_the_drainer(place, serve):
    place.script(WAITS)
    served = serve("train.py", "--slots", "3")
    until(lambda: queue(served)["drained_by"] == "this server")
    done = place.command("queue", check=False)
    said = place.command("queue", "ls", "--json").stdout
    assert f'"pid": {served.process.pid}' in said.replace('":', '": ').replace(":  ", ": ")
    assert done.returncode == 0  # nothing waits
    (place.folder / "go").touch()
    place.command("run", "train.py", "--name", "typed", "--queue")
    until(lambda: place.run("typed").state() == RunState.finished)


def test_slots_and_pauses_hold_at_once(place, serve):
    place.script(WAITS)
    served = serve("train.py", "--slots", "1")
    until(lambda: queue(served)["drained_by"] == "this server")
    assert served.ask("POST", "/api/queue/pause", {"paused": True}).json["is_paused"]
    launch(served, several={"lr": [0.1, 0.2, 0.3]}, name="n")
    assert {one["reason"] for one in queue(served)["waiting"]} == {"the queue is paused"}
    assert not served.ask("POST", "/api/queue/pause", {"paused": False}).json["is_paused"]
    until(lambda: len(queue(served)["running"]) == 1)
    assert served.ask("POST", "/api/queue/slots", {"slots": 2}).json["slots"] == 2
    until(lambda: len(queue(served)["running"]) == 2)
    assert served.ask("POST", "/api/queue/slots", {"slots": 0}).status == 400
    until(lambda: queue(served)["running"][0]["step"])
    act(served, "stop", "n-1")
    until(lambda: place.run("n-1").state() == RunState.stopped)
    (place.folder / "go").touch()
    until(lambda: place.run("n-3").state() == RunState.finished)


def test_draining_in_a_thread_tells_what_happens_and_leaves_signals_alone(place):
    """In this process: what happens is numbered, and asked for from where one was."""
    from tests.queue.conftest import Place

    here = Place(place.folder)
    here.add("import hypertuner; hypertuner.Logger().log({'loss': 1}, 0)", "good")
    here.add("raise ValueError('no')", "bad")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)}
    before = threading.active_count()
    drains = Draining(Storage(here.storage.path), 2)
    drains.start()
    try:
        until(lambda: [said.kind for _, said in drains.said()].count("ended") == 2)
        said = drains.said()
        assert [number for number, _ in said] == list(range(1, len(said) + 1))
        texts = {one.run: one.text for _, one in said if one.kind == "ended"}
        assert texts == {"good": "good finished", "bad": "bad failed: ValueError: no"}
        assert drains.said(said[-1][0]) == []
        assert {number: signal.getsignal(number) for number in handlers} == handlers
    finally:
        drains.stop()
    assert threading.active_count() == before
    assert Queue(here.storage).entries() == []


def test_the_machine_is_sampled(tmp_path):
    machine = Machine(tmp_path / "storage" / "not" / "there" / "yet")
    machine.start()
    try:
        until(lambda: machine.count >= 2)
        sample = machine.newest()
    finally:
        machine.stop()
    assert len(sample.cpu) == psutil.cpu_count()
    assert all(0 <= share <= 1 for share in sample.cpu)
    assert 0 < sample.memory_used_bytes < sample.memory_bytes == psutil.virtual_memory().total
    assert 0 < sample.disk_free_bytes < sample.disk_bytes
    assert machine().samples[-1] == sample


@pytest.mark.skipif(not os.path.exists("/proc"), reason="needs /proc")
def test_a_process_that_drains_for_long_leaves_no_descriptor_open(place):
    """Twenty runs, one after the other, leave as many descriptors as two."""
    program = """
        import os, sys, time
        from hypertuner.queue import make
        from hypertuner.queue.waiting import Queue
        from hypertuner.server.draining.drains import Draining
        from hypertuner.store import Storage
        from pathlib import Path
        storage = Storage(Path("storage"))
        Path("train.py").write_text("import hypertuner; hypertuner.Logger().log({'loss': 1}, 0)")
        drains = Draining(storage, 2)
        drains.start()
        counts = []
        for lot in (2, 8):
            for _ in range(lot):
                run = make.make_run(Path("train.py"), {}, storage=storage)
                Queue(storage).add(run, ())
            while sum(said.kind == "ended" for _, said in drains.said()) < (2 if lot == 2 else 10):
                time.sleep(0.05)
            time.sleep(0.5)
            counts.append(len(os.listdir("/proc/self/fd")))
        drains.stop()
        print(counts)
    """
    script = place.script(program, "long.py")
    done = subprocess.run(
        [sys.executable, str(script)], cwd=place.folder, env=environment(place.folder), capture_output=True, text=True
    )
    few, many = eval(done.stdout.splitlines()[-1])  # two numbers that it printed
    assert many <= few + 4, done.stdout
