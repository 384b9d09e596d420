"""A run's state is a function of its files and of whether its process lives; its attempts are claimed once each."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from tests.store.racing import race

from hypertuner.errors import CorruptFileError, RunNotFoundError
from hypertuner.store import Run, RunState, Storage, metrics, orders, records
from hypertuner.store.process import ProcessIdentity, process_start

RECORD = records.RunRecord("train.py", (), "/work", "2026-03-01T12:00:00.000Z")


def started_by(owner: ProcessIdentity, **others) -> records.Started:
    return records.Started(
        attempt=0,
        started_at=records.now(),
        host=owner.host,
        boot_id=owner.boot_id,
        pid_namespace=owner.pid_namespace,
        pid=owner.pid,
        process_started=owner.started,
        exit_by="script",
        config=others.get("config", {}),
        python="3.12",
        platform="Linux",
        user="someone",
    )


def ended(state: str) -> records.Exit:
    return records.Exit(state, 0, None, "", records.now())


@pytest.fixture
def run(tmp_path) -> Run:
    return Storage(tmp_path / "storage").create("otter", RECORD, {"lr": 0.1})


def state_with(run: Run, owner: ProcessIdentity) -> RunState:
    run.claim_attempt(started_by(owner))
    return run.state()


def test_a_run_that_nothing_waits_for_is_a_draft_and_one_in_the_queue_is_queued(run):
    assert run.state() == RunState.draft
    queued = orders.Queued(attempt=1, queued_at=records.now(), place=1.0, python="python", private="")
    run.layout.queued.write_bytes(records.to_bytes(queued))
    assert run.state() == RunState.queued


def test_a_run_of_this_process_is_running(run):
    assert state_with(run, ProcessIdentity.mine()) == RunState.running


@pytest.mark.parametrize("state", ["finished", "failed", "stopped", "pruned"])
def test_an_attempt_that_said_goodbye_is_what_it_said(run, state):
    attempt = run.claim_attempt(started_by(ProcessIdentity.mine()))
    assert run.end_attempt(attempt, ended(state))
    assert run.state() == RunState(state)
    assert not run.end_attempt(attempt, ended("failed"))
    assert run.state() == RunState(state)


def test_an_exit_of_a_later_version_is_unknown(run):
    run.end_attempt(run.claim_attempt(started_by(ProcessIdentity.mine())), ended("evaporated"))
    assert run.state() == RunState.unknown


def test_a_run_whose_process_was_killed_is_crashed(run):
    sleeper = subprocess.Popen([sys.executable, "-c", "print(1, flush=True); import time; time.sleep(60)"], stdout=-1)
    with sleeper:
        assert sleeper.stdout is not None
        sleeper.stdout.readline()
        owner = replace(ProcessIdentity.mine(), pid=sleeper.pid, started=process_start(sleeper.pid))
        assert state_with(run, owner) == RunState.running
        sleeper.kill()
        deadline = time.monotonic() + 60
        while run.state() == RunState.running and time.monotonic() < deadline:
            time.sleep(0.01)
        assert run.state() == RunState.crashed, "a zombie that nobody waited for yet is gone, too"
    assert run.state() == RunState.crashed


def test_a_process_that_got_the_pid_later_is_not_the_owner(run):
    mine = ProcessIdentity.mine()
    assert mine.started is not None
    assert state_with(run, replace(mine, started=mine.started - 500)) == RunState.crashed


def test_a_run_on_another_host_is_unknown(run):
    assert state_with(run, replace(ProcessIdentity.mine(), host="elsewhere")) == RunState.unknown


def test_a_run_before_this_host_was_started_again_is_crashed(run):
    assert state_with(run, replace(ProcessIdentity.mine(), boot_id="an earlier one")) == RunState.crashed


def test_a_run_in_another_container_is_unknown(run):
    assert state_with(run, replace(ProcessIdentity.mine(), pid_namespace="pid:[1]")) == RunState.unknown


def test_an_owner_that_did_not_know_its_start_is_told_by_its_pid(run):
    assert state_with(run, replace(ProcessIdentity.mine(), started=None, boot_id=None)) == RunState.running


def test_the_newest_attempt_tells_the_state(run):
    run.end_attempt(run.claim_attempt(started_by(ProcessIdentity.mine())), ended("failed"))
    assert state_with(run, ProcessIdentity.mine()) == RunState.running
    assert [attempt.number for attempt in run.attempts()] == [1, 2]


def test_a_damaged_exit_is_an_error_that_names_it(run):
    attempt = run.claim_attempt(started_by(ProcessIdentity.mine()))
    attempt.layout.exit.write_text('{"state": "fini')
    with pytest.raises(CorruptFileError, match=r"exit\.json"):
        run.state()


def test_folders_that_are_no_claimed_attempts_do_not_count(run):
    run.claim_attempt(started_by(ProcessIdentity.mine()))
    for name in ("2", "01", "\u0661", "x", "-1", "0"):
        (run.layout.attempts / name).mkdir()
    (run.layout.attempts / "3").touch()
    (run.layout.attempts / "01" / "started.json").write_text("{}")
    (run.layout.attempts / "\u0661" / "started.json").write_text("{}")
    assert [attempt.number for attempt in run.attempts()] == [1]
    assert run.claim_attempt(started_by(ProcessIdentity.mine())).number == 2


def test_eight_processes_that_claim_at_once_get_eight_attempts(run):
    code = f"""
from pathlib import Path
from hypertuner.store import Run, records
run = Run(Path({str(run.folder)!r}))
def claim():
    return run.claim_attempt(records.Started(
        attempt=0, started_at=records.now(), host="h", boot_id=None, pid_namespace=None, pid=int(sys.argv[2]),
        process_started=None, exit_by="script", config={{}}, python="", platform="", user=""))
# --- go
print(*(claim().number for _ in range(5)))
"""
    printed = race(code, run.folder.parent, 8)
    claimed = [int(number) for line in printed for number in line.split()]
    assert sorted(claimed) == list(range(1, 41))
    for process, line in enumerate(printed):
        for number in line.split():
            record = records.read(records.Started, run.layout.attempt(int(number)).started)
            assert record is not None
            assert (record.attempt, record.pid) == (int(number), process)


def test_of_eight_processes_that_make_a_run_of_one_name_one_does(tmp_path):
    code = f"""
from hypertuner.errors import RunExistsError
from hypertuner.store import Storage, records
# --- go
try:
    Storage({str(tmp_path / "storage")!r}).create("otter", records.RunRecord(None, (), "/", records.now()), {{}})
    print("made")
except RunExistsError:
    print("taken")
"""
    assert sorted(race(code, tmp_path, 8)) == ["made", *["taken"] * 7]


def test_the_config_of_an_attempt_completes_the_runs(run):
    run.claim_attempt(started_by(ProcessIdentity.mine(), config={"lr": 0.2, "epochs": 3}))
    assert run.config() == {"lr": 0.1}
    assert run.effective_config() == {"lr": 0.2, "epochs": 3}


def test_metrics_are_those_of_the_newest_attempt_that_logged(run):
    first = run.claim_attempt(started_by(ProcessIdentity.mine()))
    first.layout.metrics.write_bytes(metrics.encode(3, 0.0, {"loss": 1.0}))
    run.claim_attempt(started_by(ProcessIdentity.mine()))
    assert [record.step for record in run.logged()] == [3]
    assert [part.attempt.number for part in run.path()] == [first.number]


def test_checkpoints_come_in_the_order_they_were_made(run):
    for _ in range(2):
        attempt = run.claim_attempt(started_by(ProcessIdentity.mine()))
        attempt.layout.checkpoints.mkdir()
        for step, repeat in ((20, 0), (3, 0), (20, 1)):
            attempt.layout.checkpoint(step, repeat).touch()
        (attempt.layout.checkpoints / ".draft-host-1-ab").touch()
    found = [(file.attempt, file.step, file.repeat) for file in run.checkpoints()]
    assert found == [(1, 3, 0), (1, 20, 0), (1, 20, 1), (2, 3, 0), (2, 20, 0), (2, 20, 1)]


def test_a_file_with_two_names_takes_its_room_once(run):
    before = run.size_bytes()
    attempt = run.claim_attempt(started_by(ProcessIdentity.mine()))
    attempt.layout.checkpoints.mkdir()
    with_attempt = run.size_bytes()
    attempt.layout.checkpoint(1).write_bytes(b"x" * 100_000)
    os.link(attempt.layout.checkpoint(1), run.layout.model)
    assert before < with_attempt
    assert 100_000 <= run.size_bytes() - with_attempt < 110_000


def test_a_folder_of_1_0_4_is_a_run(tmp_path):
    folder = tmp_path / "old run"
    folder.mkdir()
    (folder / "config.json").write_text('{"lr": 0.1}')
    assert Run(folder).state() == RunState.draft
    (folder / "logs.csv").write_text("frame,loss\n1,0.5\n")
    old = Run(folder)
    assert (old.config(), old.record(), old.state()) == ({"lr": 0.1}, None, RunState.unknown)
    assert [record.values for record in old.logged()] == [{"loss": 0.5}]
    assert old.created() == (folder / "config.json").stat().st_mtime
    (folder / "model.pt").touch()
    assert old.state() == RunState.finished
    assert [run.name for run in Storage(tmp_path).list()] == ["old run"]


def test_a_storage_lists_its_runs_and_nothing_else(tmp_path):
    storage = Storage(tmp_path / "storage")
    assert list(storage.list()) == []
    for name in ("owl", "fox"):
        storage.create(name, RECORD, {})
    (storage.path / "empty").mkdir()
    (storage.path / "file.txt").touch()
    (storage.path / ".hidden").mkdir()
    assert [run.name for run in storage.list()] == ["fox", "owl"]
    assert (storage.path / ".gitignore").read_text() == "*\n"
    trash = storage.delete(storage.open("fox"))
    assert [run.name for run in storage.list()] == ["owl"]
    assert (trash / "run.json").exists()
    storage.delete(storage.create("fox", RECORD, {}))
    assert len(list((storage.path / ".trash").iterdir())) == 2


def test_an_unknown_run_is_an_error_with_names_like_it(tmp_path):
    storage = Storage(tmp_path / "storage")
    with pytest.raises(RunNotFoundError, match="no runs yet"):
        storage.open("otter")
    storage.create("brave-otter", RECORD, {})
    with pytest.raises(RunNotFoundError, match="'brave-otter'"):
        storage.open("brave-oter")
    for path in ("../storage/brave-otter", "brave-otter/../brave-otter", str(storage.path / "brave-otter"), ""):
        with pytest.raises(RunNotFoundError):
            storage.open(path)


def test_this_process_knows_itself():
    mine = ProcessIdentity.mine()
    assert (mine.host, mine.pid) == (socket.gethostname(), os.getpid())
    assert mine.is_alive() is True
    assert process_start(2**22 + 1) is None


def test_a_run_that_ends_while_it_is_looked_at_never_seems_crashed(tmp_path):
    storage = Storage(tmp_path / "storage")
    seen = set()
    for number in range(40):
        run = storage.create(f"run-{number}", RECORD, {})
        pid = os.fork()
        if pid == 0:
            run.end_attempt(run.claim_attempt(started_by(ProcessIdentity.mine())), ended("finished"))
            os._exit(0)
        while (state := run.state()) != RunState.finished:
            seen.add(state)
        os.waitpid(pid, 0)
    assert seen <= {RunState.draft, RunState.running, RunState.finished}
