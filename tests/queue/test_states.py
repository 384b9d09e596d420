"""The state of a run is the truth, whatever has become of the processes that had to do with it."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from tests.conftest import script_environment
from tests.queue.conftest import Place, is_running, pids_of, until

from hypertuner.queue import ending, tree
from hypertuner.queue.supervisor import ask_to_stop
from hypertuner.store import Run, RunState, records
from hypertuner.store.process import ProcessIdentity, process_start

SLEEPS = "import time, hypertuner; hypertuner.Logger().log({'a': 1}); time.sleep(600)"


@pytest.fixture
def running(place: Place):
    run = place.add(SLEEPS, "sleeps", retries=0)
    drainer = place.start("queue", "--cpu")
    until(lambda: is_running(run))
    yield run
    ask_to_stop(run.attempts()[-1])
    until(lambda: run.state() != RunState.running)
    drainer.wait(timeout=60)


def rewritten(run: Run, **changes: object) -> None:
    """started.json as another machine, or another time, would have written it."""
    attempt = run.attempts()[-1]
    attempt.layout.started.write_bytes(records.to_bytes(dataclasses.replace(attempt.started, **changes)))


def come_from_elsewhere(place: Place, run: Run) -> Run:
    """A copy of a run's folder in the same storage, as another host would have written it from the beginning."""
    shutil.copytree(run.folder, place.folder / "copied")
    rewritten(Run(place.folder / "copied"), host="elsewhere", exit_by="script")
    (place.folder / "copied").rename(place.storage.path / "copied")
    return place.run("copied")


def test_a_machine_that_slept_has_its_runs_running_when_it_wakes(running):
    family = [psutil.Process(pid) for pid in pids_of(running)]
    family += family[0].children(recursive=True)
    for process in family:
        process.suspend()
    time.sleep(0.5)
    assert running.state() == RunState.running
    for process in family:
        process.resume()
    assert running.state() == RunState.running


def test_a_machine_that_was_restarted_has_crashed_runs(running):
    whole = running.attempts()[-1].layout.started.read_bytes()
    rewritten(running, boot_id="another boot")
    assert running.state() == RunState.crashed
    running.attempts()[-1].layout.started.write_bytes(whole)


def test_a_machine_of_the_same_name_is_another_one(running):
    whole = running.attempts()[-1].layout.started.read_bytes()
    rewritten(running, machine="another machine", boot_id="another boot")
    assert running.state() == RunState.unknown
    running.attempts()[-1].layout.started.write_bytes(whole)


def test_a_folder_that_was_copied_from_another_host_is_unknown_and_cannot_be_stopped_from_here(place: Place, running):
    copied = come_from_elsewhere(place, running)
    assert copied.state() == RunState.unknown
    assert "on elsewhere as process" in place.hypertuner("stop", "copied", code=1)
    assert running.state() == RunState.running


def test_a_drainer_does_not_wait_for_a_run_that_turns_out_to_be_elsewhere(place: Place, running):
    drainer = place.drainer()
    drainer.step()
    assert drainer.running_names == {"sleeps"}
    whole = running.attempts()[-1].layout.started.read_bytes()
    rewritten(running, host="elsewhere")
    drainer.step()
    assert drainer.running_names == set()
    assert drainer.reasons == {"sleeps": "attempt 1 may run on elsewhere"}
    assert running.layout.queued.exists()
    running.attempts()[-1].layout.started.write_bytes(whole)


def test_an_end_in_a_word_that_only_a_newer_hypertuner_knows_is_an_end(place: Place, running):
    drainer = place.drainer()
    drainer.step()
    ended = ending.lost(None, "it was put to sleep")
    running.end_attempt(running.attempts()[-1], dataclasses.replace(ended, state="asleep", cause="asleep"))
    drainer.step()
    assert running.state() == RunState.unknown
    assert drainer.running_names == set()
    assert not running.layout.queued.exists()


def test_when_the_supervisor_dies_the_state_is_right_within_five_seconds(place: Place):
    run = place.add(SLEEPS, "orphan", retries=0)
    drainer = place.start("queue", "--cpu")
    until(lambda: is_running(run))
    drainer.kill()
    drainer.wait()
    _, supervisor = pids_of(run)
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: run.state() == RunState.failed, timeout=5)
    assert "its supervisor was killed by SIGKILL" in run.attempts()[0].exit().reason


@pytest.mark.root
def test_a_run_in_another_pid_namespace_is_unknown_from_outside_and_running_inside(place: Place):
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    script = place.script(
        """
        import hypertuner, time
        hypertuner.Logger().log({"a": 1})
        from hypertuner.store import Storage
        print(next(iter(Storage().list())).state(), flush=True)
        time.sleep(600)
        """
    )
    process = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, str(script)],
        env=script_environment({}),
        cwd=place.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout.readline().strip() == b"running"
        (run,) = place.storage.list()
        assert run.state() == RunState.unknown
        process.kill()


def test_a_stranger_that_got_the_pid_is_never_signalled():
    """Of a thousand processes asked for by a start that is not theirs none is touched."""
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        mine = ProcessIdentity.mine()
        its_start = process_start(stranger.pid)
        for number in range(1, 1000):
            earlier = dataclasses.replace(mine, pid=stranger.pid, started=its_start - number)
            assert not tree.send(earlier, signal.SIGKILL)
        assert stranger.poll() is None
        assert tree.send(dataclasses.replace(mine, pid=stranger.pid, started=its_start), signal.SIGKILL)
        assert stranger.wait(timeout=60) == -signal.SIGKILL
    finally:
        stranger.kill()
        stranger.wait()


def test_a_process_that_has_ended_is_not_signalled():
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    identity = dataclasses.replace(ProcessIdentity.mine(), pid=ended.pid, started=process_start(ended.pid))
    ended.wait()
    assert not tree.send(identity, signal.SIGKILL)


def test_what_its_script_said_of_its_end_counts_when_its_supervisor_is_gone(place: Place):
    run = place.add("pass", "said")
    mine = ProcessIdentity.mine()
    about = {"python": "", "platform": "", "user": ""}
    started = records.Started.here(exit_by="supervisor", config={}, **about)
    attempt = run.claim(1, dataclasses.replace(started, pid=mine.pid, process_started=1.0))
    assert attempt.is_void() and run.state() == RunState.queued
    said = records.Exit("finished", 0, None, "the script ended", records.now())
    attempt.layout.script_exit.write_bytes(records.to_bytes(said))
    assert not attempt.is_void()
    assert run.state() == RunState.finished
