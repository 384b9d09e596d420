"""The table of runs: what differs, which did better, and nothing a run says about itself becomes markup."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from dataclasses import FrozenInstanceError, replace
from datetime import datetime, timezone
from html.parser import HTMLParser

import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypertuner.errors import MissingExtraError, QueryError, RunNotFoundError
from hypertuner.index.fields import FACTS
from hypertuner.index.query import Query
from hypertuner.index.table import RunRow, RunTable

NAN = float("nan")


@pytest.fixture
def table():
    now = time.time()
    return RunTable(
        [
            RunRow(
                "brave-otter",
                "finished",
                config={"lr": 0.1, "epochs": 10, "optimizer.name": "adam"},
                metrics={"train/loss": 0.3, "val_acc": 0.91, "epoch": 10.0},
                first={"train/loss": 2.3},
                lowest={"train/loss": 0.2},
                highest={"train/loss": 2.5, "val_acc": 0.93},
                best={"train/loss": 0.2, "val_acc": 0.93},
                tags=("mnist", "baseline"),
                created=now - 3600,
                duration_s=90.0,
                step=1200,
                checkpoints=2,
                nbytes=1000,
                script="train.py",
                note="first",
                starred=True,
            ),
            RunRow(
                "calm-fox",
                "failed",
                config={"lr": 0.01, "epochs": 10, "optimizer.name": "adam", "dropout": 0.5},
                metrics={"train/loss": NAN},
                created=now - 7200,
                parent="brave-otter@best",
            ),
            RunRow(
                "dull-crow",
                "running",
                config={"lr": 0.2, "epochs": 10, "optimizer.name": "adam"},
                metrics={"train/loss": 0.1, "val_acc": 0.88},
                created=now - 60,
                tags=("cifar",),
            ),
        ]
    )


def names(table):
    return [row.name for row in table]


def test_a_run_is_found_by_position_and_by_name(table):
    assert len(table) == 3
    assert table[0].name == "brave-otter"
    assert table[-1].name == "dull-crow"
    assert table["calm-fox"].state == "failed"
    assert "calm-fox" in table
    assert table[0] in table
    assert "otter" not in table
    assert names(table[1:]) == ["calm-fox", "dull-crow"]


def test_an_unknown_run_is_an_error_with_names_like_it(table):
    with pytest.raises(RunNotFoundError, match="'brave-otter'"):
        table["brave-oter"]
    with pytest.raises(IndexError):
        table[3]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["brave-otter", "calm-fox", "dull-crow"]),
        ('val_acc > 0.9 and "mnist" in tags', ["brave-otter"]),
        ("train/loss < 0.2", ["dull-crow"]),
        ("train/loss != train/loss", ["calm-fox"]),
        ("val_acc is None", ["calm-fox"]),
        ("optimizer.name == 'adam' and lr >= 0.1", ["brave-otter", "dull-crow"]),
        ('age < "90m"', ["brave-otter", "dull-crow"]),
        ("duration > 60", ["brave-otter"]),
        ("min(train/loss) == 0.2 and max(train/loss) == 2.5 and first(train/loss) == 2.3", ["brave-otter"]),
        ("last(train/loss) == 0.3 and best(val_acc) > val_acc", ["brave-otter"]),
        ('config["lr"] == 0.01', ["calm-fox"]),
        ('metric["train/loss"] == 0.1', ["dull-crow"]),
        ("parent.startswith('brave-otter')", ["calm-fox"]),
        ("starred", ["brave-otter"]),
        ("size > 0 and checkpoints == 2 and step == 1200 and script == 'train.py'", ["brave-otter"]),
        ("dropout", ["calm-fox"]),
    ],
)
def test_a_filter_keeps_the_runs_that_the_query_describes(table, query, found):
    assert names(table.filter(query)) == found
    assert names(table.filter(Query(query))) == found


def test_a_filter_says_which_name_no_run_has(table):
    with pytest.raises(QueryError, match="'val_acc'"):
        table.filter("val_ac > 0.9")


def test_a_name_that_only_filtered_out_runs_have_is_no_mistake(table):
    assert names(table.filter("state == 'failed'").filter("val_acc > 0.9")) == []
    assert names(table.filter("state == 'gone'").filter("val_acc > 0.9").sort("val_acc")) == []
    assert names(table[1:2].sort("val_acc")) == ["calm-fox"]


def test_an_empty_table_answers_every_query():
    assert len(RunTable([]).filter("val_acc > 0.9").sort("val_acc")) == 0
    with pytest.raises(QueryError):
        RunTable([]).filter("val_acc = 0.9")


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("val_acc", ["brave-otter", "dull-crow", "calm-fox"]),
        ("train/loss", ["dull-crow", "brave-otter", "calm-fox"]),
        ("metric.train/loss", ["dull-crow", "brave-otter", "calm-fox"]),
        ("best(train/loss)", ["brave-otter", "calm-fox", "dull-crow"]),
        ("lr", ["calm-fox", "brave-otter", "dull-crow"]),
        ("config.lr", ["calm-fox", "brave-otter", "dull-crow"]),
        ("created", ["dull-crow", "brave-otter", "calm-fox"]),
        ("age", ["dull-crow", "brave-otter", "calm-fox"]),
        ("name", ["brave-otter", "calm-fox", "dull-crow"]),
        ("state", ["calm-fox", "brave-otter", "dull-crow"]),
    ],
)
def test_sorting_puts_the_best_first_and_what_lacks_a_value_last(table, name, order):
    assert names(table.sort(name)) == order


def test_the_direction_can_be_said_and_missing_values_still_come_last(table):
    assert names(table.sort("train/loss", descending=True)) == ["brave-otter", "dull-crow", "calm-fox"]
    assert names(table.sort("val_acc", descending=False)) == ["dull-crow", "brave-otter", "calm-fox"]


def test_sorting_by_a_name_that_no_run_has_is_an_error_with_names_like_it(table):
    for name in ("val_ac", "max(val_ac)", "metric.val_ac"):
        with pytest.raises(QueryError, match="'val_acc'") as caught:
            table.sort(name)
        assert caught.value.query == name


def test_equal_values_keep_their_order_and_mixed_values_can_be_sorted():
    values = [3, "auto", [1], None, 3, True, "auto", NAN]
    table = RunTable(RunRow(f"r{at}", "finished", config={"size_of": value}) for at, value in enumerate(values))
    assert names(table.sort("size_of")) == ["r5", "r0", "r4", "r1", "r6", "r2", "r3", "r7"]
    assert names(table.sort("size_of", descending=True)) == ["r2", "r1", "r6", "r0", "r4", "r5", "r3", "r7"]


def test_what_differs_is_the_config_keys_that_tell_runs_apart(table):
    assert table.differing() == ["lr", "dropout"]
    assert table["calm-fox"].differs == {"lr": 0.01, "dropout": 0.5}
    assert table["brave-otter"].differs == {"lr": 0.1}
    assert [row.differs for row in table] == [{"lr": 0.1}, {"lr": 0.01, "dropout": 0.5}, {"lr": 0.2}]


def test_what_differs_is_told_anew_for_fewer_runs(table):
    assert table.filter("dropout is None").differing() == ["lr"]
    assert table[:1].differing() == []
    assert table[:1][0].differs == {}
    assert RunTable([]).differing() == []


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [(1, 1.0, False), (True, 1, True), (NAN, NAN, False), ([1, 2], [1, 2], False), ([1], [2], True), (None, 0, True)],
)
def test_values_differ_when_a_person_would_say_so(one, other, differ):
    table = RunTable([RunRow("a", "finished", config={"x": one}), RunRow("b", "finished", config={"x": other})])
    assert table.differing() == (["x"] if differ else [])


def test_a_table_does_not_change(table):
    table.sort("lr")
    table.filter("starred")
    assert names(table) == ["brave-otter", "calm-fox", "dull-crow"]
    with pytest.raises(FrozenInstanceError):
        table[0].name = "other"


def test_columns_are_facts_then_config_then_metrics_by_the_names_that_a_query_asks():
    row = RunRow(
        "a",
        "finished",
        config={"name": "resnet", "lr": 0.1, "x": 1},
        metrics={"lr": 0.01, "step": 3.0, "val loss": 2.0},
    )
    columns = RunTable([row]).columns
    assert columns[:2] == ("name", "state")
    assert columns[-6:] == ("config.name", "lr", "x", "metric.lr", "metric.step", "val loss")
    values = row.values()
    assert [values[column] for column in columns[-6:]] == ["resnet", 0.1, 1, 0.01, 3.0, 2.0]
    assert values["name"] == "a"


def test_every_fact_that_a_query_may_ask_has_its_value(table):
    values = table[0].values(now=table[0].created + 5)
    assert values.keys() >= FACTS
    assert values["age"] == 5
    assert all(values[name] == values.get(name) for name in values)
    assert len(values) == len(list(values))
    for name in ("nope", "config.nope", "metric.nope", "min(nope)", "nope(val_acc)", "min(", ")", "("):
        assert name not in values


def test_to_json_is_json_and_says_what_was_not_finite(table):
    rows = json.loads(json.dumps(table.to_json(), allow_nan=False))
    assert [row["name"] for row in rows] == names(table)
    assert rows[0]["config"] == {"lr": 0.1, "epochs": 10, "optimizer.name": "adam"}
    assert rows[0]["tags"] == ["mnist", "baseline"]
    assert "nonfinite" not in rows[0]
    assert rows[1]["metrics"] == {"train/loss": None}
    assert rows[1]["nonfinite"] == {"train/loss": "nan"}
    assert rows[1]["differs"] == {"lr": 0.01, "dropout": 0.5}


def test_to_pandas_has_a_row_a_run_and_the_columns_of_the_table(table):
    frame = table.to_pandas()
    assert list(frame.columns) == list(table.columns)
    assert list(frame["name"]) == names(table)
    assert frame["val_acc"].isna().tolist() == [False, True, False]
    assert frame["lr"].max() == 0.2
    assert frame["tags"][0] == ["mnist", "baseline"]
    assert frame["created"].dt.tz == timezone.utc
    assert len(RunTable([]).to_pandas()) == 0


def test_to_polars_has_a_row_a_run_and_the_columns_of_the_table(table):
    frame = table.to_polars()
    assert frame.columns == list(table.columns)
    assert frame["name"].to_list() == names(table)
    assert frame["val_acc"].to_list() == [0.91, None, 0.88]
    assert frame["tags"].to_list() == [["mnist", "baseline"], [], ["cifar"]]
    assert frame["starred"].dtype == polars.Boolean
    assert frame["created"][0] == datetime.fromtimestamp(table[0].created, timezone.utc)
    assert RunTable([]).to_polars().columns == list(RunTable([]).columns)


def test_a_column_that_mixes_types_is_text_in_polars_and_whole_numbers_stay_whole():
    values = {
        "mixed": [1, "auto", None],
        "numbers": [1, 2.5, None],
        "whole": [1, None, 3],
        "lists": [[1], [2, 3], None],
        "switch": [True, 1, None],
        "huge": [2**70, 1, None],
        "none": [None, None, None],
    }
    table = RunTable(
        RunRow(f"r{at}", "finished", config={key: it[at] for key, it in values.items()}) for at in range(3)
    )
    frame = table.to_polars()
    assert frame["mixed"].to_list() == ["1", "auto", None]
    assert frame["numbers"].to_list() == [1.0, 2.5, None]
    assert frame["whole"].to_list() == [1, None, 3]
    assert frame["lists"].to_list() == ["[1]", "[2, 3]", None]
    assert frame["switch"].to_list() == ["true", "1", None]
    assert frame["huge"].to_list() == [str(2**70), "1", None]
    assert frame["none"].to_list() == [None, None, None]
    assert list(table.to_pandas()["mixed"])[:2] == [1, "auto"]


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_a_missing_package_is_an_error_with_the_command_that_installs_it(table, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'hypertuner\[{package}\]'"):
        getattr(table, f"to_{package}")()


def test_the_text_shows_what_differs_and_how_well_it_did_in_straight_columns(table):
    lines = repr(table).split("\n")
    head, rule, *rows = lines
    assert head.split() == ["name", "state", "train/loss", "val_acc", "lr", "dropout", "epoch", "step", "age", "tags"]
    assert set(rule) == {"─", " "}
    assert len(rows) == 3
    assert rows[0].split()[:4] == ["★", "brave-otter", "finished", "0.3"]
    assert "mnist, baseline" in rows[0]
    ends = [head.index("val_acc") + len("val_acc")] * 2
    assert [row.index(text) + 4 for row, text in ((rows[0], "0.91"), (rows[2], "0.88"))] == ends
    assert "1h" in rows[0] and "2h" in rows[1] and "1m" in rows[2]
    assert repr(RunTable([])) == "RunTable: no runs"


def test_a_long_or_wide_table_says_what_it_does_not_show():
    metrics = {f"metric_{at}": 1.0 for at in range(60)}
    table = RunTable(RunRow(f"run-{at}", "finished", metrics=metrics) for at in range(60))
    lines = repr(table).split("\n")
    assert len(lines) == 53
    assert max(map(len, lines)) <= 140
    assert re.fullmatch(r"… and \d+ more columns, 10 more runs", lines[-1])
    assert "10 more runs" in table._repr_html_()
    assert table._repr_html_().count("<tr>") == 51


def test_the_notebook_marks_the_best_value_of_a_metric_whose_direction_is_known(table):
    shown = table._repr_html_()
    assert "<b>0.91</b>" in shown
    assert "<b>0.1</b>" in shown
    assert shown.count("<b>") == 2
    assert "<b>" not in table[:1]._repr_html_()


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</table></td><svg/onload=alert(1)>",
    "&lt;b&gt;",
    "\x1b]0;owned\x07\x1b[2J",
    "\u202egnp.exe",
    "a\nb\r\tc\x00",
    "\ud800",
    "{{7*7}}${7*7}",
]


class Elements(HTMLParser):
    """Collects the elements, attributes and text of a page."""

    def __init__(self):
        super().__init__()
        self.elements, self.attributes, self.text = set(), set(), ""

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data):
        self.text += data


def assert_harmless(text):
    row = RunRow(
        text,
        text,
        config={text: text, "lr": 1},
        metrics={text: 0.5, "acc": 0.5},
        best={text: 0.5},
        tags=(text,),
        parent=text,
        script=text,
        note=text,
    )
    table = RunTable([row, replace(row, name="other", config={}, metrics={"acc": 0.4})])
    page = Elements()
    page.feed(table._repr_html_())
    assert page.elements <= {"table", "thead", "tbody", "tr", "th", "td", "b"}
    assert page.attributes <= {"class", "style"}
    shown = repr(table)
    assert all(sign.isprintable() for line in shown.split("\n") for sign in line)
    assert len(shown.split("\n")) in (4, 5)  # the fifth says which columns had no room
    return page


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_tag_or_key_becomes_markup_or_steers_a_terminal(text):
    page = assert_harmless(text)
    if text.isprintable():
        assert text[:30] in page.text


@given(st.text(st.characters(), max_size=60))
def test_no_text_at_all_becomes_markup_or_steers_a_terminal(text):
    assert_harmless(text)


def test_wide_characters_keep_columns_straight():
    table = RunTable([RunRow("狐狸", "finished", config={"a": 1}), RunRow("fox", "finished", config={"a": 2})])
    first, second = repr(table).split("\n")[2:]
    assert first.index("finished") + 2 == second.index("finished")


def test_a_hundred_thousand_runs_are_filtered_and_sorted_in_seconds():
    rows = [
        RunRow(f"run-{at}", "finished", config={"lr": at % 7, "seed": at}, metrics={"val_acc": at % 100 / 100})
        for at in range(100_000)
    ]
    begun = time.process_time()
    found = RunTable(rows).filter("val_acc > 0.97 and lr < 3").sort("val_acc")
    assert found[0].metrics["val_acc"] == 0.99
    assert math.isclose(found[-1].metrics["val_acc"], 0.98)
    assert time.process_time() - begun < 10


def test_pandas_and_polars_are_imported_only_when_asked():
    code = (
        "import sys, hypertuner.index.table; print(sorted({'pandas', 'polars', 'numpy', 'torch'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert shown.stdout.strip() == "[]"


def test_text_and_switches_that_a_script_logs_are_shown_beside_numbers():
    table = RunTable(
        [
            RunRow("fox", "finished", metrics={"phase": "warm-up", "acc": 0.5, "done": True}),
            RunRow("owl", "finished", metrics={"phase": "main", "acc": None, "done": False}),
            RunRow("elk", "finished", metrics={"acc": "broken"}),
            RunRow("cat", "finished", metrics={"acc": 0.4}),
        ]
    )
    assert "warm-up" in repr(table)
    assert "<b>0.5</b>" in table._repr_html_()
    assert table.to_json()[0]["metrics"] == {"phase": "warm-up", "acc": 0.5, "done": True}
    assert names(table.filter("phase == 'main'")) == ["owl"]
