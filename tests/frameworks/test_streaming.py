"""The file that is streamed is the file that torch.save writes, byte for byte, but for what is ours."""

from __future__ import annotations

import io
import re
import zipfile

import pytest
import torch
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import hypertuner
from hypertuner import files
from hypertuner.checkpoint.format import archive, streaming
from hypertuner.checkpoint.format.image import Image
from hypertuner.checkpoint.format.streaming import LayoutError
from hypertuner.frameworks.torch import layout as layouts
from hypertuner.frameworks.torch import saving
from hypertuner.frameworks.torch.storages import bytes_of

HEADER = {"run": {"name": "r"}, "hyperparameters": {"lr": 0.1}}


def written(path, document):
    """The document as hypertuner writes it."""
    with files.Draft(path) as draft:
        saving.write(draft.file, document, HEADER, None)
        draft.commit_new()
    return path


def by_torch(document):
    buffer = io.BytesIO()
    torch.save(document, buffer)
    return buffer.getvalue()


def serialization_id(data):
    """Where the random id of torch, and the two places of its CRC, are in a file."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        info = file.getinfo("archive/.data/serialization_id")
        return data.index(file.read(info), info.header_offset), info.file_size


DTYPES = (torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.complex64, torch.bool, torch.int64, torch.uint8)


pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")


def plain(tensor):
    """Comparable: dense, and of a type that torch compares."""
    dense = tensor if tensor.layout == torch.strided else tensor.to_dense()
    return dense.float() if dense.dtype == torch.float8_e4m3fn else dense


def tensors():
    base = torch.arange(600_000, dtype=torch.float32)
    found = {f"of {dtype}": torch.ones(7, 3).to(dtype) for dtype in DTYPES}
    return found | {
        "large": base,
        "view": base[1000:2000].view(10, 100),
        "transposed": torch.randn(40, 50).T,
        "expanded": torch.randn(1, 5).expand(4, 5),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(3.5),
        "sparse": torch.eye(4).to_sparse(),
        "csr": torch.eye(4).to_sparse_csr(),
        "parameter": nn.Parameter(torch.randn(3)),
    }


def test_every_byte_is_torchs_but_the_id_the_index_and_the_comment(tmp_path):
    document = {"format": "hypertuner/1", "state_dict": tensors(), "training": {"step": 3, "names": ["a", "b"]}}
    ours = written(tmp_path / "model.pt", document).read_bytes()
    theirs = by_torch(document)
    with zipfile.ZipFile(io.BytesIO(theirs)) as file:
        directory = file.start_dir
    place, nbytes = serialization_id(theirs)
    assert serialization_id(ours) == (place, nbytes)
    assert ours[:place] == theirs[:place]
    # After the id only its own CRC, in the descriptor, up to the directory.
    assert ours[place + nbytes + 8 : directory] == theirs[place + nbytes + 8 : directory]
    with zipfile.ZipFile(io.BytesIO(ours)) as ours_zip, zipfile.ZipFile(io.BytesIO(theirs)) as theirs_zip:
        assert ours_zip.testzip() is None
        told = {info.filename: (info.CRC, info.file_size, info.header_offset) for info in theirs_zip.infolist()}
        for info in ours_zip.infolist()[:-1]:
            if not info.filename.endswith("serialization_id"):
                assert (info.CRC, info.file_size, info.header_offset) == told.pop(info.filename)
        assert [re.sub(".*/", "", name) for name in told] == ["serialization_id"]
        assert ours_zip.infolist()[-1].filename == "archive/hypertuner.json"


@pytest.mark.parametrize("how", [{}, {"mmap": True}, {"weights_only": False}])
def test_torch_reads_it_in_every_way(tmp_path, how):
    values = tensors()
    path = written(tmp_path / "model.pt", {"state_dict": values})
    loaded = torch.load(path, **how)["state_dict"]
    assert loaded.keys() == values.keys()
    for name, value in values.items():
        assert loaded[name].dtype == value.dtype
        assert loaded[name].stride() == value.stride() if value.layout == torch.strided else True
        assert torch.equal(plain(loaded[name]), plain(value.detach())), name
    assert loaded["view"].data_ptr() == loaded["large"].data_ptr() + 4000


def test_it_is_sealed_as_a_file_that_is_read_once_more_is(tmp_path):
    """One pass gives the hashes that a second one over torch's file gives."""
    document = {"state_dict": tensors()}
    path = written(tmp_path / "streamed.pt", document)
    streamed = archive.inspect(path)
    assert archive.verify(path).level == "every bit"
    again = tmp_path / "again.pt"
    again.write_bytes(by_torch(document))
    with again.open("r+b", buffering=0) as file:
        sealed = archive.seal(file, HEADER, None)
    assert sealed.storages == streamed.storages
    assert sealed.tensors == streamed.tensors
    assert sealed.data_pkl_sha256 == streamed.data_pkl_sha256


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(0, 400_000), max_size=12),
    zero=st.booleans(),
)
def test_any_sizes_of_storages(tmp_path_factory, sizes, zero):
    make = torch.zeros if zero else torch.randn
    document = {"state_dict": {f"t{number}": make(size) for number, size in enumerate(sizes)}}
    path = written(tmp_path_factory.mktemp("any") / "model.pt", document)
    assert archive.verify(path).tensors == len(sizes)
    for name, value in torch.load(path)["state_dict"].items():
        assert torch.equal(value, document["state_dict"][name])


def quantised():
    return torch.quantize_per_tensor(torch.randn(4, 5), 0.1, 10, torch.quint8)


@pytest.mark.filterwarnings("ignore::UserWarning")  # that torch will drop them
def test_what_torch_does_not_lay_out_torch_writes_and_the_file_is_as_good(tmp_path):
    document = {"state_dict": {"q": quantised(), "w": torch.ones(3)}}
    with pytest.raises(LayoutError):
        layouts.layout(document)
    path = written(tmp_path / "model.pt", document)
    assert archive.verify(path).level == "every bit"
    assert torch.equal(torch.load(path)["state_dict"]["w"], torch.ones(3))


def test_a_torch_that_lays_files_out_otherwise_is_noticed_before_a_byte_is_written(tmp_path, monkeypatch):
    document = {"state_dict": {"a": torch.randn(300), "b": torch.randn(20)}}
    image, storages = layouts.layout(document)
    payloads = {key: bytes_of(storage) for key, storage in storages.items()}

    def refused(image, payloads):
        path = tmp_path / "never.pt"
        with files.Draft(path) as draft:
            with pytest.raises(LayoutError):
                streaming.stream(draft.file, image, payloads, HEADER, None)
            assert draft.file.seek(0, 2) == 0

    refused(image, {"0": payloads["0"]})
    refused(image, {"0": payloads["1"], "1": payloads["0"]})
    without = Image()
    without.write(image.between(0, image.nbytes))
    refused(without, payloads)
    shifted = Image()
    shifted.write(b"x")
    refused(shifted, payloads)
    # And the writer then takes the way through torch.save.
    monkeypatch.setattr(saving, "layout", lambda document: (without, storages))
    assert archive.verify(written(tmp_path / "model.pt", document)).level == "every bit"


def test_the_hash_of_the_file_is_that_of_its_bytes(tmp_path):
    path = written(tmp_path / "model.pt", {"state_dict": {"w": torch.randn(700_000)}})
    data = path.read_bytes()
    told = re.search(rb"xxh3-128=([0-9a-f]{32})", data[-200:])[1].decode()
    assert xxhash.xxh3_128(data[: data.rindex(b"PK\x05\x06")]).hexdigest() == told


def test_a_file_is_at_most_a_little_larger_than_torchs(storage, tmp_path):
    net = nn.Sequential(*[nn.Linear(64, 64) for _ in range(100)])
    with hypertuner.new_run(name="r"):
        saved = hypertuner.Saver(net).save(step=0)
    torch.save(net.state_dict(), tmp_path / "theirs.pt")
    theirs = (tmp_path / "theirs.pt").stat().st_size
    assert saved.path.stat().st_size <= 1.002 * theirs + 64 * 1024 + 160 * 200


@given(
    st.lists(st.one_of(st.binary(max_size=40), st.integers(1, 50)), max_size=20),
    st.integers(0, 400),
    st.integers(0, 400),
)
def test_an_image_reads_as_the_file_it_stands_for(pieces, start, length):
    image, whole = Image(), b""
    for piece in pieces:
        if isinstance(piece, int):
            image.seek(piece, io.SEEK_CUR)
            whole += bytes(piece)
        else:
            image.write(piece)
            whole += piece
    assert image.nbytes == len(whole)
    assert image.between(0, len(whole)) == whole
    image.seek(start)
    assert image.read(length) == whole[start : start + length]


def test_weights_that_were_loaded_are_saved_by_torch_as_any_others_are(storage, tmp_path):
    with hypertuner.new_run(name="r"):
        hypertuner.Saver(nn.Linear(3, 4)).save(step=0)
    torch.save(hypertuner.load("r", weights=True), tmp_path / "again.pt")
    assert torch.load(tmp_path / "again.pt").keys() == {"weight", "bias"}
