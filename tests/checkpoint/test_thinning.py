"""A checkpoint without its training state: all else is as it was, and nobody who held the whole one loses it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import hypertuner
from hypertuner import files
from hypertuner.checkpoint.format.archive import Archive, inspect, verify
from hypertuner.frameworks.adapter import torch_adapter
from hypertuner.frameworks.torch.thinning import without_part


class Odd(nn.Module):
    """A model with state that safe loading refuses, tied weights, a view, and a tensor that its state leaves out."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(6, 5)
        self.two = nn.Linear(6, 5)
        self.two.weight = self.one.weight
        big = torch.arange(100.0)
        self.register_buffer("view", big[10:20])
        self.register_buffer("apart", torch.ones(7), persistent=False)
        self.loose = torch.full((3,), 9.0)

    def get_extra_state(self):
        return {"training": Fraction(1, 2), "seen": {1, 2, 3}}

    def set_extra_state(self, state):
        self.seen = state


class Counter:
    """Training state that safe loading refuses."""

    def __init__(self):
        self.values = {"training": Fraction(4, 5)}

    def state_dict(self):
        return {"values": self.values, "much": {bytes([n % 256]) * 3000 for n in range(40)}}

    def load_state_dict(self, state):
        self.values = state["values"]


def saved(model, **training):
    with hypertuner.new_run(name="r"):
        return hypertuner.Saver(model, **training).save(step=3, metrics={"loss": float("nan"), "n": 2**70}).path


def thin(path):
    torch_adapter().thin(path)
    return path


def test_everything_but_the_training_state_is_as_it_was(storage):
    net = nn.Sequential(nn.Linear(50, 40), nn.BatchNorm1d(40))
    adam = torch.optim.Adam(net.parameters())
    net(torch.randn(8, 50)).sum().backward()
    adam.step()
    path = saved(net, optimizer=adam)
    before, index, size = torch.load(path), inspect(path), path.stat().st_size
    thin(path)
    after, thinned = torch.load(path), inspect(path)
    assert path.stat().st_size < size / 2
    assert verify(path).level == "every bit"
    assert path.stat().st_mode & 0o777 == 0o444
    assert before.keys() - after.keys() == {"training"}
    assert list(after["state_dict"]) == list(before["state_dict"])
    assert all(torch.equal(after["state_dict"][name], value) for name, value in before["state_dict"].items())
    assert after["state_dict"]._metadata == before["state_dict"]._metadata
    for name in ("format", "hyperparameters", "module", "run"):
        assert repr(after[name]) == repr(before[name])
    for name in ("hyperparameters", "metrics", "run", "parent", "environment", "recipe", "ties"):
        assert repr(getattr(thinned, name)) == repr(getattr(index, name))
    assert thinned.extra["training"] == []
    assert thinned.extra["thinned"]["left_out"] == ["optimizer"]
    assert {name: value for name, value in thinned.extra.items() if name not in ("training", "thinned")} == {
        name: value for name, value in index.extra.items() if name != "training"
    }
    assert not list(path.parent.glob(".draft*"))


def test_it_is_still_yours(storage):
    path = thin(saved(nn.Linear(2, 2), optimizer=torch.optim.SGD(nn.Linear(2, 2).parameters())))
    assert isinstance(hypertuner.load(path), nn.Linear)


def test_nobody_elses_file_becomes_yours_by_it(storage, tmp_path, monkeypatch):
    net = nn.Linear(2, 2)
    path = saved(net, optimizer=torch.optim.SGD(net.parameters(), momentum=0.9))
    monkeypatch.setenv("HYPERTUNER_HOME", str(tmp_path / "colleague"))
    thin(path)
    with Archive.open(path) as archive:
        assert archive.mark is None
    with pytest.raises(hypertuner.UnsafeFileError):
        hypertuner.load(path)
    assert torch.equal(hypertuner.load(path, weights=True)["weight"], net.weight)


def test_a_file_that_you_vouched_for_still_is(storage, tmp_path, monkeypatch):
    from hypertuner.checkpoint.vouching import vouch

    net = nn.Linear(2, 2)
    path = saved(net, optimizer=torch.optim.SGD(net.parameters()))
    monkeypatch.setenv("HYPERTUNER_HOME", str(tmp_path / "colleague"))
    vouch(path)
    thin(path)
    assert isinstance(hypertuner.load(path), nn.Linear)


def test_a_file_without_training_state_is_left_alone(storage):
    path = saved(nn.Linear(2, 2))
    inode = path.stat().st_ino
    thin(path)
    assert path.stat().st_ino == inode


def test_thinning_twice_is_thinning_once(storage):
    net = nn.Linear(2, 2)
    path = thin(saved(net, optimizer=torch.optim.SGD(net.parameters())))
    inode = path.stat().st_ino
    assert thin(path).stat().st_ino == inode


def test_odd_state_of_the_model_stays_and_that_of_the_training_goes(storage):
    model = Odd()
    path = saved(model, optimizer=torch.optim.Adam(model.parameters()), extra=Counter())
    assert b"much" in torch.load(path)["opaque"]
    thin(path)
    verify(path)
    opaque = torch.load(path)["opaque"]
    assert b"much" not in opaque
    assert pickle.loads(opaque) == {
        "state_dict": {"_extra_state": {"training": Fraction(1, 2), "seen": {1, 2, 3}}},
        "training": {},
    }
    loaded = hypertuner.load(path)
    assert loaded.one.weight is loaded.two.weight
    assert torch.equal(loaded.one.weight, model.one.weight)
    assert torch.equal(loaded.view, model.view)
    assert torch.equal(loaded.apart, model.apart)
    assert torch.equal(loaded.loose, model.loose)
    assert hypertuner.load(path, weights=True)["_extra_state"]["seen"] == {1, 2, 3}


def test_odd_state_of_the_training_alone_goes_whole(storage):
    net = nn.Linear(2, 2)
    path = saved(net, extra=Counter())
    assert "opaque" in torch.load(path)
    thin(path)
    verify(path)
    assert torch.load(path).keys().isdisjoint({"opaque", "training"})


@pytest.mark.filterwarnings("ignore:.*quantized tensor|TypedStorage is deprecated:UserWarning")  # torch's own
def test_sparse_and_quantized_tensors_stay(storage):
    values = {
        "sparse": torch.eye(5).to_sparse(),
        "quantized": torch.quantize_per_tensor(torch.randn(4), 0.1, 0, torch.qint8),
        "half": torch.randn(3).half(),
        "empty": torch.empty(0),
    }
    net = nn.Linear(2, 2)
    with hypertuner.new_run(name="r"):
        path = hypertuner.Saver(values, optimizer=torch.optim.SGD(net.parameters())).save(step=1).path
    thin(path)
    verify(path)
    found = hypertuner.load(path, weights=True)
    assert torch.equal(found["sparse"].to_dense(), torch.eye(5))
    assert torch.equal(found["quantized"].int_repr(), values["quantized"].int_repr())
    assert torch.equal(found["half"], values["half"])


def test_a_link_that_somebody_holds_keeps_the_whole_one(storage, tmp_path):
    net = nn.Linear(2, 2)
    path = saved(net, optimizer=torch.optim.Adam(net.parameters()))
    held = tmp_path / "held.pt"
    os.link(path, held)
    thin(path)
    assert "training" in torch.load(held)
    verify(held)


def test_damaged_weights_are_not_sealed_anew(storage):
    net = nn.Linear(64, 64)
    path = saved(net, optimizer=torch.optim.Adam(net.parameters()))
    row = inspect(path).state_dict["weight"]
    data = bytearray(path.read_bytes())
    data[inspect(path).storages[row.storage].offset + 5] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(hypertuner.CorruptFileError, match="weight"):
        thin(path)
    assert path.read_bytes() == data
    assert not list(path.parent.glob(".draft*"))


@pytest.mark.parametrize("kind", ["write", "fsync", "rename"])
def test_a_failure_leaves_the_whole_one(storage, kind):
    net = nn.Linear(2, 2)
    path = saved(net, optimizer=torch.optim.Adam(net.parameters()))
    before = path.read_bytes()

    def refuse(operation):
        if operation.name == kind:
            raise OSError(28, "No space left on device", operation.path)

    files.fault_plan = refuse
    try:
        with pytest.raises(hypertuner.StorageFullError):
            thin(path)
    finally:
        files.fault_plan = None
    assert path.read_bytes() == before
    assert not list(path.parent.glob(".draft*"))


def test_a_thinned_checkpoint_says_why_it_cannot_be_resumed(storage):
    net = nn.Linear(2, 2)
    path = saved(net, optimizer=torch.optim.Adam(net.parameters()))
    thin(path)
    with (
        pytest.raises(hypertuner.CheckpointError, match="taken out to save room"),
        hypertuner.new_run(name="child", parent=path, how="fork"),
    ):
        hypertuner.Saver(other := nn.Linear(2, 2), optimizer=torch.optim.Adam(other.parameters()))


def test_another_programs_file_is_refused(tmp_path):
    torch.save({"training": {"x": torch.ones(2)}}, tmp_path / "mine.pt")
    with pytest.raises(hypertuner.CorruptFileError, match="not one that hypertuner saved"):
        thin(tmp_path / "mine.pt")


def test_a_large_file_is_not_read_into_memory(storage, tmp_path):
    """Not even its weights: they are mapped, and the pages that were written are the system's to drop."""
    script = tmp_path / "thin.py"
    script.write_text(
        """
import sys
from pathlib import Path
import torch
from hypertuner.frameworks.adapter import torch_adapter

def anonymous_kb():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("RssAnon")))

def peak():
    global most
    most = max(most, anonymous_kb())

import hypertuner.files as files
most = 0
before = anonymous_kb()
files.fault_plan = lambda operation: peak()
torch_adapter().thin(Path(sys.argv[1]))
print(most - before)
"""
    )
    net = nn.Linear(4000, 4000)  # 64 MB; with Adam 192 MB
    adam = torch.optim.Adam(net.parameters())
    net(torch.randn(1, 4000)).sum().backward()
    adam.step()
    path = saved(net, optimizer=adam)
    if not os.path.exists("/proc/self/status"):
        pytest.skip("asks Linux how much memory a process has of its own")
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(hypertuner.__file__))}
    done = subprocess.run(
        [sys.executable, script, path], capture_output=True, text=True, env=environment, check=True, timeout=120
    )
    assert int(done.stdout) < 32_000
    assert path.stat().st_size < 70e6


# --- cutting a pickle


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=300) | st.just("training"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
        | st.dictionaries(st.just("training"), inner)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


@given(state=values, training=values, protocol=st.sampled_from([2, 3, 4, 5]))
def test_the_last_value_of_a_pickled_dict_is_cut_out_and_the_first_stays(state, training, protocol):
    data = pickle.dumps({"state_dict": state, "training": training}, protocol=protocol)
    assert pickle.loads(without_part(data, "training")) == {"state_dict": state, "training": {}}


@given(state=values)
def test_what_both_values_share_stays_with_the_first(state):
    data = pickle.dumps({"state_dict": [state, state], "training": state}, protocol=4)
    assert pickle.loads(without_part(data, "training")) == {"state_dict": [state, state], "training": {}}


@pytest.mark.parametrize("value", [{"training": 1}, [1, 2], {"training": 1, "state_dict": 2}, {"a": 1, "b": 2}, None])
def test_any_other_pickle_is_left_as_it_is(value):
    data = pickle.dumps(value, protocol=4)
    assert without_part(data, "training") == data


def test_many_values_and_large_ones_are_cut_too():
    state = {str(number): bytes(100_000) if number % 100 == 0 else [number] for number in range(3000)}
    data = pickle.dumps({"state_dict": state, "training": state | {"x": 1}}, protocol=4)
    cut = without_part(data, "training")
    assert pickle.loads(cut) == {"state_dict": state, "training": {}}
