"""Weights into the next run: the script stays as it is, the run begins where its parent ended, or it stops."""

from __future__ import annotations

import json

import pytest

TRAIN = """
import sys
import torch
from torch import nn
import hypertuner

args = hypertuner.Args(learning_rate=0.1, hidden=8, classes=2, steps=3, order="saver first")
torch.manual_seed(int(sys.argv[-1]) if sys.argv[-1].isdigit() else 0)
net = nn.Sequential(nn.Linear(4, args.hidden), nn.ReLU(), nn.Linear(args.hidden, 8), nn.Linear(8, args.classes))
optimizer = torch.optim.SGD(net.parameters(), lr=args.learning_rate)
logger = hypertuner.Logger()

def train():
    for step in range(args.steps):
        loss = net(torch.ones(1, 4)).pow(2).sum()
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        logger.log({"loss": loss}, step)

if args.order == "saver first":
    saver = hypertuner.Saver(net)
    first = net[0].weight.detach().clone()
    train()
elif args.order == "saver last":
    train()
    saver = hypertuner.Saver(net)
elif args.order == "overwritten":
    saver = hypertuner.Saver(net)
    for p in net.parameters():
        nn.init.normal_(p)
    train()
elif args.order == "moved":
    saver = hypertuner.Saver(net)
    first = net[0].weight.detach().clone()
    net.double()
    optimizer = torch.optim.SGD(net.parameters(), lr=args.learning_rate)
    for step in range(2):
        loss = net(torch.ones(1, 4).double()).pow(2).sum()
        optimizer.zero_grad(); loss.backward(); optimizer.step()
elif args.order == "never":
    sys.exit()
torch.save(first, "first.pt")
saver.save()
"""


@pytest.fixture
def hypertuner_cli(run_script, tmp_path):
    """The command line in a process of its own."""
    main = tmp_path / "cli_main.py"
    main.write_text("import sys\nfrom hypertuner.cli import main\nsys.exit(main())\n")

    def call(*argv, **kwargs):
        return run_script(main, *argv, **kwargs)

    return call


@pytest.fixture
def parent(run_script, tmp_path, storage):
    """A finished run, and its name."""
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    run_script(script)
    return next(path.name for path in storage.iterdir() if path.is_dir())


def child_of(storage, parent):
    return next(path for path in storage.iterdir() if path.is_dir() and path.name != parent)


def ended(run):
    return json.loads((run / "attempts/1/exit.json").read_text())


def test_the_unchanged_script_begins_at_the_parents_weights(hypertuner_cli, parent, storage, tmp_path):
    import torch

    parent_weights = torch.load(storage / parent / "model.pt")["state_dict"]
    done = hypertuner_cli("run", "train.py", "learning_rate=0.01", "--from", parent)
    assert "kept 6 of 6 tensors, 100.0 % of parameters" in done.stderr
    child = child_of(storage, parent)
    assert torch.equal(torch.load(tmp_path / "first.pt"), parent_weights["0.weight"])
    assert (child / "parent.pt").samefile(storage / parent / "model.pt")
    record = json.loads((child / "run.json").read_text())["parent"]
    assert record["run"] == parent
    assert record["how"] == "start from"
    assert len(record["checkpoint"]) == 32
    loaded = json.loads((child / "attempts/1/parent.json").read_text())
    assert loaded["share"] == 1.0
    saved = torch.load(child / "model.pt")
    assert saved["hyperparameters"]["learning_rate"] == 0.01
    assert saved["run"]["parent"]["run"] == parent
    assert ended(child)["state"] == "finished"


def test_the_child_outlives_its_parent(hypertuner_cli, parent, storage):
    import shutil

    hypertuner_cli("run", "train.py", "--from", parent)
    child = child_of(storage, parent)
    shutil.rmtree(storage / parent)
    done = hypertuner_cli("verify", str(child / "parent.pt"))
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ("saver last", "its first optimizer step comes before any Saver"),
        ("overwritten", "its weights were overwritten before the first optimizer step"),
    ],
)
def test_a_run_that_would_train_from_scratch_stops_and_says_what_to_move(hypertuner_cli, parent, storage, order, said):
    done = hypertuner_cli("run", "train.py", f"order={order}", "--from", parent, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert "saver = hypertuner.Saver(net)" in done.stderr
    child = child_of(storage, parent)
    assert not (child / "model.pt").exists()
    assert ended(child)["state"] == "failed"


def test_a_move_to_another_dtype_is_no_overwriting(hypertuner_cli, parent):
    hypertuner_cli("run", "train.py", "order=moved", "--from", parent)


def test_a_run_that_never_takes_its_parents_weights_has_failed(hypertuner_cli, parent, storage):
    assert hypertuner_cli("run", "train.py", "order=never", "--from", parent, check=False).returncode == 1
    assert ended(child_of(storage, parent))["reason"].startswith("parent never loaded")
    assert ended(child_of(storage, parent))["state"] == "failed"


def test_a_new_head_is_explained_by_the_setting_that_changed(hypertuner_cli, parent):
    done = hypertuner_cli("run", "train.py", "classes=5", "--from", parent)
    assert "3.weight 2×8→5×8, probably because classes 2→5: new" in done.stderr
    assert "kept 4 of 6 tensors, 71.3 % of parameters" in done.stderr


def test_weights_that_hardly_fit_stop_the_run(hypertuner_cli, parent, storage):
    done = hypertuner_cli("run", "train.py", "hidden=64", "--from", parent, check=False)
    assert done.returncode == 1
    assert "do not fit this model" in done.stderr
    assert "hidden 8→64" in done.stderr


def test_an_unknown_parent_leaves_no_run(hypertuner_cli, parent, storage):
    done = hypertuner_cli("run", "train.py", "--from", f"{parent}@9999", check=False)
    assert done.returncode == 1
    assert "9999" in done.stderr
    assert len([path for path in storage.iterdir() if path.is_dir()]) == 1


def test_the_same_from_python(run_script, parent, storage):
    run_script(
        """
        import sys, torch, hypertuner
        from torch import nn
        for rate in (0.1, 0.01):
            with hypertuner.new_run(parent=sys.argv[1] + "@last", learning_rate=rate) as args:
                net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 2))
                saver = hypertuner.Saver(net)
                want = hypertuner.load(sys.argv[1], weights=True)
                assert all(torch.equal(net.state_dict()[name], value) for name, value in want.items())
                optimizer = torch.optim.SGD(net.parameters(), lr=args.learning_rate)
                net(torch.ones(1, 4)).sum().backward()
                optimizer.step()
                saver.save()
        with hypertuner.new_run(parent=sys.argv[1]):
            net = nn.Linear(4, 8)
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            net(torch.ones(1, 4)).sum().backward()
            try:
                optimizer.step()
            except hypertuner.CheckpointError as error:
                assert "train from scratch" in str(error)
            else:
                raise AssertionError("it trained from scratch")
        """,
        parent,
        name="from_python.py",
    )
    children = [path for path in storage.iterdir() if (path / "attempts/1/parent.json").exists()]
    assert len(children) == 2
