"""`hypertuner demo`, from its first line to the commands it ends with."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from hypertuner.store import RunState, Storage


def test_the_demo_trains_compares_and_starts_a_seventh_run_from_the_best_weights(cli, tmp_path):
    changed = tmp_path / "hypertuner-demo" / "digits.py"
    done = cli("demo", timeout=280)
    runs = list(Storage(tmp_path / "hypertuner-demo" / "storage").list())
    assert len(runs) == 7
    assert {run.state() for run in runs} == {RunState.finished}
    (seventh,) = [run for run in runs if run.record().parent]
    parent = Storage(tmp_path / "hypertuner-demo" / "storage").open(seventh.record().parent.run)
    assert seventh.config()["learning_rate"] == pytest.approx(parent.config()["learning_rate"] / 10)
    # It began where the best ended, to the last digit, and went up from there.
    accuracy = [record.values["val_accuracy"] for record in seventh.logged()]
    best = max(record.values["val_accuracy"] for record in parent.logged())
    assert accuracy[0] == best
    assert max(accuracy) > best
    assert "where the best ended" in done.stdout
    assert re.search(r"gained \d\.\d\d points", done.stdout)

    # The commands that it ends with work as they are pasted, with the script that is there.
    changed.write_text(changed.read_text() + "\n# mine\n")
    *_, commands, at_last = done.stdout.rstrip().split("\n\n")
    commands = "\n".join(line.strip() for line in commands.splitlines()[1:])
    # Where nobody sits at a terminal, it is told how to see them; at one, they are shown.
    assert at_last.splitlines() == ["And to see them in your browser:", "  hypertuner digits.py --storage storage"]
    assert commands.partition("\n")[0].endswith("cd hypertuner-demo")
    assert commands.count("hypertuner ") == 3
    program = tmp_path / "bin" / "hypertuner"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m hypertuner "$@"\n')
    program.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    pasted = subprocess.run(
        ["sh", "-ec", commands], capture_output=True, encoding="utf-8", cwd=tmp_path, env=environment, check=False
    )
    assert pasted.returncode == 0, pasted.stdout + pasted.stderr
    assert "✓ finished after" in pasted.stderr
    assert changed.read_text().endswith("# mine\n")


def test_without_its_packages_the_demo_says_how_to_get_them_and_makes_nothing(cli, tmp_path):
    blocker = tmp_path / "blocked" / "sitecustomize.py"
    blocker.parent.mkdir()
    blocker.write_text(
        "import importlib.util\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, package=None: None if name == 'sklearn' else real(name, package)\n"
    )
    path = os.pathsep.join([str(blocker.parent), *sys.path])
    done = cli("demo", code=1, env={"PYTHONPATH": path})
    assert "pip install 'hypertuner[demo]'" in done.stderr
    assert not (tmp_path / "hypertuner-demo").exists()
