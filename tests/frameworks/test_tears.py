"""A save in the background that races the optimizer holds the state of one moment, down to the last bit.

Each save is held back before its first byte until training has gone on for two steps, and then compared with copies
that were made at the call.
"""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from torch import nn

import hypertuner
from hypertuner import files

STEPS = 4


class Net(nn.Module):
    """Weights, buffers that change in forward, a tied weight, a view that changes by hand."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 96)
        self.norm = nn.BatchNorm1d(96)
        self.second = nn.Linear(96, 96)
        self.third = nn.Linear(96, 96)
        self.third.weight = self.second.weight
        self.register_buffer("seen", torch.zeros(4, 8))

    def forward(self, x):
        self.seen[1].add_(1)
        return self.third(self.second(torch.relu(self.norm(self.first(x)))))


class SparseNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(300, 64, sparse=True)

    def forward(self, x):
        return self.table((x.abs() * 100).long().clamp(0, 299)[:, :8]).sum(1)


class Matrices(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 96, bias=False)
        self.second = nn.Linear(96, 96, bias=False)

    def forward(self, x):
        return self.second(self.first(x))


class Race:
    """Saves that cannot be written before training has gone on."""

    def __init__(self, monkeypatch):
        self._went_on = threading.Semaphore(0)
        main = threading.get_ident()

        def plan(operation):
            if threading.get_ident() != main and operation.name == "open" and "checkpoints" in operation.path:
                assert self._went_on.acquire(timeout=120)

        monkeypatch.setattr(files, "fault_plan", plan)

    def run(self, parts, step):
        """Train and save; (the checkpoints' paths, copies of what each must hold)."""
        paths, copies = [], []
        with hypertuner.new_run(name="race"):
            step()
            saver = hypertuner.Saver(
                parts["model"],
                **{name: part for name, part in parts.items() if name != "model"},
                background=True,
                keep_last=99,
                keep_best=0,
            )
            for number in range(STEPS):
                step()
                copies.append({name: copy.deepcopy(part.state_dict()) for name, part in parts.items()})
                saved = saver.save(step=number)
                step()
                step()
                self._went_on.release()
                paths.append(saved.path)
        return paths, copies


@pytest.fixture
def race(monkeypatch):
    torch.manual_seed(0)
    return Race(monkeypatch)


def is_same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(is_same, one, other))
    return one == other


def check(paths, copies):
    for path, expected in zip(paths, copies, strict=True):
        found = torch.load(path)
        assert is_same(dict(expected.pop("model")), dict(found["state_dict"]))
        for name, state in expected.items():
            assert is_same(state, found["training"][name]), (path, name)
    moved = [torch.load(path)["state_dict"] for path in (paths[0], paths[-1])]
    assert not is_same(dict(moved[0]), dict(moved[1])), "nothing was trained: nothing could tear"


def stepping(net, optimizer, step=None):
    def train():
        def closure():
            optimizer.zero_grad()
            loss = net(torch.randn(16, 64)).pow(2).mean()
            loss.backward()
            return loss

        if isinstance(optimizer, torch.optim.LBFGS):
            optimizer.step(closure)
        else:
            closure()
            (step or optimizer.step)()

    return train


KINDS = sorted(
    (
        kind
        for kind in vars(torch.optim).values()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
    ),
    key=lambda kind: kind.__name__,
)
WAYS = {"for-loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}


def made(kind, way):
    """(model, optimizer), or a skip where torch has no such way."""
    net = SparseNet() if kind.__name__ == "SparseAdam" else Matrices() if kind.__name__ == "Muon" else Net()
    settings = {"lr": 0.01, **WAYS[way]}
    try:
        return net, kind(net.parameters(), **settings)
    except (TypeError, RuntimeError) as error:
        if way == "for-loop" and "foreach" in str(error):  # it knows no other way
            return net, kind(net.parameters(), lr=0.01)
        pytest.skip(f"torch has no {way} {kind.__name__} on a CPU: {str(error).splitlines()[0]}")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_optimizer_tears_a_save(storage, race, kind, way):
    net, optimizer = made(kind, way)
    check(*race.run({"model": net, "optimizer": optimizer}, stepping(net, optimizer)))


def test_there_are_fused_optimizers_here():
    """The one whose steps leave no trace in a tensor's version: it must not be skipped."""
    for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        kind(Net().parameters(), lr=0.1, fused=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own
def test_a_compiled_step_does_not_tear_a_save(storage, race):
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, foreach=True)
    step = torch.compile(optimizer.step, backend="aot_eager")
    check(*race.run({"model": net, "optimizer": optimizer}, stepping(net, optimizer, step)))


def test_a_scaler_and_a_scheduler_do_not_tear_a_save(storage, race):
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=100)

    def train():
        optimizer.zero_grad()
        scaler.scale(net(torch.randn(16, 64)).pow(2).mean()).backward()
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()

    check(*race.run({"model": net, "optimizer": optimizer, "scaler": scaler, "scheduler": scheduler}, train))


def test_an_average_does_not_tear_a_save(storage, race):
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, fused=True)
    average = torch.optim.swa_utils.AveragedModel(net, use_buffers=True)
    train = stepping(net, optimizer)

    def step():
        train()
        average.update_parameters(net)

    check(*race.run({"model": net, "optimizer": optimizer, "ema": average}, step))


def test_what_is_written_by_hand_past_autograd_does_not_tear_a_save(storage, race):
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    train = stepping(net, optimizer)

    def step():
        train()
        net.first.weight.data.mul_(1.01)
        net.second.bias.detach().numpy()[:] += 1
        net.norm.running_mean.data = net.norm.running_mean.data + 1

    check(*race.run({"model": net, "optimizer": optimizer}, step))
