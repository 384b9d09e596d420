"""Columns, differences, groups, values, completion and tables to take away."""

from __future__ import annotations

import csv
import io
import math
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.server.made import asking, log, make_run, start, trained

from hypertuner.server.contract.runs import Columns, Completions, Differing, Groups, ValueTable
from hypertuner.server.reading.export import cell, lines
from hypertuner.store import records


def test_columns_tell_the_kind_of_a_setting_and_whether_it_differs(storage):
    trained(storage, "one", {"lr": 1, "name": "a", "on": True, "odd": 1, "layers": [1]}, [0.5])
    trained(storage, "two", {"lr": 0.5, "name": "x", "on": 1, "odd": "text"}, [0.4], script="other.py")
    run = make_run(storage, "three", created="2026-03-02T12:00:00Z")
    attempt = start(run)
    log(attempt, 1, {"val/acc/top1": 0.5, "name": "b"})
    run.write_notes(records.Notes(tags=("b", "a")))
    with asking(storage) as asker:
        found = asker.get("/runs/columns")
    Columns.model_validate(found)
    assert {each["key"]: (each["kind"], each["runs"], each["distinct"]) for each in found["config"]} == {
        "lr": ("float", 2, 2),
        "name": ("str", 2, 2),
        "on": ("mixed", 2, 2),
        "odd": ("mixed", 2, 2),
        "layers": ("list", 1, 1),
    }
    assert [(each["key"], each["name"], each["group"], each["direction"]) for each in found["metrics"]] == [
        ("val/acc/top1", "val/acc/top1", "val/acc", "max"),
        ("name", "metric.name", "", None),
        ("train/loss", "train/loss", "train", "min"),
    ]
    assert next(each["name"] for each in found["config"] if each["key"] == "name") == "config.name"
    assert (found["tags"], found["scripts"]) == (["a", "b"], ["other.py", "train.py"])


def test_what_differs_is_told_apart_from_what_is_equal(storage):
    trained(storage, "one", {"lr": 1, "epochs": 3, "on": True, "gone": 5})
    trained(storage, "two", {"lr": 1.0, "epochs": 4, "on": 1})
    with asking(storage) as asker:
        found = asker.get("/runs/differing", name=["one", "two", "never"])
    Differing.model_validate(found)
    assert found["equal"] == {"lr": 1}
    assert {each["key"]: each["values"] for each in found["differing"]} == {
        "epochs": {"one": 3, "two": 4},
        "on": {"one": True, "two": 1},
        "gone": {"one": 5},
    }


def test_a_setting_that_only_another_script_knows_does_not_differ(storage):
    trained(storage, "one", {"lr": 1})
    trained(storage, "two", {"lr": 2})
    trained(storage, "other", {"depth": 3}, script="other.py")
    with asking(storage) as asker:
        found = asker.get("/runs/differing", name=["one", "two", "other"])
    assert {each["key"] for each in found["differing"]} == {"lr"}
    assert found["equal"] == {}


def test_groups_have_mean_and_spread_over_their_runs(storage):
    for seed, (rate, losses) in enumerate([(0.1, [0.5, 0.9]), (0.1, [0.7, 0.3]), (0.2, [math.nan]), (0.2, [])]):
        trained(storage, f"run-{seed}", {"lr": rate, "seed": seed}, losses)
    trained(storage, "without", {"seed": 9}, [1.0])
    with asking(storage) as asker:
        last = asker.get("/runs/groups", by=["lr"], metric=["train/loss"])
        best = asker.get("/runs/groups", by=["lr"], metric=["train/loss"], of="best")
        some = asker.get("/runs/groups", by=["lr"], query="seed < 1")
        assert "No run has a setting 'los'" in asker.refused("/runs/groups", by=["los"])["message"]
    Groups.model_validate(last)
    assert [(group["values"], group["runs"]) for group in last["groups"]] == [({"lr": 0.1}, 2), ({"lr": 0.2}, 2)]
    first = last["groups"][0]["metrics"]["train/loss"]
    assert (first["mean"], first["lowest"], first["highest"], first["runs"]) == (pytest.approx(0.6), 0.3, 0.9, 2)
    assert first["std"] == pytest.approx(math.sqrt(0.18))
    assert last["groups"][1]["metrics"]["train/loss"]["mean"] is None
    assert best["groups"][0]["metrics"]["train/loss"]["mean"] == pytest.approx(0.4)
    assert [group["names"] for group in some["groups"]] == [["run-0"]]


def test_values_are_given_for_parallel_coordinates(storage):
    trained(storage, "one", {"lr": 1}, [0.5], created="2026-03-01T12:00:00Z")
    trained(storage, "two", {"lr": 2, "depth": 3}, [0.25], created="2026-03-02T12:00:00Z")
    with asking(storage) as asker:
        found = asker.get("/runs/values", column=["lr", "depth", "min(train/loss)", "never"], limit=10)
        assert asker.get("/runs/values", column=["lr"], limit=1) == {
            "names": ["two"],
            "states": ["finished"],
            "columns": {"lr": [2]},
            "matched": 2,
        }
    ValueTable.model_validate(found)
    assert found["names"] == ["two", "one"]
    assert found["columns"] == {
        "lr": [2, 1],
        "depth": [3, None],
        "min(train/loss)": [0.25, 0.5],
        "never": [None, None],
    }


def test_an_exported_table_has_no_formula(storage):
    run = trained(storage, "one", {"lr": -1, "cmd": "=HYPERLINK(1)"}, [-0.5])
    run.write_notes(records.Notes(note="@x\n+y", tags=("-a", "b")))
    with asking(storage) as asker:
        answer = asker.client.get("/api/runs/export.csv")
        assert answer.headers["content-disposition"].startswith("attachment")
        named = asker.client.get("/api/runs/export.csv", params={"name": ["one", "gone"]})
    assert named.content == answer.content
    head, row = csv.reader(io.StringIO(answer.text))
    found = dict(zip(head, row, strict=True))
    assert (found["name"], found["lr"], found["train/loss"]) == ("one", "-1", "-0.5")
    assert (found["cmd"], found["note"], found["tags"]) == ("'=HYPERLINK(1)", "'@x\n+y", "'-a b")


@given(
    st.lists(
        st.lists(st.one_of(st.none(), st.integers(), st.floats(), st.booleans(), st.text()), min_size=1, max_size=4)
    )
)
def test_csv_comes_back_as_it_went_and_never_begins_a_formula(rows):
    text = b"".join(lines(rows)).decode()
    found = list(csv.reader(io.StringIO(text, newline="")))
    assert [row for row in found if row] == [[cell(value) for value in row] for row in rows]
    for row in rows:
        for value in row:
            if isinstance(value, str):
                assert not cell(value).lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "|", "%"))
            if isinstance(value, float) and not math.isnan(value):
                assert float(cell(value)) == value


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("", "optimizer"),
        ("tr", "train/loss"),
        ("lr > 0.1 and dep", "depth"),
        ("not star", "starred"),
        ("los", "train/loss"),
        ("min(tr", "train/loss"),
        ("optimizer == ", '"adam"'),
        ('optimizer == "s', '"sgd"'),
        ("state == ", '"draft"'),
        ('state in ("finished", "fa', '"failed"'),
        ("depth == ", "3"),
        ("starred == ", "True"),
        ("age < ", '"1h"'),
        ('"ba', '"base" in tags'),
        ("lr ", "and "),
        ("lr", "lr"),
        ("lr > 0.1 ", "and "),
        ('state == "finished" ', "and "),
        ('metric["val', 'metric["val loss"]'),
        ("my", 'config["my key"]'),
    ],
)
def test_completion_offers_what_may_stand_there(storage, query, first):
    run = trained(storage, "one", {"lr": 0.1, "depth": 3, "optimizer": "adam", "my key": 1}, [0.5])
    run.write_notes(records.Notes(tags=("base",)))
    trained(storage, "two", {"lr": 0.1, "optimizer": "adam"})
    run = make_run(storage, "three", {"optimizer": "sgd"})
    log(start(run), 1, {"val loss": 0.5})
    with asking(storage) as asker:
        found = asker.get("/complete", query=query)
    Completions.model_validate(found)
    best = found["completions"][0]
    assert best["text"].strip() == first.strip(), found["completions"]
    assert 0 <= best["start"] <= best["end"] == len(query)


def test_a_completed_query_can_be_asked(storage):
    trained(storage, "one", {"lr": 0.1, "optimizer": 'a"d\\am', "lambda": 1, "a b": "x"}, [0.5])
    with asking(storage) as asker:
        for query in ["", "opt", "la", "a", "x"]:
            for offer in asker.get("/complete", query=query)["completions"]:
                if offer["kind"] == "name":
                    done = query[: offer["start"]] + offer["text"] + query[offer["end"] :]
                    assert asker.client.get("/api/runs", params={"query": done}).status_code == 200, done
        (value,) = asker.get("/complete", query="optimizer == ")["completions"]
        assert asker.names("optimizer == " + value["text"]) == ["one"]


@pytest.mark.parametrize(
    "query", ["a" * 10_000, "a." * 5_000, '("' * 5_000, "a in [" + "1," * 4_990, '"' + "x" * 9_000]
)
def test_completion_of_a_long_query_takes_no_longer(storage, query):
    trained(storage, "one", {"lr": 0.1})
    with asking(storage) as asker:
        begun = time.monotonic()
        asker.get("/complete", query=query)
        assert time.monotonic() - begun < 20  # a search that goes back and forth would take minutes


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.text(max_size=40), st.integers(0, 50))
def test_completion_answers_whatever_was_typed(some_runs, query, position):
    found = some_runs.get("/complete", query=query, position=position)
    for offer in found["completions"]:
        assert 0 <= offer["start"] <= offer["end"] <= len(query)
    asked = some_runs.client.get("/api/runs", params={"query": query})
    assert asked.status_code == (200 if found["error"] is None else 400)


@pytest.fixture
def some_runs(storage):
    trained(storage, "one", {"lr": 0.1, "name": "x"}, [0.5])
    with asking(storage) as asker:
        yield asker


def test_completion_points_at_the_mistake_and_still_completes(storage):
    trained(storage, "one", {"lr": 0.1})
    with asking(storage) as asker:
        found = asker.get("/complete", query="lr = 1", position=2)
        assert (found["error"]["position"], found["completions"][0]["text"]) == (3, "lr")
        assert asker.get("/complete", query="lr == 1")["error"] is None
