"""Reads what files of other programs say of themselves, without running anything in them: the names, shapes and
places of tensors, and for a pickle the list of what it would import.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any, BinaryIO

from hypertuner.checkpoint.format import pickles
from hypertuner.checkpoint.format.directory import damaged, read_at
from hypertuner.checkpoint.format.stubs import tensors_in
from hypertuner.checkpoint.format.table import (
    ITEM_BYTES,
    MOST_DIMENSIONS,
    Index,
    StorageRow,
    TensorRow,
    contiguous,
)
from hypertuner.errors import CorruptFileError

MOST_HEADER_BYTES = 8 * 1024 * 1024  # of a safetensors file; the largest real ones take 2
MOST_PICKLE_BYTES = 64 * 1024 * 1024
_SAFETENSORS_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
}


def index_of_safetensors(file: BinaryIO, where: str) -> Index:
    """The index of a safetensors file; each tensor is a storage of its own, part 'state_dict'.

    Raises: CorruptFileError where the header is damaged or its tensors do not fill the file exactly.
    """
    size = file.seek(0, io.SEEK_END)
    nbytes = int.from_bytes(read_at(file, 0, 8, where), "little")
    if nbytes > min(size - 8, MOST_HEADER_BYTES):
        raise damaged(where, f"its header claims {nbytes:,} bytes (the file has {size:,})")
    try:
        header = json.loads(read_at(file, 8, nbytes, where), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise damaged(where, f"its header is not readable JSON ({error})") from None
    if not isinstance(header, dict):
        raise damaged(where, "its header is no table of tensors")
    told = header.pop("__metadata__", {})
    if not isinstance(told, dict) or not all(isinstance(value, str) for value in told.values()):
        raise damaged(where, "its metadata is no table of texts")
    rows: dict[str, TensorRow] = {}
    places: dict[str, tuple[int, int]] = {}
    for key, (name, value) in enumerate(header.items()):
        rows[name], places[str(key)] = _safetensors_row(value, str(key), name, where)
    end = 0
    for begin, stop in sorted(places.values()):
        if begin != end:
            raise damaged(where, "its tensors overlap, or leave a hole between them")
        end = stop
    if end != size - 8 - nbytes:
        raise damaged(where, f"its tensors take {end:,} bytes and it holds {size - 8 - nbytes:,}")
    storages = {key: StorageRow(8 + nbytes + begin, stop - begin, None) for key, (begin, stop) in places.items()}
    extra = {"metadata": told} if told else {}
    return Index(format="safetensors", tensors={"state_dict": rows}, storages=storages, extra=extra)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name occurs twice")
    return table


def _safetensors_row(value: object, key: str, name: str, where: str) -> tuple[TensorRow, tuple[int, int]]:
    wrong = damaged(where, f"the entry of its tensor {name[:200]!r} is none")
    if not isinstance(value, dict):
        raise wrong
    dtype, sizes, place = (value.get(part) for part in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or not isinstance(sizes, list) or not isinstance(place, list):
        raise wrong
    # Exactly int, as True and 1.0 are not meant here.
    if any(type(number) is not int or not 0 <= number < 2**63 for number in (*sizes, *place)):
        raise wrong
    if len(place) != 2 or place[0] > place[1] or len(sizes) > MOST_DIMENSIONS:
        raise wrong
    known = _SAFETENSORS_DTYPES.get(dtype)
    if known is not None and math.prod(sizes) * ITEM_BYTES[known] != place[1] - place[0]:
        raise damaged(where, f"its tensor {name[:200]!r} of shape {sizes} does not take the bytes that it claims")
    shape = tuple(sizes)
    row = TensorRow("strided" if known else "other", key, known or dtype, shape, contiguous(shape), 0)
    return row, (place[0], place[1])


def index_of_pickle(file: BinaryIO, where: str, kind: str) -> Index:
    """The index of a bare pickle, or of a torch file from before 1.6; `extra["globals"]` is what it would import.

    Raises: CorruptFileError where it cannot be read without running it.
    """
    size = file.seek(0, io.SEEK_END)
    data = read_at(file, 0, min(size, MOST_PICKLE_BYTES), where)
    if kind == "torch-legacy" and data[:1] != b"\x80":
        raise CorruptFileError(
            f"{where} is a torch file from before 2018 (a tar archive), which is not read here.\n"
            "  Open it with torch.load where you trust it, and save it again.",
            path=Path(where),
        )
    begin = 0
    # torch before 1.6 wrote three small pickles first: a number, the protocol's, and what the machine was like.
    for _ in range(3 if kind == "torch-legacy" else 0):
        begin = pickles.read(data, where, begin=begin).end
    pickle = pickles.read(data, where, begin=begin)
    # The storages follow the pickle, where only torch looks for them.
    tensors = {
        part: {name: row._replace(kind="other") for name, row in rows.items()}
        for part, rows in tensors_in(pickle.root, where).items()
    }
    return Index(format=kind, tensors=tensors, extra={"globals": list(pickle.globals)})
