"""What changes between two saves of one Saver is in the second file: nothing of the first is taken for granted."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from torch import nn

import hypertuner


@pytest.mark.parametrize("background", [False, True])
def test_a_changed_attribute_shape_type_tie_and_package_are_in_the_next_file(storage, monkeypatch, background):
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.1), nn.Linear(4, 4), nn.Linear(4, 4))
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net, keep_last=3, background=background)
        first = saver.save(step=1).wait()
        net[1].p = 0.5
        net[0] = nn.Linear(7, 4).to(torch.bfloat16)
        net[3].weight = net[2].weight
        net.register_buffer("seen", torch.arange(5))
        monkeypatch.setitem(sys.modules, "newly", types.SimpleNamespace(__version__="1.2"))
        second = saver.save(step=2).wait()
    old, new = (hypertuner.load(str(saved.path)) for saved in (first, second))
    assert (old[1].p, new[1].p) == (0.1, 0.5)
    assert (old[0].weight.shape, new[0].weight.shape) == ((4, 3), (4, 7))
    assert new[0].weight.dtype == torch.bfloat16
    assert old[3].weight is not old[2].weight
    assert new[3].weight is new[2].weight
    assert not hasattr(old, "seen")
    assert torch.equal(new.seen, torch.arange(5))
    told = [hypertuner.inspect(saved.path).environment["packages"] for saved in (first, second)]
    assert ["newly" in one for one in told] == [False, True]
