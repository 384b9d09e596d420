"""Models built on the meta device take a file's memory; models that are there are filled."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn

import hypertuner
from hypertuner import CheckpointError, MismatchError


class Net(nn.Module):
    """Tied, partly frozen, with buffers of either kind."""

    def __init__(self, rows: int = 6) -> None:
        super().__init__()
        self.embedding = nn.Embedding(rows, 4)
        self.body = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, rows, bias=False)
        self.head.weight = self.embedding.weight
        self.body[0].bias.requires_grad_(False)
        self.embedding.weight.is_shared = True
        self.register_buffer("frequencies", torch.arange(4.0), persistent=False)

    def forward(self, words):
        return self.head(self.body(self.embedding(words) * self.frequencies))


def on_meta(build=Net):
    with torch.device("meta"):
        return build()


@pytest.fixture(params=["map", "read"])
def how(request, monkeypatch) -> str:
    monkeypatch.setenv("HYPERTUNER_READ", request.param)
    return request.param


@pytest.fixture
def saved(storage) -> Net:
    torch.manual_seed(0)
    net = Net()
    net.body[1].running_mean.fill_(0.5)
    with hypertuner.new_run(name="r"):
        hypertuner.Saver(net).save(step=1)
    return net.eval()


def test_a_model_on_the_meta_device_is_ready_to_compute_and_to_train(saved, how):
    net = on_meta()
    report = hypertuner.load("r", into=net)
    assert report.is_complete and report.share == 1.0
    words = torch.arange(6)
    assert torch.equal(net.eval()(words), saved(words))
    assert not any(value.is_meta for value in (*net.parameters(), *net.buffers()))

    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    net.train()(words).sum().backward()
    optimizer.step()
    assert torch.equal(hypertuner.load("r").eval()(words), saved(words))  # the file is as it was


def test_shared_and_frozen_parameters_stay_so_on_meta(saved, how):
    net = on_meta()
    hypertuner.load("r", into=net)
    assert net.head.weight is net.embedding.weight and net.embedding.weight.is_shared
    assert [name for name, parameter in net.named_parameters() if not parameter.requires_grad] == ["body.0.bias"]


def test_what_the_file_ties_and_the_model_does_not_is_two_tensors(saved, how):
    class Untied(Net):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 6, bias=False)

    net = on_meta(Untied)
    hypertuner.load("r", into=net)
    with torch.no_grad():
        net.head.weight.zero_()
    assert torch.equal(net.embedding.weight, saved.embedding.weight)


def test_the_types_and_strides_of_the_model_win_on_meta(saved, how):
    net = on_meta().to(torch.bfloat16)
    hypertuner.load("r", into=net)
    assert {value.dtype for value in net.parameters()} == {torch.bfloat16}
    assert torch.equal(net.head.weight, saved.head.weight.bfloat16())


def test_a_model_partly_on_meta_keeps_the_memory_that_it_has(saved, how):
    net = Net()
    bias = net.body[0].bias
    with torch.device("meta"):
        net.body[1] = nn.BatchNorm1d(4)
    hypertuner.load("r", into=net)
    assert net.body[0].bias is bias and torch.equal(bias, saved.body[0].bias)
    assert net.body[1].running_mean.tolist() == [0.5] * 4


def test_buffers_outside_the_state_come_from_the_saved_object(saved, how):
    net = on_meta()
    hypertuner.load("r", into=net)
    assert net.frequencies.tolist() == [0, 1, 2, 3]


def test_buffers_that_nobody_knows_are_named_and_nothing_is_changed(saved, how, capfd):
    class Other(Net):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.ones(3), persistent=False)

    net = on_meta(Other)
    with pytest.raises(CheckpointError, match=r"'mask'.*meta") as raised:
        hypertuner.load("r", into=net)
    assert "strict=False" in str(raised.value) and net.head.weight.is_meta
    hypertuner.load("r", into=net, strict=False)
    assert "without values: 'mask'" in capfd.readouterr().err
    assert torch.equal(net.head.weight, saved.head.weight) and net.mask.is_meta


def test_what_does_not_fit_leaves_a_model_on_meta_as_it_was(saved, how):
    net = on_meta(lambda: Net(rows=7))
    with pytest.raises(MismatchError):
        hypertuner.load("r", into=net)
    assert all(parameter.is_meta for parameter in net.parameters())


def test_only_a_part_of_a_model_on_meta_is_given_memory(saved, how):
    net = on_meta()
    report = hypertuner.load("r", into=net, only="body.*")
    assert all(name.startswith("body.") for name in report.loaded)
    assert net.embedding.weight.is_meta and not net.body[0].weight.is_meta


def test_the_device_of_a_model_that_is_there_is_its_own(saved):
    with pytest.raises(CheckpointError, match="this one is on cpu already"):
        hypertuner.load("r", into=Net(), device="meta")
    assert hypertuner.load("r", into=Net(), device="cpu").is_complete
    assert hypertuner.load("r", into=on_meta(), device="cpu").is_complete


def test_a_model_that_is_there_keeps_its_own_memory_and_shares_none_with_the_file(saved, how):
    net = Net()
    places = {name: value.data_ptr() for name, value in net.state_dict().items()}
    hypertuner.load("r", into=net)
    assert {name: value.data_ptr() for name, value in net.state_dict().items()} == places
    assert torch.equal(net.head.weight, saved.head.weight)


def test_a_model_outlives_the_removal_of_its_file(saved, storage, how):
    net, whole, weights = on_meta(), hypertuner.load("r"), hypertuner.load("r", weights=True)
    hypertuner.load("r", into=net)
    for file in storage.rglob("*.pt"):
        file.unlink()
    for tensor in (net.head.weight, whole.head.weight, weights["head.weight"]):
        assert torch.equal(tensor, saved.head.weight)
    with hypertuner.new_run(name="again"):
        hypertuner.Saver(net).save(step=1)
    assert torch.equal(hypertuner.load("again").head.weight, saved.head.weight)


def test_many_models_at_once_take_no_descriptor_each(saved, how):
    code = """
    import os, resource, sys, warnings
    import torch, hypertuner
    before = len(os.listdir("/proc/self/fd"))
    held = [hypertuner.load("r", weights=True) for _ in range(20)]
    print(len(os.listdir("/proc/self/fd")) - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=120
    )
    most = 0 if how == "read" or sys.version_info >= (3, 13) else 20  # Python before 3.13 keeps one a map
    assert int(done.stdout) <= most
