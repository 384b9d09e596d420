import gzip
import json
import os
import pickle
import struct
import sys
import time
import tracemalloc
import zipfile
import zlib
from collections import OrderedDict

import orjson
import pytest
import torch

from hypertuner.checkpoint.format import sealing
from hypertuner.checkpoint.format.archive import Archive, inspect, kind_of, seal, verify
from hypertuner.checkpoint.format.directory import central_entry, end_64, end_record, local_header
from hypertuner.errors import CorruptFileError

EVENTS: list[str] = []
WATCHED = ("pickle.find_class", "os.system", "os.exec", "exec", "subprocess.Popen", "socket.connect", "import")
sys.addaudithook(lambda event, _: EVENTS.append(event) if event in WATCHED else None)

STATE = {"state_dict": OrderedDict(w=torch.arange(6.0).reshape(2, 3))}


def index_in_an_archive(path):
    with Archive.open(path) as archive:
        return archive.index


def refused(path, match: str | None = None):
    """Every way in refuses the file with the one error, quickly and with little memory."""
    EVENTS.clear()
    tracemalloc.start()
    began = time.process_time()
    for read in (inspect, verify, index_in_an_archive):
        with pytest.raises(CorruptFileError, match=match) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert caught.value.path == path
        assert "\n  " in str(caught.value), "it says what to do"
    assert isinstance(kind_of(path), str)
    seconds, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16_000_000
    assert seconds < 10
    assert not {"pickle.find_class", "os.system", "os.exec", "subprocess.Popen", "socket.connect"} & set(EVENTS)


def torch_members(content=STATE) -> list[tuple[str, bytes]]:
    import io

    file = io.BytesIO()
    torch.save(content, file)
    with zipfile.ZipFile(file) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def zip_of(members, *, directory=None, gap=b"", extra_entries=(), **claims) -> bytes:
    """A zip file member by member; `directory` replaces entries, `claims` figures of the end record."""
    body, entries = b"", []
    for place, (name, data) in enumerate(members):
        entries.append(central_entry(name.encode(), data, len(body)))
        body += local_header(name.encode(), data) + data + (gap if place == 0 else b"")
    entries = [*(directory(entries) if directory else entries), *extra_entries]
    central = b"".join(entries)
    figures = {"count": len(entries), "start": len(body), "nbytes": len(central), "comment_bytes": 0} | claims
    return body + central + end_record(**figures)


def patched(entry: bytes, offset: int, kind: str, value: int) -> bytes:
    changed = bytearray(entry)
    struct.pack_into(kind, changed, offset, value)
    return bytes(changed)


def sized(entry: bytes, nbytes: int) -> bytes:
    return patched(patched(entry, 20, "<I", nbytes), 24, "<I", nbytes)


def spoiled(content: bytes) -> bytes:
    """The first member's own header is gone, behind bytes that still look like a zip file's."""
    return content[:2] + b"\x03\x05" + content[4:]


def in_folder(members, folder: str):
    return [(name.replace("archive", folder), data) for name, data in members]


def test_the_builder_of_these_files_builds_what_is_accepted(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(zip_of(torch_members()))
    assert inspect(path).state_dict["w"].shape == (2, 3)
    assert torch.load(path)["state_dict"]["w"].shape == (2, 3)


FIRST = torch_members()[0][0]


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("two members of one name", lambda m: zip_of([*m, m[0]]), "two members"),
        ("two names for one place", lambda m: zip_of(m, directory=lambda e: [*e, e[0]]), "two members|overlaps"),
        (
            "overlapping members",
            lambda m: zip_of(m, directory=lambda e: [*e[:-1], patched(e[-1], 42, "<I", 10)]),
            "overlaps",
        ),
        (
            "a member as large as the rest of the file",
            lambda m: zip_of(m, directory=lambda e: [sized(e[0], 500), *e[1:]]),
            "overlaps",
        ),
        (
            "a member of 4 GB",
            lambda m: zip_of(m, directory=lambda e: [sized(e[0], 2**32 - 2), *e[1:]]),
            "overlaps",
        ),
        (
            "a size that is nowhere",
            lambda m: zip_of(m, directory=lambda e: [patched(e[0], 24, "<I", 0xFFFFFFFF), *e[1:]]),
            "no size",
        ),
        (
            "a member that starts beyond the end",
            lambda m: zip_of(m, directory=lambda e: [*e[:-1], patched(e[-1], 42, "<I", 2**31)]),
            "overlaps",
        ),
        (
            "another name in the member's own header",
            lambda m: zip_of(m).replace(FIRST.encode(), b"archive/other.pk", 1),
            "calls itself",
        ),
        (
            "another size in the member's own header",
            lambda m: patched(zip_of(m), 18, "<I", 7),
            "disagree about its size",
        ),
        ("a header that reaches into the next member", lambda m: patched(zip_of(m), 28, "<H", 60_000), "reaches into"),
        ("no header where the directory says", lambda m: spoiled(zip_of(m)), "does not begin"),
        ("encrypted", lambda m: zip_of(m, directory=lambda e: [patched(e[0], 8, "<H", 0x0801), *e[1:]]), "encrypted"),
        ("deflated", lambda m: zip_of(m, directory=lambda e: [patched(e[0], 10, "<H", 8), *e[1:]]), "compressed"),
        ("a CRC that is wrong", lambda m: zip_of(m).replace(m[0][1], m[0][1][:-2] + b"0."), "not the ones"),
        ("a member out of the folder", lambda m: zip_of([*m, ("elsewhere/x", b"")]), "one folder"),
        ("a member in no folder", lambda m: zip_of([*m, ("x", b"")]), "one folder"),
        ("a member that climbs", lambda m: zip_of([*m, ("archive/../../x", b"")]), "one folder"),
        ("a member with a backslash", lambda m: zip_of([*m, ("archive/..\\x", b"")]), "one folder"),
        ("a folder that climbs", lambda m: zip_of(in_folder(m, "..")), "no folder"),
        ("an absolute folder", lambda m: zip_of(in_folder(m, "")), "no folder"),
        ("bytes before the first member", lambda m: b"#!/bin/sh\n" + zip_of(m), None),
        (
            "bytes before, and offsets that know",
            lambda m: zip_of([("x" * 40, b"y"), *m], directory=lambda e: e[1:]),
            "before its first member",
        ),
        ("bytes after the end", lambda m: zip_of(m) + b"\0" * 100, "follow its end"),
        ("bytes between directory and end", lambda m: zip_of(m, start=len(zip_of(m)) // 2), "directory is not where"),
        ("more entries claimed than there are", lambda m: zip_of(m, count=60_000), "claims|ends within|is none"),
        ("fewer entries claimed than there are", lambda m: zip_of(m, count=2), "more than it counts"),
        ("a directory of 4 GB", lambda m: zip_of(m, nbytes=0xFFFFFFFF), "directory is not where"),
        ("a comment that is not there", lambda m: zip_of(m, comment_bytes=50), "follow its end"),
        ("an empty zip file", lambda m: zip_of([]), None),
        ("two end records", lambda m: zip_of(m, comment_bytes=22) + end_record(0, 0, 0, 0), None),
        ("no data.pkl", lambda m: zip_of(m[1:]), "not one of torch's"),
        ("a storage that is missing", lambda m: zip_of([x for x in m if "data/0" not in x[0]]), "not there"),
        (
            "a storage that is too short",
            lambda m: zip_of([(n, d[:-1] if "data/0" in n else d) for n, d in m]),
            "leaves its storage",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)  # fmt: skip
def test_a_file_that_contradicts_itself_is_refused(tmp_path, name, content, match):
    path = tmp_path / "model.pt"
    path.write_bytes(content(torch_members()))
    refused(path, match)


@pytest.mark.parametrize(
    "record",
    [
        {"count": 2**60},
        {"start": 2**63},
        {"nbytes": 2**63},
        {"nbytes": 2**64 - 1, "start": 1},
    ],
    ids=str,
)
def test_a_zip64_record_of_absurd_claims_is_refused_before_anything_is_allocated(tmp_path, record):
    content = zip_of(torch_members())
    body, end = content[:-22], content[-22:]
    count, _, nbytes, start = struct.unpack_from("<2H2I", end, 8)
    claims = {"count": count, "start": start, "nbytes": nbytes} | record
    path = tmp_path / "model.pt"
    wide = bytearray(end_64(count, start, nbytes))
    struct.pack_into("<4Q", wide, 24, claims["count"], claims["count"], claims["nbytes"], claims["start"])
    path.write_bytes(body + bytes(wide) + end)
    refused(path, "disagree")
    saturated = end_record(0xFFFF, 2**40, 2**40, 0)
    path.write_bytes(body + bytes(wide) + saturated)
    refused(path)


def test_a_zip_bomb_of_overlapping_members_is_refused(tmp_path):
    """One kernel of bytes behind thousands of entries: 4 GB out of 42 KB, if anyone unpacked it."""
    members = torch_members()
    kernel = local_header(b"archive/data/0", b"x") + b"x"
    entries = [patched(central_entry(f"archive/data/{i}".encode(), b"x", 0), 24, "<I", 2**31) for i in range(5000)]
    path = tmp_path / "model.pt"
    path.write_bytes(zip_of(members, extra_entries=entries) + kernel)
    refused(path)
    path.write_bytes(zip_of(members, extra_entries=entries))
    refused(path, "two members|overlaps")


def test_a_compressed_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 50_000_000)
        archive.writestr("archive/version", "3")
    refused(path, "compressed")


@pytest.mark.parametrize(
    ("content", "kind", "match"),
    [
        (b"", "empty", "is empty"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "html", "web page.*\n.*login"),
        (b"\n  <html>", "html", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git-lfs pointer", "git lfs pull"),
        (gzip.compress(zip_of(torch_members())), "gzip", "gunzip"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(64), "7z", "7z archive"),
        (b"Rar!\x1a\x07\x01\0" + bytes(64), "rar", "rar archive"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "zstd", "unzstd"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "hdf5", "HDF5"),
        (b"\x93NUMPY\x01\0" + bytes(20), "npy", "NumPy"),
        (zip_of(torch_members())[:-200], "truncated zip", "cut short"),
        (b"PK\x03\x04", "truncated zip", "cut short"),
        (b"MZ\x90\0" + zip_of(torch_members()), "zip", None),
        (b"hello", "unknown", "no model file"),
        (bytes(4096), "unknown", "no model file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_model_is_named_with_what_to_do(tmp_path, content, kind, match):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    assert kind_of(path) == kind
    refused(path, match)


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "link.pt").symlink_to(tmp_path / "folder.pt")
    (tmp_path / "null.pt").symlink_to("/dev/zero")
    for name in ("pipe.pt", "folder.pt", "link.pt", "null.pt"):
        for read in (kind_of, inspect, verify, Archive.open):
            with pytest.raises(CorruptFileError, match=name):
                read(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        inspect(tmp_path / "missing.pt")


def test_a_link_to_a_model_is_a_model(tmp_path):
    torch.save(STATE, tmp_path / "model.pt")
    (tmp_path / "link.pt").symlink_to(tmp_path / "model.pt")
    assert verify(tmp_path / "link.pt").tensors == 1


# Pickles inside.


class Reduces:
    def __init__(self, callee, *arguments):
        self.call = (callee, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("zip_format", [True, False])
def test_code_in_a_model_is_listed_and_never_run(tmp_path, zip_format):
    canary, path = tmp_path / "canary", tmp_path / "model.pt"
    torch.save(STATE | {"x": Reduces(os.system, f"touch {canary}")}, path, _use_new_zipfile_serialization=zip_format)
    EVENTS.clear()
    found = inspect(path)
    verify(path)
    assert not {"pickle.find_class", "os.system", "exec", "subprocess.Popen"} & set(EVENTS)
    assert f"{os.system.__module__}.system" in found.extra["globals"]
    assert not canary.exists()


def test_a_bare_pickle_is_listed_and_never_run(tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(Reduces(os.system, f"touch {canary}")))
    EVENTS.clear()
    assert kind_of(path) == inspect(path).format == "pickle"
    assert inspect(path).extra["globals"] == [f"{os.system.__module__}.system"]
    assert not {"pickle.find_class", "os.system"} & set(EVENTS)
    assert not canary.exists()


def test_torch_itself_would_have_run_it(tmp_path):
    """That the canary above can sing at all."""
    canary, path = tmp_path / "canary", tmp_path / "model.pt"
    torch.save(Reduces(os.system, f"touch {canary}"), path)
    torch.load(path, weights_only=False)
    assert canary.exists()


@pytest.mark.parametrize(
    ("figures", "match"),
    [
        ((0, (10**15,), (1,)), "leaves its storage"),
        ((0, (2, 3), (3, 2)), "leaves its storage"),
        ((1, (6,), (1,)), "leaves its storage"),
        ((2**62, (1,), (1,)), "leaves its storage"),
        ((0, (2**62, 2**62), (2**62, 2**62)), "leaves its storage"),
        ((0, (2,), (2**62,)), "leaves its storage"),
        ((-1, (1,), (1,)), "no whole number"),
    ],
    ids=str,
)
def test_a_view_outside_its_storage_is_refused_before_anything_is_allocated(tmp_path, figures, match):
    class View:
        def __init__(self, tensor):
            self.storage = torch.storage.TypedStorage(
                wrap_storage=tensor.untyped_storage(), dtype=tensor.dtype, _internal=True
            )

        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (self.storage, *figures, False, OrderedDict())

    path = tmp_path / "model.pt"
    torch.save({"state_dict": {"w": View(torch.zeros(6))}}, path)
    refused(path, match)


# Indexes inside.


def with_index(path, change, raw=None):
    """A sealed file whose index was changed, every hash made anew."""
    torch.save(STATE, path)
    with path.open("r+b") as file:
        seal(file, {"run": {"name": "r"}}, None)
    with Archive.open(path) as archive:
        document = orjson.loads(archive.read("hypertuner.json"))
    members = []
    with zipfile.ZipFile(path) as archive:
        order = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
        members = [(entry.filename, archive.read(entry)) for entry in order[:-1]]
    body, entries, offsets = b"", [], {}
    for name, data in members:
        entries.append(central_entry(name.encode(), data, len(body)))
        body += local_header(name.encode(), data)
        offsets[name.removeprefix("model/data/")] = len(body)
        body += data
    for key, row in document["storages"].items():
        row[0] = offsets[key]
    change(document)
    text = raw if raw is not None else orjson.dumps(document)
    name = b"model/hypertuner.json"
    entries.append(central_entry(name, text, len(body)))
    body += local_header(name, text) + text
    central = b"".join(entries)
    covered = body + central
    import xxhash

    tail = sealing.sealed_tail(
        len(entries), len(body), len(central), sealing.Seal(xxhash.xxh3_128_hexdigest(covered), None)
    )
    path.write_bytes(covered + tail)
    return path


def test_the_builder_of_indexes_builds_what_is_accepted(tmp_path):
    assert verify(with_index(tmp_path / "model.pt", lambda document: None)).level == "every bit"


def row(**changes):
    places = {"kind": 0, "storage": 1, "dtype": 2, "shape": 3, "stride": 4, "offset": 5}

    def change(document):
        for name, value in changes.items():
            document["tensors"]["state_dict"]["w"][places[name]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        row(shape=[10**15]),
        row(shape=[10**18, 10**18], stride=[0, 0], offset=7),
        row(shape=[2**64 - 1]),
        row(shape=[-1]),
        row(shape=[True]),
        row(shape=[1.0]),
        row(shape="6"),
        row(shape=[1] * 65),
        row(stride=[1]),
        row(stride=[2**62, 1]),
        row(offset=1),
        row(offset=-1),
        row(offset=None),
        row(storage="1"),
        row(storage=None),
        row(storage=0),
        row(dtype="float64"),
        row(dtype=4),
        row(kind=None),
        lambda document: document["storages"]["0"].__setitem__(0, 0),
        lambda document: document["storages"]["0"].__setitem__(0, 2**62),
        lambda document: document["storages"]["0"].__setitem__(1, 2**62),
        lambda document: document["storages"]["0"].__setitem__(1, 23),
        lambda document: document["storages"]["0"].__setitem__(2, "x" * 32),
        lambda document: document["storages"].__setitem__("1", document["storages"]["0"]),
        lambda document: document["storages"].clear(),
        lambda document: document["tensors"].__setitem__("state_dict", []),
        lambda document: document.__setitem__("tensors", None),
        lambda document: document.__setitem__("run", "r"),
        lambda document: document.__setitem__("format", 1),
        lambda document: document.__setitem__("ties", [["w", "v"]]),
        lambda document: document.__setitem__("ties", [[["w"]]]),
        lambda document: document.__setitem__("data_pkl_sha256", "0"),
        lambda document: document.__setitem__("exact", [[["tensors", "state_dict"], "1"]]),
        lambda document: document.__setitem__("exact", [[[], "1"]]),
        lambda document: document.__setitem__("exact", [[["run", "name"], "1"]]),
        lambda document: document.__setitem__("exact", [[["parent"], "x"]]),
        lambda document: document.__setitem__("exact", 1),
    ],
)
def test_an_index_that_cannot_be_true_is_refused(tmp_path, change):
    path = with_index(tmp_path / "model.pt", change)
    refused(path)


@pytest.mark.parametrize(
    "change",
    [
        row(shape=[3, 2], stride=None),
        row(dtype="int32"),
        row(kind="other"),
        lambda document: document["storages"]["0"].__setitem__(2, "0" * 32),
        lambda document: document.__setitem__("data_pkl_sha256", "0" * 64),
        lambda document: document["tensors"]["state_dict"].__setitem__("v", document["tensors"]["state_dict"]["w"]),
        lambda document: document["tensors"]["state_dict"].clear(),
    ],
)
def test_an_index_that_tells_another_story_than_the_pickle_is_found_by_verify(tmp_path, change):
    path = with_index(tmp_path / "model.pt", change)
    inspect(path)
    with pytest.raises(CorruptFileError, match=r"model\.pt"):
        verify(path)


def test_an_offset_that_is_off_by_one_is_found_when_the_storage_is_asked_for(tmp_path):
    def change(document):
        document["storages"]["0"][0] -= 1

    path = with_index(tmp_path / "model.pt", change)
    with Archive.open(path) as archive, pytest.raises(CorruptFileError, match="disagree about storage '0'"):
        archive.storage("0")
    with pytest.raises(CorruptFileError):
        verify(path)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"format":"hypertuner/1","run":' + b"[" * 2000 + b"]" * 2000 + b"}",
    ],
    ids=lambda raw: raw[:10].decode(),
)  # fmt: skip
def test_an_index_that_is_no_index_is_refused(tmp_path, raw):
    refused(with_index(tmp_path / "model.pt", lambda document: None, raw))


def test_an_index_of_millions_of_brackets_is_refused_unread(tmp_path):
    raw = b'{"format":"hypertuner/1","x":[' + b"[]," * 6_100_000 + b"0]}"
    path = with_index(tmp_path / "model.pt", lambda document: None, raw)
    tracemalloc.start()
    with pytest.raises(CorruptFileError, match="more than any hypertuner writes"):
        inspect(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * len(raw)


# Safetensors.


def safetensors(header, data: bytes, nbytes: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if nbytes is None else nbytes) + text + data


def entry(dtype="F32", shape=(2,), place=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(place)}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (safetensors({"a": entry()}, b"\0" * 8, 2**63), "unknown"),
        (safetensors({"a": entry()}, b"\0" * 8, 100_000_000), "unknown"),
        (safetensors({"a": entry()}, b"\0" * 7), "safetensors"),
        (safetensors({"a": entry()}, b"\0" * 9), "safetensors"),
        (safetensors({"a": entry(), "b": entry()}, b"\0" * 8), "safetensors"),
        (safetensors({"a": entry(), "b": entry(place=(12, 20))}, b"\0" * 20), "safetensors"),
        (safetensors({"a": entry(shape=(3,))}, b"\0" * 8), "safetensors"),
        (safetensors({"a": entry(shape=(-2,))}, b"\0" * 8), "safetensors"),
        (safetensors({"a": entry(shape=(10**15, 10**15))}, b"\0" * 8), "safetensors"),
        (safetensors({"a": entry(shape=(True, 2))}, b"\0" * 8), "safetensors"),
        (safetensors({"a": entry(place=(8, 0))}, b"\0" * 8), "safetensors"),
        (safetensors({"a": entry(place=(0, 2**63))}, b"\0" * 8), "safetensors"),
        (safetensors({"a": entry(shape=(1,) * 65)}, b"\0" * 8), "safetensors"),
        (safetensors({"a": 1}, b""), "safetensors"),
        (safetensors({"__metadata__": {"a": 1}}, b""), "safetensors"),
        (safetensors(json.dumps({"a": entry(), "b": entry()}).encode().replace(b"b", b"a"), b"\0" * 8), "safetensors"),
        (safetensors(b'{"a":' * 100_000, b""), "safetensors"),
        (safetensors(b"{\xff\xfe}", b""), "safetensors"),
    ],
    ids=range(18),
)  # fmt: skip
def test_a_safetensors_file_that_cannot_be_true_is_refused(tmp_path, content, kind):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert kind_of(path) == kind
    refused(path)


def test_the_crc_of_a_member_is_of_its_bytes():
    assert struct.unpack_from("<I", local_header(b"a/b", b"x"), 14) == (zlib.crc32(b"x"),)
