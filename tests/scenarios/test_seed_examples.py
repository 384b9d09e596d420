"""The two examples that the project began with, run word for word."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, hidden=8):
        super().__init__()
        self.fc1 = nn.Linear(4, hidden)
        self.fc2 = nn.Linear(hidden, 2)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))

torch.manual_seed(0)
"""
FIRST = (
    NET
    + """
import hypertuner

net = Net()
model = net
hypertuner.Args(learning_rate=0.1, optimizer={"name": "sgd", "momentum": 0.9})
open("trained", "a").write("once\\n")

saver = hypertuner.Saver(model)
...
saver.save()
torch.save(model.state_dict(), "weights.pt")
"""
)
SECOND = (
    NET
    + """
import hypertuner

net = Net()
hypertuner.Args(learning_rate=0.1, optimizer={"name": "sgd", "momentum": 0.9})
open("trained", "a").write("once\\n")

saver = hypertuner.Saver()
...
saver.save()
torch.save(net.state_dict(), "weights.pt")
"""
)

READ_BY_TORCH_ALONE = """
import sys
sys.modules["hypertuner"] = None  # importing it would fail
import torch
saved = torch.load(sys.argv[1])
weights = torch.load(sys.argv[2])
assert saved["state_dict"].keys() == weights.keys()
for name, tensor in weights.items():
    assert torch.equal(saved["state_dict"][name], tensor), name
    assert saved["state_dict"][name].dtype == tensor.dtype
print(saved["hyperparameters"]["learning_rate"], saved["hyperparameters"]["optimizer.name"], saved["run"]["name"])
"""

READ_BY_HYPERTUNER = """
import sys
import hypertuner, torch
net = hypertuner.load(sys.argv[1])
weights = torch.load(sys.argv[2])
for name, tensor in weights.items():
    assert torch.equal(net.state_dict()[name], tensor), name
print(type(net).__name__, tuple(net(torch.ones(3, 4)).shape))
"""


@pytest.fixture(params=[FIRST, SECOND], ids=["Saver(model)", "Saver()"])
def trained(request, run_script, tmp_path):
    """A storage that one of the examples left."""
    run_script(request.param)
    runs = [path for path in (tmp_path / "storage").iterdir() if path.is_dir()]
    assert len(runs) == 1
    return runs[0]


def test_it_leaves_a_model_that_torch_alone_reads_with_its_default_arguments(trained, run_script, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run_script(
        READ_BY_TORCH_ALONE,
        trained / "model.pt",
        tmp_path / "weights.pt",
        name="reader.py",
        cwd=elsewhere,
        env={"PYTHONPATH": None},
    )
    assert done.stdout.split() == ["0.1", "sgd", trained.name]


def test_load_gives_the_object_back_in_a_new_process_without_training_again(trained, run_script, tmp_path):
    done = run_script(READ_BY_HYPERTUNER, trained.name, tmp_path / "weights.pt", name="reader.py")
    assert done.stdout.split(maxsplit=1) == ["Net", "(3, 2)\n"]
    assert (tmp_path / "trained").read_text() == "once\n"
    assert len([path for path in (tmp_path / "storage").iterdir() if path.is_dir()]) == 1


def test_the_file_alone_moved_to_an_empty_folder_still_gives_the_object(trained, run_script, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    lone = empty / "some-model.pt"
    lone.write_bytes((trained / "model.pt").read_bytes())
    (tmp_path / "train.py").unlink()
    done = run_script(
        READ_BY_HYPERTUNER,
        lone,
        tmp_path / "weights.pt",
        name="empty/reader.py",
        cwd=empty,
        env={"HYPERTUNER_STORAGE": None},
    )
    assert done.stdout.split(maxsplit=1) == ["Net", "(3, 2)\n"]
    assert {path.name for path in empty.iterdir()} == {"some-model.pt", "reader.py"}


def test_a_model_somebody_else_made_is_not_rebuilt_without_trust(trained, run_script, tmp_path):
    stranger = {"HYPERTUNER_HOME": str(tmp_path / "stranger")}
    done = run_script(
        READ_BY_HYPERTUNER, trained / "model.pt", tmp_path / "weights.pt", name="reader.py", env=stranger, check=False
    )
    assert done.returncode == 1
    assert "UnsafeFileError" in done.stderr
    assert "trust=True" in done.stderr
    done = run_script(
        """
        import sys, hypertuner
        print(type(hypertuner.load(sys.argv[1], trust=True)).__name__)
        print(sorted(hypertuner.load(sys.argv[1], weights=True)))
        """,
        trained / "model.pt",
        name="reader.py",
        env=stranger,
    )
    assert done.stdout.splitlines() == ["Net", "['fc1.bias', 'fc1.weight', 'fc2.bias', 'fc2.weight']"]


ORDINARY = """
import copy
import torch
from torch import nn
import hypertuner

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)
    def forward(self, x):
        return self.fc(x)

class WeightedLoss(nn.Module):
    def forward(self, x, y):
        return ((x - y) ** 2).mean()

def main():
    criterion = nn.CrossEntropyLoss()
    other_loss = WeightedLoss()
    net = Net()
    compiled = torch.compile(net)
    ema_net = copy.deepcopy(net)
    averaged = torch.optim.swa_utils.AveragedModel(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    saver = hypertuner.Saver()
    {extra}
    saver.save()
    assert saver._model is net

main()
"""


def test_the_form_without_a_model_finds_the_one_that_is_trained(run_script, storage):
    run_script(ORDINARY.replace("{extra}", "pass"))
    assert len(list(storage.glob("*/model.pt"))) == 1


def test_the_form_without_a_model_finds_one_that_is_made_later(run_script, storage):
    run_script("import hypertuner\nsaver = hypertuner.Saver()\n" + NET + "net = Net()\nsaver.save()\n")
    assert len(list(storage.glob("*/model.pt"))) == 1


def test_the_form_without_a_model_looks_into_self(run_script, storage):
    run_script(
        NET
        + textwrap.dedent(
            """
            import hypertuner
            class Trainer:
                def __init__(self):
                    self.net = Net()
                    self.saver = hypertuner.Saver()
                def fit(self):
                    self.saver.save()
            Trainer().fit()
            """
        )
    )
    assert len(list(storage.glob("*/model.pt"))) == 1


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ("pass", "finds none"),
        ("generator, critic = Net(), Net(3)", "finds 2: generator (Net), critic (Net)"),
    ],
)
def test_the_form_without_a_model_says_what_it_finds(run_script, storage: Path, models, said):
    done = run_script(
        NET + f"import hypertuner\ndef main():\n    {models}\n    hypertuner.Saver().save()\nmain()\n", check=False
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert not storage.exists()
