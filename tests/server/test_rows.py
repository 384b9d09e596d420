"""The table follows the folders; the index makes it quick and decides nothing."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.server.made import asking, end, log, make_run, start, trained

from hypertuner.index.database import Database
from hypertuner.index.runs import runs
from hypertuner.server.contract.runs import RunsPage
from hypertuner.server.reading.looks import choose
from hypertuner.store import Run, Storage, records
from hypertuner.store.trash import Trash


def when(minute: int) -> str:
    return f"2026-03-01T{minute // 60:02}:{minute % 60:02}:00.000Z"


def without_passing(page: dict) -> list[dict]:
    return [{**row, "duration_s": None, "wrote_at": None} for row in page["rows"]]


def test_rows_come_newest_first_in_windows(storage):
    for number in range(5):
        trained(storage, f"run-{number}", {"lr": number}, [0.5], created=when(number))
    with asking(storage) as asker:
        page = asker.get("/runs", offset=1, limit=2)
        assert [row["name"] for row in page["rows"]] == ["run-3", "run-2"]
        assert (page["total"], page["matched"], page["offset"], page["is_complete"]) == (5, 5, 1, True)
        RunsPage.model_validate(page)


def test_a_row_says_what_its_files_say(storage):
    run = make_run(storage, "otter", {"lr": 0.1, "layers": [1, 2]})
    attempt = start(run)
    log(attempt, 1, {"val_acc": 0.2, "gap": 1.0})
    log(attempt, 2, {"val_acc": 0.1, "gap": float("nan")})
    run.end_attempt(attempt, records.Exit("failed", 1, None, "ValueError: no", records.now()))
    run.write_notes(records.Notes(tags=("base",), note="see", starred=True, colour="5"))
    with asking(storage) as asker:
        (row,) = asker.get("/runs")["rows"]
    assert (row["state"], row["reason"], row["step"]) == ("failed", "ValueError: no", 2)
    assert row["config"] == {"lr": 0.1, "layers": [1, 2]}
    assert row["metrics"] == {"val_acc": 0.1, "gap": None}
    assert row["nonfinite"] == {"gap": "nan"}
    assert (row["best"], row["first"]["gap"], row["highest"]["val_acc"]) == ({"val_acc": 0.2}, 1.0, 0.2)
    assert (row["tags"], row["note"], row["starred"], row["colour"]) == (["base"], "see", True, 5)


def test_labels_tell_the_runs_that_were_asked_for_apart(storage):
    trained(storage, "one", {"lr": 0.1, "epochs": 5, "seed": 1}, created=when(1))
    trained(storage, "two", {"lr": 0.2, "epochs": 5, "seed": 1}, created=when(2))
    trained(storage, "three", {"lr": 0.2, "epochs": 5, "seed": 2}, created=when(3))
    with asking(storage) as asker:
        assert [row["label"] for row in asker.get("/runs")["rows"]] == [
            "lr=0.2 seed=2",
            "lr=0.2 seed=1",
            "lr=0.1 seed=1",
        ]
        assert [row["label"] for row in asker.get("/runs", query="lr == 0.2")["rows"]] == ["seed=2", "seed=1"]
        named = asker.get("/runs/rows", name=["one", "gone", "two"])
        assert [(row["name"], row["label"]) for row in named["rows"]] == [("one", "lr=0.1"), ("two", "lr=0.2")]


def test_archived_runs_are_out_of_sight_unless_asked_for(storage):
    trained(storage, "old").write_notes(records.Notes(archived=True))
    trained(storage, "new")
    with asking(storage) as asker:
        assert asker.names() == ["new"]
        assert asker.names("archived") == ["old"]
        assert asker.names(archived="only") == ["old"]
        assert asker.get("/runs")["total"] == 1


@pytest.mark.parametrize(
    ("sort", "descending", "names"),
    [
        ("created", None, ["c", "b", "a"]),
        ("created", False, ["a", "b", "c"]),
        ("name", None, ["a", "b", "c"]),
        ("lr", None, ["b", "c", "a"]),
        ("lr", True, ["c", "b", "a"]),
        ("val_acc", None, ["c", "a", "b"]),
        ("min(val_acc)", False, ["a", "c", "b"]),
        ("age", None, ["c", "b", "a"]),
    ],
)
def test_a_sort_has_what_is_missing_last_and_the_better_way_first(storage, sort, descending, names):
    for minute, (name, config, accuracy) in enumerate([("a", {}, 0.5), ("b", {"lr": 1}, None), ("c", {"lr": 2}, 0.7)]):
        run = make_run(storage, name, config, created=when(minute))
        attempt = start(run)
        if accuracy is not None:
            log(attempt, 1, {"val_acc": accuracy})
        end(run, attempt)
    asked = {} if descending is None else {"descending": descending}
    with asking(storage) as asker:
        assert asker.names(sort=sort, **asked) == names


def test_a_mistake_in_a_query_is_pointed_at(storage):
    trained(storage, "otter", {"lr": 0.1})
    with asking(storage) as asker:
        problem = asker.refused("/runs", query="lr < 0.1 and los > 1")
        assert (problem["error"], problem["position"]) == ("QueryError", 13)
        assert asker.refused("/runs", query="lr = 1")["position"] == 3
        assert "No run has 'speed' to sort by" in asker.refused("/runs", sort="speed")["message"]


def test_what_happens_to_folders_is_seen_without_asking(storage):
    trained(storage, "first", {"lr": 1})
    with asking(storage) as asker:
        before = asker.get("/runs")["revision"]
        run = make_run(storage, "second", {"lr": 2})
        asker.until(lambda: "second" in asker.names())
        attempt = start(run)
        log(attempt, 1, {"loss": 0.5})
        asker.until(lambda: asker.names('state == "running" and step == 1') == ["second"])
        log(attempt, 7, {"loss": 0.25})
        asker.until(lambda: asker.names("loss == 0.25") == ["second"])
        end(run, attempt)
        asker.until(lambda: asker.names('state == "finished" and lr == 2') == ["second"])
        run.write_notes(records.Notes(starred=True))
        asker.until(lambda: asker.names("starred") == ["second"])
        Trash(storage).put(run)
        asker.until(lambda: asker.names() == ["first"])
        assert asker.get("/runs")["revision"] > before


def test_a_folder_made_by_hand_is_a_run_as_soon_as_it_holds_one(storage):
    storage.mkdir()
    with asking(storage) as asker:
        (storage / "old").mkdir()
        time.sleep(0.5)
        assert asker.names() == []
        (storage / "old" / "config.json").write_text('{"lr": 0.5}')
        asker.until(lambda: asker.names("lr == 0.5") == ["old"])


def test_a_run_that_is_tried_again_runs_again(storage):
    run = trained(storage, "otter")
    with asking(storage) as asker:
        assert asker.names('state == "finished"') == ["otter"]
        attempt = start(run)
        asker.until(lambda: asker.names('state == "running"') == ["otter"])
        end(run, attempt, "stopped", "stopped by Ctrl-C")
        asker.until(lambda: asker.get("/runs")["rows"][0]["reason"] == "stopped by Ctrl-C")


def test_changes_since_a_revision_are_those_and_no_others(storage):
    for number in range(4):
        trained(storage, f"run-{number}", created=when(number))
    with asking(storage) as asker:
        catalogue = asker.state.reading.catalogue
        since = catalogue.revision
        Run(storage / "run-2").write_notes(records.Notes(note="x"))
        asker.state.reading.look("run-2")
        shutil.rmtree(storage / "run-0")
        asker.state.reading.look("run-0")
        asker.state.reading.look("run-1")  # says what it said
        changes = catalogue.changes(since)
        assert changes is not None
        assert ([row[1] for row in changes.rows], changes.gone) == (["run-2"], ["run-0"])
        assert catalogue.changes(catalogue.revision) == (catalogue.revision, [], [])
        assert catalogue.changes(catalogue.revision + 1) is None


def test_a_damaged_run_is_listed_with_what_is_wrong(storage):
    trained(storage, "otter")
    (storage / "otter" / "run.json").write_text("{")
    with asking(storage) as asker:
        (row,) = asker.get("/runs")["rows"]
        assert (row["state"], "not JSON" in row["note"]) == ("unknown", True)


def test_the_index_shows_all_at_once_and_the_folders_correct_it(storage):
    for number in range(3):
        trained(storage, f"run-{number}", {"lr": number}, [0.5], created=when(number))
    settle(storage)
    with asking(storage):
        pass
    Run(storage / "run-1").write_notes(records.Notes(note="new"))
    shutil.rmtree(storage / "run-2")
    from hypertuner.server.reading.catalogue import Catalogue
    from hypertuner.server.reading.looking import Looking
    from hypertuner.server.reading.outlook import Outlook

    catalogue = Catalogue(Storage(storage))
    looking = Looking(catalogue, Outlook(catalogue))
    looking._open_newest()
    assert ([row[1] for row in catalogue.newest_first()], catalogue.is_complete) == (["run-2", "run-1", "run-0"], False)
    with asking(storage) as asker:
        assert [(row["name"], row["note"]) for row in asker.get("/runs")["rows"]] == [("run-1", "new"), ("run-0", "")]


def settle(folder: Path) -> None:
    """Let an hour pass for what was changed since the last time."""
    for place in (folder, *folder.rglob("*")):
        if not place.is_symlink() and (status := place.stat()).st_mtime > time.time() - 1000:
            os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns - 3600 * 10**9))


VALUES = st.one_of(
    st.integers(-5, 5), st.floats(allow_nan=False, width=16), st.booleans(), st.sampled_from(["adam", "sgd", "='"])
)
CONFIGS = st.dictionaries(st.sampled_from(["lr", "depth", "name", "a.b", "seed"]), VALUES, max_size=4)
LOSSES = st.lists(st.floats(width=16), max_size=3)
QUERIES = (
    "",
    "lr > 0",
    "train/loss < 1",
    "min(train/loss) < 0.5 or depth",
    "seed != 1",
    'state == "failed"',
    "a.b in (1, 2)",
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(CONFIGS, LOSSES, st.sampled_from(["finished", "failed", "draft"])), max_size=6))
def test_without_the_index_and_by_the_command_line_the_answers_are_the_same(tmp_path, made):
    storage, cache = tmp_path / "storage", tmp_path / "cache"
    for folder in (storage, cache):
        shutil.rmtree(folder, ignore_errors=True)
    storage.mkdir()
    for number, (config, losses, state) in enumerate(made):
        run = make_run(storage, f"run-{number}", config, created=when(number % 4))
        if state != "draft":
            attempt = start(run)
            for step, loss in enumerate(losses):
                log(attempt, step, {"train/loss": loss})
            end(run, attempt, state)
    settle(storage)

    def answers() -> list:
        with asking(storage) as asker:
            found = []
            for query in QUERIES:
                answer = asker.client.get("/api/runs", params={"query": query, "sort": "name"})
                found.append(without_passing(answer.json()) if answer.status_code == 200 else answer.json())
            return found

    fresh = answers()
    warm = answers()
    assert warm == fresh
    shutil.rmtree(cache, ignore_errors=True)
    assert answers() == fresh
    table = runs(storage=str(storage))
    for query, found in zip(QUERIES, fresh, strict=True):
        if isinstance(found, list):
            assert [row["name"] for row in found] == sorted(row.name for row in table.filter(query))


def test_runs_made_one_after_another_look_different_for_life(storage):
    for number in range(12):
        trained(storage, f"run-{number:02}", created=when(number))
    with asking(storage) as asker:
        looks = {row["name"]: (row["colour"], row["mark"]) for row in asker.get("/runs")["rows"]}
        assert [looks[f"run-{number:02}"] for number in range(12)] == [(n % 8, n // 8) for n in range(12)]
        shutil.rmtree(storage / "run-03")
        asker.until(lambda: "run-03" not in asker.names())
        trained(storage, "run-99", created=when(99))
        asker.until(lambda: "run-99" in asker.names())
        seen = {row["name"]: (row["colour"], row["mark"]) for row in asker.get("/runs")["rows"]}
        assert seen.pop("run-99") == (4, 1)
        assert seen == {name: look for name, look in looks.items() if name != "run-03"}
        time.sleep(2.5)  # what was chosen is written
    with asking(storage) as asker:
        again = {row["name"]: (row["colour"], row["mark"]) for row in asker.get("/runs")["rows"]}
        assert again == {**seen, "run-99": (4, 1)}


def test_a_run_that_comes_back_looks_as_it_did(storage):
    for number in range(3):
        trained(storage, f"run-{number}", created=when(number))
    with asking(storage) as asker:
        shutil.move(storage / "run-1", storage.parent / "run-1")
        asker.until(lambda: len(asker.names()) == 2)
        shutil.move(storage.parent / "run-1", storage / "run-1")
        asker.until(lambda: len(asker.names()) == 3)
        assert [row["colour"] for row in asker.get("/runs")["rows"]] == [2, 1, 0]


def test_runs_of_one_moment_that_are_noticed_newest_first_look_different(storage):
    trained(storage, "run-0", created=when(0))
    with asking(storage) as asker:
        for number in (4, 3, 2, 1):
            trained(storage, f"run-{number}", created=when(number))
            asker.until(lambda name=f"run-{number}": name in asker.names())
        assert len({row["colour"] for row in asker.get("/runs")["rows"]}) == 5


@given(st.lists(st.integers(0, 31), max_size=60))
def test_a_new_run_never_has_the_colour_of_the_seven_before_it(before):
    assert choose(before) % 8 not in [look % 8 for look in before[-7:]]


def test_looks_outlive_the_entries_of_another_version(storage, tmp_path):
    index = Database(storage)
    index.write({"otter": b"x"}, created={"otter": 1.0}, looks={"otter 1.000": 9})
    import sqlite3

    (path,) = (tmp_path / "cache" / "index").iterdir()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    assert index.read() == {}
    index.write({"owl": b"y"}, created={"owl": 2.0})
    assert (index.looks(), list(index.read())) == ({"otter 1.000": 9}, ["owl"])


def test_the_index_gives_its_newest_entries_page_by_page(storage):
    index = Database(storage)
    index.write({name: name.encode() for name in "abcd"}, created={"a": 3.0, "b": 1.0, "c": 2.0, "d": 2.0})
    first, place = index.newest(2)
    second, after = index.newest(5, place)
    assert [name for name, _ in first + second] == ["a", "d", "c", "b"]
    assert index.newest(5, after) == ([], None)
