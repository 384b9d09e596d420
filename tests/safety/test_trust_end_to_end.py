"""Nothing runs that was not asked to: only the user's own mark, or his word, lets the object in a file run."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import socket
from dataclasses import fields

import pytest
import torch
from torch import nn

import hypertuner
from hypertuner.checkpoint.format import trust
from hypertuner.checkpoint.format.archive import Archive, seal, verify

SCRIPT = """
import torch, hypertuner
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)
    def get_extra_state(self):
        return {"odd": frozenset([1])}
    def set_extra_state(self, state):
        pass
    def forward(self, x):
        return self.fc(x)

args = hypertuner.Args(lr=0.1)
torch.manual_seed(0)
hypertuner.Saver(Net()).save(step=1)
"""


class Hostile:
    def __reduce__(self):
        return os.system, ("touch ran-a-pickle",)


HOSTILE = pickle.dumps(Hostile(), protocol=2)


@pytest.fixture
def model(run_script, storage):
    """A model that this user saved, its class defined in a script."""
    run_script(SCRIPT, env={"HYPERTUNER_RUN": "r"})
    return storage / "r" / "model.pt"


def resealed(model, target, *, change=None, tell=None, key=None, mark=None):
    """A copy with its document or its index changed, all hashes right, marked by `key` or with a given mark."""
    with Archive.open(model) as archive:
        index = archive.index
    document = torch.load(model)
    header = {part.name: getattr(index, part.name) for part in fields(index)}
    for name in ("format", "tensors", "storages", "ties", "data_pkl_sha256"):
        del header[name]
    header |= header.pop("extra")
    if change:
        change(document)
    if tell:
        tell(header)
    file = io.BytesIO()
    torch.save(document, file)
    with pytest.MonkeyPatch.context() as patch:
        if mark:
            patch.setattr(trust, "mark_of", lambda *_: mark)
            key = b"any"
        seal(file, header, key)
    target.write_bytes(file.getvalue())
    return target


def with_module(data):
    def change(document):
        document["module"] = data(document["module"]) if callable(data) else data

    return change


def with_opaque(document):
    assert "opaque" in document
    document["opaque"] = HOSTILE


def with_other_source(header):
    text = json.dumps(header["recipe"])
    assert "self.fc = nn.Linear(4, 3)" in text
    evil = text.replace("self.fc = nn.Linear(4, 3)", "open('ran-a-source', 'w')")
    header["recipe"] = json.loads(evil)


def with_other_path(header):
    header["recipe"] = json.loads(json.dumps(header["recipe"]).replace("__main__", "__main2__"))


def with_other_config(header):
    header["hyperparameters"] = {"lr": "__import__('os').system('touch ran-a-config')"}


def flipped(data):
    return data[:-2] + bytes([data[-2] ^ 1]) + data[-1:]


CHANGES = {
    "a byte of the module": {"change": with_module(flipped)},
    "another module": {"change": with_module(HOSTILE)},
    "another opaque part": {"change": with_opaque},
    "another source": {"tell": with_other_source},
    "another class path": {"tell": with_other_path},
    "another config": {"tell": with_other_config},
}


def test_whatever_holds_code_voids_the_mark_when_it_changes(model, tmp_path):
    with Archive.open(model) as archive:
        own = archive.mark
    for what in CHANGES.values():
        for how in ({}, {"mark": own}, {"key": b"x" * 32}):
            is_refused_but_for_its_weights(model, resealed(model, tmp_path / "changed.pt", **what, **how))
    assert not list(tmp_path.glob("ran-*"))


def is_refused_but_for_its_weights(model, path):
    verify(path)
    with pytest.raises(hypertuner.UnsafeFileError) as caught:
        hypertuner.load(path)
    message = str(caught.value)
    assert socket.gethostname() in message
    assert "weights=True" in message
    assert "trust=True" in message
    assert f"hypertuner trust {path}" in message
    expected = torch.load(model)["state_dict"]
    loaded = hypertuner.load(path, weights=True)
    assert torch.equal(loaded["fc.weight"], expected["fc.weight"])
    net = nn.ModuleDict({"fc": nn.Linear(4, 3)})
    assert hypertuner.load(path, into=net, strict=False).share == 1.0
    assert torch.equal(net["fc"].weight, expected["fc.weight"])
    assert hypertuner.inspect(path).run["step"] == 1


def test_the_copy_itself_is_trusted_with_the_users_key(model, tmp_path):
    """The check of the checks above: only the change voids the mark."""
    path = resealed(model, tmp_path / "same.pt", key=trust.user_key())
    assert hypertuner.load(path)(torch.ones(1, 4)).shape == (1, 3)


def test_another_users_mark_is_refused_by_host_and_user_until_the_key_is_carried(model, monkeypatch, tmp_path):
    key = (tmp_path / "home" / "key").read_text()
    assert hypertuner.load("r").fc.weight.shape == (3, 4)
    monkeypatch.setenv("HYPERTUNER_HOME", str(tmp_path / "another home"))
    with pytest.raises(hypertuner.UnsafeFileError) as caught:
        hypertuner.load("r")
    made = hypertuner.inspect(model).environment
    assert f"made by {made['user']} on {made['host']}" in str(caught.value)
    assert "its mark is not yours" in str(caught.value)
    assert f"hypertuner trust {model}" in str(caught.value)
    assert caught.value.path == model
    monkeypatch.setenv("HYPERTUNER_KEY", key)
    assert hypertuner.load("r").fc.weight.shape == (3, 4)
    monkeypatch.setenv("HYPERTUNER_KEY", "another key of some length")
    with pytest.raises(hypertuner.UnsafeFileError):
        hypertuner.load("r@last")
    with pytest.raises(hypertuner.UnsafeFileError):
        hypertuner.load("r", trust=False)
    assert hypertuner.load("r", trust=True).fc.weight.shape == (3, 4)


WATCHED = """
import os, pickle, sys
import torch, hypertuner
from torch import nn
from hypertuner.checkpoint.format.archive import verify
from hypertuner.checkpoint.parents import parent_of
from hypertuner.checkpoint.reference import resolve

net = nn.ModuleDict({"fc": nn.Linear(4, 3)})

def everything(run):
    hypertuner.runs()
    hypertuner.runs("lr > 0")
    for reference in (run, f"{run}@last", f"{run}@1", f"storage/{run}/model.pt"):
        path = resolve(reference).path
        hypertuner.inspect(path)
        verify(path)
        parent_of(resolve(reference), "start from")
        hypertuner.load(reference, weights=True)
        hypertuner.load(reference, into=net, strict=False)
        try:
            hypertuner.load(reference)
        except hypertuner.UnsafeFileError as error:
            assert error.globals is not None
        else:
            raise AssertionError("it was loaded")

def safe_once():
    # What torch imports lazily when it reads its first file is not the file's doing.
    torch.save(nn.Linear(2, 2).state_dict(), "warm.pt")
    torch.load("warm.pt")
    hypertuner.load("own")
    try:
        hypertuner.load("hostile", into=net, strict=False)
        hypertuner.load("hostile")
    except hypertuner.UnsafeFileError:
        pass

safe_once()
events = []
def hook(event, arguments):
    if event in ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect"):
        events.append((event, repr(arguments)[:200]))
    elif event == "pickle.find_class":
        events.append((event, arguments[0], arguments[1]))
    elif event == "compile" and "ran-" in repr(arguments[0]):
        events.append((event, repr(arguments)[:200]))
    elif event == "exec" and "ran-" in repr(getattr(arguments[0], "co_consts", "")):
        events.append((event, repr(arguments)[:200]))
    elif event == "open" and "ran-" in str(arguments[0]):
        events.append((event, arguments[0]))
sys.addaudithook(hook)
everything("hostile")
assert events == [], events
assert not [name for name in os.listdir() if name.startswith("ran-")]
# The hook does hear them.
pickle.loads(pickle.dumps(nn.Linear))
assert events and events[0][0] == "pickle.find_class"
"""


@pytest.mark.parametrize("mark", [None, "stolen"])
def test_no_way_to_read_a_hostile_file_runs_anything(model, storage, run_script, mark, tmp_path):
    with Archive.open(model) as archive:
        own = archive.mark
    import shutil

    shutil.copytree(storage / "r", storage / "own")
    hostile = storage / "r"

    def change(document):
        document["module"] = document["opaque"] = HOSTILE

    changed = resealed(model, tmp_path / "x.pt", change=change, tell=with_other_source, mark=own if mark else None)
    data = changed.read_bytes()
    (checkpoint,) = hostile.rglob("step-*.pt")
    checkpoint.unlink()
    checkpoint.write_bytes(data)
    model.unlink()
    model.write_bytes(data)
    # Code planted beside it: nothing in a run folder is imported.
    for name in ("sitecustomize.py", "conftest.py", "__init__.py", "torch.py"):
        (hostile / name).write_text("open('ran-a-plant', 'w')\n")
        (hostile / "source" / name).write_text("open('ran-a-plant', 'w')\n")
    hostile.rename(storage / "hostile")
    run_script(WATCHED, name="watch.py")
    assert not list(tmp_path.glob("ran-*"))


def test_what_was_checked_is_what_runs_also_when_the_file_changes_in_between(model, tmp_path):
    from hypertuner.errors import HypertunerError
    from hypertuner.frameworks.torch.adapter import TorchAdapter

    def change(document):
        document["module"] = HOSTILE.ljust(len(document["module"]), b"x")
        document["opaque"] = HOSTILE.ljust(len(document["opaque"]), b"x")

    hostile = resealed(model, tmp_path / "hostile.pt", change=change).read_bytes()
    own = tmp_path / "own.pt"
    own.write_bytes(model.read_bytes())
    for weights in (False, True):
        with Archive.open(own) as archive:
            assert archive.is_marked_by(trust.user_key())
            own.write_bytes(hostile)  # the same inode, in place
            with contextlib.suppress(HypertunerError):
                TorchAdapter().read(archive, trusted=True, weights=weights)
        own.write_bytes(model.read_bytes())
    assert not list(tmp_path.glob("ran-*"))


class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)


def whole_object(path):
    torch.save(Whole(), path)
    return "Whole"


def lightning_like(path):
    torch.save({"state_dict": nn.Linear(2, 2).state_dict(), "hyper_parameters": Hostile()}, path)
    return "system"


def bare_pickle(path):
    path.write_bytes(HOSTILE)
    return "system"


def from_before_torch_1_6(path):
    torch.save(Whole(), path, _use_new_zipfile_serialization=False)
    return "Whole"


def torchscript(path):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    return "Linear"


FOREIGN = [whole_object, lightning_like, bare_pickle, from_before_torch_1_6, torchscript]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("make", FOREIGN)
def test_a_foreign_file_of_objects_is_refused_with_the_list(tmp_path, monkeypatch, make):
    path = tmp_path / "theirs.ckpt"
    named = make(path)
    asked = []
    real = torch.load

    def spy(*arguments, **options):
        asked.append(options.get("weights_only"))
        return real(*arguments, **options)

    monkeypatch.setattr(torch, "load", spy)
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("TorchScript was loaded"))
    for options in ({}, {"weights": True}, {"into": nn.Linear(2, 2)}, {"trust": False}):
        asked.clear()
        with pytest.raises(hypertuner.UnsafeFileError) as caught:
            hypertuner.load(path, **options)
        # Refused once, and not tried another way.
        assert asked in ([], [True])
        assert any(named in name for name in caught.value.globals), caught.value.globals
        assert named in str(caught.value)
        assert "If you know who made it" in str(caught.value)
    assert not list(tmp_path.glob("ran-*"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("make", [whole_object, from_before_torch_1_6, torchscript])
def test_a_foreign_file_of_objects_loads_with_trust(tmp_path, make):
    path = tmp_path / "theirs.pt"
    make(path)
    loaded = hypertuner.load(path, trust=True)
    assert isinstance(loaded, nn.Module)


def test_weights_of_files_that_hold_no_objects_need_no_trust(tmp_path):
    from safetensors.torch import save_file

    state = nn.Linear(2, 2).state_dict()
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "model": state}, tmp_path / "new.pt")
    save_file(state, tmp_path / "plain.safetensors")
    for name in ("old.pth", "new.pt", "plain.safetensors"):
        weights = hypertuner.load(tmp_path / name, weights=True)
        assert all(torch.equal(weights[key], value) for key, value in state.items()), name
        assert hypertuner.load(tmp_path / name, into=nn.Linear(2, 2)).is_complete


def test_a_hyperparameter_is_data(model, tmp_path):
    path = resealed(model, tmp_path / "changed.pt", tell=with_other_config, key=trust.user_key())
    assert hypertuner.load(path).fc.weight.shape == (3, 4)
    assert not list(tmp_path.glob("ran-*"))
