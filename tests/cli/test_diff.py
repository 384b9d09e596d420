"""`hypertuner diff`: config, metrics, environment and code of two runs, as people and programs read it."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from hypertuner.index.difference import ABSENT, changes


def test_two_runs_are_told_apart(cli, script, storage):
    cli("run", script, "--name", "one", "lr=0.1")
    script.write_text(script.read_text().replace('print("trained', 'print("also'))
    cli("run", script, "--name", "two", "lr=0.25", "epochs=3", env={"OMP_NUM_THREADS": "2"})
    said = cli("diff", "one", "two").stdout
    lines = [line.split() for line in said.splitlines()]
    assert ["lr", "0.1", "0.25"] in lines
    assert ["epochs", "2", "3"] in lines
    assert ["val_acc", "0.6", "0.7"] in lines
    assert ["variables.OMP_NUM_THREADS", "1", "2"] in lines
    assert '-print("trained with", args.lr)' in said
    assert '+print("also with", args.lr)' in said
    assert "--- one/train.py" in said
    assert "batch" not in said


def test_json_has_all_of_it_and_nothing_where_a_side_has_none(cli, make):
    make("one", {"lr": 0.1, "old": None}, [{"loss": float("nan")}])
    make("two", {"lr": 0.1, "new": True}, [{"loss": 0.5}])
    facts = json.loads(cli("diff", "one", "two", "--json").stdout)
    assert facts["config"] == {"old": {"a": None}, "new": {"b": True}}
    assert facts["metrics"]["loss"]["b"] == 0.5
    assert facts["environment"] == {}
    assert facts["code"] == {}


def test_checkpoints_and_files_are_compared_by_what_they_say(cli, script, storage):
    cli("run", script, "--name", "one")
    cli("run", script, "--name", "two", "lr=0.4")
    said = cli("diff", "one@last", storage / "two/model.pt").stdout
    assert ["lr", "0.1", "0.4"] in [line.split() for line in said.splitlines()]
    assert "code" not in said.splitlines()


def test_what_only_runs_tell_is_no_difference_to_a_checkpoint(cli, script):
    cli("run", "train.py", "--name", "calm-lynx")
    told = json.loads(cli("diff", "calm-lynx", "calm-lynx@last", "--json").stdout)
    assert told["metrics"] == told["environment"] == {}


def test_numbers_that_differ_beyond_the_digits_shown_are_shown_whole(cli, make):
    make("one", {"lr": 0.1000001})
    make("two", {"lr": 0.1})
    assert ["lr", "0.1000001", "0.1"] in [line.split() for line in cli("diff", "one", "two").stdout.splitlines()]


def test_runs_that_do_not_differ_and_runs_without_code_are_said(cli, make):
    make("one", {"lr": 0.1})
    make("two", {"lr": 0.1})
    said = cli("diff", "one", "two").stderr
    assert "do not differ" in said
    assert "no code was kept with one" in said
    assert "Did you mean 'one'" in cli("diff", "ona", "two", code=1).stderr


def test_long_diffs_of_code_are_capped_and_the_rest_counted(cli, script):
    cli("run", script, "--name", "one")
    script.write_text(script.read_text() + "".join(f"x{number} = {number}\n" for number in range(500)))
    cli("run", script, "--name", "two")
    assert "lines more (--all-code shows them)" in (said := cli("diff", "one", "two").stdout)
    assert len(said.splitlines()) < 230
    assert "+x499 = 499" in cli("diff", "one", "two", "--all-code").stdout


VALUES = st.dictionaries(st.text(max_size=3), st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.text())


@given(VALUES, VALUES)
def test_changes_lead_from_one_to_the_other(a, b):
    found = changes(a, b)
    rebuilt = {**a, **{key: pair.b for key, pair in found.items()}}
    rebuilt = {key: value for key, value in rebuilt.items() if value is not ABSENT}
    assert changes(rebuilt, b) == {}
    assert changes(a, a) == {}
    assert set(changes(b, a)) == set(found)
