"""The zip directory of a torch file, read strictly, and the end of one, written.

Zip says many things twice, and readers that believe different copies can be shown different files. Here a file has one
reading or is refused: its members follow one another from the first byte to the directory without overlapping, the
directory ends where the end record begins, that ends where the file ends, no name occurs twice, and the bytes of a
member are handed out only after its own header has agreed with the directory. All is checked against the size of the
file before anything is allocated.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hypertuner.errors import CorruptFileError

MOST_DIRECTORY_BYTES = 256 * 1024 * 1024
MOST_MEMBER_BYTES = 512 * 1024 * 1024  # of those that are read whole: pickles and indexes, never storages

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_ENTRY = struct.Struct("<4s4x2H4x3I4H6xI")  # of `_CENTRAL`, what is read
_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_END_MARK, _END_64_MARK, _LOCATOR_MARK = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_MOST_COMMENT = 0xFFFF
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_DESCRIPTOR = 0x0008
_UTF8 = 0x0800


class Member(NamedTuple):
    """One entry of the directory; `start` is where its own header begins, `limit` where the next thing does."""

    name: str
    start: int
    limit: int
    nbytes: int
    stored_nbytes: int
    method: int
    flags: int
    crc32: int


_MEMBER = partial(tuple.__new__, Member)  # what `_make` does, at a third of the price


class Directory:
    """The members of one open file, by their names below `prefix`; made by `read_directory`."""

    def __init__(
        self,
        file: BinaryIO,
        where: str,
        prefix: str,
        members: dict[str, Member],
        *,
        start: int,
        nbytes: int,
        end: int,
        tail: bytes,
    ) -> None:
        self.file = file
        self.where = where
        self.prefix = prefix
        self.members = members
        self.start = start  # where the central directory begins
        self.nbytes = nbytes  # and how long it is
        self.end = end  # where the end record begins: the hash of a sealed file covers all before it
        self.tail = tail  # the end record and the comment
        self._found: dict[str, int] = {}

    @property
    def comment(self) -> bytes:
        """The comment of the zip file."""
        return self.tail[_END.size :]

    @property
    def file_nbytes(self) -> int:
        """The size of the whole file."""
        return self.end + len(self.tail)

    def locate(self, name: str) -> tuple[int, int]:
        """(offset, length) in the file of the bytes of a member, after its own header has been checked.

        Raises: KeyError where there is no such member; CorruptFileError where it cannot be read as it lies.
        """
        member = self.members[name]
        if name not in self._found:
            self._found[name] = self._checked(member)
        return self._found[name], member.nbytes

    def read(self, name: str, most: int = MOST_MEMBER_BYTES, *, check: bool = True) -> bytes:
        """The bytes of a member, checked, unless told not to, against its CRC where the file has one.

        Raises: KeyError; CorruptFileError, also where the member is larger than `most`.
        """
        offset, nbytes = self.locate(name)
        if nbytes > most:
            raise damaged(self.where, f"its member {name!r} takes {nbytes:,} bytes; at most {most:,} are read")
        data = read_at(self.file, offset, nbytes, self.where)
        expected = self.members[name].crc32
        if check and expected and zlib.crc32(data) != expected:  # torch can be told to write 0 for all of them
            raise damaged(self.where, f"the bytes of its member {name!r} are not the ones that were written")
        return data

    def _checked(self, member: Member) -> int:
        where, name = self.where, member.name
        if member.flags & _ENCRYPTED or member.method != 0 or member.nbytes != member.stored_nbytes:
            raise damaged(where, f"its member {name!r} is compressed or encrypted, which torch never writes")
        header = read_at(self.file, member.start, _LOCAL.size + len(own_name := name.encode()), where)
        mark, _, flags, method, _, _, crc, stored, nbytes, name_bytes, more_bytes = _LOCAL.unpack_from(header)
        if mark != b"PK\x03\x04":
            raise damaged(where, f"its member {name!r} does not begin where the directory says")
        offset: int = member.start + _LOCAL.size + name_bytes + more_bytes
        if offset + member.nbytes > member.limit:
            raise damaged(where, f"its member {name!r} reaches into what follows it")
        found_name = header[_LOCAL.size :]
        if found_name != own_name or name_bytes != len(own_name) or (flags, method) != (member.flags, member.method):
            raise damaged(where, f"its member {name!r} calls itself {found_name[:200]!r}, or has other flags")
        # With a descriptor after the bytes, the header may leave its figures at 0; and 0xFFFFFFFF stands for "see
        # the zip64 field", which says nothing that the directory has not said.
        if not flags & _DESCRIPTOR or (crc, stored, nbytes) != (0, 0, 0):
            figures = (member.crc32, min(member.nbytes, 0xFFFFFFFF), min(member.nbytes, 0xFFFFFFFF))
            if (crc, stored, nbytes) not in (figures, (member.crc32, 0xFFFFFFFF, 0xFFFFFFFF), (0, *figures[1:])):
                raise damaged(where, f"its member {name!r} and the directory disagree about its size or CRC")
        return offset


def damaged(where: str, what: str, advice: str = "Do not use it; take another copy.") -> CorruptFileError:
    """The error for a file that is not what it must be."""
    return CorruptFileError(f"{where} is damaged: {what}.\n  {advice}", path=Path(where))


def read_at(file: BinaryIO, offset: int, count: int, where: str) -> bytes:
    """Exactly `count` bytes from `offset`.

    Raises: CorruptFileError where the file ends before.
    """
    file.seek(offset)
    data = file.read(count)
    while len(data) < count:
        more = file.read(count - len(data))
        if not more:
            raise damaged(where, f"it ends at byte {offset + len(data):,}, where {count - len(data):,} more should be")
        data += more
    return data


def has_end_record(file: BinaryIO) -> bool:
    """Whether anything like the end of a zip file is where it must be."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _END.size - _MOST_COMMENT))
    return _END_MARK in file.read(_END.size + _MOST_COMMENT)


def read_directory(file: BinaryIO, where: str) -> Directory:
    """The directory of an open torch file.

    Raises: CorruptFileError, naming `where` and what is wrong.
    """
    size = file.seek(0, io.SEEK_END)
    most = min(size, _END.size + _MOST_COMMENT)
    last = read_at(file, size - most, most, where)
    place = last.rfind(_END_MARK)  # the last one, as torch takes it: another reader must not find another directory
    if place < 0 or len(last) - place < _END.size:
        raise damaged(where, "it has no end record: a copy or a download was cut short")
    end, tail = size - most + place, last[place:]
    _, disk, first_disk, here, count, nbytes, start, comment_bytes = _END.unpack_from(tail)
    if len(tail) != _END.size + comment_bytes:
        raise damaged(where, "bytes follow its end")
    if (disk, first_disk) != (0, 0) or here != count:
        raise damaged(where, "it claims to be one part of several")
    directory_end = end
    if (
        end >= _LOCATOR.size
        and (locator := read_at(file, end - _LOCATOR.size, _LOCATOR.size, where))[:4] == _LOCATOR_MARK
    ):
        directory_end, wide = _read_end_64(file, locator, end, where)
        for narrow, full, ceiling in zip((count, nbytes, start), wide, (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF), strict=True):
            if narrow not in (full, ceiling):
                raise damaged(where, "its two end records disagree")
        count, nbytes, start = wide
    if start + nbytes != directory_end:
        raise damaged(where, "its directory is not where its end record says; something was put before or between")
    if nbytes > MOST_DIRECTORY_BYTES or count > nbytes // _CENTRAL.size:
        raise damaged(where, f"it claims {count:,} members in a directory of {nbytes:,} bytes")
    prefix, members = _read_members(read_at(file, start, nbytes, where), count, start, where)
    return Directory(file, where, prefix, members, start=start, nbytes=nbytes, end=end, tail=tail)


def _read_end_64(file: BinaryIO, locator: bytes, end: int, where: str) -> tuple[int, tuple[int, int, int]]:
    _, disk, place, disks = _LOCATOR.unpack(locator)
    if disk != 0 or disks != 1 or place != end - _LOCATOR.size - _END_64.size:
        raise damaged(where, "its zip64 end record is not where it must be")
    mark, length, _, _, disk, first_disk, here, count, nbytes, start = _END_64.unpack(
        read_at(file, place, _END_64.size, where)
    )
    if mark != _END_64_MARK or length != _END_64.size - 12 or (disk, first_disk) != (0, 0) or here != count:
        raise damaged(where, "its zip64 end record is no such record")
    return place, (count, nbytes, start)


def _read_members(central: bytes, count: int, ceiling: int, where: str) -> tuple[str, dict[str, Member]]:
    """The entries of a central directory, in the order in which they lie in the file."""
    found: list[tuple[int, str, int, int, int, int, int, int]] = []
    at = 0
    read = _ENTRY.unpack_from
    for _ in range(count):
        if at + _CENTRAL.size > len(central):
            raise damaged(where, "its directory ends within an entry")
        mark, flags, method, crc, stored, nbytes, name_bytes, more_bytes, comment_bytes, disk, start = read(central, at)
        name_at = at + 46
        at = name_at + name_bytes + more_bytes + comment_bytes
        if mark != b"PK\x01\x02" or at > len(central) or disk != 0:
            raise damaged(where, f"entry {len(found):,} of its directory is none")
        try:
            name = central[name_at : name_at + name_bytes].decode()
        except UnicodeDecodeError:
            raise damaged(where, f"entry {len(found):,} of its directory has no readable name") from None
        if nbytes == 0xFFFFFFFF or stored == 0xFFFFFFFF or start == 0xFFFFFFFF:
            more = central[name_at + name_bytes : name_at + name_bytes + more_bytes]
            nbytes, stored, start = _wide(more, (nbytes, stored, start), where, name)
        found.append((start, name, name_bytes, nbytes, stored, method, flags, crc))
    if at != len(central):
        raise damaged(where, "its directory holds more than it counts")
    if not found:
        raise damaged(where, "it is an empty zip file")
    found.sort()
    if found[0][0] != 0:
        raise damaged(where, f"{found[0][0]:,} bytes were put before its first member")
    prefix = found[0][1].partition("/")[0]
    if not prefix.strip("."):
        raise damaged(where, "its members are in no folder of their own")
    members: dict[str, Member] = {}
    head, least = f"{prefix}/", _LOCAL.size
    begin = len(head)
    odd = any(part in "/".join([entry[1] for entry in found]) for part in ("\\", "\0", ".."))
    limits = [*(later[0] for later in found[1:]), ceiling]
    for (start, full_name, name_bytes, nbytes, stored, method, flags, crc), limit in zip(found, limits, strict=True):
        name = full_name[begin:]
        if full_name[:begin] != head or not name or (odd and ("\\" in name or "\0" in name or ".." in name)):
            raise damaged(where, f"its member {full_name[:200]!r} is not in the one folder {prefix[:200]!r}")
        if name in members:
            raise damaged(where, f"it holds two members called {full_name[:200]!r}")
        if start + least + name_bytes + stored > limit:
            raise damaged(where, f"its member {full_name[:200]!r} overlaps what follows it, or the file's end")
        members[name] = _MEMBER((full_name, start, limit, nbytes, stored, method, flags, crc))
    return prefix, members


def _wide(more: bytes, narrow: tuple[int, int, int], where: str, name: str) -> tuple[int, int, int]:
    """Sizes and start of an entry whose 32 bits do not suffice, out of its zip64 field."""
    while len(more) >= 4:
        kind, length = struct.unpack_from("<2H", more)
        if kind == 0x0001 and 4 + length <= len(more):
            values = [value for (value,) in struct.iter_unpack("<Q", more[4 : 4 + length // 8 * 8])]
            if len(values) >= narrow.count(0xFFFFFFFF):
                nbytes, stored, start = (values.pop(0) if value == 0xFFFFFFFF else value for value in narrow)
                return nbytes, stored, start
        more = more[4 + length :]
    raise damaged(where, f"its member {name[:200]!r} has no size")


def local_header(name: bytes, data: bytes) -> bytes:
    """The header that stands before the bytes of a stored member."""
    crc, nbytes = zlib.crc32(data), len(data)
    return _LOCAL.pack(b"PK\x03\x04", 20, _UTF8, 0, 0, 0x21, crc, nbytes, nbytes, len(name), 0) + name


def central_entry(name: bytes, data: bytes, start: int) -> bytes:
    """The directory's entry for a stored member whose header is at `start`."""
    crc, nbytes = zlib.crc32(data), len(data)
    more = struct.pack("<2HQ", 0x0001, 8, start) if start >= 0xFFFFFFFF else b""
    version, start = (45, 0xFFFFFFFF) if more else (20, start)
    sizes = (crc, nbytes, nbytes, len(name), len(more), 0, 0, 0, 0, start)
    return _CENTRAL.pack(b"PK\x01\x02", version, version, _UTF8, 0, 0, 0x21, *sizes) + name + more


def with_crcs(central: bytes, crcs: Mapping[str, int]) -> bytes:
    """A central directory with the CRCs of some members, by their full names, put in."""
    filled = bytearray(central)
    at = 0
    while at < len(filled):
        lengths = struct.unpack_from("<3H", filled, at + 28)
        name = filled[at + _CENTRAL.size : at + _CENTRAL.size + lengths[0]].decode()
        if name in crcs:
            struct.pack_into("<I", filled, at + 16, crcs[name])
        at += _CENTRAL.size + sum(lengths)
    return bytes(filled)


def end_64(count: int, start: int, nbytes: int) -> bytes:
    """The zip64 end record and its locator, which torch writes for files of every size."""
    record = _END_64.pack(_END_64_MARK, _END_64.size - 12, 45, 45, 0, 0, count, count, nbytes, start)
    return record + _LOCATOR.pack(_LOCATOR_MARK, 0, start + nbytes, 1)


def end_record(count: int, start: int, nbytes: int, comment_bytes: int) -> bytes:
    """The end record, before the comment."""
    count, nbytes, start = min(count, 0xFFFF), min(nbytes, 0xFFFFFFFF), min(start, 0xFFFFFFFF)
    return _END.pack(_END_MARK, 0, 0, count, count, nbytes, start, comment_bytes)
