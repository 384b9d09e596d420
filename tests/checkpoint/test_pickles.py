import collections
import contextlib
import io
import os
import pickle
import struct
import sys
import time
import tracemalloc
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypertuner.checkpoint.format.pickles import globals_of, read
from hypertuner.checkpoint.format.stubs import Object, tensors_in
from hypertuner.checkpoint.format.table import TensorRow
from hypertuner.errors import CorruptFileError


def data_pkl(value) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    with zipfile.ZipFile(file) as archive:
        return archive.read("archive/data.pkl")


# What torch writes.


@pytest.mark.parametrize(
    ("tensor", "row"),
    [
        (torch.zeros(3, 2), TensorRow("strided", "0", "float32", (3, 2), (2, 1), 0)),
        (torch.zeros(3, 2, 2)[1:, :, 1].T, TensorRow("strided", "0", "float32", (2, 2), (2, 4), 5)),
        (torch.tensor(1.5, dtype=torch.bfloat16), TensorRow("strided", "0", "bfloat16", (), (), 0)),
        (torch.zeros(1).expand(4), TensorRow("strided", "0", "float32", (4,), (0,), 0)),
        (torch.zeros(2).to(torch.float8_e4m3fn), TensorRow("strided", "0", "float8_e4m3fn", (2,), (1,), 0)),
        (torch.zeros(2, dtype=torch.uint16), TensorRow("strided", "0", "uint16", (2,), (1,), 0)),
        (torch.zeros(0, 3, dtype=torch.bool), TensorRow("strided", "0", "bool", (0, 3), (3, 1), 0)),
        (torch.nn.Parameter(torch.zeros(2)), TensorRow("strided", "0", "float32", (2,), (1,), 0)),
        (torch.nn.Buffer(torch.zeros(2)), TensorRow("strided", "0", "float32", (2,), (1,), 0)),
        (torch.zeros(2, dtype=torch.complex64).conj(), TensorRow("other", "0", "complex64", (2,), (1,), 0)),
        (torch.zeros(2, device="meta"), TensorRow("other", None, "float32", (2,), (1,), 0)),
        (torch.eye(2).to_sparse(), TensorRow("sparse_coo", None, "float32", (2, 2), (), 0)),
    ],
    ids=lambda value: value.kind if isinstance(value, TensorRow) else str(value.dtype),
)
def test_a_tensor_is_read_as_its_row(tensor, row):
    assert read(data_pkl({"t": tensor})).root == {"t": row}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_that_only_torch_reads_are_named_as_such():
    csr = torch.eye(2).to_sparse_csr()
    quantized = torch.quantize_per_tensor(torch.ones(2), 0.1, 1, torch.qint8)
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    root = read(data_pkl({"csr": csr, "csc": torch.eye(2).to_sparse_csc(), "q": quantized, "nested": nested})).root
    assert [root[name].kind for name in root] == ["sparse_csr", "other", "quantized", "other"]
    assert (root["q"].dtype, root["q"].shape) == ("qint8", (2,))
    assert (root["csr"].dtype, root["csr"].shape) == ("float32", (2, 2))


def test_a_parameter_with_attributes_of_its_own_is_its_tensor():
    parameter, plain = torch.nn.Parameter(torch.zeros(2)), torch.zeros(3)
    parameter.decay, plain.note = 0.1, "x"
    root = read(data_pkl([parameter, plain])).root
    assert [(row.kind, row.shape) for row in root] == [("strided", (2,)), ("strided", (3,))]


def test_a_tensor_of_a_class_of_its_own_is_torchs_to_read():
    class Named(torch.Tensor):
        pass

    Named.__module__, Named.__qualname__ = __name__, "Named"
    sys.modules.setdefault(__name__, sys.modules[pickle.__name__])
    globals()["Named"] = Named
    assert read(data_pkl(torch.zeros(2).as_subclass(Named))).root.kind == "other"


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8]
)
def test_every_old_dtype_has_its_name(dtype):
    assert read(data_pkl(torch.zeros(1, dtype=dtype))).root.dtype == str(dtype).removeprefix("torch.")


def test_optimizer_state_and_bytes_and_random_state_are_read():
    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.zeros(1, 2)).sum().backward()
    optimizer.step()
    root = read(data_pkl({"o": optimizer.state_dict(), "m": bytes(range(256)), "e": b"", "s": torch.Size([2])})).root
    assert root["m"] == bytes(range(256))
    assert (root["e"], root["s"]) == (b"", (2,))
    assert root["o"]["state"][0]["exp_avg"].shape == (2, 2)
    assert root["o"]["param_groups"][0]["lr"] == 0.001


def test_a_module_has_the_names_of_its_state_dict():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.BatchNorm1d(2)))
    found = read(data_pkl(net))
    assert list(tensors_in(found.root, "x")["state_dict"]) == list(net.state_dict())
    assert "torch.nn.modules.batchnorm.BatchNorm1d" in found.globals


# What Python writes.

KEYS = st.text(max_size=3) | st.integers(-(2**59), 2**59) | st.binary(max_size=3) | st.none()
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=6)
    | st.binary(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4).map(collections.OrderedDict)
    ),
    max_leaves=15,
)


@settings(max_examples=300, deadline=None)
@given(value=PLAIN, protocol=st.integers(1, 5))
def test_plain_values_are_read_as_pickle_reads_them(value, protocol):
    data = pickle.dumps(value, protocol=protocol)
    if protocol > 2:
        found = read(data + b"rest")
        assert found.root == value
        assert found.end == len(data)
    else:
        assert read(data).root == pickle.loads(data)


@settings(max_examples=500, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_pickle_or_a_corrupt_file(data):
    with contextlib.suppress(CorruptFileError):
        read(b"\x80\x02" + data)


REAL = data_pkl({"state_dict": collections.OrderedDict(a=torch.zeros(2, 3), b=torch.eye(2).to_sparse()), "m": b"\xff"})


@settings(max_examples=500, deadline=None)
@given(places=st.lists(st.tuples(st.integers(0, len(REAL) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_pickle_is_another_pickle_or_a_corrupt_file(places):
    data = bytearray(REAL)
    for place, byte in places:
        data[place] = byte
    with contextlib.suppress(CorruptFileError):
        tensors_in(read(bytes(data)).root, "x")


def test_a_pickle_cut_anywhere_is_a_corrupt_file():
    for length in range(len(REAL)):
        with pytest.raises(CorruptFileError, match="damaged"):
            read(REAL[:length])


# What an enemy writes.

EVENTS: list[str] = []
WATCHED = ("pickle.find_class", "os.system", "exec", "compile", "import", "subprocess.Popen", "open", "socket.connect")
sys.addaudithook(lambda event, _: EVENTS.append(event) if event in WATCHED else None)


class Reduces:
    def __init__(self, callee, *arguments):
        self.call = (callee, arguments)

    def __reduce__(self):
        return self.call


def code_in_a_pickle(canary) -> dict[str, bytes]:
    command = f"touch {canary}"
    nested = pickle.dumps(Reduces(os.system, command), 2)
    return {
        "os.system": pickle.dumps(Reduces(os.system, command), 2),
        "os.system, protocol 0": pickle.dumps(Reduces(os.system, command), 0),
        "os.system, protocol 5": pickle.dumps(Reduces(os.system, command), 5),
        "exec": pickle.dumps(Reduces(exec, f"open({str(canary)!r}, 'w')"), 2),
        "eval": pickle.dumps({"state_dict": Reduces(eval, f"open({str(canary)!r}, 'w')")}, 2),
        "nested": pickle.dumps(Reduces(pickle.loads, nested), 2),
        "INST": f"(S'{command}'\nios\nsystem\n.".encode(),
        "OBJ": f"(cos\nsystem\nS'{command}'\no.".encode(),
        "NEWOBJ": b"\x80\x02cos\nsystem\nX" + struct.pack("<I", len(command)) + command.encode() + b"\x85\x81.",
        "dotted": b"\x80\x04\x8c\x08builtins\x8c\x0deval.__call__\x93\x8c\x011\x85R.",
        "pkgutil": b"\x80\x02cpkgutil\nresolve_name\nX\x09\x00\x00\x00os:system\x85RX"
        + struct.pack("<I", len(command)) + command.encode() + b"\x85R.",
        "setstate": b"\x80\x02ccollections\nOrderedDict\n)R}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsb.",
        "then broken": pickle.dumps(Reduces(os.system, command), 2)[:-1] + b"\xff",
    }  # fmt: skip


@pytest.mark.parametrize("name", code_in_a_pickle("x"))
def test_code_in_a_pickle_is_listed_and_never_run(tmp_path, name):
    canary = tmp_path / "canary"
    data = code_in_a_pickle(canary)[name]
    for codec in ("latin-1", "raw-unicode-escape", "utf-8"):  # Python imports these on first use
        b"x".decode(codec)
    EVENTS.clear()
    try:
        found = globals_of(data)
    except CorruptFileError:
        found = None
    events = list(EVENTS)
    assert events == []
    assert not canary.exists()
    assert found is None if name == "then broken" else found
    assert found is None or any(word in " ".join(found) for word in ("system", "exec", "eval", "resolve_name", "loads"))


def test_what_would_be_called_can_be_looked_at():
    root = read(pickle.dumps({"x": Reduces(os.system, "true")}, 2)).root
    assert isinstance(root["x"], Object)
    assert (repr(root["x"].callee), root["x"].arguments) == (f"<{os.system.__module__}.system>", ("true",))


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def nested_tuples(depth: int) -> bytes:
    return b"\x80\x02)" + b"2\x86" * depth


BOMBS = {
    # hash() of a tuple of tuples of … takes 2**depth steps
    "hash": b"\x80\x02}(" + nested_tuples(60)[2:] + b"K\x01u.",
    "hash in a set": b"\x80\x04\x8f(" + nested_tuples(60)[2:] + b"\x90.",
    # all of these integers have one hash: a dict of them takes n**2 steps
    "collisions": b"\x80\x02}("
    + b"".join(b"\x8a\x0b" + (k * (2**61 - 1)).to_bytes(11, "little", signed=True) + b"N" for k in range(20_000))
    + b"u.",
    # a megabyte, encoded over and over
    "encode": b"\x80\x02c_codecs\nencode\nq\x00" + text("a" * 100_000) + b"q\x01" + text("latin1") + b"q\x020"
    + b"h\x00h\x01h\x02\x86R" * 5_000 + b".",
    "memo place": b"\x80\x02Nr\xff\xff\xff\xff.",
    "claimed text": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x",
    "claimed bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**63 - 1) + b"x",
    "claimed bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x",
    "claimed integer": b"\x80\x02\x8b\xff\xff\xff\xff1",
    "many digits": b"I" + b"9" * 2_000_000 + b"\n.",
    "many digits, float": b"F" + b"9" * 2_000_000 + b"\n.",
    "deep lists": b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".",
    "deep tuples": b"\x80\x02)" + b"\x85" * 100_000 + b".",
    "deep calls": b"\x80\x02cos\nsystem\nq\x000)" + b"h\x002\x86R" * 10 + b"h\x00)R" + b"\x85h\x00)R0" * 20_000 + b".",
    "deep rebuilding": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\nq\x00ctorch\nTensor\nq\x010)"
    + b"\x85" * 10 + b"h\x00h\x01)\x87" + b"0h\x00h\x01h\x00h\x01)\x87\x87R.",
    "marks": b"\x80\x02" + b"(" * 100_000,
    "endless empties": b"\x80\x02(" + b"}" * 100_000 + b"t.",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_little_time_and_memory(name):
    data = BOMBS[name]
    tracemalloc.start()
    began = time.process_time()
    with contextlib.suppress(CorruptFileError):
        tensors_in(read(data).root, "bomb")
    seconds, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 10  # under tracemalloc, on a loaded machine: the point is that it is not for ever
    assert peak < 1_000_000 + 200 * len(data)


def test_containers_that_hold_one_another_many_times_are_listed_in_bounded_time():
    tensor = data_pkl(torch.zeros(2))[2:-1]
    doubled = b"\x80\x02" + tensor + b"\x85" + b"2\x86" * 40 + b"."  # 2**40 names for one tensor
    nodes = b"\x80\x02" + b"".join(b"]r" + struct.pack("<I", 1000 + node) for node in range(12))
    every = b"".join(b"j" + struct.pack("<I", 1000 + node) for node in range(12))
    for node in range(12):  # 12! ways through nodes that each hold all
        nodes += b"j" + struct.pack("<I", 1000 + node) + b"(" + every + (tensor if node == 5 else b"") + b"e0"
    for data in (doubled, nodes + b"j" + struct.pack("<I", 1000) + b"."):
        began = time.process_time()
        found = tensors_in(read(data).root, "x")
        assert [len(rows) for rows in found.values()] == [1]
        assert time.process_time() - began < 30


def test_a_module_that_is_used_twice_has_both_names():
    net = torch.nn.Sequential(torch.nn.Linear(1, 1))
    net.append(net[0])
    assert list(tensors_in(read(data_pkl(net)).root, "x")["state_dict"]) == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_a_circle_ends():
    circle: dict = {"t": torch.zeros(1)}
    circle["self"] = {"again": circle, "u": torch.zeros(1)}
    found = tensors_in(read(data_pkl(circle)).root, "x")
    assert {part: list(rows) for part, rows in found.items()} == {"": ["t"], "self": ["u"]}


@pytest.mark.parametrize(
    "figures",
    [
        (0, (-1,), (1,)),
        (-1, (1,), (1,)),
        (0, (2,), (1, 1)),
        (0, (True,), (1,)),
        (0, (2.0,), (1,)),
        (0, (2**63,), (1,)),
        (0, (1,) * 65, (1,) * 65),
        (0, [2], (1,)),
        ("0", (2,), (1,)),
    ],
    ids=str,
)
def test_a_tensor_that_cannot_be_is_a_corrupt_file(figures):
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x02tQ"
    offset, shape, stride = (pickle.dumps(part, 2)[2:-1] for part in figures)
    # Each part was pickled by itself: its places in the memo are its own.
    data = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + shape + stride + b"\x89}tR."
    with pytest.raises(CorruptFileError, match="tensor"):
        read(data)


def test_a_refused_pickle_says_where_and_that_nothing_was_run():
    with pytest.raises(CorruptFileError, match=r"model\.pt: byte 3 of the pickle .*\n.*Nothing of it was run"):
        read(b"\x80\x02\x82\x01.", "model.pt")
