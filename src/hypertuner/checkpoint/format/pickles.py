"""Reads a pickle without running it.

A pickle is a program for a small stack machine, and the standard reader imports and calls whatever the program names.
This one has the stack, the memo and the plain values, and nothing else: a global becomes a `Global` (two strings), a
call of it an `Object` (a record of what would have been called), a tensor its `TensorRow`. No import, no call, no
attribute is ever made from what a file says; neither `pickle` nor `torch` is used.

Time and memory are bounded by the length of the pickle and by a count of operations. In particular nothing from the
file is hashed or compared by its contents unless that takes constant time: `{t: 1}` where t = (t', t'), t' = (t'', t'')
and so on is a few hundred bytes and would take years.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypertuner.checkpoint.format.machine import Machine, Malformed
from hypertuner.errors import CorruptFileError

MOST_BYTES = 512 * 1024 * 1024
MOST_OPERATIONS = 4_000_000  # a tensor takes about 40; each costs at most ~72 bytes of memory
MOST_OPERATIONS_OF_OURS = 200_000_000  # for hypertuner's own files: none is too large to be saved


@dataclass(frozen=True)
class SymbolicPickle:
    """What a pickle would build: plain values, and stubs for all else; `globals` is what running it would import."""

    root: Any
    globals: tuple[str, ...]
    end: int  # where it ends in the bytes given


def read(data: bytes, where: str = "", *, begin: int = 0, most_operations: int = MOST_OPERATIONS) -> SymbolicPickle:
    """Read the pickle that begins at byte `begin` of `data`.

    Raises: CorruptFileError, naming the file `where`, for anything that is not a whole pickle of bearable size.
    """
    if len(data) > MOST_BYTES:
        raise _refused(where, f"the pickle takes {len(data):,} bytes; at most {MOST_BYTES:,} are read")
    machine = Machine(data, begin)
    try:
        machine.run(most_operations)
        return SymbolicPickle(machine.root, tuple(f"{module}.{name}" for module, name in machine.globals), machine.at)
    except (Malformed, IndexError, KeyError, ValueError, struct.error) as error:
        what = str(error) if isinstance(error, Malformed) else "it ends early, or asks for what is not there"
        raise _refused(where, f"byte {machine.at:,} of the pickle cannot be read: {what}") from None


def globals_of(data: bytes, where: str = "") -> tuple[str, ...]:
    """What unpickling `data` would import, as 'module.name', in the order of first use.

    Raises: CorruptFileError where `data` is not a whole pickle.
    """
    return read(data, where).globals


def _refused(where: str, what: str) -> CorruptFileError:
    return CorruptFileError(
        f"{where or 'this pickle'}: {what}.\n  It is damaged, or made to do harm. Nothing of it was run.",
        path=Path(where) if where else None,
    )
