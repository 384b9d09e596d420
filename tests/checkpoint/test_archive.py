import os
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils.serialization import config as torch_config

from hypertuner.checkpoint.format import sealing, table
from hypertuner.checkpoint.format.archive import Archive, Index, StorageRow, TensorRow, inspect, kind_of, seal, verify
from hypertuner.errors import CorruptFileError

KEY = b"k" * 32
HEADER = {
    "run": {"name": "brave-otter", "step": 1200, "attempt": 1},
    "hyperparameters": {"lr": 0.1, "layers": [64, 64]},
    "metrics": {"loss": 0.25},
    "parent": None,
    "environment": {"torch": "2.13", "device": "cpu"},
    "recipe": {"class": "train.Net", "sources": {"train": "class Net: ..."}},
}


def document(**parts):
    torch.manual_seed(0)
    weight = torch.randn(4, 5)
    state = OrderedDict([("fc.weight", weight), ("head.weight", weight), ("fc.bias", torch.randn(4))])
    return {
        "format": "hypertuner/1",
        "state_dict": state,
        "hyperparameters": {"lr": 0.1},
        "module": b"\x80\x02 the module's own pickle \xff",
        **parts,
    }


def sealed(path: Path, content=None, header=HEADER, key: bytes | None = KEY) -> Path:
    torch.save(document() if content is None else content, path)
    with path.open("r+b") as file:
        seal(file, header, key)
    return path


def reseal_with_the_old_mark(path: Path, content, header=HEADER) -> Path:
    """What an enemy can do who has the file and not the key: everything is made anew, and the mark is copied."""
    with Archive.open(path) as archive:
        old = archive.mark
    sealed(path, content, header, key=None)
    with Archive.open(path) as archive:
        directory, seal_found = archive.directory, sealing.read_seal(archive.directory.comment)
        count, start, nbytes, end = len(archive.members), directory.start, directory.nbytes, directory.end
    with path.open("r+b") as file:
        file.seek(end)
        file.write(sealing.sealed_tail(count, start, nbytes, seal_found._replace(mark=old)))
    return path


# What is sealed stays a torch file.


@pytest.mark.parametrize("options", [{}, {"mmap": True}, {"weights_only": False}, {"map_location": "meta"}], ids=str)
@pytest.mark.parametrize("offsets_calculated", [False, True])
def test_torch_loads_a_sealed_file_as_it_loads_its_own(tmp_path, options, offsets_calculated):
    path = sealed(tmp_path / "model.pt")
    with torch_config.patch({"load.calculate_storage_offsets": offsets_calculated}):
        loaded = torch.load(path, **options)
    assert loaded["module"] == document()["module"]
    for name, tensor in document()["state_dict"].items():
        assert loaded["state_dict"][name].shape == tensor.shape
        if "map_location" not in options:
            assert torch.equal(loaded["state_dict"][name], tensor)


def test_a_process_without_hypertuner_loads_a_sealed_file(tmp_path):
    path = sealed(tmp_path / "model.pt")
    code = (
        "import sys, torch; print(torch.load(sys.argv[1])['hyperparameters']); assert 'hypertuner' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, path], cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'lr': 0.1}"


def test_zip_tools_find_a_sealed_file_whole(tmp_path):
    path = sealed(tmp_path / "model.pt")
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[-1] == "model/hypertuner.json"
        assert archive.comment.startswith(b"hypertuner/1 xxh3-128=")


def test_unzip_finds_a_sealed_file_whole(tmp_path):
    path = sealed(tmp_path / "model.pt")
    try:
        done = subprocess.run(["unzip", "-t", path], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("unzip is not installed")
    assert done.returncode == 0, done.stdout


def test_a_file_saved_to_an_open_file_can_be_sealed_in_place(tmp_path):
    path = tmp_path / "model.pt"
    with path.open("w+b", buffering=0) as file:
        torch.save(document(), file)
        index = seal(file, HEADER, KEY)
        assert file.tell() == path.stat().st_size
    assert inspect(path) == index


def test_sealing_twice_is_refused_and_changes_nothing(tmp_path):
    path = sealed(tmp_path / "model.pt")
    before = path.read_bytes()
    with path.open("r+b") as file, pytest.raises(ValueError, match="sealed already"):
        seal(file, HEADER, KEY)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("header", "error"),
    [
        ({"hyperparameters": {"path": Path("x")}}, TypeError),
        ({"hyperparameters": [1]}, TypeError),
        ({"tensors": {}}, ValueError),
    ],
)
def test_a_header_that_cannot_be_told_is_refused_and_changes_nothing(tmp_path, header, error):
    path = tmp_path / "model.pt"
    torch.save(document(), path)
    before = path.read_bytes()
    with path.open("r+b") as file, pytest.raises(error):
        seal(file, header)
    assert path.read_bytes() == before


# The index.


def test_inspect_tells_the_whole_story(tmp_path):
    index = inspect(sealed(tmp_path / "model.pt"))
    assert index.format == "hypertuner/1"
    assert {key: getattr(index, key) for key in HEADER} == HEADER
    assert index.ties == [["fc.weight", "head.weight"]]
    assert index.state_dict["fc.weight"] == TensorRow("strided", "0", "float32", (4, 5), (5, 1), 0)
    assert len(index.storages) == 2 and index.storages["0"].nbytes == 80


def test_reading_a_file_does_not_import_torch(tmp_path):
    path = sealed(tmp_path / "model.pt")
    code = (
        "import sys; from hypertuner.checkpoint.format.archive import inspect, verify\n"
        "inspect(sys.argv[1]); verify(sys.argv[1])\n"
        "print(sorted({'torch', 'numpy', 'pickle'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(table.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "[]"


def test_numbers_that_json_changes_come_back_as_they_were(tmp_path):
    told = {
        "clip": float("inf"),
        "low": float("-inf"),
        "seed": 2**80,
        "deep": [1, {"x": -(2**70)}, 2**64 - 1],
        "none": None,
    }
    index = inspect(sealed(tmp_path / "model.pt", header={"hyperparameters": told, "metrics": {"loss": float("nan")}}))
    assert index.hyperparameters == told
    assert index.metrics["loss"] != index.metrics["loss"]


def test_unknown_keys_of_this_format_are_kept(tmp_path):
    assert inspect(sealed(tmp_path / "model.pt", header={"later": {"x": 1}})).extra == {"later": {"x": 1}}


def test_a_file_of_a_newer_format_says_to_upgrade(tmp_path):
    path = sealed(tmp_path / "model.pt")
    with pytest.raises(CorruptFileError, match=r"newer hypertuner.*\n.*pip install --upgrade hypertuner"):
        table.from_json(b'{"format": "hypertuner/2"}', "model.pt")
    path.write_bytes(path.read_bytes().replace(b"hypertuner/1 xxh3", b"hypertuner/2 xxh3"))
    assert kind_of(path) == "hypertuner/2"
    with pytest.raises(CorruptFileError, match="newer hypertuner"):
        inspect(path)


DTYPES = [
    torch.float32,
    torch.float64,
    torch.bfloat16,
    torch.int64,
    torch.uint8,
    torch.bool,
    torch.complex64,
    torch.float16,
]
DTYPES += [torch.float8_e4m3fn, torch.uint16]


@st.composite
def tensors(draw):
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    count = 1
    for size in shape:
        count *= size
    whole = torch.arange(count + 3).remainder(2).to(dtype)
    view = whole[draw(st.integers(0, 3)) :][:count].reshape(shape)
    if view.dim() and draw(st.booleans()):
        view = view.transpose(0, -1)
    if view.dim() and view.shape[0] > 1 and draw(st.booleans()):
        view = view[::2]
    return view


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(state=st.dictionaries(NAMES, tensors(), max_size=5))
@example(state={"_buffers": torch.zeros(2), "_modules": torch.ones(3)})
def test_the_table_and_the_bytes_are_all_that_is_needed_to_read_a_tensor(tmp_path_factory, state):
    path = sealed(tmp_path_factory.mktemp("any") / "model.pt", {"state_dict": state})
    with Archive.open(path) as archive:
        assert archive.index.state_dict.keys() == state.keys()
        for name, row in archive.index.state_dict.items():
            assert row.kind == "strided"
            offset, nbytes = archive.storage(row.storage)
            archive.file.seek(offset)
            flat = torch.frombuffer(
                bytearray(archive.file.read(nbytes)) or bytearray(16), dtype=getattr(torch, row.dtype)
            )
            read = (
                flat.as_strided(row.shape, row.stride, row.offset)
                if 0 not in row.shape
                else flat[:0].reshape(row.shape)
            )
            assert read.dtype == state[name].dtype
            assert torch.equal(read.to(torch.complex128), state[name].to(torch.complex128))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(NAMES, JSON, max_size=3)


@st.composite
def indexes(draw):
    sizes = draw(st.lists(st.integers(1, 1000), min_size=1, max_size=4))
    storages = {
        str(key): StorageRow(
            draw(st.integers(0, 2**60)), 8 * size, draw(st.integers(0, 2**128 - 1).map("{:032x}".format))
        )
        for key, size in enumerate(sizes)
    }
    rows = {}
    for name in draw(st.lists(NAMES, unique=True, max_size=5)):
        key = draw(st.sampled_from(sorted(storages)))
        kind = draw(st.sampled_from(table.KINDS))
        count = storages[key].nbytes // 8
        length = draw(st.integers(0, count))
        if kind in ("strided", "quantized"):
            rows[name] = TensorRow(kind, key, "int64", (length, 1), (1, draw(st.integers(0, 9))), count - length)
        else:
            rows[name] = TensorRow(kind, None, "float32", (length,), draw(st.sampled_from([(), (1,)])), 0)
    return Index(
        format="hypertuner/1",
        run=draw(OBJECTS),
        hyperparameters=draw(OBJECTS),
        metrics=draw(OBJECTS),
        parent=draw(JSON),
        environment=draw(OBJECTS),
        recipe=draw(st.none() | OBJECTS),
        tensors={"state_dict": rows, "training": dict(rows)},
        storages=storages,
        ties=table.ties_of(rows),
        data_pkl_sha256="0" * 64,
        extra={f"x {key}": value for key, value in draw(OBJECTS).items()},
    )


@settings(max_examples=200, deadline=None)
@given(index=indexes())
def test_an_index_comes_back_from_its_json_as_it_was(index):
    assert table.from_json(table.to_json(index), "model.pt") == index


@settings(max_examples=300, deadline=None)
@given(index=indexes(), place=st.integers(0), byte=st.integers(0, 255))
def test_a_damaged_index_is_a_corrupt_file_or_another_checked_index(index, place, byte):
    text = bytearray(table.to_json(index))
    text[place % len(text)] = byte
    try:
        table.check(table.from_json(bytes(text), "model.pt"), "model.pt")
    except CorruptFileError as error:
        assert "model.pt" in str(error)


def test_tensors_are_named_by_their_part_and_path(tmp_path):
    shared = torch.zeros(3)
    training = {
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}, 1: {"exp_avg": shared}}},
        "ranks": [{"rng": torch.ones(1)}],
    }
    index = inspect(sealed(tmp_path / "model.pt", document(training=training)))
    assert set(index.tensors) == {"state_dict", "training"}
    assert set(index.tensors["training"]) == {
        "optimizer.state.0.exp_avg",
        "optimizer.state.1.exp_avg",
        "ranks.0.rng",
    }


def test_no_tensor_hides_another_of_the_same_path(tmp_path):
    state = {"a": {"b": torch.zeros(1)}, "a.b": torch.zeros(2)}
    assert set(inspect(sealed(tmp_path / "model.pt", document(state_dict=state))).state_dict) == {"a.b", "a.b#2"}


def test_the_index_takes_at_most_160_bytes_a_tensor(tmp_path):
    state = {f"encoder.layer.{i // 16}.attention.self.part{i % 16}.weight": torch.randn(7, 9) for i in range(1500)}
    path = tmp_path / "model.pt"
    torch.save({"state_dict": state}, path)
    before = path.stat().st_size
    with path.open("r+b") as file:
        seal(file, {}, KEY)
    assert path.stat().st_size - before <= 1024 + 160 * len(state)


# Verify.


def test_a_whole_file_is_verified_to_the_last_bit(tmp_path):
    path = sealed(tmp_path / "model.pt")
    found = verify(path)
    assert (found.path, found.format, found.level, found.tensors) == (path, "hypertuner/1", "every bit", 3)
    assert found.nbytes == path.stat().st_size


@pytest.mark.parametrize("key", [KEY, None], ids=["marked", "unmarked"])
def test_a_flipped_bit_anywhere_is_found_by_verify(tmp_path, key):
    content = (
        {"state_dict": {"w": torch.arange(300, dtype=torch.int16)}} if key else {"state_dict": {"w": torch.zeros(2)}}
    )
    path = sealed(tmp_path / "model.pt", content, {"run": {"name": "r"}}, key)
    missed = []
    with path.open("r+b", buffering=0) as file:
        original = file.read()
        for place, byte in enumerate(original):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), place)
                try:
                    verify(path)
                    missed.append((place, bit))
                except CorruptFileError:
                    pass
            os.pwrite(file.fileno(), bytes([byte]), place)
    assert missed == []
    assert verify(path).level == "every bit"


def test_verify_names_the_tensors_of_a_damaged_storage(tmp_path):
    path = sealed(tmp_path / "model.pt")
    content = bytearray(path.read_bytes())
    content[inspect(path).storages["0"].offset + 17] ^= 0x10
    path.write_bytes(content)
    assert torch.load(path)["format"] == "hypertuner/1"  # torch sees nothing
    with pytest.raises(CorruptFileError, match=r"'fc.weight', 'head.weight' \(member 'data/0'\)"):
        verify(path)


@pytest.mark.parametrize("member", ["data.pkl", "version", "hypertuner.json"])
def test_verify_names_a_damaged_member(tmp_path, member):
    path = sealed(tmp_path / "model.pt")
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(f"model/{member}")
    content = bytearray(path.read_bytes())
    names = struct.unpack_from("<2H", content, entry.header_offset + 26)
    content[entry.header_offset + 30 + sum(names)] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=member):
        verify(path)


def test_a_file_cut_at_any_length_is_corrupt_and_nothing_else(tmp_path):
    content = sealed(tmp_path / "model.pt").read_bytes()
    path = tmp_path / "cut.pt"
    path.write_bytes(content)
    for length in range(len(content) - 1, -1, -1):
        os.truncate(path, length)
        assert isinstance(kind_of(path), str)
        for read in (inspect, verify, Archive.open):
            with pytest.raises(CorruptFileError, match=r"cut\.pt"):
                read(path)


def test_a_plain_torch_file_is_checked_by_its_crcs(tmp_path):
    path = tmp_path / "plain.pt"
    torch.save(document(), path)
    assert verify(path).level == "crc32"
    content = bytearray(path.read_bytes())
    content[inspect(path).storages["1"].offset] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"'data/1' .*'fc.bias'"):
        verify(path)


def test_a_torch_file_without_crcs_is_said_to_be_checked_by_structure_only(tmp_path):
    path = tmp_path / "plain.pt"
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(document(), path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert verify(path).level == "structure"
    with path.open("r+b") as file:
        seal(file, HEADER, KEY)
    assert verify(path).level == "every bit"


# Files of others.


def test_a_plain_state_dict_is_the_part_state_dict(tmp_path):
    path = tmp_path / "plain.pt"
    torch.save(document()["state_dict"], path)
    index = inspect(path)
    assert (index.format, index.hyperparameters) == ("torch", {})
    assert list(index.state_dict) == ["fc.weight", "head.weight", "fc.bias"]
    assert index.ties == [["fc.weight", "head.weight"]]
    assert "torch._utils._rebuild_tensor_v2" in index.extra["globals"]


@pytest.mark.parametrize("zip_format", [True, False])
def test_a_whole_pickled_module_is_listed_without_being_run(tmp_path, zip_format):
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    path = tmp_path / "model.pt"
    torch.save(net, path, _use_new_zipfile_serialization=zip_format)
    index = inspect(path)
    assert index.format == kind_of(path) == ("torch" if zip_format else "torch-legacy")
    assert list(index.state_dict) == list(net.state_dict())
    assert {"torch.nn.modules.conv.Conv2d", "torch.nn.modules.batchnorm.BatchNorm2d"} <= set(index.extra["globals"])
    assert verify(path).tensors == 7


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_is_recognised_and_listed(tmp_path):
    path = tmp_path / "script.pt"
    torch.jit.script(torch.nn.Linear(2, 3)).save(str(path))
    assert kind_of(path) == inspect(path).format == "torchscript"
    assert set(inspect(path).state_dict) == {"weight", "bias"}


def test_safetensors_are_read_from_their_header(tmp_path):
    from safetensors.torch import save_file

    state = {"a": torch.ones(2, 3), "b": torch.zeros(4, dtype=torch.bfloat16), "c": torch.zeros(0, 2)}
    path = tmp_path / "model.safetensors"
    save_file(state, path, metadata={"format": "pt"})
    index = inspect(path)
    assert kind_of(path) == index.format == "safetensors"
    assert {name: row.shape for name, row in index.state_dict.items()} == {"a": (2, 3), "b": (4,), "c": (0, 2)}
    row = index.state_dict["a"]
    place = index.storages[row.storage]
    assert path.read_bytes()[place.offset :][: place.nbytes] == state["a"].numpy().tobytes()
    assert index.extra == {"metadata": {"format": "pt"}}
    assert verify(path).level == "structure"


def test_an_open_archive_goes_on_reading_the_file_that_it_opened(tmp_path):
    path = sealed(tmp_path / "model.pt")
    other = sealed(tmp_path / "other.pt", header={"run": {"name": "other"}})
    with Archive.open(path) as archive:
        other.replace(path)
        assert archive.index.run["name"] == "brave-otter"
        assert archive.pickle().root["hyperparameters"] == {"lr": 0.1}
    assert inspect(path).run["name"] == "other"


# Marks.


def test_a_file_is_marked_by_the_key_that_sealed_it_and_by_no_other(tmp_path):
    with Archive.open(sealed(tmp_path / "model.pt")) as archive:
        assert archive.is_marked_by(KEY)
        assert not archive.is_marked_by(b"j" * 32)
    with Archive.open(sealed(tmp_path / "model.pt", key=None)) as archive:
        assert archive.mark is None
        assert not archive.is_marked_by(KEY)


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (document(), HEADER),
        (document(module=b"\x80\x02 the module's own pickle \xfe"), HEADER),
        (document(), HEADER | {"recipe": {"class": "train.Evil", "sources": {"train": "class Net: ..."}}}),
        (document(), HEADER | {"recipe": {"class": "train.Net", "sources": {"train": "class Net: !!!"}}}),
        (document(), HEADER | {"run": {"name": "brave-otter", "step": 1201, "attempt": 1}}),
    ],
    ids=["nothing", "module bytes", "recipe", "sources", "run"],
)
def test_a_mark_does_not_outlive_a_change_of_what_it_covers(tmp_path, content, header):
    path = reseal_with_the_old_mark(sealed(tmp_path / "model.pt"), content, header)
    assert verify(path).level == "every bit"  # the enemy made every hash anew
    with Archive.open(path) as archive:
        assert archive.mark is not None
        assert archive.is_marked_by(KEY) == (header is HEADER and content["module"] == document()["module"])


# Large files.


@pytest.mark.slow
def test_a_file_beyond_4_gib_is_sealed_read_and_verified(tmp_path):
    path = tmp_path / "large.pt"
    state = {"big": torch.empty(4 * 2**30 + 64, dtype=torch.uint8), "after": torch.empty(16)}
    with torch.serialization.skip_data():  # leaves holes: the file is sparse
        torch.save({"state_dict": state}, path)
    with path.open("r+b") as file:
        seal(file, HEADER, KEY)
    assert verify(path).level == "every bit"
    with Archive.open(path) as archive:
        assert archive.storage("0")[1] == 4 * 2**30 + 64
        assert archive.storage("1")[0] > 4 * 2**30
    for calculated in (False, True):
        with torch_config.patch({"load.calculate_storage_offsets": calculated}):
            assert torch.load(path, mmap=True)["state_dict"]["after"].tolist() == [0.0] * 16
    with zipfile.ZipFile(path) as archive:
        assert b"brave-otter" in archive.read("large/hypertuner.json")


@pytest.mark.slow
def test_a_file_of_more_than_65535_members_is_sealed_read_and_verified(tmp_path):
    path = sealed(tmp_path / "many.pt", {"state_dict": {str(i): torch.zeros(1) for i in range(66_000)}}, {})
    assert verify(path).tensors == 66_000
    assert len(torch.load(path, mmap=True)["state_dict"]) == 66_000
    with zipfile.ZipFile(path) as archive:
        assert "many/hypertuner.json" in archive.namelist()
