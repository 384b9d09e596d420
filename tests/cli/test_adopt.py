"""`hypertuner adopt`: the heap of model files that is there already becomes runs, with nothing executed.

The heaps are written as their programs write them: Lightning's and nanoGPT's dicts with their keys, transformers' own
`save_pretrained` and trainer folder, safetensors' own writer, scripts that save whatever they like.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import pickle
import shutil
from collections import OrderedDict
from pathlib import Path

import numpy
import pytest
import torch
from torch import nn

import hypertuner
from hypertuner.checkpoint.adoption import Skipped
from hypertuner.checkpoint.format import archive
from hypertuner.frameworks.adopting import Adopted, adopt
from hypertuner.store import Storage


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))


def trained(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model(torch.randn(6, 4)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def outcomes(storage: Path, *paths: Path, **options) -> tuple[dict[str, Adopted], dict[str, str]]:
    made, left = {}, {}
    for outcome in adopt(list(paths), Storage(storage), **options):
        if isinstance(outcome, Skipped):
            left[outcome.path.name] = outcome.why
        else:
            made[outcome.run.name] = outcome
    return made, left


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def lightning(folder: Path) -> list[dict]:
    """A folder as Lightning's ModelCheckpoint leaves it; the state_dicts, oldest first."""
    folder.mkdir(parents=True)
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    states = []
    for epoch, step, loss in ((0, 100, 0.9), (1, 200, 0.4), (2, 300, 0.6)):
        trained(model, optimizer)
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        torch.save(
            {
                "epoch": epoch,
                "global_step": step,
                "pytorch-lightning_version": "2.4.0",
                "state_dict": model.state_dict(),
                "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"current": {"ready": 1}}}},
                "callbacks": {
                    "ModelCheckpoint{'monitor': 'val_loss', 'mode': 'min', 'every_n_epochs': 1}": {
                        "monitor": "val_loss",
                        "best_model_score": torch.tensor(0.4),
                        "best_model_path": str(folder / "epoch=1-step=200.ckpt"),
                        "current_score": torch.tensor(loss),
                    }
                },
                "optimizer_states": [optimizer.state_dict()],
                "lr_schedulers": [],
                "hparams_name": "kwargs",
                "hyper_parameters": {
                    "lr": 0.01,
                    "hidden": 8,
                    "data": {"path": pathlib.PurePosixPath("/data/x"), "sizes": [1, 2]},
                    "dtype": torch.float16,
                },
            },
            folder / f"epoch={epoch}-step={step}.ckpt",
        )
    shutil.copy(folder / "epoch=2-step=300.ckpt", folder / "last.ckpt")
    return states


def test_checkpoints_of_one_lightning_training_become_one_run_with_its_settings(storage, tmp_path):
    folder = tmp_path / "lightning_logs" / "version_0" / "checkpoints"
    states = lightning(folder)
    for number, path in enumerate(sorted(folder.iterdir())):
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
    before = {path: (path.read_bytes(), path.stat().st_mtime) for path in folder.iterdir()}
    made, left = outcomes(storage, tmp_path / "lightning_logs")
    assert {path: (path.read_bytes(), path.stat().st_mtime) for path in folder.iterdir()} == before
    (one,) = made.values()
    assert (one.run.name, one.steps, one.made_by) == ("version_0", (100, 200, 300), "Lightning")
    assert left == {"last.ckpt": "holds the same weights as epoch=2-step=300.ckpt"}

    row = hypertuner.runs()["version_0"]
    assert dict(row.config) == {
        "lr": 0.01, "hidden": 8, "data.path": "/data/x", "data.sizes": [1, 2], "dtype": "torch.float16",
    }  # fmt: skip
    assert (row.state, row.created, row.metrics["val_loss"], row.best["val_loss"]) == (
        "finished", 1_700_000_000.0, pytest.approx(0.6), pytest.approx(0.4),
    )  # fmt: skip
    assert f"adopted from {folder}" in row.note
    for reference, state in zip(("@100", "@best", "@last"), states, strict=True):
        assert same(hypertuner.load(f"version_0{reference}", weights=True), state)
    model = net(1)
    assert hypertuner.load("version_0", into=model).is_complete
    assert same(model.state_dict(), states[1])  # it offers the best


def test_an_adopted_checkpoint_is_an_ordinary_one_and_holds_no_object(storage, tmp_path):
    lightning(tmp_path / "light")
    outcomes(storage, tmp_path / "light")
    run = Storage(storage).open("light")
    for file in run.checkpoints():
        assert archive.verify(file.path).level == "every bit"
        document = torch.load(file.path)
        assert "module" not in document and "opaque" not in document
        assert document["format"] == "hypertuner/1"
        assert archive.inspect(file.path).run["monitor"] == "val_loss"
        # No random states of the program that adopted: they were not that training's.
        assert document["training"]["ranks"] == []
    assert run.layout.model.stat().st_ino == run.checkpoints()[1].path.stat().st_ino


def test_optimizer_state_is_kept_for_a_fork_where_its_parameters_are_known(storage, tmp_path, capsys):
    lightning(tmp_path / "light")
    outcomes(storage, tmp_path / "light")
    document = torch.load(tmp_path / "light" / "epoch=2-step=300.ckpt", weights_only=False)
    saved = document["optimizer_states"][0]["state"]
    with hypertuner.new_run("child", parent="light@300", how="fork"):
        model = net(1)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.5)
        hypertuner.Saver(model, optimizer=optimizer)
    state = optimizer.state_dict()
    assert state["param_groups"][0]["lr"] == 0.5
    assert all(torch.equal(state["state"][number]["exp_avg"], saved[number]["exp_avg"]) for number in saved)
    assert "random state: the checkpoint has none" in capsys.readouterr().err


def test_state_whose_parameters_are_not_known_is_said_and_not_guessed(storage, tmp_path, capsys):
    model = net()
    weights = [tensor for tensor in model.parameters() if tensor.ndim > 1]
    groups = [{"params": weights}, {"params": [tensor for tensor in model.parameters() if tensor.ndim < 2]}]
    optimizer = torch.optim.AdamW(groups, lr=0.1)
    trained(model, optimizer)
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 7}, tmp_path / "two.pt")
    outcomes(storage, tmp_path / "two.pt")
    with hypertuner.new_run("child", parent="two", how="fork"):
        fresh = net(1)
        other = torch.optim.AdamW(fresh.parameters(), lr=0.5)
        hypertuner.Saver(fresh, optimizer=other)
    assert same(fresh.state_dict(), model.state_dict())
    assert other.state_dict()["state"] == {}
    assert "does not tell which parameter its state belongs to" in capsys.readouterr().err


def test_a_new_run_starts_from_adopted_weights_on_the_command_line(storage, tmp_path, run_script):
    torch.save(nn.Linear(4, 2).state_dict(), tmp_path / "old.pth")
    outcomes(storage, tmp_path / "old.pth")
    done = run_script(
        """
        import sys, torch, hypertuner
        with hypertuner.new_run("child", parent="old"):
            net = torch.nn.Linear(4, 2)
            hypertuner.Saver(net)
            print(net.weight.sum().item() == hypertuner.load("old", weights=True)["weight"].sum().item())
        """
    )
    assert done.stdout == "True\n"


def test_nanogpt_keeps_its_config_and_what_differs_in_the_model_arguments(storage, tmp_path):
    torch.save(
        {
            "model": net().state_dict(),
            "optimizer": torch.optim.AdamW(net().parameters()).state_dict(),
            "model_args": {"n_layer": 2, "n_head": 4, "bias": False, "vocab_size": 65},
            "iter_num": 500,
            "best_val_loss": torch.tensor(1.25),
            "config": {"n_layer": 2, "n_head": 2, "learning_rate": 6e-4, "dataset": "shakespeare"},
        },
        tmp_path / "ckpt.pt",
    )
    made, _ = outcomes(storage, tmp_path / "ckpt.pt")
    (one,) = made.values()
    assert (one.made_by, one.steps) == ("nanoGPT", (500,))
    row = hypertuner.runs()[0]
    assert dict(row.config) == {
        "n_layer": 2, "n_head": 2, "model_args.n_head": 4, "bias": False, "vocab_size": 65,
        "learning_rate": 6e-4, "dataset": "shakespeare",
    }  # fmt: skip
    assert dict(row.metrics) == {"best_val_loss": 1.25}


def bert(folder: Path, step: int, model) -> None:
    from transformers import TrainingArguments
    from transformers.trainer_utils import SchedulerType

    model.save_pretrained(folder)
    arguments = TrainingArguments.__new__(TrainingArguments)  # its checks want another package
    vars(arguments).update(learning_rate=3e-5, seed=42, lr_scheduler_type=SchedulerType("linear"), output_dir="x")
    torch.save(arguments, folder / "training_args.bin")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5)
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    torch.save({"cpu": torch.get_rng_state()}, folder / "rng_state.pth")
    logged = [{"step": at, "epoch": at / 500, "loss": 1 / at} for at in range(100, step + 1, 100)]
    logged.append({"step": step, "epoch": step / 500, "eval_loss": 2.0 / step})
    state = {"global_step": step, "epoch": step / 500, "best_metric": None, "log_history": logged}
    (folder / "trainer_state.json").write_text(json.dumps(state))


def test_a_hugging_face_training_becomes_one_run_with_its_curve(storage, tmp_path):
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=30, **shape))
    for step in (500, 1000):
        with torch.no_grad():
            model.classifier.bias.add_(1)
        bert(tmp_path / "bert" / f"checkpoint-{step}", step, model)
    made, left = outcomes(storage, tmp_path / "bert")
    assert left == {}
    (one,) = made.values()
    assert (one.run.name, one.steps, one.made_by) == ("bert", (500, 1000), "Hugging Face")
    row = hypertuner.runs()["bert"]
    # Until 3.11.4 Python pickles an enum by the name of its member, which is no value: it is then left out.
    assert row.config["learning_rate"] == 3e-5 and row.config.get("lr_scheduler_type", "linear") == "linear"
    assert row.config["hidden_size"] == 16 and row.config["model_type"] == "bert"
    curve = [(entry["step"], entry["loss"]) for entry in row.history() if "loss" in entry]
    assert curve == [(at, 1 / at) for at in range(100, 1001, 100)]
    weights = hypertuner.load("bert@best", weights=True)
    assert same(weights, {name: weights[name] for name in weights})
    assert torch.equal(weights["classifier.bias"], model.classifier.bias.detach())
    fresh = transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=30, **shape))
    assert hypertuner.load("bert", into=fresh).is_complete


def test_a_hugging_face_model_in_parts_is_read_whole(storage, tmp_path):
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = transformers.BertModel(transformers.BertConfig(vocab_size=100, **shape))
    model.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    assert len(list((tmp_path / "parts").glob("model-*.safetensors"))) > 1
    made, _ = outcomes(storage, tmp_path / "parts")
    assert list(made) == ["parts"]
    assert hypertuner.load("parts", weights=True).keys() == model.state_dict().keys()


def test_safetensors_are_read_and_what_hypertuner_exported_keeps_its_story(storage, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16), "e": torch.empty(0)}
    safetensors.save_file(state, tmp_path / "plain.safetensors")
    story = {"config": {"lr": 0.1}, "metrics": {"val_acc": 0.9}, "run": {"step": 12}, "ties": {"c": "a"}}
    safetensors.save_file(state, tmp_path / "told.safetensors", {"hypertuner": json.dumps(story)})
    made, _ = outcomes(storage, tmp_path)
    assert made["told"].steps == (12,)
    assert same(hypertuner.load("plain", weights=True), state)
    assert torch.equal(hypertuner.load("told", weights=True)["c"], state["a"])
    row = hypertuner.runs()["told"]
    assert (dict(row.config), dict(row.metrics)) == ({"lr": 0.1}, {"val_acc": 0.9})


def test_what_scripts_save_beside_the_weights_is_told_apart(storage, tmp_path):
    model = net()
    torch.save(
        {
            "state_dict": model.state_dict(),
            "args": argparse.Namespace(lr=0.1, wd=numpy.float64(1e-4), where=Path("/x/y"), nested={"a": 1}),
            "epoch": 3,
            "arch": "resnet18",
            "best_acc1": numpy.float64(91.5),
            "metrics": {"val_loss": 0.25},
            "opt_level": None,
            "sampler": object,
        },
        tmp_path / "research.pth",
    )
    made, left = outcomes(storage, tmp_path)
    assert left == {} and made["research"].steps == (3,)
    row = hypertuner.runs()["research"]
    assert dict(row.config) == {"lr": 0.1, "wd": 1e-4, "where": "/x/y", "nested.a": 1, "arch": "resnet18"}
    assert dict(row.metrics) == {"best_acc1": 91.5, "val_loss": 0.25}
    assert made["research"].left_out == ("sampler",)


def test_files_with_different_settings_in_their_names_stay_apart(storage, tmp_path):
    for name in ("mnist_lr0.1.pt", "mnist_lr0.01.pt", "encoder.pt"):
        torch.save(net(hash(name) % 100).state_dict(), tmp_path / name)
    made, _ = outcomes(storage, tmp_path)
    assert sorted(made) == ["encoder", "mnist_lr0.01", "mnist_lr0.1"]


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (("checkpoint_10.pth", "checkpoint_20.pth"), (10, 20)),
        (("10.pt", "20.pt"), (10, 20)),
        (("epoch_1.pt", "epoch_2.pt"), (1, 2)),
        (("model_epoch_1.pt", "model_epoch_2.pt"), (1, 2)),
        (("step=5.ckpt", "step=15.ckpt"), (5, 15)),
        (("epoch=1-step=5-val_loss=0.50.ckpt", "epoch=2-step=9-val_loss=0.25.ckpt"), (5, 9)),
    ],
)
def test_steps_are_read_from_the_names_of_files_that_do_not_say_them(storage, tmp_path, names, steps):
    (tmp_path / "heap").mkdir()
    for number, name in enumerate(names):
        torch.save(net(number).state_dict(), tmp_path / "heap" / name)
    made, left = outcomes(storage, tmp_path / "heap")
    (one,) = made.values()
    assert left == {} and one.steps == steps


def test_checkpoints_of_another_model_or_config_are_another_run(storage, tmp_path):
    for step, width, lr in ((1, 4, 0.1), (2, 4, 0.1), (3, 5, 0.1), (4, 4, 0.2)):
        document = {"model": nn.Linear(width, 2).state_dict(), "config": {"lr": lr}}
        torch.save(document, tmp_path / f"step_{step}.pt")
    made, _ = outcomes(storage, tmp_path)
    assert sorted(one.steps for one in made.values()) == [(1, 2), (3,), (4,)]


def test_adopting_twice_says_so_and_does_nothing(storage, tmp_path, cli):
    lightning(tmp_path / "light")
    torch.save(net().state_dict(), tmp_path / "plain.pt")
    assert "2 runs made" in cli("adopt", ".").stderr
    names = {run.name for run in Storage(storage).list()}
    again = cli("adopt", ".")
    assert "last.ckpt: was adopted before: light" in again.stdout
    assert {run.name for run in Storage(storage).list()} == names
    cli("verify")
    cli("show", "light")
    # A copy under another name is the same file; one that was removed may come back.
    shutil.copy(tmp_path / "plain.pt", tmp_path / "copy.pt")
    assert "was adopted before: plain" in cli("adopt", "copy.pt").stdout
    cli("rm", "plain", "--yes")
    assert json.loads(cli("adopt", "plain.pt", "--json").stdout)["adopted"][0]["run"] == "plain"


class Bomb:
    """Leaves a mark where it is unpickled."""

    mark = ""

    def __reduce__(self):
        return os.system, (f"touch {Bomb.mark}",)


@pytest.mark.parametrize("where", ["root", "weights", "beside", "settings", "pickle", "legacy"])
def test_nothing_in_a_file_is_executed(storage, tmp_path, where):
    Bomb.mark = str(tmp_path / "ran")
    state = net().state_dict()
    document = {
        "root": Bomb(),
        "weights": OrderedDict([*state.items(), ("extra", Bomb())]),
        "beside": {"model": state, "callback": Bomb()},
        "settings": {"model": state, "config": {"lr": 0.1, "schedule": Bomb()}},
        "pickle": {"model": [1.0], "callback": Bomb()},
        "legacy": {"model": state, "callback": Bomb()},
    }[where]
    if where == "pickle":
        (tmp_path / "x.pt").write_bytes(pickle.dumps(document))
    else:
        torch.save(document, tmp_path / "x.pt", _use_new_zipfile_serialization=where != "legacy")
    made, left = outcomes(storage, tmp_path / "x.pt")
    assert not (tmp_path / "ran").exists()
    assert made == {} and "runs code" in left["x.pt"] and "system" in left["x.pt"]


def test_an_object_of_a_class_that_is_not_here_is_passed_over_and_said(storage, tmp_path):
    import sys
    import types

    module = types.ModuleType("gone_lab")
    exec("class Callback:\n    def __init__(self): self.patience = 3", vars(module))
    module.Callback.__module__ = "gone_lab"
    sys.modules["gone_lab"] = module
    torch.save({"model": net().state_dict(), "callback": module.Callback(), "config": {"lr": 0.1}}, tmp_path / "x.pt")
    del sys.modules["gone_lab"]
    made, _ = outcomes(storage, tmp_path / "x.pt")
    assert made["x"].left_out == ("callback",)
    assert same(hypertuner.load("x", weights=True), net().state_dict())


def test_a_whole_module_is_refused_with_what_it_would_import_unless_trusted(storage, tmp_path, cli):
    torch.save(net(), tmp_path / "whole.pt")
    refused = cli("adopt", "whole.pt", code=1)
    assert "torch.nn.modules.container.Sequential" in refused.stdout and "--trust" in refused.stdout
    assert not storage.exists()
    made, _ = outcomes(storage, tmp_path / "whole.pt", trust=True)
    assert list(made) == ["whole"]
    assert same(hypertuner.load("whole", weights=True), net().state_dict())
    assert "module" not in torch.load(storage / "whole" / "model.pt")


def test_what_is_no_model_is_left_out_with_the_reason(storage, tmp_path):
    (tmp_path / "page.pt").write_text("<html>")
    (tmp_path / "empty.ckpt").touch()
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04" + b"x" * 500)
    torch.save({"lr": 0.1}, tmp_path / "no_weights.pt")
    torch.save({"state": {}, "param_groups": []}, tmp_path / "optimizer.pt")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden").mkdir()
    torch.save(net().state_dict(), tmp_path / ".hidden" / "x.pt")
    made, left = outcomes(storage, tmp_path, tmp_path / "nothing.pt")
    assert made == {}
    assert sorted(left) == ["cut.pt", "empty.ckpt", "no_weights.pt", "nothing.pt", "page.pt"]
    assert "web page" in left["page.pt"] and "no named tensors" in left["no_weights.pt"]
    assert "no such file" in left["nothing.pt"]


def test_runs_that_are_hypertuners_already_are_left_alone(storage, tmp_path):
    with hypertuner.new_run("mine"):
        hypertuner.Saver(net()).save()
    shutil.copy(storage / "mine" / "model.pt", tmp_path / "mailed.pt")
    made, left = outcomes(storage, tmp_path)
    assert made == {}
    assert left["storage"] == "is hypertuner's already" and "hypertuner's own file" in left["mailed.pt"]


def test_a_gan_in_one_file_is_one_model_of_two_parts(storage, tmp_path):
    torch.save({"G": net(1).state_dict(), "D": net(2).state_dict(), "epoch": 4}, tmp_path / "gan.pt")
    outcomes(storage, tmp_path)
    parts = {"G": net(3), "D": net(4)}
    assert hypertuner.load("gan@4", into=parts).is_complete
    assert same(parts["D"].state_dict(), net(2).state_dict())


def test_ties_and_versions_of_modules_are_kept(storage, tmp_path):
    tied = nn.Sequential(nn.Linear(4, 4, bias=False), nn.BatchNorm1d(4), nn.Linear(4, 4, bias=False))
    tied[2].weight = tied[0].weight
    torch.save(tied.state_dict(), tmp_path / "tied.pt")
    outcomes(storage, tmp_path)
    index = archive.inspect(storage / "tied" / "model.pt")
    assert index.ties == [["0.weight", "2.weight"]]
    assert index.extra["state_versions"]["1"] == 2
