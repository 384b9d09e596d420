"""A torch file without its payload: what `torch.save` writes when it skips the data, kept in memory."""

from __future__ import annotations

import bisect
import io


class Image(io.RawIOBase):
    """A file in memory that is written from front to back, with gaps where the writer skipped ahead.

    Read back, a gap is zeros. `gaps` are (offset, length), in order.
    """

    def __init__(self) -> None:
        self.gaps: list[tuple[int, int]] = []
        self.nbytes = 0
        self._at = 0
        self._starts: list[int] = []
        self._parts: list[bytes] = []

    def readable(self) -> bool:
        """True."""
        return True

    def writable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True; a relative seek from the end leaves a gap."""
        return True

    def tell(self) -> int:
        """The position, from the beginning."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a position; skipping ahead from the end (`SEEK_CUR`) is how torch leaves out a storage's bytes."""
        if whence == io.SEEK_CUR and offset > 0 and self._at == self.nbytes:
            self.gaps.append((self._at, offset))
            self.nbytes += offset
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.nbytes}[whence]
        return self._at

    def write(self, data: object, /) -> int:
        """Add bytes at the end. ValueError anywhere else."""
        if self._at != self.nbytes:
            raise ValueError("an image is written from front to back")
        part = bytes(data)  # type: ignore[call-overload]  # io declares a wider type than it accepts
        if part:
            self._starts.append(self._at)
            self._parts.append(part)
            self._at = self.nbytes = self._at + len(part)
        return len(part)

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes from the position on."""
        end = self.nbytes if size is None or size < 0 else min(self._at + size, self.nbytes)
        found = self.between(self._at, end)
        self._at = max(self._at, end)
        return found

    def between(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`."""
        pieces: list[bytes] = []
        at = start
        number = max(0, bisect.bisect_right(self._starts, start) - 1)
        while at < end and number < len(self._starts):
            begin, part = self._starts[number], self._parts[number]
            number += 1
            if begin >= end:
                break
            if begin + len(part) <= at:
                continue
            if begin > at:
                pieces.append(bytes(begin - at))
                at = begin
            piece = part[at - begin : end - begin]
            pieces.append(piece)
            at += len(piece)
        if at < end:
            pieces.append(bytes(end - at))
        return b"".join(pieces)
