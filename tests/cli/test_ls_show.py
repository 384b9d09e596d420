"""`hypertuner ls` and `show`: one look tells what worked."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import pytest
from hypothesis import given, strategies

from hypertuner.cli.show import sparkline
from hypertuner.cli.terminal import plain


def test_an_empty_storage_says_what_to_do_next(cli):
    done = cli("ls")
    assert done.stdout == ""
    assert "hypertuner run train.py" in done.stderr
    assert json.loads(cli("ls", "--json").stdout) == []


def test_the_table_shows_what_differs_and_nothing_that_is_equal(cli, make):
    make("calm-lynx", {"lr": 0.1, "depth": 3}, [{"val_acc": 0.5}, {"val_acc": 0.4}])
    make("bold-crow", {"lr": 0.01, "depth": 3}, [{"val_acc": 0.9}], state="failed")
    table = cli("ls").stdout
    header, *rows = table.splitlines()
    assert header.split() == ["name", "state", "best(val_acc)", "lr", "step", "age"]
    assert {row.split()[0]: row.split()[1:5] for row in rows} == {
        "calm-lynx": ["✓", "finished", "0.5", "0.1"],
        "bold-crow": ["✗", "failed", "0.9", "0.01"],
    }


def test_a_run_that_is_damaged_or_of_another_script_does_not_hide_the_others(cli, terminal, make, storage):
    for name, lr in (("calm-lynx", 0.1), ("bold-crow", 0.2)):
        make(name, {"lr": lr, "equal": 1}, [{"val_acc": 0.5}])
    make("other", {}, [])
    (storage / "bad").mkdir()
    (storage / "bad" / "run.json").write_text("{}")
    done = cli("ls")
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"name", "calm-lynx", "bold-crow", "other", "bad"}
    assert "bad/run.json is not" in done.stderr
    if os.name == "posix":
        shell = terminal("ls", env={"COLUMNS": "48", "TERM": "xterm", "NO_COLOR": "1"})
        assert shell.wait() == 0
        header = next(line for line in shell.output.splitlines() if "state" in line)
        assert "lr" in header and "equal" not in header


def test_sort_limit_query_and_columns(cli, make):
    for number in range(4):
        make(f"run-{number}", {"lr": number}, [{"val_acc": number / 10}])
    rows = cli("ls", "lr > 0", "--sort", "val_acc", "--limit", "2", "--columns", "name,lr").stdout.splitlines()
    assert [row.split() for row in rows] == [["name", "lr"], ["run-3", "3"], ["run-2", "2"]]
    assert "No run has 'lrr' to show. Did you mean 'lr'" in cli("ls", "--columns", "lrr", code=1).stderr
    assert "No run matches" in cli("ls", "lr > 9").stderr


def test_a_mistake_in_a_query_is_shown_where_it_is(cli, make):
    make("calm-lynx", {"lr": 0.1})
    lines = cli("ls", "lr > 0 and lrr < 1", code=1).stderr.splitlines()
    assert lines[1].index("lrr") == lines[2].index("^")


def test_json_is_all_that_is_printed_and_spells_nan(cli, make):
    make("calm-lynx", {"lr": 0.1}, [{"loss": math.nan}])
    (row,) = json.loads(cli("ls", "--json").stdout)
    assert (row["name"], row["config"], row["metrics"], row["nonfinite"]) == (
        "calm-lynx",
        {"lr": 0.1},
        {"loss": None},
        {"loss": "nan"},
    )
    shown = json.loads(cli("show", "calm-lynx", "--json").stdout)
    assert shown["state"] == "finished"


@pytest.mark.skipif(os.name != "posix", reason="pseudo terminals")
def test_a_narrow_terminal_keeps_names_whole_and_says_what_it_left_out(terminal, make):
    make("a-run-with-a-rather-long-name-for-a-terminal", {"lr": 0.1}, [{"val_acc": 0.5, "train/loss": 1.0}])
    shell = terminal("ls", env={"COLUMNS": "70", "TERM": "xterm", "NO_COLOR": "1"})
    assert shell.wait() == 0
    assert "a-run-with-a-rather-long-name-for-a-terminal" in shell.output
    assert "no room for" in shell.output
    assert "train/loss" not in shell.output.split("no room")[0]


@pytest.mark.skipif(os.name != "posix", reason="pseudo terminals")
def test_colour_is_on_a_terminal_and_not_under_no_color(terminal, make):
    make("calm-lynx", {"lr": 0.1})
    coloured = terminal("ls", env={"TERM": "xterm", "NO_COLOR": None})
    coloured.wait()
    assert "\x1b[32m✓ finished" in coloured.output
    bare = terminal("ls", env={"TERM": "xterm", "NO_COLOR": "1"})
    bare.wait()
    assert "\x1b[32m" not in bare.output
    assert "✓ finished" in bare.output


HOSTILE = {"[red]x[/red]": 1, "esc\x1b[31m\x1b]0;title\x07": "\x1b[2J", "line\nbreak": "‮gnp", "[/]": "[/nope]"}


@pytest.mark.parametrize("command", [["ls"], ["show", "calm-lynx"]])
def test_names_and_values_never_steer_the_terminal_nor_speak_markup(cli, terminal, make, command):
    make("calm-lynx", HOSTILE, [{"acc[bold]\x1b[5m": 1.0, "[red]val_acc": 0.5}])
    make("bold-crow", {}, [])
    for output in (cli(*command).stdout, _on_a_terminal(terminal, command)):
        assert "\x1b[31m" not in output and "\x1b]0" not in output and "\x1b[2J" not in output
        assert "\x1b[5m" not in output and "‮" not in output
        assert "[red]" in output


def _on_a_terminal(terminal, command):
    shell = terminal(*command, env={"COLUMNS": "300", "TERM": "xterm"})
    assert shell.wait() == 0
    return shell.output


@given(strategies.text())
def test_plain_text_is_one_line_of_printable_signs(text):
    assert plain(text).isprintable()


@given(strategies.lists(strategies.floats()))
def test_a_sparkline_has_a_sign_a_stretch_and_never_fails(values):
    assert len(sparkline(values, 24)) == min(len(values), 24)


def test_a_spike_of_one_step_is_seen_in_a_sparkline():
    values = [1.0] * 500 + [9.0] + [1.0] * 500
    assert sparkline(values).count("█") == 1
    assert "×" in sparkline([*values, math.nan])


def test_show_tells_of_a_failed_run_why_and_where(cli, tmp_path):
    (tmp_path / "s.py").write_text(
        "import hypertuner\nhypertuner.Logger().log({'loss': 1.0})\nraise ValueError('odd')\n"
    )
    cli("run", "s.py", "--name", "calm-lynx", code=1)
    shown = cli("show", "calm-lynx").stdout
    assert "✗ failed" in shown
    assert "ValueError: odd" in shown
    assert "line 3" in shown


def test_show_lists_checkpoints_and_the_family(cli, script):
    cli("run", "train.py", "--name", "calm-lynx")
    cli("run", "train.py", "--name", "bold-crow", "--from", "calm-lynx@best")
    cli("run", "train.py", "--name", "wise-owl", "--from", "bold-crow")
    shown = cli("show", "wise-owl").stdout
    assert "bold-crow (step 1) ← calm-lynx@best (step 1)" in shown
    assert "best, model.pt" in shown
    assert "val_acc" in shown


def test_show_reads_a_file_without_torch_and_says_whether_it_is_yours(cli, script, tmp_path):
    cli("run", "train.py", "lr=0.5", "--name", "calm-lynx")
    for module in ("torch", "numpy"):
        (tmp_path / "blocked").mkdir(exist_ok=True)
        (tmp_path / "blocked" / f"{module}.py").write_text("raise RuntimeError('imported')")
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "blocked"), *sys.path])}
    done = cli("show", "storage/calm-lynx/model.pt", env=environment)
    assert "hypertuner/1" in done.stdout and "lr      0.5" in done.stdout
    assert "2 tensors, 10 values, 40 B" in done.stdout
    assert "yours" in done.stdout
    stranger = cli("show", "calm-lynx@last", env={"HYPERTUNER_HOME": str(tmp_path / "other")})
    assert "not marked as yours" in stranger.stdout
    facts = json.loads(cli("show", "calm-lynx@best", "--json").stdout)
    assert facts["config"] == {"lr": 0.5, "epochs": 2}
    assert facts["tensors"]["weight"] == {"dtype": "float32", "shape": [2, 4], "kind": "strided"}


def test_show_lists_what_a_foreign_pickle_would_import_and_runs_none_of_it(cli, tmp_path):
    import pickle

    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    (tmp_path / "odd.pt").write_bytes(pickle.dumps({"a": Bomb()}, protocol=2))
    shown = cli("show", "odd.pt").stdout
    assert "would import" in shown and "system" in shown
    assert not (tmp_path / "ran").exists()


def test_show_of_nothing_says_what_there_is(cli, make):
    make("calm-lynx")
    assert "Did you mean 'calm-lynx'?" in cli("show", "clam-lynx", code=1).stderr
    assert "No file x.pt" in cli("show", "./x.pt", code=1).stderr


@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_a_reader_that_leaves_early_is_no_error(tmp_path, make):
    for number in range(300):
        make(f"run-{number}", {"text": f"{number:0500d}"})
    done = subprocess.run(
        f"{sys.executable} -m hypertuner ls | head -1",
        shell=True,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    assert done.stdout.startswith("name")
    assert done.stderr == ""
