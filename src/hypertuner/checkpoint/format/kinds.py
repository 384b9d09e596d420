"""Recognises what a file is by its first and last bytes, and says what to do about one that is no checkpoint.

Nothing is believed because of a file's name: an error page saved as `model.pt` is an error page.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import BinaryIO

from hypertuner.checkpoint.format.directory import Directory, has_end_record, read_directory
from hypertuner.errors import CorruptFileError
from hypertuner.opening import open_regular

INDEX_MEMBER = "hypertuner.json"
_COMMENT_FORMAT = re.compile(rb"hypertuner/\d{1,9}\Z")
_LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch before 1.6: this number, pickled, comes first
_TAR_MEMBERS = (b"sys_info\0", b"pickle\0", b"storages\0", b"tensors\0")

# What else is found under a model's name. First bytes → kind.
_FIRST_BYTES: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "git-lfs pointer"),
    (b"\x1f\x8b", "gzip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!", "rar"),
    (b"\xfd7zXZ", "xz"),
    (b"BZh", "bzip2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x89HDF", "hdf5"),
    (b"\x93NUMPY", "npy"),
    (b"GGUF", "gguf"),
)
READABLE = ("torch", "torchscript", "torch-legacy", "safetensors", "pickle")
_ADVICE = {
    "empty": ("is empty", "Whatever wrote it was stopped, or the disk was full: take another copy."),
    "truncated zip": ("is cut short: it begins as a torch file and has no end", "Copy or download it again."),
    "html": ("is a web page, not a model", "The download needs a login or another address: open the file to read it."),
    "git-lfs pointer": ("is a pointer of Git LFS, not the model", "Fetch the model itself: git lfs pull"),
    "gzip": ("is compressed with gzip", "Unpack it first: gunzip"),
    "7z": (
        "is a 7z archive, which no training program writes",
        "Do not use it unless you know who packed it, and why.",
    ),
    "rar": (
        "is a rar archive, which no training program writes",
        "Do not use it unless you know who packed it, and why.",
    ),
    "xz": ("is compressed with xz", "Unpack it first: unxz"),
    "bzip2": ("is compressed with bzip2", "Unpack it first: bunzip2"),
    "zstd": ("is compressed with zstd", "Unpack it first: unzstd"),
    "hdf5": ("is an HDF5 file (Keras writes them)", "hypertuner reads torch and safetensors files."),
    "npy": ("is a NumPy array", "hypertuner reads torch and safetensors files."),
    "gguf": ("is a GGUF file (llama.cpp reads them)", "hypertuner reads torch and safetensors files."),
    "zip": ("is a zip file, and not one of torch's", "Is the model inside it? Then unpack it."),
}


def kind_of(path: Path | str) -> str:
    """What the file at `path` is, from a few KB of it.

    'hypertuner/1' (or a later number) · 'torch' · 'torchscript' · 'torch-legacy' (before 1.6) · 'safetensors' ·
    'pickle' · 'zip' · 'truncated zip' · 'empty' · 'html' · 'git-lfs pointer' · 'gzip' and other archives · 'unknown'.
    A file that has the marks of a kind may still be damaged.

    Raises: CorruptFileError where `path` is no regular file; OSError where it cannot be read.
    """
    with open_regular(path) as file:
        return recognise(file, str(path))[0]


def recognise(file: BinaryIO, where: str) -> tuple[str, Directory | None]:
    """What an open file is (see `kind_of`), and the directory of a torch archive, which has been read for it."""
    kind = _kind_by_first_bytes(file)
    if kind != "zip":
        return kind, None
    try:
        directory = read_directory(file, where)
    except CorruptFileError:
        return kind, None
    if INDEX_MEMBER in directory.members:
        named = directory.comment.split(b" ", 1)[0]
        return named.decode() if _COMMENT_FORMAT.match(named) else "hypertuner/1", directory
    if "data.pkl" not in directory.members:
        return kind, None
    return "torchscript" if "constants.pkl" in directory.members else "torch", directory


def _kind_by_first_bytes(file: BinaryIO) -> str:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(512)
    if not head:
        return "empty"
    if head[:4] == b"PK\x03\x04":
        return "zip" if has_end_record(file) else "truncated zip"
    if head.startswith(_LEGACY_MAGIC, 2) or head.startswith(_TAR_MEMBERS):
        return "torch-legacy"
    for first, kind in _FIRST_BYTES:
        if head.startswith(first):
            return kind
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "html"
    if size >= 10 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return "safetensors"
    if has_end_record(file):  # something stands before the zip file
        return "zip"
    if head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "pickle"
    return "unknown"


def refusal(kind: str, where: str) -> CorruptFileError:
    """The error for a file of a kind that holds no checkpoint: what it is, and what to do."""
    if kind not in _ADVICE:
        return CorruptFileError(
            f"{where} is no model file: its first bytes are of no kind that is known here.\n"
            "  hypertuner reads torch and safetensors files. Is it encrypted, or only partly written?",
            path=Path(where),
        )
    what, advice = _ADVICE[kind]
    return CorruptFileError(f"{where} {what}.\n  {advice}", path=Path(where))


def refuse_zip(file: BinaryIO, where: str) -> CorruptFileError:
    """The error for a zip file that is not torch's: what is wrong with its directory, where something is."""
    try:
        read_directory(file, where)
    except CorruptFileError as error:
        return error
    return refusal("zip", where)
