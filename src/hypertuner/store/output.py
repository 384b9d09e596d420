"""What the script of one attempt printed: written by its supervisor, read by whoever looks.

`output.log` holds the beginning. What follows goes into `output.1.log`, `output.2.log`, … of one size, of which the
newest two stay; a file that has its name is never renamed and only grows. So a script may print for ever, and its
first and last words are kept.

* Of a line that `\\r` rewrites (a progress bar) only the last state is kept. While such a line is not over, its state
  is written down now and then, with a `\\r` before the next one: `collapse` of what is in the files is always
  `collapse` of what the script printed, except for what was left out or lost.
* The writer keeps some 64 kB at most, whatever it is given, and never raises for a disk: what cannot be written is
  dropped, counted, and said in a line of its own once there is room again.
* Nothing is synced: a power cut may take the last half minute.
"""

from __future__ import annotations

import contextlib
import time

from hypertuner import files, settings
from hypertuner.errors import StorageError
from hypertuner.opening import open_regular
from hypertuner.store.layout import AttemptLayout

Position = tuple[int, int]
"""How far output was read: part, and bytes of it. Plain numbers, good for ever and in JSON."""

START: Position = (0, 0)

_HELD_BYTES = 64 * 1024  # of a line without end; a pipe of Linux holds as much
_READ_BYTES = 256 * 1024
_KEPT_PARTS = 2  # the one that grows, and one whole one, so that a part's worth of last words is always there


def collapse(data: bytes) -> bytes:
    """Of each line what was after its last `\\r`, where `\\r` before the end of a line counts as a part of that end."""
    data = data.replace(b"\r\n", b"\n")
    if b"\r" not in data:
        return data
    return b"\n".join([line.rstrip(b"\r").rpartition(b"\r")[2] for line in data.split(b"\n")])


class Lines:
    """Collapses lines as their bytes arrive, in whatever pieces."""

    def __init__(self) -> None:
        self._held = b""
        """Of the line that is not over, what was not passed on; it begins with `\\r` when it takes the place of what
        was, and ends with one that nothing has followed yet."""
        self._is_begun = False
        """Whether a part of that line was passed on."""

    def feed(self, data: bytes) -> bytes:
        """What can be passed on now: lines that are over, and what is too long to be held."""
        text = self._held + data if self._held else data
        end = text.rfind(b"\n") + 1
        if end == len(text):
            whole, rest = text, b""
        else:
            whole, rest = text[:end], text[end:]
        if whole:
            if b"\r" in whole:
                first, _, others = whole.partition(b"\n")
                whole = self._state(first.rstrip(b"\r")) + b"\n" + collapse(others)
            self._is_begun = False
        self._held = self._state(rest)
        return whole if len(self._held) <= _HELD_BYTES else whole + self.pending()

    def pending(self) -> bytes:
        """The state of the line that is not over, or what came to it since it was passed on last."""
        state = self._held.rstrip(b"\r")
        if state:
            self._held = self._held[len(state) :]
            self._is_begun = True
        return state

    def _state(self, line: bytes) -> bytes:
        if b"\r" not in line:
            return line
        body = line.rstrip(b"\r")
        _, rewritten, state = body.rpartition(b"\r")
        return (rewritten if self._is_begun else b"") + state + (b"\r" if len(body) < len(line) else b"")


class OutputWriter:
    """Writes what a script prints into its attempt's folder. No method raises what a disk says.

    `tick` is called about twice a second, whether anything was printed or not. The sizes are those of the settings
    unless given.
    """

    def __init__(
        self,
        layout: AttemptLayout,
        *,
        head_bytes: int | None = None,
        part_bytes: int | None = None,
        pending_every_s: float | None = None,
    ) -> None:
        self._layout = layout
        self._head_bytes = max(1, settings.OUTPUT_HEAD_BYTES.get() if head_bytes is None else head_bytes)
        self._part_bytes = max(1, settings.OUTPUT_PART_BYTES.get() if part_bytes is None else part_bytes)
        self._every_s = settings.OUTPUT_PENDING_S.get() if pending_every_s is None else pending_every_s
        self._lines = Lines()
        self._number = 0
        self._old: list[int] = []
        """Parts that are to be removed, or could not be yet."""
        self._file: files.Appender | None = None
        self._ends_line = True
        self._pending_at = -self._every_s
        self._is_blocked = False
        """Nothing could be written; it is tried again at the next tick, not for every piece."""
        self._unsaid_bytes = 0
        self.lost_bytes = 0
        """Bytes that could not be written."""
        # Made at once: a script that prints nothing is told from one whose output was not captured.
        with contextlib.suppress(OSError, StorageError):
            self._number = max(layout.output_parts(), default=0)
            self._growing()

    def write(self, data: bytes) -> None:
        """Take what the script printed next: any bytes, cut anywhere."""
        self._append(self._lines.feed(data))

    def tick(self) -> None:
        """Write down the state of a line that is not over, if it is time; try again what could not be written."""
        self._is_blocked = False
        now = time.monotonic()
        if now - self._pending_at >= self._every_s and (state := self._lines.pending()):
            self._pending_at = now
            self._append(state)
        elif self._unsaid_bytes:
            self._append(b"")

    def close(self) -> None:
        """Write down what is left, and close the file."""
        self._is_blocked = False
        self._append(self._lines.pending())
        self._close()

    def _append(self, data: bytes) -> None:
        if self._unsaid_bytes and not self._is_blocked:
            start = b"" if self._ends_line else b"\n"
            notice = b"%s[%d bytes of output could not be written]\n" % (start, self._unsaid_bytes)
            if self._put(notice) == len(notice):
                self._unsaid_bytes = 0
        lost = len(data) - self._put(data)
        self.lost_bytes += lost
        self._unsaid_bytes += lost

    def _put(self, data: bytes) -> int:
        """Write into the part that grows, and into new ones; how many bytes of `data` that worked for."""
        done = 0
        while done < len(data) and not self._is_blocked:
            file = None
            try:
                file = self._growing()
                before = file.size
                piece = data[done : done + self._limit() - before]
                file.append(piece)
            except (OSError, StorageError):
                self._is_blocked = True
                if file is not None and file.size > before:
                    done += min(file.size - before, len(piece))
                    self._ends_line = True  # the file ends a line that was cut before it takes another
            else:
                done += len(piece)
                self._ends_line = piece.endswith(b"\n")
        return done

    def _limit(self) -> int:
        return self._part_bytes if self._number else self._head_bytes

    def _growing(self) -> files.Appender:
        """The part that grows, with room in it. Raises: OSError, StorageError."""
        if self._file is None:
            self._file = files.Appender(self._layout.output_part(self._number))
        if self._file.size >= self._limit():
            following = files.Appender(self._layout.output_part(self._number + 1))
            self._close()
            self._file, self._number = following, self._number + 1
            self._remove_old()
        return self._file

    def _remove_old(self) -> None:
        old, self._old = [*self._old, self._number - _KEPT_PARTS], []
        for number in old:
            try:
                if number > 0:
                    files.remove(self._layout.output_part(number))
            except OSError:  # Windows keeps a file that somebody reads: next time
                self._old.append(number)

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()


class OutputReader:
    """Reads what a script printed, also while it prints. Nothing stays open between two calls."""

    def __init__(self, layout: AttemptLayout) -> None:
        self._layout = layout

    def exists(self) -> bool:
        """Whether output was captured, be it empty."""
        return self._layout.output.exists()

    def read(self, position: Position = START) -> tuple[bytes, Position]:
        """What follows `position`, at most some 256 kB, and where it ends; b"" when nothing more is there now.

        As it is in the files: lines may be cut, and states of progress bars are not collapsed yet. Where parts were
        left out, a line says how much. Raises: CorruptFileError where something else lies in a file's place.
        """
        number, offset = position
        while True:
            # Asked before reading: a part that has a next one grows no more.
            following = [other for other in self._layout.output_parts() if other > number]
            data = self._read(number, offset)
            if data:
                return data, (number, offset + len(data))
            if not following:
                return b"", (number, offset)
            if data is None or following[0] > number + 1:
                return self._beyond(number, offset, following[0])
            number, offset = number + 1, 0

    def tail(self, lines: int) -> tuple[bytes, Position]:
        """The last `lines` lines, collapsed, and where `read` goes on; the last may be one that is not over.

        Reads from the end, only what that takes; where parts were left out before that many lines, a line says so.
        """
        numbers = self._layout.output_parts()
        position, found, blocks, notice = START, 0, list[bytes](), b""
        for number in reversed(numbers):
            try:
                with open_regular(self._layout.output_part(number)) as file:
                    at = file.seek(0, 2)
                    if number == numbers[-1]:
                        position = (number, at)
                    while at and found <= lines:
                        size = min(at, _READ_BYTES)
                        at = file.seek(at - size)
                        blocks.append(file.read(size) or b"")
                        found += blocks[-1].count(b"\n")
            except FileNotFoundError:  # removed since we looked
                notice = _left_out(self._part_bytes())
                break
            if found > lines:
                break
            before = [other for other in numbers if other < number]
            if before and before[-1] < number - 1:
                notice = _left_out(self._part_bytes() * (number - before[-1] - 1))
                break
        return _last(b"".join(reversed(blocks)), lines, notice), position

    def _read(self, number: int, offset: int) -> bytes | None:
        """A piece of a part; None where there is no such part."""
        try:
            with open_regular(self._layout.output_part(number)) as file:
                file.seek(offset)
                return file.read(_READ_BYTES) or b""
        except FileNotFoundError:
            return None

    def _beyond(self, number: int, offset: int, following: int) -> tuple[bytes, Position]:
        """What stands for the parts that are gone between `number` and `following`, and where the next line begins."""
        size = self._part_bytes()
        left_out = size * (following - number - 1)
        ends_line = offset == 0
        if number and not self._layout.output_part(number).exists():
            left_out += max(0, size - offset)
        elif offset:
            ends_line = self._read(number, offset - 1) == b"\n"
        # It begins in the middle of a line.
        rest = (self._read(following, 0) or b"").find(b"\n") + 1
        return (b"" if ends_line else b"\n") + _left_out(left_out + rest), (following, rest)

    def _part_bytes(self) -> int:
        """Size of a whole part after the first, as far as it can be seen."""
        sizes = [0]
        for number in self._layout.output_parts():
            with contextlib.suppress(FileNotFoundError):
                sizes.append(self._layout.output_part(number).stat().st_size if number else 0)
        return max(sizes)


def _last(data: bytes, lines: int, notice: bytes) -> bytes:
    """The last lines of `data`, collapsed; `notice` before them where there are fewer and something is gone."""
    found = collapse(data).split(b"\n")
    wanted = lines + (not found[-1])
    if len(found) <= wanted:
        return notice + b"\n".join(found if not notice else found[1:])
    return b"\n".join(found[len(found) - wanted :])


def _left_out(nbytes: float) -> bytes:
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 999.5:
            return f"[{nbytes:.3g} {unit} of output left out]\n".encode()
        nbytes /= 1000
    return f"[{nbytes:.4g} TB of output left out]\n".encode()
