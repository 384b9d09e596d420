"""Round trips of what people train: weights bit for bit, and the object where it can be pickled."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import nn

import hypertuner
from hypertuner.store import current

TIMM_FOLDER = Path(__file__).parents[2] / ".deps" / "timm"

# Torch's own notices about features that models of the field use.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:.*{what}.*")
    for what in ("torch.jit", "Sparse CSR", "quantize", "torch.ao.quantization", "TypedStorage")
]


@pytest.fixture(autouse=True)
def fresh_process_run(monkeypatch, storage):
    """Each test is a run of its own."""
    with hypertuner.new_run():
        yield


def bits(tensor: torch.Tensor) -> tuple:
    """What makes two tensors equal bit for bit, NaN included."""
    if tensor.layout == torch.sparse_coo:
        tensor = tensor.coalesce()
        return ("coo", tuple(tensor.shape), bits(tensor.indices()), bits(tensor.values()))
    if tensor.layout == torch.sparse_csr:
        return (
            "csr",
            tuple(tensor.shape),
            bits(tensor.crow_indices()),
            bits(tensor.col_indices()),
            bits(tensor.values()),
        )
    if tensor.is_quantized:
        return ("quantized", str(tensor.qscheme()), bits(tensor.int_repr()), bits(tensor.dequantize()))
    raw = tensor.detach().contiguous().reshape(-1)
    raw = raw.view(torch.uint8) if raw.numel() else raw
    return (str(tensor.dtype), tuple(tensor.shape), tensor.stride() if tensor.dim() else (), bytes(raw.tolist()))


def same(saved: dict, model_state: dict) -> None:
    assert list(saved) == list(model_state)
    for name, tensor in model_state.items():
        if isinstance(tensor, torch.Tensor):
            assert bits(saved[name]) == bits(tensor), name
        else:
            assert repr(saved[name]) == repr(tensor), name


def saved(model, **kwargs):
    return hypertuner.Saver(model, **kwargs).save()


def both_ways(path) -> tuple[dict, dict]:
    """The state as torch.load and as hypertuner.load give it."""
    return torch.load(path)["state_dict"], hypertuner.load(path, weights=True)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 5)
        self.body = nn.Linear(5, 5)
        self.head = nn.Linear(5, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(self.body(self.embedding(x)))


def test_tied_weights_stay_tied():
    model = Tied()
    path = saved(model).path
    for state in both_ways(path):
        same(state, model.state_dict())
        assert state["head.weight"].data_ptr() == state["embedding.weight"].data_ptr()
    loaded = hypertuner.load(path)
    assert loaded.head.weight is loaded.embedding.weight
    assert torch.equal(loaded(torch.arange(11)), model(torch.arange(11)))
    assert ["embedding.weight", "head.weight"] in hypertuner.inspect(path).ties


class Views(nn.Module):
    """Parameters that are views of one storage, and a small view of a big one."""

    def __init__(self):
        super().__init__()
        flat = torch.randn(64)
        self.a = nn.Parameter(flat[:32].view(4, 8))
        self.b = nn.Parameter(flat[16:].view(6, 8))
        self.small = nn.Parameter(torch.randn(1_000_000)[5000:5010])
        self.register_buffer("transposed", torch.randn(3, 7).t())
        self.register_buffer("expanded", torch.randn(3, 1).expand(3, 4))


def test_views_keep_what_they_share_and_a_small_view_takes_no_big_storage_along():
    model = Views()
    path = saved(model).path
    for state in both_ways(path):
        same(state, model.state_dict())
        state["a"][2, 0] = 7.0
        assert state["b"][0, 0] == 7.0
    assert path.stat().st_size < 100_000
    same(hypertuner.load(path).state_dict(), model.state_dict())


def test_two_dtypes_of_one_storage_are_saved():
    flat = torch.arange(8, dtype=torch.float32)
    tensors = {"floats": flat, "ints": flat.view(torch.int32)}
    for state in both_ways(saved(tensors).path):
        same(state, tensors)


DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.complex64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.uint16,
]  # fmt: skip


def test_every_dtype_and_odd_shape_comes_back_bit_for_bit():
    tensors = {}
    for dtype in DTYPES:
        raw = torch.randint(0, 256 if dtype != torch.bool else 2, (5 * dtype.itemsize,), dtype=torch.uint8)
        tensors[f"{dtype}"] = raw.view(dtype)
    tensors["nan"] = torch.tensor([math.nan, math.inf, -math.inf, -0.0])
    tensors["scalar"] = torch.tensor(3.5)
    tensors["empty"] = torch.empty(0, 3)
    tensors["strided"] = torch.randn(4, 6)[::2, ::3]
    tensors["conj"] = torch.randn(3, dtype=torch.complex64).conj()
    path = saved(tensors).path
    for state in both_ways(path):
        same({**state, "conj": None}, {**tensors, "conj": None})
        assert torch.equal(state["conj"], tensors["conj"])
    assert isinstance(hypertuner.load(path), dict)


def test_sparse_and_quantised_tensors_come_back():
    dense = torch.tensor([[0.0, 2.0], [3.0, 0.0]])
    tensors = {
        "coo": dense.to_sparse(),
        "csr": dense.to_sparse_csr(),
        "plain": dense,
    }
    for state in both_ways(saved(tensors).path):
        same(state, tensors)


def test_a_quantised_model_comes_back():
    torch.backends.quantized.engine = next(e for e in torch.backends.quantized.supported_engines if e != "none")
    model = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 3)), {nn.Linear}, torch.qint8)
    path = saved(model).path
    x = torch.randn(2, 4)
    assert torch.equal(hypertuner.load(path)(x), model(x))
    fresh = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 3)), {nn.Linear}, torch.qint8)
    hypertuner.load(path, into=fresh)
    assert torch.equal(fresh(x), model(x))


def test_lazy_and_meta_parameters_are_a_clear_error_and_leave_no_file(storage):
    with pytest.raises(hypertuner.CheckpointError, match=r"lazy parameter.*\n.*Run one batch"):
        saved(nn.Sequential(nn.LazyLinear(3)))
    with hypertuner.new_run(), pytest.raises(hypertuner.CheckpointError, match="meta device"):
        saved(nn.Linear(3, 3, device="meta"))
    assert not list(storage.rglob("*.pt"))


def test_weights_go_into_a_model_built_on_the_meta_device():
    model = nn.Linear(3, 3)
    path = saved(model).path
    with torch.device("meta"):
        built = nn.Linear(3, 3)
    assert hypertuner.load(path, into=built).share == 1.0
    same(built.state_dict(), model.state_dict())


class WithBuffers(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("scale", torch.rand(3))
        self.register_buffer("rotary", torch.rand(7), persistent=False)
        self.table = torch.rand(2, 2)
        self.twin = self.table
        self.inner = nn.ModuleDict({"a": nn.Linear(3, 3)})
        self.anything = {"list": [self.table, 3], "name": "x"}

    def forward(self, x):
        return self.inner["a"](self.norm(x)) * self.scale + self.rotary[:3] + self.table.sum()


def test_buffers_that_the_state_leaves_out_come_back_with_the_object():
    model = WithBuffers().eval()
    path = saved(model).path
    assert "rotary" not in torch.load(path)["state_dict"]
    loaded = hypertuner.load(path)
    assert torch.equal(loaded.rotary, model.rotary)
    assert loaded.twin is loaded.table
    assert loaded.anything["list"][0] is loaded.table
    assert not loaded.training
    x = torch.randn(5, 3)
    assert torch.equal(loaded(x), model(x))


def test_frozen_parameters_stay_frozen():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    loaded = hypertuner.load(saved(model).path)
    assert [p.requires_grad for p in loaded.parameters()] == [False, False, True, True]


class OddState(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.seen = 0

    def get_extra_state(self):
        return {"seen": self.seen, "when": Odd(self.seen)}

    def set_extra_state(self, state):
        assert state["when"].value == state["seen"]
        self.seen = state["seen"]


class Odd:
    def __init__(self, value):
        self.value = value


def test_odd_extra_state_is_kept_apart_and_comes_back_to_its_owner():
    model = OddState()
    model.seen = 42
    path = saved(model).path
    assert list(torch.load(path)["state_dict"]) == ["fc.weight", "fc.bias"]
    fresh = OddState()
    hypertuner.load(path, into=fresh)
    assert fresh.seen == 42
    assert hypertuner.load(path).seen == 42


class PlainExtra(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.scale = 1.0

    def get_extra_state(self):
        return {"scale": self.scale, "history": [torch.ones(2), 3]}

    def set_extra_state(self, state):
        self.scale = state["scale"]


def test_plain_extra_state_is_read_by_torch_alone():
    model = PlainExtra()
    model.scale = 2.5
    path = saved(model).path
    assert torch.load(path)["state_dict"]["_extra_state"]["scale"] == 2.5
    fresh = PlainExtra()
    hypertuner.load(path, into=fresh)
    assert fresh.scale == 2.5


def test_a_model_that_cannot_be_pickled_is_saved_as_weights_with_one_warning(capfd):
    class Local(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)
            self.act = lambda x: x

    model = Local()
    saver = hypertuner.Saver(model)
    saver.save(0)
    path = saver.save(1).path
    said = capfd.readouterr().err
    assert said.count("cannot be saved") == 1
    assert "into=Local" in said
    same(hypertuner.load(path, weights=True), model.state_dict())
    with pytest.raises(
        hypertuner.CheckpointError, match=r"holds weights only: .*use def|holds weights only: .*top of its module"
    ) as refused:
        hypertuner.load(path)
    assert ".." not in str(refused.value)
    fresh = Local()
    assert hypertuner.load(path, into=fresh).is_complete
    same(fresh.state_dict(), model.state_dict())


def test_a_torchscript_module_comes_back_without_its_weights_stored_twice():
    model = torch.jit.script(nn.Sequential(nn.Linear(400, 400), nn.ReLU(), nn.BatchNorm1d(400)))
    path = saved(model).path
    assert path.stat().st_size < 400 * 400 * 4 * 1.1
    same(hypertuner.load(path, weights=True), model.state_dict())
    x = torch.randn(4, 400)
    assert torch.equal(hypertuner.load(path).eval()(x), model.eval()(x))


def test_a_scripted_part_of_a_model_comes_back():
    model = nn.Sequential(nn.Linear(3, 3), torch.jit.script(nn.Linear(3, 2)))
    path = saved(model).path
    x = torch.randn(2, 3)
    assert torch.equal(hypertuner.load(path)(x), model(x))


@pytest.mark.parametrize("wrap", ["compile", "data_parallel", "inner"])
def test_prefixes_of_wrappers_do_not_reach_the_file(wrap):
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    if wrap == "compile":
        model = torch.compile(net)
    elif wrap == "data_parallel":
        model = nn.DataParallel(net)
    else:
        model = nn.Sequential(torch.compile(net[0]), net[1])
    path = saved(model).path
    assert list(torch.load(path)["state_dict"]) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    loaded = hypertuner.load(path)
    assert type(loaded) is nn.Sequential
    assert type(loaded[0]) is nn.Linear
    x = torch.randn(2, 3)
    assert torch.equal(loaded(x), net(x))
    fresh = torch.compile(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)))
    assert hypertuner.load(path, into=fresh).is_complete
    assert torch.equal(fresh._orig_mod(x), net(x))


def test_a_gan_is_one_model_of_two_parts():
    parts = {"G": nn.Linear(2, 3), "D": nn.Linear(3, 1)}
    path = saved(parts).path
    assert list(torch.load(path)["state_dict"]) == ["G.weight", "G.bias", "D.weight", "D.bias"]
    loaded = hypertuner.load(path)
    same(loaded["D"].state_dict(), parts["D"].state_dict())
    same(hypertuner.load(path, part="G").state_dict(), parts["G"].state_dict())
    same(hypertuner.load(path, part="G", weights=True), parts["G"].state_dict())
    fresh = {"G": nn.Linear(2, 3), "D": nn.Linear(3, 1)}
    assert hypertuner.load(path, into=fresh).is_complete
    lone = nn.Linear(3, 1)
    hypertuner.load(path, into=lone, part="D")
    same(lone.state_dict(), parts["D"].state_dict())
    with pytest.raises(hypertuner.CheckpointError, match="it has: 'D', 'G'"):
        hypertuner.load(path, part="X")


def test_a_second_saver_of_another_model_is_refused_and_of_the_same_is_not():
    net = nn.Linear(2, 2)
    hypertuner.Saver(net)
    hypertuner.Saver(torch.compile(net))
    with pytest.raises(hypertuner.CheckpointError, match=r"a second one, of another model \(Linear\)") as refused:
        hypertuner.Saver(nn.Linear(2, 2))
    assert "a cell that is run again" in str(refused.value)
    assert "{'first'" in str(refused.value)


def test_what_does_not_fit_is_refused_with_nothing_changed_and_reported_otherwise():
    path = saved(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))).path
    other = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 5))
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(hypertuner.MismatchError, match=r"1\.weight 2×8→5×8"):
        hypertuner.load(path, into=other)
    same(other.state_dict(), before)
    report = hypertuner.load(path, into=other, strict=False)
    assert report.loaded == ("0.weight", "0.bias")
    assert [m.name for m in report.mismatched] == ["1.weight", "1.bias"]
    assert 0.6 < report.share < 0.62


def test_weights_that_hardly_fit_are_never_loaded_in_silence():
    path = saved(nn.Linear(8, 8)).path
    with pytest.raises(hypertuner.MismatchError, match="hardly fit"):
        hypertuner.load(path, into=nn.Sequential(nn.Conv2d(1, 1, 3)), strict=False)


def test_a_hugging_face_model_comes_back():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=50, n_positions=32)
    model = transformers.GPT2LMHeadModel(config).eval()
    path = saved(model).path
    for state in both_ways(path):
        same(state, model.state_dict())
    loaded = hypertuner.load(path)
    tokens = torch.arange(10)[None]
    assert torch.equal(loaded(tokens).logits, model(tokens).logits)
    assert loaded.lm_head.weight is loaded.transformer.wte.weight
    assert loaded.config.n_embd == 16


TIMM = """
import sys
sys.path.append(sys.argv[1])
import torch

# A torchvision that was built for another torch lacks its compiled operators, and asks for two of them when it is
# imported. timm calls neither: declaring them is enough.
if not hasattr(torch.ops.torchvision, "nms"):
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import timm
import hypertuner

model = timm.create_model("resnet10t", pretrained=False, num_classes=7).eval()
path = hypertuner.Saver(model).save().path
for state in (torch.load(path)["state_dict"], hypertuner.load(path, weights=True)):
    assert list(state) == list(model.state_dict())
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
x = torch.randn(1, 3, 64, 64)
assert torch.equal(hypertuner.load(path)(x), model(x))
print("equal", len(state))
"""


def test_a_timm_model_comes_back(run_script):
    if not TIMM_FOLDER.is_dir():
        pytest.skip("timm is not there: `make test` installs it beside the environment")
    assert run_script(TIMM, TIMM_FOLDER).stdout.startswith("equal")


def test_the_model_the_file_and_the_run_agree():
    with hypertuner.new_run(learning_rate=0.5) as args:
        logger = hypertuner.Logger()
        logger.log({"val_loss": 0.25, "note": "fine"}, 7)
        args.learning_rate = 0.125
        done = saved(nn.Linear(2, 2))
        name = current.run().name
    assert done.step == 7
    assert done.run == name
    loaded = torch.load(done.path)
    assert loaded["format"] == "hypertuner/1"
    assert loaded["hyperparameters"] == {"learning_rate": 0.125}
    assert loaded["run"]["metrics"] == {"val_loss": 0.25, "note": "fine"}
    index = hypertuner.inspect(done.path)
    assert index.run["name"] == name
    assert index.hyperparameters == {"learning_rate": 0.125}
    assert index.environment["packages"]["torch"] == torch.__version__
