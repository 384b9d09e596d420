"""The quick reader of pickles that were just made sees what the careful one sees."""

from __future__ import annotations

import io
import zipfile
from collections import OrderedDict

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from hypertuner.checkpoint.format import fresh, pickles
from hypertuner.checkpoint.format.stubs import tensors_in


def data_pkl(document):
    buffer = io.BytesIO()
    torch.save(document, buffer)
    with zipfile.ZipFile(buffer) as file:
        return file.read("archive/data.pkl")


KEYS = (
    st.text(max_size=5)
    | st.integers(-(2**80), 2**80)
    | st.tuples(st.integers(0, 3), st.text(max_size=2))
    | st.none()
    | st.booleans()
    | st.binary(max_size=3)
    | st.floats(allow_nan=False)
    | st.sampled_from([torch.float32, torch.int64])
)
LEAVES = st.sampled_from([torch.float32, torch.bfloat16, torch.complex64]).map(
    lambda dtype: torch.ones(2, 3).to(dtype).T
)
LEAVES |= st.none() | st.text(max_size=3) | st.binary(max_size=300) | st.integers() | st.sampled_from([torch.Size([2])])
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4).map(OrderedDict)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(document=st.dictionaries(st.text(max_size=5), DOCUMENTS, max_size=4))
@example(document={"state_dict": nn.BatchNorm1d(3).state_dict(), "set": {1, 2}, "q": torch.eye(3).to_sparse()})
@example(document={"state_dict": {"w": nn.Parameter(torch.ones(3)), "meta": torch.ones(2, device="meta")}})
@example(document={"module": nn.Linear(2, 2)})  # state of an object: left to the careful reader
def test_both_readers_find_the_same_tensors(document):
    data = data_pkl(document)
    assert tensors_in(fresh.root_of(data, "x"), "x") == tensors_in(pickles.read(data).root, "x")


def test_nothing_is_imported_or_called_by_its_name():
    assert fresh.root_of(data_pkl({"a": 1}), "x") == {"a": 1}
    root = fresh.root_of(b"\x80\x02cos\nabort\n)R.", "x")
    assert (root.callee.module, root.callee.name, root.arguments) == ("os", "abort", ())
