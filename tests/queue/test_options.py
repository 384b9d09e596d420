"""A config reaches a script with an argparse parser of its own as that parser takes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conftest import script_environment
from tests.queue.conftest import until
from tests.server.serving import serving

from hypertuner.queue import make
from hypertuner.queue.start import run_in_foreground
from hypertuner.store import RunState, Storage

SCRIPT = """
import argparse, json, os
parser = argparse.ArgumentParser()
parser.add_argument("--amp", action="store_true")
parser.add_argument("--no-shuffle", dest="shuffle", action="store_false")
parser.add_argument("--cosine", action=argparse.BooleanOptionalAction, default=True)
parser.add_argument("-b", "--batch-size", type=int, default=8)
parser.add_argument("--layers", type=int, nargs="+", default=[1])
parser.add_argument("--clip", type=float, default=None)
args = parser.parse_args()
folder = os.environ["HYPERTUNER_RUN"]
open(folder + "/got.json", "w").write(json.dumps(vars(args)))
"""
USUAL = {"amp": False, "shuffle": True, "cosine": True, "batch_size": 8, "layers": [1], "clip": None}


def got(folder: Path, name: str) -> object:
    return json.loads((folder / name / "got.json").read_text())


@pytest.mark.parametrize(
    "asked",
    [
        {"amp": True},
        {"amp": False},
        {"shuffle": False},
        {"shuffle": True},
        {"cosine": False},
        {"cosine": True},
        {"batch_size": 64},
        {"layers": [3, 4]},
        {"clip": -0.5},
        {"clip": None, "amp": True},
    ],
    ids=str,
)
def test_a_config_arrives_as_it_was_given(tmp_path: Path, storage: Path, asked: dict[str, object]):
    (tmp_path / "train.py").write_text(SCRIPT)
    run = make.make_run(tmp_path / "train.py", asked, [], name="one", storage=Storage(storage))
    assert run_in_foreground(run, tmp_path / "train.py") == 0
    assert got(storage, "one") == {**USUAL, **asked}


PLACES = """
import argparse, json, os
parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("sizes", type=float, nargs="*")
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--layers", type=int, nargs="+", default=[1])
args = parser.parse_args()
open(os.environ["HYPERTUNER_RUN"] + "/got.json", "w").write(json.dumps(vars(args)))
"""


@pytest.mark.parametrize(
    "asked",
    [
        {"lr": 0.5, "layers": [2, 3], "sizes": [1.0, 2.0], "data": "mnist"},
        {"data": "a file=1", "layers": [2]},
        {"data": "-odd", "sizes": [-1.0, 0.5], "lr": 0.5},
        {"data": "mnist", "sizes": []},
    ],
    ids=str,
)
def test_positional_arguments_arrive_in_the_parsers_order(tmp_path: Path, storage: Path, asked: dict[str, object]):
    (tmp_path / "train.py").write_text(PLACES)
    run = make.make_run(tmp_path / "train.py", asked, [], name="one", storage=Storage(storage))
    assert run_in_foreground(run, tmp_path / "train.py") == 0
    assert got(storage, "one") == {"sizes": [], "lr": 0.1, "layers": [1], **asked}


def test_the_command_line_the_queue_and_the_page_hand_over_flags(tmp_path: Path):
    (tmp_path / "train.py").write_text(SCRIPT)
    import subprocess
    import sys

    environment = script_environment({"HYPERTUNER_STORAGE": str(tmp_path / "storage")})
    for words in (["amp=true", "--name", "typed"], ["amp=true", "cosine=false", "--name", "waited", "--queue"]):
        subprocess.run(
            [sys.executable, "-m", "hypertuner", "run", "train.py", *words], cwd=tmp_path, env=environment, check=True
        )
    with serving(tmp_path, "train.py") as served:
        (script,) = served.ask("GET", "/api/scripts").json["scripts"]
        config = {"amp": True, "shuffle": False}
        made = served.ask("POST", "/api/launch", {"script": script["id"], "config": config, "name": "clicked"})
        assert made.status == 200, made.body
        storage = Storage(tmp_path / "storage")
        until(lambda: all(storage.open(name).state() is RunState.finished for name in ("typed", "waited", "clicked")))
    found = {name: got(tmp_path / "storage", name) for name in ("typed", "waited", "clicked")}
    assert found == {
        "typed": {**USUAL, "amp": True},
        "waited": {**USUAL, "amp": True, "cosine": False},
        "clicked": {**USUAL, "amp": True, "shuffle": False},
    }


def test_what_the_source_does_not_declare_is_handed_over_as_it_is_called(tmp_path: Path, storage: Path):
    (tmp_path / "train.py").write_text(
        "import os, sys\nopen(os.environ['HYPERTUNER_RUN'] + '/got.json', 'w').write(repr(sys.argv[1:]))\n"
    )
    config = {"lr": 0.1, "amp": True, "name": "a b"}
    run = make.make_run(tmp_path / "train.py", config, [], name="one", storage=Storage(storage))
    assert run_in_foreground(run, tmp_path / "train.py") == 0
    assert (storage / "one" / "got.json").read_text() == "['--amp=true', '--lr=0.1', '--name=a b']"
