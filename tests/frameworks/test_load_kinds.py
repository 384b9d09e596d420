"""Every kind of tensor comes back as it was: mapped and read, as an object, by name, into a model, onto meta."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hypertuner

pytestmark = [  # torch, of its own
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state"),
    pytest.mark.filterwarnings("ignore:TypedStorage is deprecated"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor"),
]

FLOAT8 = [
    getattr(torch, name)
    for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")
    if hasattr(torch, name)
]
DTYPES = [
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128),
    *FLOAT8,
]


def values_of(dtype: torch.dtype, shape: tuple[int, ...] = (3, 5)) -> torch.Tensor:
    """Different bytes in every element, as far as the dtype has them."""
    whole = torch.empty(shape, dtype=dtype)
    flat = torch.arange(whole.nbytes, dtype=torch.int64)
    raw = (flat % 2 if dtype == torch.bool else flat % 60 + 1).to(torch.uint8)
    whole.untyped_storage().copy_(raw.untyped_storage())
    return whole


def quantized() -> torch.Tensor:
    return torch.quantize_per_tensor(torch.arange(6.0).reshape(2, 3), 0.5, 3, torch.qint8)


def conjugate() -> torch.Tensor:
    return torch.tensor([1 + 2j, 3 - 4j]).conj()


SHAPES = {
    "scalar": lambda: torch.tensor(3.5),
    "empty": lambda: torch.empty(0),
    "empty in one dimension": lambda: torch.empty(3, 0, 2),
    "transposed": lambda: torch.arange(6.0).reshape(2, 3).t(),
    "every other": lambda: torch.arange(12.0)[::2],
    "channels last": lambda: torch.arange(48.0).reshape(2, 3, 2, 4).contiguous(memory_format=torch.channels_last),
    "expanded": lambda: torch.arange(3.0).reshape(3, 1).expand(3, 4),
    "conjugate": conjugate,
    "negative": lambda: torch.tensor([1 + 2j, 3 - 4j]).conj().imag,
    "sparse coo": lambda: torch.eye(3).to_sparse().coalesce(),
    "sparse csr": lambda: torch.eye(3).to_sparse_csr(),
    "quantized": quantized,
}
SHAPES |= {str(dtype).removeprefix("torch."): (lambda dtype=dtype: values_of(dtype)) for dtype in DTYPES}


@pytest.fixture(params=SHAPES)
def kind(request) -> str:
    return request.param


@pytest.fixture(params=["map", "read"])
def how(request, monkeypatch) -> str:
    monkeypatch.setenv("HYPERTUNER_READ", request.param)
    return request.param


class Holder(nn.Module):
    """A module whose buffer is whatever a test asks for, beside an ordinary parameter."""

    def __init__(self, value: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(4.0))
        self.register_buffer("value", value)


def same(found: torch.Tensor, saved: torch.Tensor) -> bool:
    if (found.dtype, found.layout, found.shape) != (saved.dtype, saved.layout, saved.shape):
        return False
    if saved.is_quantized:
        return torch.equal(found.int_repr(), saved.int_repr()) and found.q_scale() == saved.q_scale()
    found, saved = found.to_dense(), saved.to_dense()
    bits = [tensor.resolve_conj().resolve_neg().contiguous().clone() for tensor in (found, saved)]
    return bytes(bits[0].untyped_storage()) == bytes(bits[1].untyped_storage())


@pytest.fixture
def saved(storage, kind) -> torch.Tensor:
    value = SHAPES[kind]()
    with hypertuner.new_run(name="r"):
        hypertuner.Saver(Holder(value)).save(step=1)
    return value


def test_every_kind_of_tensor_comes_back(saved, how, kind):
    assert same(hypertuner.load("r", weights=True)["value"], saved)
    assert same(hypertuner.load("r", weights=True, verify="full")["value"], saved)
    assert same(hypertuner.load("r").value, saved)
    assert same(hypertuner.load("r", verify="full").value, saved)

    blank = (
        torch.zeros_like(saved)
        if not saved.is_quantized
        else torch.quantize_per_tensor(torch.zeros(2, 3), 0.5, 3, torch.qint8)
    )
    model = Holder(blank)
    if kind != "sparse csr":  # torch cannot copy into one
        assert hypertuner.load("r", into=model).is_complete
        assert same(model.value, saved)
    assert list(hypertuner.load("r", weights=True, only="weight")) == ["weight"]


@pytest.mark.parametrize("kind", [name for name in SHAPES if not name.startswith(("sparse", "quant"))], indirect=True)
def test_every_strided_kind_comes_onto_the_meta_device(saved, how):
    model = Holder(torch.empty(saved.shape, dtype=saved.dtype, device="meta"))
    with torch.device("meta"):
        model.weight = nn.Parameter(torch.empty(4))
    assert hypertuner.load("r", into=model, verify="full").is_complete
    assert same(model.value, saved)
    model.value.clone()
    assert model.weight.tolist() == [0, 1, 2, 3]


def test_a_tensor_has_a_storage_of_its_own_so_that_saving_it_again_drags_nothing_along(storage, how, tmp_path):
    with hypertuner.new_run(name="r"):
        hypertuner.Saver(nn.ModuleList([nn.Linear(100, 100), nn.Linear(3, 3)])).save(step=1)
    small = hypertuner.load("r", weights=True)["1.weight"]
    assert small.untyped_storage().nbytes() == 36
    torch.save(small, tmp_path / "small.pt")
    assert (tmp_path / "small.pt").stat().st_size < 3000


def test_what_shares_memory_in_the_model_shares_it_when_loaded(storage, how):
    base = torch.arange(12.0)
    with hypertuner.new_run(name="r"):
        hypertuner.Saver({"all": base, "first": base[:4], "same": base, "rest": base[4:].reshape(2, 4)}).save(step=1)
    found = hypertuner.load("r", weights=True)
    found["all"][4] = -1
    assert found["rest"][0, 0] == -1
    assert found["same"].data_ptr() == found["all"].data_ptr()
    assert {value.untyped_storage().data_ptr() for value in found.values()} == {found["all"].data_ptr()}


def test_tensors_begin_where_vector_instructions_like_them_to(storage, how):
    with hypertuner.new_run(name="r"):
        hypertuner.Saver({str(n): torch.arange(float(n)) for n in range(1, 40)}).save(step=1)
    found = hypertuner.load("r", weights=True)
    assert all(value.data_ptr() % 64 == 0 for value in found.values()) or how == "read"
    assert all(value.tolist() == list(range(int(name))) for name, value in found.items())
