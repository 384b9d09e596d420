"""What each level of verification finds, and that only what is asked for is read."""

from __future__ import annotations

import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
import torch
from torch import nn

import hypertuner
from hypertuner import CheckpointError, CorruptFileError
from hypertuner.checkpoint.format.archive import inspect, open_model
from hypertuner.frameworks.torch import filling, objects


@pytest.fixture(params=["map", "read"])
def how(request, monkeypatch) -> str:
    monkeypatch.setenv("HYPERTUNER_READ", request.param)
    return request.param


def build() -> nn.Module:
    return nn.ModuleDict({"encoder": nn.Linear(64, 64), "head": nn.Linear(64, 64)})


@pytest.fixture
def file(storage, tmp_path) -> Path:
    """A copy of a checkpoint, which may be written to."""
    with hypertuner.new_run(name="r"):
        hypertuner.Saver({"G": build(), "D": build()}).save(step=1)
    copied = tmp_path / "copy.pt"
    shutil.copyfile(storage / "r" / "model.pt", copied)
    return copied


def flip(file: Path, offset: int) -> None:
    content = bytearray(file.read_bytes())
    content[offset] ^= 1
    file.write_bytes(content)


def place_of(file: Path, name: str) -> int:
    index = inspect(file)
    row = index.state_dict[name]
    return index.storages[row.storage].offset + 8


def damage(file: Path, name: str) -> None:
    flip(file, place_of(file, name))


def test_a_flipped_bit_is_found_with_full_and_named_whatever_is_loaded(file, how):
    damage(file, "G.head.weight")
    for arguments in (
        {"weights": True},
        {},
        {"part": "G"},
        {"into": {"G": build(), "D": build()}},
        {"into": build(), "part": "G"},
        {"weights": True, "only": "*.weight"},
    ):
        before = {name: value.clone() for name, value in _tensors(arguments.get("into")).items()}
        with pytest.raises(CorruptFileError, match=r"G\.head\.weight"):
            hypertuner.load(file, verify="full", **arguments)
        assert all(torch.equal(value, before[name]) for name, value in _tensors(arguments.get("into")).items())


def _tensors(model):
    if isinstance(model, dict):
        return nn.ModuleDict(model).state_dict()
    return model.state_dict() if model is not None else {}


def test_only_what_is_selected_is_read_and_checked(file, how):
    damage(file, "G.head.weight")
    full = {"verify": "full"}
    assert list(hypertuner.load(file, weights=True, only="G.encoder.*", **full)) == [
        "G.encoder.weight",
        "G.encoder.bias",
    ]
    assert list(hypertuner.load(file, weights=True, part="D", **full)) == [
        "encoder.weight",
        "encoder.bias",
        "head.weight",
        "head.bias",
    ]
    assert list(hypertuner.load(file, weights=True, part="G", only="encoder.*", **full)) == [
        "encoder.weight",
        "encoder.bias",
    ]
    net = build()
    assert hypertuner.load(file, into=net, part="D", **full).is_complete
    assert hypertuner.load(file, into=net, part="G", only="encoder.*", **full).is_complete
    with pytest.raises(CorruptFileError):
        hypertuner.load(file, into=net, part="G", only="head.*", **full)


def test_by_default_the_weights_are_not_looked_at_and_the_index_is(file, how):
    whole = file.read_bytes()
    damage(file, "G.head.weight")
    assert hypertuner.load(file, weights=True)["G.head.weight"].shape == (64, 64)
    file.write_bytes(whole)
    at = whole.rindex(b'"storages"')
    flip(file, at + 20)
    with pytest.raises(CorruptFileError):
        hypertuner.load(file, weights=True)


def test_without_verification_a_damaged_index_gives_what_can_be_had(file, how):
    whole = file.read_bytes()
    saved = hypertuner.load(file, weights=True)["D.head.bias"].clone()
    with open_model(file) as archive:
        at = archive.directory.locate("hypertuner.json")[0]
    said = whole.index(b'"environment"', at)
    flip(file, said + 3)  # a word of the index; its checksum is wrong now
    with pytest.raises(CorruptFileError):
        hypertuner.load(file, weights=True)
    assert torch.equal(hypertuner.load(file, weights=True, verify="none")["D.head.bias"], saved)


def test_without_verification_no_tensor_leaves_the_file(file, how):
    whole = file.read_bytes()
    index = inspect(file)
    offset = index.storages[index.state_dict["G.head.weight"].storage].offset
    figure = str(offset).encode()
    far = b"9" * len(figure)
    with open_model(file) as archive:
        at = whole.index(b"[" + figure + b",", archive.directory.locate("hypertuner.json")[0]) + 1
    file.write_bytes(whole[:at] + far + whole[at + len(figure) :])
    with pytest.raises(CorruptFileError, match="outside"):
        hypertuner.load(file, weights=True, verify="none")


def test_a_file_that_ends_early_is_refused_at_every_level(file, how):
    file.write_bytes(file.read_bytes()[:-1])
    for level in ("index", "full", "none"):
        with pytest.raises(CorruptFileError):
            hypertuner.load(file, weights=True, verify=level)


def test_another_programs_file_is_checked_as_far_as_it_can_be(tmp_path, how):
    torch.save({"weight": torch.arange(4096.0)}, tmp_path / "theirs.pt")
    content = bytearray((tmp_path / "theirs.pt").read_bytes())
    at = content.index(torch.arange(100.0, 110.0).numpy().tobytes())
    content[at] ^= 1
    (tmp_path / "theirs.pt").write_bytes(content)
    assert list(hypertuner.load(tmp_path / "theirs.pt", weights=True)) == ["weight"]
    with pytest.raises(CorruptFileError):
        hypertuner.load(tmp_path / "theirs.pt", weights=True, verify="full")


def test_an_unknown_level_and_words_that_do_not_go_together_are_refused(file):
    with pytest.raises(ValueError, match="'index', 'full' or 'none'"):
        hypertuner.load(file, verify="all")
    with pytest.raises(TypeError, match="only="):
        hypertuner.load(file, only="G.*")
    with pytest.raises(TypeError, match="pin_memory"):
        hypertuner.load(file, into={"G": build(), "D": build()}, pin_memory=True)
    with pytest.raises(CheckpointError, match="names no tensor of the file"):
        hypertuner.load(file, weights=True, only="X.*")
    with pytest.raises(CheckpointError, match=r"has no part 'X'; it has: 'D', 'G'"):
        hypertuner.load(file, weights=True, part="X")


@pytest.mark.skipif(torch.cuda.is_available(), reason="shows what is said where there is no GPU")
def test_page_locked_memory_that_cannot_be_had_is_named(file):
    with pytest.raises(CheckpointError, match="pin_memory=True cannot be had here"):
        hypertuner.load(file, weights=True, pin_memory=True)


# --- what is trained on is always checked


TRAIN = """
import torch, hypertuner
net = torch.nn.Linear(64, 64)
optimizer = torch.optim.Adam(net.parameters())
saver = hypertuner.Saver(net, optimizer=optimizer)
for step in range(saver.next_step, 3):
    net(torch.ones(2, 64)).sum().backward()
    optimizer.step()
    saver.save(step=step)
"""


@pytest.mark.parametrize("what", ["a weight", "the optimizer's state"])
def test_a_run_does_not_resume_from_damaged_weights_or_training_state(run_script, storage, how, what):
    run_script(TRAIN, env={"HYPERTUNER_RUN": "r", "HYPERTUNER_READ": how})
    checkpoint = max((storage / "r").rglob("step-*.pt"))
    index = inspect(checkpoint)
    rows = index.state_dict if what == "a weight" else next(r for p, r in index.tensors.items() if p == "training")
    biggest = max(rows, key=lambda name: index.storages[rows[name].storage].nbytes)
    checkpoint.chmod(0o644)
    flip(checkpoint, index.storages[rows[biggest].storage].offset + 8)
    resumed = {"HYPERTUNER_RUN": str(storage / "r"), "HYPERTUNER_RESUME": "last", "HYPERTUNER_READ": how}
    done = run_script(TRAIN, env=resumed, check=False)
    assert done.returncode != 0 and "CorruptFileError" in done.stderr and "is damaged" in done.stderr


def flip_in_data_pkl(file: Path, *, with_its_crc: bool) -> None:
    """Change the model object in `data.pkl`; `with_its_crc`, so that the zip file says the same everywhere."""
    with zipfile.ZipFile(file) as archive:
        info = archive.getinfo("archive/data.pkl")
        old = archive.read(info)
    new = old.replace(b"encoder", b"decoder")
    assert new != old
    content = file.read_bytes()
    content = content.replace(old, new, 1)
    if with_its_crc:
        content = content.replace(struct.pack("<I", zlib.crc32(old)), struct.pack("<I", zlib.crc32(new)))
    file.write_bytes(content)


@pytest.mark.parametrize("level", ["index", "none"])
@pytest.mark.parametrize("with_its_crc", [False, True])
def test_of_a_changed_model_object_nothing_is_run_though_it_is_trusted(file, monkeypatch, with_its_crc, level):
    flip_in_data_pkl(file, with_its_crc=with_its_crc)
    monkeypatch.setattr(objects, "load", lambda *_: pytest.fail("unpickled"))
    with pytest.raises(CorruptFileError, match=r"copy\.pt is damaged: .*data\.pkl"):
        hypertuner.load(file, trust=True, verify=level)


def test_of_changed_odd_state_nothing_is_run_though_it_is_trusted(storage, tmp_path, monkeypatch):
    class Odd(nn.Linear):
        def get_extra_state(self):
            return {"encoder": slice(1, 2)}  # what safe loading refuses

        def set_extra_state(self, state): ...

    with hypertuner.new_run(name="odd"):
        hypertuner.Saver(Odd(2, 2)).save(step=1)
    copied = tmp_path / "copy.pt"
    shutil.copyfile(storage / "odd" / "model.pt", copied)
    flip_in_data_pkl(copied, with_its_crc=True)
    monkeypatch.setattr(filling.pickle, "loads", lambda *_: pytest.fail("unpickled"))
    with pytest.raises(CorruptFileError, match=r"copy\.pt is damaged: .*data\.pkl"):
        hypertuner.load(copied, trust=True, weights=True)


def test_a_run_does_not_start_from_damaged_weights(storage, how, tmp_path):
    with hypertuner.new_run(name="parent"):
        hypertuner.Saver(build()).save(step=1)
    target = (storage / "parent" / "model.pt").resolve()
    target.chmod(0o644)
    damage(target, "head.weight")
    with (
        hypertuner.new_run(name="child", parent="parent"),
        pytest.raises(CorruptFileError, match=r"head\.weight"),
    ):
        hypertuner.Saver(build())


def test_damaged_weights_are_not_exported(file):
    from hypertuner.frameworks.torch.export import export

    damage(file, "G.head.weight")
    with open_model(file) as archive, pytest.raises(CorruptFileError):
        export(archive, file.with_name("out.pt"), "state_dict")
    assert not file.with_name("out.pt").exists()
