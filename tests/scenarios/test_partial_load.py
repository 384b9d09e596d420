"""Weights into a model that is not quite the one they came from: names, parts and shapes that differ, in words."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hypertuner
from hypertuner.checkpoint.report import LoadReport, Mismatch


class Net(nn.Module):
    def __init__(self, classes=2, depth=2, trunk="backbone"):
        super().__init__()
        self.add_module(trunk, nn.Sequential(*(nn.Linear(6, 6) for _ in range(depth))))
        self.head = nn.Linear(6, classes)


@pytest.fixture
def saved(storage):
    """A run with a Net in it, and the Net."""
    with hypertuner.new_run("parent", classes=2, depth=2):
        net = Net()
        hypertuner.Saver(net).save()
    return net


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_renamed_parts_are_loaded_under_their_new_names(saved):
    net = Net(trunk="encoder")
    report = hypertuner.load("parent", into=net, rename={"backbone.": "encoder."})
    assert report.is_complete
    assert same(net.encoder, saved.backbone)
    assert same(net.head, saved.head)


def test_the_longest_beginning_counts_and_may_be_taken_away(saved):
    net = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    report = hypertuner.load("parent", into=net, rename={"backbone.": "", "backbone.1.": "1."}, strict=False)
    assert same(net, saved.backbone)
    assert report.unexpected == ("head.weight", "head.bias")


def test_a_rename_that_fits_nothing_or_makes_two_names_one_is_an_error(saved):
    with pytest.raises(hypertuner.CheckpointError, match=r"no tensor of the file begins so.*backbone\."):
        hypertuner.load("parent", into=Net(), rename={"backbon.": "encoder."})
    with pytest.raises(hypertuner.MismatchError, match="makes one name of"):
        hypertuner.load("parent", into=Net(), rename={"backbone.0.": "backbone.1."})


def test_a_misfit_of_names_suggests_the_rename(saved):
    with pytest.raises(hypertuner.MismatchError, match=r"rename=\{'backbone\.': 'encoder\.'\}"):
        hypertuner.load("parent", into=Net(trunk="encoder"))


def test_only_a_part_is_loaded_and_all_of_it_must_fit(saved):
    net = Net(classes=9)
    before = net.head.weight.clone()
    report = hypertuner.load("parent", into=net, only="backbone.*")
    assert report.is_complete
    assert report.share == 1
    assert same(net.backbone, saved.backbone)
    assert torch.equal(net.head.weight, before)
    deeper = Net(depth=3)
    kept = [p.clone() for p in deeper.parameters()]
    with pytest.raises(hypertuner.MismatchError, match=r"not in the file: backbone\.2\.weight"):
        hypertuner.load("parent", into=deeper, only=["backbone.*"])
    assert all(map(torch.equal, kept, deeper.parameters()))
    with pytest.raises(hypertuner.CheckpointError, match="names no tensor of the model"):
        hypertuner.load("parent", into=net, only="bakbone.*")


def test_ignored_mismatches_are_named_and_nothing_else_is_forgiven(saved, capfd):
    net = Net(classes=9)
    report = hypertuner.load("parent", into=net, ignore_mismatched=True)
    assert [mismatch.name for mismatch in report.mismatched] == ["head.weight", "head.bias"]
    assert "head.weight 2×6→9×6: new" in capfd.readouterr().err
    assert same(net.backbone, saved.backbone)
    with pytest.raises(hypertuner.MismatchError, match="ignore_mismatched=True"):
        hypertuner.load("parent", into=Net(classes=9))
    with pytest.raises(hypertuner.MismatchError, match="not in the file"):
        hypertuner.load("parent", into=Net(classes=9, depth=3), ignore_mismatched=True)


def test_what_hardly_fits_is_refused_whatever_is_ignored(saved):
    with pytest.raises(hypertuner.MismatchError, match="hardly fit"):
        hypertuner.load("parent", into=nn.ModuleDict({"head": nn.Linear(5, 5)}), ignore_mismatched=True, strict=False)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_stripped_on_both_sides_and_said(tmp_path, prefix, capfd):
    net = Net()
    torch.save({f"{prefix}{name}": value for name, value in net.state_dict().items()}, tmp_path / "wrapped.pt")
    fresh = Net()
    assert hypertuner.load(tmp_path / "wrapped.pt", into=fresh).is_complete
    assert same(fresh, net)
    assert f"stripped '{prefix}'" in capfd.readouterr().err


def test_these_words_need_a_model(saved):
    with pytest.raises(TypeError, match="into=model"):
        hypertuner.load("parent", only="head.*")


def test_layers_that_a_setting_added_or_took_away_are_explained_by_it():
    report = LoadReport(("a",), ("blocks.2.w", "blocks.2.b"), ("heads.1.w",), (), 0.9)
    said = report.explained({"depth": 2, "heads": 2, "lr": 1}, {"depth": 3, "heads": 1, "lr": 9})
    assert "not in the file: blocks.2.w, blocks.2.b, probably because depth 2→3" in said
    assert "not in the model: heads.1.w, probably because heads 2→1" in said
    shaped = LoadReport((), (), (), (Mismatch("head.w", (2, 6), (9, 6)),), 0.9)
    assert "head.w 2×6→9×6, probably because classes 2→9: new" in shaped.explained({"classes": 2}, {"classes": 9})
    assert "because" not in report.explained({"depth": 2}, {"depth": 2})


def test_a_part_that_does_not_fit_is_refused_like_a_whole_model(storage):
    with hypertuner.new_run("pair"):
        saved = hypertuner.Saver({"G": nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2)), "D": nn.Linear(8, 1)}).save()
    other = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 5))
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(hypertuner.MismatchError, match=r"G\.1\.weight 2×8→5×8") as refused:
        hypertuner.load(saved.path, into=other, part="G")
    assert "D." not in str(refused.value)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    report = hypertuner.load(saved.path, into=other, part="G", strict=False)
    assert len(report.loaded) == 2
    fitting = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))
    assert hypertuner.load(saved.path, into=fitting, part="G").is_complete
    assert hypertuner.load(saved.path, into=other, part="G", only="0.*").is_complete


def test_a_part_that_the_file_does_not_have_is_refused_with_those_it_has(storage):
    with hypertuner.new_run("pair"):
        saved = hypertuner.Saver({"G": nn.Linear(8, 2), "D": nn.Linear(8, 1)}).save()
    with pytest.raises(hypertuner.CheckpointError, match=r"has no part 'X'; it has: 'D', 'G'\."):
        hypertuner.load(saved.path, into=nn.Linear(8, 2), part="X")
    with pytest.raises(hypertuner.MismatchError, match="part='G' may be what is meant") as refused:
        hypertuner.load(saved.path, into=nn.Linear(8, 2))
    assert "rename=" not in str(refused.value)


def test_a_device_that_is_not_here_is_named(saved):
    with pytest.raises(
        hypertuner.CheckpointError, match=r"device='meteor' cannot be used here: (.|\n)*Leave device= out"
    ):
        hypertuner.load("parent", device="meteor")
    with pytest.raises(hypertuner.CheckpointError, match="device='cuda:99' cannot be used here"):
        hypertuner.load("parent", weights=True, device="cuda:99")


def test_the_name_of_a_file_that_is_not_there_is_no_missing_run(saved):
    with pytest.raises(hypertuner.CheckpointNotFoundError, match=r"No file net\.pt in .*, and no run called so"):
        hypertuner.load("net.pt")


def test_of_beginnings_that_fit_alike_the_first_of_the_file_is_advised(storage):
    with hypertuner.new_run("many"):
        saved = hypertuner.Saver({f"net{number}": nn.Linear(2, 2) for number in range(9)}).save()
    with pytest.raises(hypertuner.MismatchError, match="part='net0'"):
        hypertuner.load(saved.path, into=nn.Linear(2, 2))
