"""Checkpoints over all runs, what is in one, its values, its forms for other programs, lineage, room on the disk."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from tests.server.acting.trained import TRAIN, environment

from hypertuner.server.weights import child
from hypertuner.server.weights.statistics import statistics
from hypertuner.store import RunState

ODD = """
    import hypertuner, torch
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.plain = torch.nn.Parameter(torch.linspace(-1, 1, 1000).reshape(10, 100))
            self.turned = torch.nn.Parameter(torch.arange(12.0).reshape(3, 4).t())
            self.sixteen = torch.nn.Parameter(torch.linspace(0, 2, 64).half())
            self.brain = torch.nn.Parameter(torch.linspace(0, 2, 64).bfloat16())
            self.ill = torch.nn.Parameter(torch.tensor([float("nan"), float("inf"), 0.0, 0.0, 1.0]))
            self.register_buffer("count", torch.tensor([1, 2, 3]))
            self.register_buffer("mask", torch.tensor([True, False, False]))
            self.empty = torch.nn.Parameter(torch.zeros(0, 3))
            self.tied = self.plain
            self.scalar = torch.nn.Parameter(torch.tensor(5.0))
    net = Odd()
    saver = hypertuner.Saver(net)
    with hypertuner.new_run(name="odd"):
        saver = hypertuner.Saver(net)
        saver.save(step=0)
        net.plain.data.mul_(2)
        saver.save(step=1)
"""


def get(served, path: str):
    answer = served.ask("GET", path)
    assert answer.status == 200, answer.body
    return answer.json


def test_checkpoints_of_all_runs_are_listed_and_sorted(looked):
    page = get(looked, "/api/checkpoints")
    assert page["matched"] == len(page["rows"]) == 5
    saved = [one["saved_at"] for one in page["rows"]]
    assert saved == sorted(saved, reverse=True)
    best = get(looked, "/api/checkpoints?sort=val_accuracy&limit=2")
    assert [one["reference"] for one in best["rows"]] == ["forked@3", "forked@2"]
    losses = [one["metrics"]["loss"] for one in get(looked, "/api/checkpoints?sort=loss")["rows"]]
    assert losses == sorted(losses)
    assert {one["run"] for one in get(looked, "/api/checkpoints?query=lr%20%3C%200.05")["rows"]} == {"forked"}
    wrong = looked.ask("GET", "/api/checkpoints?sort=val_acuracy")
    assert (wrong.status, "val_accuracy" in wrong.json["message"]) == (400, True)


def test_an_older_checkpoint_that_was_thinned_later_is_still_the_older_one(looked):
    folder = Path(get(looked, "/api/session")["storage"]) / "first" / "attempts" / "1" / "checkpoints"
    oldest = min(folder.glob("*.pt"))
    status = oldest.stat()
    try:
        os.utime(oldest, (status.st_atime, time.time() + 60))
        os.utime(folder)  # something in it has changed
        steps = [one["step"] for one in get(looked, "/api/checkpoints?query=name%20%3D%3D%20'first'")["rows"]]
        assert steps == sorted(steps, reverse=True)
        assert len(steps) > 1
    finally:
        os.utime(oldest, (status.st_atime, status.st_mtime))


def test_a_checkpoint_says_what_it_is_and_what_began_from_it(looked):
    rows = {one["reference"]: one for one in get(looked, "/api/checkpoints")["rows"]}
    assert rows["first@1"]["children"] == ["forked"]
    assert rows["first@2"]["children"] == ["misfit"]
    marks = ("is_best", "is_last", "is_offered", "has_training")
    assert {name: rows["first@2"][name] for name in marks} == dict.fromkeys(marks, True)


def test_one_checkpoint_is_told_from_its_index(looked):
    told = get(looked, "/api/checkpoints/first/best")
    assert (told["row"]["reference"], told["parameters"]) == ("first@2", 16 * 4 + 16 + 2 * 16 + 2)
    assert [(one["name"], one["shape"], one["kind"]) for one in told["tensors"]][:2] == [
        ("0.weight", [16, 4], "parameter"),
        ("0.bias", [16], "parameter"),
    ]
    assert told["config"]["hidden"] == 16
    assert told["trust"]["is_trusted"]
    assert told["model_class"] == "torch.nn.modules.container.Sequential"
    assert told["resume_command"] == "hypertuner resume first@2"
    for which in ("last", "2", "model"):
        assert get(looked, f"/api/checkpoints/first/{which}")["row"]["reference"] == "first@2"
    for which in ("7", "..", "%2e%2e", "model.pt", "-1"):
        assert looked.ask("GET", f"/api/checkpoints/first/{which}").status == 404


def test_the_values_of_tensors_are_those_that_pytorch_sees(place, serve):
    place.python(place.script(ODD))
    served = serve("--no-drain")
    told = get(served, "/api/checkpoints/odd/1/statistics?against=odd@0")
    found = {one["name"]: one for one in told["tensors"]}
    state = torch.load(place.run("odd").attempts()[0].checkpoints()[-1].path, weights_only=True)["state_dict"]
    for name, values in state.items():
        numbers = values.double().flatten()
        finite = numbers[numbers.isfinite()]
        one = found[name]
        assert (one["nans"], one["infinities"]) == (int(numbers.isnan().sum()), int(numbers.isinf().sum()))
        assert one["zeros"] == int((numbers == 0).sum())
        if len(finite):
            assert one["mean"] == pytest.approx(float(finite.mean()))
            assert one["std"] == pytest.approx(float(finite.std(unbiased=False)), abs=1e-9)
            assert (one["lowest"], one["highest"]) == (float(finite.min()), float(finite.max()))
            assert (len(one["counts"]), sum(one["counts"])) == (24, len(finite))
    assert found["plain"]["changed"] == pytest.approx(1.0)
    assert found["turned"]["changed"] == 0.0
    assert found["ill"]["changed"] is None
    assert (told["nans"], told["infinities"], told["problem"]) == (1, 1, None)
    shared = {one["name"]: one["is_shared"] for one in get(served, "/api/checkpoints/odd/1")["tensors"]}
    assert shared["plain"] and shared["tied"] and not shared["turned"]


@pytest.mark.parametrize(("form", "ending"), [("safetensors", "safetensors"), ("state_dict", "pth"), ("file", "pt")])
def test_weights_are_exported_in_other_forms(looked, trained, tmp_path: Path, form: str, ending: str):
    answer = looked.ask("GET", f"/api/checkpoints/first/1/export?format={form}")
    assert answer.status == 200, answer.body
    assert f'filename="first-1.{ending}"' in answer.headers["content-disposition"]
    file = tmp_path / f"weights.{ending}"
    file.write_bytes(answer.body)
    if form == "safetensors":
        from safetensors.torch import load_file

        state = load_file(file)
    else:
        state = torch.load(file, weights_only=True)
        state = state["state_dict"] if form == "file" else state
    (original,) = [one.path for one in trained.run("first").checkpoints() if one.step == 1]
    expected = torch.load(original, weights_only=True)["state_dict"]
    assert {name: tensor.tolist() for name, tensor in state.items()} == {
        name: tensor.tolist() for name, tensor in expected.items()
    }
    assert list((trained.folder / "cache" / "exports").glob("*")) == []


def test_the_server_never_imports_torch_or_numpy(looked):
    get(looked, "/api/checkpoints/first/best")
    get(looked, "/api/checkpoints/first/best/statistics")
    maps = Path(f"/proc/{looked.process.pid}/maps").read_text()
    assert "libtorch" not in maps
    assert "_multiarray_umath" not in maps


def hostile(kind: str, path: Path, mark: Path, good: Path) -> None:
    """A model file that would do harm to who unpickles it, or to who believes it."""

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {mark}",)

    if kind == "pickle":
        path.write_bytes(pickle.dumps(Evil()))
    elif kind == "torch":
        torch.save({"state_dict": {"a": torch.ones(2)}, "evil": Evil()}, path)
    elif kind == "truncated":
        path.write_bytes(good.read_bytes()[:-100])
    elif kind == "nothing":
        path.write_bytes(b"")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "huge header":
        path.write_bytes((2**62).to_bytes(8, "little") + b'{"a":1}')
    elif kind == "text":
        path.write_text("<html>not found</html>")
    else:  # the index of a good file, claiming more than there is
        with zipfile.ZipFile(good) as source, zipfile.ZipFile(path, "w") as target:
            for name in source.namelist():
                data = source.read(name)
                if name.endswith("hypertuner.json"):
                    index = json.loads(data)
                    row = index["tensors"]["state_dict"]["0.weight"]
                    row[3] = [2**40, 2**20]
                    data = json.dumps(index).encode()
                target.writestr(name, data)


@pytest.mark.parametrize(
    "kind", ["pickle", "torch", "truncated", "nothing", "fifo", "huge header", "text", "index that lies"]
)
def test_a_hostile_model_file_runs_nothing_and_is_said(looked, trained, tmp_path: Path, kind: str):
    made = trained.folder / "storage" / "hostile"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    (made / "config.json").write_text("{}")
    hostile(kind, made / "model.pt", tmp_path / "owned", trained.run("first").layout.model)
    began = time.monotonic()
    for path in (
        "/api/runs/hostile",
        "/api/checkpoints",
        "/api/checkpoints/hostile/model",
        "/api/checkpoints/hostile/model/statistics",
        "/api/checkpoints/hostile/model/export?format=safetensors",
        "/api/checkpoints/first/1/statistics?against=hostile",
    ):
        answer = looked.ask("GET", path)
        assert answer.status < 500, (path, answer.body)
    assert time.monotonic() - began < 60  # none of them waits for a pipe
    shutil.rmtree(made)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("computes", [False, True], ids=["looks into weights", "makes a model"])
def test_the_child_that_reads_writes_no_file_and_gets_no_secret(trained, tmp_path: Path, computes):
    """The limits of the process itself, asked of it."""
    program = f"""
        import json, os, sys
        from hypertuner.server import weights_child
        weights_child._limit(writes=False, computes={computes})
        try:
            with open("written", "wb", buffering=0) as file:
                file.write(b"x")
            print("wrote")
        except OSError as error:
            print("refused")
    """
    script = trained.script(program, "limits.py")
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment(trained.folder), capture_output=True, text=True
    )
    assert done.stdout.split() == ["refused"]
    assert "AWS_SECRET_ACCESS_KEY" not in child._KEPT


def test_the_family_tree_has_gains_and_changed_settings(looked):
    tree = get(looked, "/api/lineage?run=first&metric=val_accuracy")
    edges = {one["child"]: one for one in tree["edges"]}
    assert edges["forked"]["changed"] == {"lr": [0.1, 0.01], "epochs": [3, 4]}
    assert edges["forked"]["gain"] == pytest.approx(0.1)
    assert edges["misfit"]["gain"] is None
    assert {one["name"] for one in tree["nodes"]} == {"first", "forked", "misfit"}
    assert get(looked, "/api/lineage?run=out-of-nan")["edges"] == []
    assert get(looked, "/api/lineage")["metric"] == "val_accuracy"


def test_cleaning_says_first_and_then_does_what_it_said(place, serve):
    place.script(TRAIN)
    place.command("run", "train.py", "--name", "old", "epochs=4")
    place.command("run", "train.py", "--name", "kept", "epochs=2")
    served = serve("--no-drain")
    served.ask("POST", "/api/actions", {"action": "star", "names": ["kept"]})
    files = len(list(place.storage.path.rglob("*.pt")))
    total = get(served, "/api/cleaning")["storage_bytes"]
    plan = get(served, f"/api/cleaning?most_bytes={total - 30_000}")
    assert plan["frees_bytes"] > 0
    assert {one["run"] for one in plan["items"]} <= {"old", "kept"}
    assert len(list(place.storage.path.rglob("*.pt"))) == files
    done = served.ask("POST", "/api/cleaning", {"most_bytes": total - 30_000}).json
    assert (done["failed"], "went into the trash" in done["message"]) == ([], True)
    assert get(served, "/api/cleaning")["storage_bytes"] <= total - 30_000
    assert place.run("kept").state() == RunState.finished
    assert get(served, "/api/trash")["entries"]


def test_without_numpy_it_is_said_and_what_needs_none_is_shown(looked, trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)  # as where it is not installed
    told = statistics(trained.run("first").layout.model, None)
    assert told["tensors"] == []
    assert "pip install numpy" in told["problem"]
    assert get(looked, "/api/checkpoints/first/last")["tensors"]


def test_a_server_that_comes_later_sorts_checkpoints_without_looking_into_them_again(place, serve):
    place.script(TRAIN)
    place.command("run", "train.py", "--name", "first")
    place.command("ls")
    asked = "/api/checkpoints?sort=val_accuracy"
    first = serve("--no-drain")
    rows = get(first, asked)["rows"]
    assert [row["metrics"]["val_accuracy"] for row in rows] == [0.3, 0.2, 0.1]
    first.stop()
    files = [file.path for file in place.run("first").attempts()[0].checkpoints()]
    for path in files:  # whoever opened them now would see it
        status = path.stat()
        path.chmod(0o644)
        with path.open("r+b") as file:
            file.truncate(100)
            file.truncate(status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = serve("--no-drain")
    assert get(again, asked)["rows"] == rows
    again.stop()
    # What has changed is looked into.
    os.utime(files[0])
    last = serve("--no-drain")
    assert [bool(row["problem"]) for row in get(last, asked)["rows"]] == [False, False, True]


def test_checkpoints_are_sorted_by_a_setting_of_their_runs(looked):
    rows = {row["name"]: row["config"] for row in get(looked, "/api/runs")["rows"]}
    for descending in (False, True):
        page = get(looked, f"/api/checkpoints?sort=config.lr&descending={str(descending).lower()}")
        rates = [rows[one["run"]]["lr"] for one in page["rows"] if "lr" in rows[one["run"]]]
        assert len(set(rates)) > 1
        assert rates == sorted(rates, reverse=descending)
        assert page["matched"] == get(looked, "/api/checkpoints")["matched"]
    wrong = looked.ask("GET", "/api/checkpoints?sort=config.lrr")
    assert wrong.status == 400
    assert "lr" in wrong.json["message"]
