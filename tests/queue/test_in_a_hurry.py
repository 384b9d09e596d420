"""A queue in the hands of a person who is in a hurry, on a machine that does not help."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import subprocess
import sys
import time

import pytest
from tests.conftest import script_environment
from tests.queue.conftest import Place, until

from hypertuner.cli import queue as commands
from hypertuner.cli.queue_says import Says
from hypertuner.errors import StorageFullError
from hypertuner.queue import make, private, supervisor
from hypertuner.queue.executor import LocalExecutor
from hypertuner.queue.supervisor import Task
from hypertuner.queue.turn import drained_by
from hypertuner.queue.waiting import Queue
from hypertuner.store import Run, RunState, capture, orders, records
from hypertuner.store.trash import Trash

NOTHING = "pass"
SLEEPS = "import time, hypertuner; hypertuner.Logger().log({'a': 1}); time.sleep(600)"


def started(place: Place) -> list[str]:
    return [event.entry.name for event in place.events if event.kind == "started"]


def test_runs_that_wait_for_each_other_wait_on_and_the_drainer_ends(place: Place):
    for name in ("itself", "one", "two", "behind"):
        place.add(NOTHING, name)
    for name, after in (("itself", "itself"), ("one", "two"), ("two", "one"), ("behind", "one")):
        entry = place.queue.entry(place.run(name))
        place.queue.write(entry.run, dataclasses.replace(entry.queued, after=(after,)))
    assert place.drain() == []
    assert "waits for two, which waits" in place.hypertuner("queue", "ls")


def test_a_run_that_was_given_another_name_is_still_waited_for(place: Place):
    place.add(NOTHING, "before")
    place.add(NOTHING, "later", after=("before",))
    place.hypertuner("mv", "before", "earlier")
    place.drain()
    assert started(place) == ["earlier", "later"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--name", "night", "lr=1,2"], "A run called 'night-2'"),
        (["--name", "new", "--after", "new"], "No run called 'new'"),
        (["lr=1,2"], "Nothing can be queued"),
    ],
)
def test_what_cannot_be_queued_leaves_no_run_behind(place: Place, monkeypatch, words, why):
    script = place.script("import hypertuner; hypertuner.Args(lr=1)")
    make.make_run(script, {}, name="night-2", storage=place.storage)
    if why == "Nothing can be queued":
        (place.folder / "file").write_text("")
        monkeypatch.setenv("HYPERTUNER_HOME", str(place.folder / "file"))
    said = place.hypertuner("run", "train.py", *words, "--queue", code=1)
    assert why in said
    assert [run.name for run in place.storage.list()] == ["night-2"]


@pytest.mark.parametrize("moment", ["before it is claimed", "when it is claimed"])
def test_a_run_taken_out_of_the_queue_while_its_supervisor_begins_is_not_started(place: Place, monkeypatch, moment):
    run = place.add("open('started', 'w').close()", "unwanted")
    where = "gather" if moment == "before it is claimed" else "claim"
    owner = capture if where == "gather" else Run
    plainly, entry = getattr(owner, where), place.queue.entry(run)

    def withdrawn(*arguments: object) -> object:
        done = plainly(*arguments)
        place.queue.withdraw(entry)
        return done

    monkeypatch.setattr(owner, where, withdrawn)
    if (pid := os.fork()) == 0:
        os._exit(supervisor.main(Task(run.folder, 1).to_json()))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == supervisor.TAKEN
    assert run.state() == RunState.draft
    assert not (place.folder / "started").exists()


def test_stop_stops_a_run_that_was_started_in_the_moment_in_which_it_was_to_leave_the_queue(place: Place, monkeypatch):
    run = place.add(SLEEPS, "quick")
    entry = place.queue.entry(run)
    drainer = place.drainer()
    until(lambda: drainer.step() or run.layout.attempt(1).metrics.exists())
    drainer.executor.close()
    assert entry is not None and entry.is_waiting, "as it was"
    assert not place.queue.withdraw(entry)
    monkeypatch.setattr(Queue, "entry", lambda queue, run: entry)
    assert commands.stop(place.storage, ["quick"], wait=True) == 0
    assert run.state() == RunState.stopped


def test_a_detached_drainer_begins_beside_a_module_with_a_name_of_pythons_own(place: Place):
    place.add(NOTHING, "one")
    (place.folder / "json.py").write_text("raise SystemExit")
    words = ["queue", "--detach", "--cpu", "--storage", place.storage.path]
    program = "import sys; sys.path[:1] = []; from hypertuner.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", program, *map(str, words)]
    subprocess.run(command, cwd=place.folder, env=script_environment({}), check=True, timeout=60)
    until(lambda: place.run("one").state() == RunState.finished)
    until(lambda: drained_by(place.queue) is None)


def test_a_detached_drainer_that_found_nothing_says_so(place: Place):
    place.hypertuner("queue", "--detach", "--cpu", "--storage", place.storage.path)
    assert "Nothing waits" in place.hypertuner("queue", "--detach", "--cpu")


def test_a_run_is_not_moved_before_itself(place: Place):
    place.add(NOTHING, "one")
    place.add(NOTHING, "two")
    assert "before itself" in place.hypertuner("queue", "mv", "two", "--before", "two", code=1)
    assert [entry.name for entry in place.queue.waiting()] == ["one", "two"]


def test_a_folder_of_the_user_that_is_named_from_here_is_found_by_the_supervisor_elsewhere(place: Place, monkeypatch):
    monkeypatch.chdir(place.folder)
    monkeypatch.setenv("HYPERTUNER_HOME", "home")
    entry = place.queue.entry(place.add(NOTHING, "one"))
    environment = LocalExecutor(place.storage)._environment(entry, ())
    assert environment["HYPERTUNER_HOME"] == str(place.folder / "home")


def test_a_drainer_that_ends_before_it_has_looked_or_in_the_middle_of_it_keeps_all_environments(
    place: Place, monkeypatch
):
    for name in ("one", "two"):
        place.add(NOTHING, name, "--number", name)
    two_hours_ago = time.time() - 7200
    for kept in private.folder_of(place.storage.path).iterdir():
        os.utime(kept, (two_hours_ago, two_hours_ago))
    drainer = place.drainer()
    drainer.leave()  # Ctrl-C, as soon as it listens
    drainer.run()
    dies = place.drainer()
    monkeypatch.setattr(dies, "_take_up", lambda entry: (_ for _ in ()).throw(KeyError("a bug")))
    with pytest.raises(KeyError, match="a bug"):
        dies.run()
    place.run("two").layout.queued.rename(place.folder / "damaged")
    place.run("two").layout.queued.write_text("{")
    place.drain()
    (place.folder / "damaged").rename(place.run("two").layout.queued)
    place.drain()
    assert started(place) == ["one", "two"]
    assert not list(private.folder_of(place.storage.path).iterdir())


def test_a_run_that_comes_back_from_the_trash_still_has_its_environment(place: Place):
    place.add("import os; print(os.environ['OF_THAT_EVENING'])", "deleted")
    run = place.run("deleted")
    kept = private.keep(place.storage.path, {**script_environment({}), "OF_THAT_EVENING": "candles"}, ())
    place.queue.write(run, dataclasses.replace(run.queued(), private=kept))
    Trash(place.storage.path).put(run)
    two_hours_ago = time.time() - 7200
    for path in private.folder_of(place.storage.path).iterdir():
        os.utime(path, (two_hours_ago, two_hours_ago))
    place.add(NOTHING, "other")
    place.drain()
    Trash(place.storage.path).restore(Trash(place.storage.path).list()[0])
    place.drain()
    assert place.output("deleted") == "candles\n"


def test_a_drainer_whose_words_nobody_reads_any_more_drains_on(place: Place):
    for number in range(4):
        place.add("import time; time.sleep(0.3)", f"run-{number}")
    read, write = os.pipe()
    drainer = subprocess.Popen(
        [sys.executable, "-m", "hypertuner", "queue", "--cpu", "--no-zygote"],
        stdout=write,
        stderr=write,
        env=script_environment({}),
        cwd=place.folder,
    )
    os.close(write)
    assert os.read(read, 100)
    os.close(read)  # `| head -1` has seen enough
    drainer.wait(timeout=60)
    assert {place.run(f"run-{number}").state() for number in range(4)} == {RunState.finished}


def test_a_run_that_was_started_as_the_drainer_left_is_summed_up_once(place: Place):
    """Nothing has claimed its attempt yet: by its folder alone it waits."""
    place.add(SLEEPS, "busy")
    drainer = place.drainer()
    drainer._look()
    drainer._start_what_can()
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        Says(place.storage).summary(place.queue, drainer)
    assert "1 run still going: busy" in said.getvalue()
    assert "still waiting" not in said.getvalue()
    until(lambda: place.run("busy").state() == RunState.running)
    place.hypertuner("stop", "busy")
    drainer.executor.close()


def test_a_disk_that_is_full_when_a_run_is_seen_to_ends_no_drainer(place: Place, monkeypatch):
    place.add("raise ValueError('no')", "again", retries=1, retry_on="any")
    place.add(NOTHING, "next")
    write, refusals = place.queue.write, iter(range(20))

    def full(run: Run, queued: orders.Queued) -> None:
        if next(refusals, None) is not None:
            raise StorageFullError("no room", path=run.folder)
        write(run, queued)

    monkeypatch.setattr(place.queue, "write", full)
    place.drain()
    assert len(place.run("again").attempts()) == 2
    assert place.run("next").state() == RunState.finished
    assert [event.text for event in place.events if event.kind == "trouble"] == ["no room"]


def test_an_interpreter_that_no_system_could_start_stops_nobody_else(place: Place):
    place.add(NOTHING, "odd")
    place.add(NOTHING, "next")
    entry = place.queue.entry(place.run("odd"))
    place.queue.write(entry.run, dataclasses.replace(entry.queued, python="python\0"))
    place.drain()
    assert "embedded null byte" in place.exit("odd").reason
    assert place.run("next").state() == RunState.finished


def test_a_user_without_a_name_as_in_a_container_may_stop_a_run(place: Place, monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 123_456_789)
    run = place.add(NOTHING, "run")
    attempt = run.claim(1, records.Started.here(exit_by="supervisor", config={}, python="", platform="", user=""))
    supervisor.ask_to_stop(attempt)
    assert records.read(orders.Stop, attempt.layout.stop).by == ""


def test_runs_are_put_before_the_same_one_again_and_again(place: Place):
    for name in ("one", "two", "three"):
        place.add(NOTHING, name)
    for _ in range(60):
        for name, other in (("one", "two"), ("two", "one")):
            waiting = {entry.name: entry for entry in place.queue.waiting()}
            place.queue.move(waiting[name], before=waiting["three"])
            assert [entry.name for entry in place.queue.waiting()] == [other, name, "three"]
