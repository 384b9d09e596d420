"""Listing runs: with the index or without it, whatever became of it or of the folders, the answer is the same."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hypertuner.settings
from hypertuner import files
from hypertuner.index import facts
from hypertuner.index.database import Database
from hypertuner.index.row import RunRow
from hypertuner.index.runs import read_row, read_rows, runs
from hypertuner.store import Run, RunState, Storage, metrics, records
from hypertuner.store.process import ProcessIdentity, process_start

RECORD = records.RunRecord("train.py", (), "/work", "2026-03-01T12:00:00.000Z")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HYPERTUNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HYPERTUNER_QUIET", "1")
    return tmp_path / "cache"


@pytest.fixture
def storage(tmp_path) -> Storage:
    made = Storage(tmp_path / "storage")
    for number, name in enumerate(("fox", "otter", "owl")):
        run = made.create(name, RECORD, {"lr": 0.1 * number, "layers": [1, 2]})
        start(run, replace(ProcessIdentity.mine(), host="elsewhere"))
        log(run, 3, {"loss": 0.5, "val_acc": 0.1 * number, "gap": float("nan")})
        end(run)
    settle(made.path)
    return made


def start(run: Run, owner: ProcessIdentity) -> None:
    run.claim_attempt(
        records.Started(
            attempt=0,
            started_at=records.now(),
            host=owner.host,
            boot_id=owner.boot_id,
            pid_namespace=owner.pid_namespace,
            pid=owner.pid,
            process_started=owner.started,
            exit_by="script",
            config={"lr": 0.1, "epochs": 3},
            python="3.12",
            platform="Linux",
            user="someone",
        )
    )


def log(run: Run, step: int, values: dict) -> None:
    attempt = run.newest_attempt()
    if attempt is not None:
        with attempt.layout.metrics.open("ab") as file:
            file.write(metrics.encode(step, time.time(), values))


def end(run: Run, state: str = "finished") -> None:
    attempt = run.newest_attempt()
    if attempt is not None:
        run.end_attempt(attempt, records.Exit(state, 0, None, "", records.now()))


def settle(folder: Path) -> None:
    """Let an hour pass for what was changed since the last time."""
    for place in (folder, *folder.rglob("*")):
        if not place.is_symlink() and (status := place.stat()).st_mtime > time.time() - 1000:
            os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns - 3600 * 10**9))


def answers(rows: list[RunRow]) -> list[str]:
    """Rows as text, which NaN equals itself in; what is running gets older between two looks."""
    return [repr(replace(row, duration_s=None) if row.state == "running" else row) for row in rows]


def assert_same_answers(storage: Storage) -> None:
    with_index = answers(read_rows(storage, Database(storage.path)))
    assert with_index == answers(read_rows(storage))


def indexed(storage: Storage) -> dict[str, tuple[facts.Facts, facts.Signature | None]]:
    return {name: facts.decode(entry) for name, entry in Database(storage.path).read().items()}


def index_file(cache: Path) -> Path:
    (path,) = (cache / "index").iterdir()
    return path


def mark(storage: Storage) -> None:
    """Write a note into the index that no folder has: a listing that shows it believed the index."""
    Database(storage.path).write(
        {
            name: facts.encode(replace(found, row=replace(found.row, note="from the index")), signature)
            for name, (found, signature) in indexed(storage).items()
        }
    )


def believed(storage: Storage) -> list[str]:
    return [row.name for row in read_rows(storage, Database(storage.path)) if row.note == "from the index"]


# --- what a row is made of ----------------------------------------------------------------------------------------


def test_a_row_says_what_the_folder_says(storage):
    run = storage.open("otter")
    run.write_notes(records.Notes(tags=("mnist",), note="first", starred=True))
    row = read_row(run)
    assert (row.name, row.state, row.step, row.script) == ("otter", "finished", 3, "train.py")
    assert row.config == {"lr": 0.1, "layers": [1, 2], "epochs": 3}
    assert row.best == {"loss": 0.5, "val_acc": 0.1}
    assert (row.tags, row.note, row.starred) == (("mnist",), "first", True)
    assert row.nbytes == run.size_bytes() > 0
    assert row.duration_s is not None and 0 <= row.duration_s < 60
    assert runs("'mnist' in tags", storage)[0].name == "otter"


def test_a_run_with_a_damaged_file_is_listed_with_what_is_wrong(storage):
    storage.open("fox").layout.notes.write_text("{")
    for _ in range(2):
        listed = {row.name: row for row in runs(storage=storage)}
        assert listed["fox"].state == "unknown"
        assert "notes.json" in listed["fox"].note
        assert listed["owl"].state == "finished"
        assert_same_answers(storage)


def test_a_run_that_may_not_be_read_does_not_hide_the_others(storage):
    config = storage.open("fox").layout.config
    config.unlink()
    config.mkdir()  # what reading gives is an OSError, also for root
    listed = {row.name: row for row in runs(storage=storage)}
    assert str(config) in listed["fox"].note
    assert listed["owl"].state == "finished"


# --- the index is used --------------------------------------------------------------------------------------------


def test_what_did_not_change_is_taken_from_the_index(storage):
    runs(storage=storage)
    mark(storage)
    assert believed(storage) == ["fox", "otter", "owl"]


def test_what_changed_just_now_is_read_again_the_next_time(storage):
    storage.open("fox").write_notes(records.Notes(note="one"))
    assert read_rows(storage, Database(storage.path))[0].note == "one"
    mark(storage)
    assert believed(storage) == ["otter", "owl"]
    # Of the same length, at a time that a coarse clock may not tell from the last.
    storage.open("fox").layout.notes.write_bytes(records.to_bytes(records.Notes(note="two")))
    assert read_rows(storage, Database(storage.path))[0].note == "two"
    settle(storage.path)
    runs(storage=storage)
    mark(storage)
    assert believed(storage) == ["fox", "otter", "owl"]


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run.write_notes(records.Notes(note="new")),
        lambda run: run.layout.config.write_text('{"lr": 0.9}'),
        lambda run: log(run, 9, {"loss": 0.1}),
        lambda run: run.layout.queued.touch(),
        lambda run: start(run, ProcessIdentity.mine()),
        lambda run: run.layout.attempt(1).exit.unlink(),
        lambda run: run.layout.attempt(1).checkpoints.mkdir(),
        lambda run: run.layout.attempt(1).output.touch(),
        lambda run: run.layout.model.touch(),
        lambda run: (run.folder / "new").mkdir(),
    ],
)
def test_whatever_changes_in_a_run_it_is_read_again_and_the_others_are_not(storage, change):
    runs(storage=storage)
    mark(storage)
    change(storage.open("fox"))
    assert believed(storage) == ["otter", "owl"]


def test_a_run_whose_process_dies_changes_its_state_without_a_change_of_its_files(tmp_path):
    storage = Storage(tmp_path / "storage")
    run = storage.create("otter", RECORD, {})
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        start(run, replace(ProcessIdentity.mine(), pid=sleeper.pid, started=process_start(sleeper.pid)))
        settle(storage.path)
        for _ in range(2):
            assert runs(storage=storage)["otter"].state == RunState.running
        sleeper.kill()
    mark(storage)
    row = runs(storage=storage)["otter"]
    assert (row.state, row.note) == ("crashed", "from the index")


def test_a_run_that_ends_while_it_is_listed_never_seems_crashed(tmp_path):
    storage = Storage(tmp_path / "storage")
    seen = set()
    for number in range(40):
        run = storage.create(f"run-{number}", RECORD, {})
        pid = os.fork()
        if pid == 0:
            start(run, ProcessIdentity.mine())
            end(run)
            os._exit(0)
        while (row := read_row(run)).state != "finished":
            seen.add(row.state)
        os.waitpid(pid, 0)
    assert seen <= {"draft", "running", "finished"}


def test_of_a_run_that_runs_only_what_was_logged_since_is_read(tmp_path):
    storage = Storage(tmp_path / "storage")
    run = storage.create("otter", RECORD, {})
    start(run, ProcessIdentity.mine())
    log(run, 1, {"loss": 3.0, "gap": float("inf")})
    assert runs(storage=storage)["otter"].metrics["loss"] == 3.0
    found, signature = indexed(storage)["otter"]
    pretended = replace(found, row=replace(found.row, lowest={"loss": -1.0}))
    Database(storage.path).write({"otter": facts.encode(pretended, signature)})
    log(run, 2, {"loss": 2.0})
    row = runs(storage=storage)["otter"]
    assert (row.metrics["loss"], row.lowest["loss"], row.highest["loss"], row.step) == (2.0, -1.0, 3.0, 2)


def test_a_folder_that_is_a_link_is_always_read(storage, tmp_path):
    run = storage.open("fox")
    run.layout.attempts.rename(tmp_path / "elsewhere")
    run.layout.attempts.symlink_to(tmp_path / "elsewhere")
    settle(storage.path)
    for step in (5, 6):
        log(run, step, {"loss": 0.1})
        settle(tmp_path / "elsewhere")
        assert_same_answers(storage)
        assert read_rows(storage, Database(storage.path))[0].step == step


# --- the index is never needed ------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_after_any_changes_the_answers_with_and_without_the_index_are_equal(tmp_path, data):
    shutil.rmtree(tmp_path / "storage", ignore_errors=True)
    storage = Storage(tmp_path / "storage")
    storage.create("a", RECORD, {"lr": 0.1})
    sleepers: list[subprocess.Popen[bytes]] = []

    def sleep(run: Run) -> None:
        sleepers.append(subprocess.Popen(["sleep", "60"]))
        start(run, replace(ProcessIdentity.mine(), pid=sleepers[-1].pid, started=process_start(sleepers[-1].pid)))

    def wake(run: Run) -> None:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()

    def cut(run: Run) -> None:
        for part in run.path():
            path = part.attempt.layout.metrics
            os.truncate(path, path.stat().st_size * 2 // 3)

    def checkpoint(run: Run) -> None:
        attempt = run.newest_attempt()
        if attempt is not None:
            attempt.layout.checkpoints.mkdir(exist_ok=True)
            attempt.layout.checkpoint(data.draw(st.integers(0, 3))).write_bytes(b"weights")
            files.link_or_copy(run.checkpoints()[0].path, run.layout.model)

    def rename(run: Run) -> None:
        target = storage.path / data.draw(st.sampled_from("abcd"))
        if not target.exists():
            run.folder.rename(target)

    def old(run: Run) -> None:
        run.layout.record.unlink(missing_ok=True)
        run.layout.old_metrics.write_text("frame,loss\n1,0.5\n")

    value = st.sampled_from([0.5, 1, float("nan"), float("inf"), True, "text", 2**63])
    changes = {
        "make": lambda run: None if (storage.path / "b").exists() else storage.create("b", RECORD, {"x": 1}),
        "delete": storage.delete,
        "vanish": lambda run: shutil.rmtree(run.folder),
        "rename": rename,
        "note": lambda run: run.write_notes(records.Notes(note=data.draw(st.sampled_from("xyz")), tags=("t",))),
        "edit": lambda run: run.layout.notes.write_text(f'{{"note": "{data.draw(st.sampled_from("uv"))}"}}'),
        "reconfigure": lambda run: run.layout.config.write_text(f'{{"lr": {data.draw(st.integers(0, 3))}}}'),
        "damage": lambda run: run.layout.config.write_text("{"),
        "queue": lambda run: run.layout.queued.touch(),
        "unqueue": lambda run: run.layout.queued.unlink(missing_ok=True),
        "start here": lambda run: start(run, ProcessIdentity.mine()),
        "start elsewhere": lambda run: start(run, replace(ProcessIdentity.mine(), host="elsewhere")),
        "start and sleep": sleep,
        "die": wake,
        "log": lambda run: log(run, data.draw(st.integers(0, 9)), {"loss": data.draw(value), "acc": data.draw(value)}),
        "cut": cut,
        "end": lambda run: end(run, data.draw(st.sampled_from(["finished", "failed", "odd"]))),
        "save": checkpoint,
        "print": lambda run: (run.folder / "output.log").write_text("line\n" * data.draw(st.integers(0, 3))),
        "old": old,
        "settle": lambda run: settle(storage.path),
    }
    try:
        for name in data.draw(st.lists(st.sampled_from(sorted(changes)), max_size=12)):
            here = list(storage.list())
            if here or name == "make":
                changes[name](data.draw(st.sampled_from(here)) if here else None)
            if data.draw(st.booleans()):
                settle(storage.path)
            assert_same_answers(storage)
            assert_same_answers(storage)
    finally:
        wake(None)


DAMAGES = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(os.urandom(5000)),
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "another database": lambda path: (path.unlink(), ask(path, "CREATE TABLE runs (mood TEXT)")),
    "an earlier version": lambda path: ask(path, "PRAGMA user_version = 1", "UPDATE runs SET entry = 'x'"),
    "no table": lambda path: ask(path, "DROP TABLE runs"),
    "text for bytes": lambda path: ask(path, "UPDATE runs SET entry = 'text'"),
    "bytes for names": lambda path: ask(path, "UPDATE runs SET name = x'ff' || name"),
    "numbers": lambda path: ask(path, "UPDATE runs SET entry = 1.5, checksum = 7"),
    "another run's entry": lambda path: ask(path, "UPDATE runs SET name = name || 'x' WHERE name = 'fox'"),
}


def ask(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_an_index_that_is_gone_damaged_or_of_another_version_is_made_again(storage, cache, damage):
    runs(storage=storage)
    before = answers(read_rows(storage))
    damage(index_file(cache))
    for _ in range(3):
        assert answers(read_rows(storage, Database(storage.path))) == before
    if not index_file(cache).is_dir():
        mark(storage)
        assert believed(storage) == ["fox", "otter", "owl"]


def test_no_flipped_bit_in_the_index_changes_an_answer(storage, cache):
    runs(storage=storage)
    path = index_file(cache)
    whole = path.read_bytes()
    before = answers(read_rows(storage))
    for position in range(0, len(whole), max(1, len(whole) // 400)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        assert answers(read_rows(storage, Database(storage.path))) == before, position


def test_an_index_that_another_process_has_locked_is_passed_by(storage, cache):
    runs(storage=storage)
    mark(storage)
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('BEGIN EXCLUSIVE'); print(1, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(index_file(cache))], stdin=-1, stdout=-1) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert believed(storage) == []
        assert_same_answers(storage)
        other.kill()
    assert believed(storage) == ["fox", "otter", "owl"]


def test_without_a_place_for_the_index_runs_are_listed_all_the_same(storage, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HYPERTUNER_CACHE", str(tmp_path / "file"))
    assert_same_answers(storage)
    assert (tmp_path / "file").is_file()


def test_nothing_is_written_when_hypertuner_is_off(storage, cache, monkeypatch):
    monkeypatch.setenv("HYPERTUNER_MODE", "off")
    assert_same_answers(storage)
    assert not cache.exists()


def test_a_full_disk_costs_the_index_only(storage, cache):
    def full(operation: files.Operation) -> None:
        raise OSError(28, "No space left on device", operation.path)

    files.fault_plan = full
    try:
        assert_same_answers(storage)
    finally:
        files.fault_plan = None
    assert not cache.exists()


def test_the_index_lies_in_the_cache_and_each_storage_has_its_own(storage, cache, tmp_path):
    files_before = sorted(storage.path.rglob("*"))
    runs(storage=storage)
    assert sorted(storage.path.rglob("*")) == files_before
    other = Storage(tmp_path / "other")
    other.create("fox", RECORD, {"lr": 7})
    assert runs(storage=other)["fox"].config == {"lr": 7}
    assert runs(storage=storage)["fox"].config["lr"] == 0.1
    assert len(list((cache / "index").iterdir())) == 2


def test_the_indexes_of_storages_that_are_gone_are_removed_when_a_new_one_is_made(storage, cache, tmp_path):
    runs(storage=storage)
    shutil.rmtree(storage.path)
    other = Storage(tmp_path / "other")
    other.create("fox", RECORD, {})
    runs(storage=other)
    assert len(list((cache / "index").iterdir())) == 1


def test_runs_that_are_gone_leave_the_index(storage):
    runs(storage=storage)
    storage.delete(storage.open("fox"))
    runs(storage=storage)
    assert sorted(indexed(storage)) == ["otter", "owl"]


def test_a_name_or_note_that_is_no_unicode_is_listed(storage):
    folder = os.fsencode(storage.path) + b"/\xff"
    os.mkdir(folder)
    Path(os.fsdecode(folder), "config.json").write_text('{"lr": 1}')
    assert_same_answers(storage)
    assert_same_answers(storage)
    assert len(indexed(storage)) == 3


def test_processes_that_list_at_once_all_get_the_whole_list(storage, cache):
    code = "import sys; from hypertuner.index.runs import runs; print(len(runs(storage=sys.argv[1])))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(storage.path)]
    processes = [subprocess.Popen(command, stdout=-1, env=environment) for _ in range(4)]
    assert [process.communicate()[0] for process in processes] == [b"3\n"] * 4
    mark(storage)
    assert believed(storage) == ["fox", "otter", "owl"]


# --- what an entry holds ------------------------------------------------------------------------------------------

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
number = st.floats() | st.integers(-(2**63), 2**63 - 1) | st.booleans() | text | st.none()
by_metric = st.dictionaries(text, number, max_size=3)
config = st.dictionaries(text, st.floats(allow_nan=False, allow_infinity=False) | st.lists(st.integers(0, 9)) | text)
ROWS = st.builds(
    RunRow,
    name=text,
    state=text,
    config=config,
    metrics=by_metric,
    best=by_metric,
    tags=st.lists(text, max_size=2).map(tuple),
    duration_s=st.none() | st.floats(0, 1e9),
    step=st.none() | st.integers(0, 2**53),
    parent=st.none() | text,
    script=st.none() | text,
    note=text,
    starred=st.booleans(),
    first=by_metric,
    lowest=by_metric,
    highest=by_metric,
)
OWNERS = st.builds(ProcessIdentity, text, st.none() | text, st.none() | text, st.integers(0, 2**22), st.floats(0, 1e9))
POSITIONS = st.builds(metrics.Position, st.integers(0, 2**50), st.integers(0, 2**63), text)
SIGNATURES = st.builds(facts.Signature, st.lists(text), st.lists(st.integers(0, 2**63)))


@given(
    st.builds(facts.Facts, ROWS, st.none() | OWNERS, st.none() | st.floats(0, 1e9), st.none(), st.none() | POSITIONS),
    st.none() | SIGNATURES,
)
def test_an_entry_gives_back_what_was_put_in(found, signature):
    data = facts.encode(found, signature)
    assert data is not None
    assert repr(facts.decode(data)) == repr((found, signature))


def test_what_json_cannot_hold_is_not_indexed():
    assert facts.encode(facts.Facts(RunRow("a", "finished", metrics={"loss": 2**70})), None) is None
    assert facts.encode(facts.Facts(RunRow("\udcff", "finished")), None) is None


# --- where the index lies, and who opens it -----------------------------------------------------------------------


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HYPERTUNER_CACHE", str(tmp_path / "mine"))
    assert hypertuner.settings.cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("HYPERTUNER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert hypertuner.settings.cache_folder() == tmp_path / "xdg" / "hypertuner"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hypertuner.settings.cache_folder() == tmp_path / ".cache" / "hypertuner"


def test_a_script_that_trains_never_imports_sqlite():
    code = (
        "import sys, hypertuner, hypertuner.logger, hypertuner.store.current, hypertuner.index.runs;"
        "print('sqlite3' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert shown.stdout.strip() == "False"
