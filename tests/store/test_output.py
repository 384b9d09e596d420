"""What a script prints is kept: the first words, the last ones, and of progress bars where they stood."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypertuner import files
from hypertuner.store.layout import AttemptLayout
from hypertuner.store.output import START, OutputReader, OutputWriter, collapse


@pytest.fixture
def layout(tmp_path: Path) -> AttemptLayout:
    return made(tmp_path / "1")


def made(folder: Path) -> AttemptLayout:
    folder.mkdir()
    return AttemptLayout(folder)


def read_all(layout: AttemptLayout, position=START) -> bytes:
    reader, found = OutputReader(layout), b""
    while True:
        data, position = reader.read(position)
        if not data:
            return found
        found += data


def as_seen(data: bytes) -> bytes:
    """The model: what stands on each line at its end, sign by sign."""
    lines, line, is_rewritten = [], b"", False
    for sign in (data[at : at + 1] for at in range(len(data))):
        if sign == b"\n":
            lines.append(line + sign)
            line, is_rewritten = b"", False
        elif sign == b"\r":
            is_rewritten = True
        else:
            line = sign if is_rewritten else line + sign
            is_rewritten = False
    return b"".join([*lines, line])


# --- any bytes, in any pieces

PIECES = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"10%", b"\xe2", b"\x96\x88", b"\x1b[A", b""])).map(b"".join),
        st.none(),  # a tick
    ),
    max_size=30,
)


@given(PIECES)
def test_any_bytes_in_any_pieces_read_back_as_what_stood_on_each_line(tmp_path_factory, pieces):
    layout = made(tmp_path_factory.mktemp("output") / "1")
    writer = OutputWriter(layout, pending_every_s=0)
    for piece in pieces:
        writer.tick() if piece is None else writer.write(piece)
    writer.close()
    printed = b"".join(filter(None, pieces))
    assert collapse(read_all(layout)) == as_seen(printed)
    for count in (0, 1, 3):
        tail, position = OutputReader(layout).tail(count)
        assert tail == last_lines(as_seen(printed), count)
        assert OutputReader(layout).read(position)[0] == b""


def last_lines(data: bytes, count: int) -> bytes:
    lines = re.findall(rb"[^\n]*\n|[^\n]+$", data)
    return b"".join(lines[-count:]) if count else b""


@given(PIECES)
def test_a_follower_sees_the_same_whenever_it_looks(tmp_path_factory, pieces):
    layout = made(tmp_path_factory.mktemp("output") / "1")
    writer = OutputWriter(layout, pending_every_s=0, head_bytes=10, part_bytes=1000)
    seen, position = b"", START
    for piece in pieces:
        writer.tick() if piece is None else writer.write(piece)
        data, position = OutputReader(layout).read(tuple(json.loads(json.dumps(position))))
        seen += data
    writer.close()
    seen += read_all(layout, position)
    assert collapse(seen) == as_seen(b"".join(filter(None, pieces)))


@given(
    st.lists(
        st.lists(st.sampled_from([b"a line\n", b"\n", b"no end ", b"x" * 30]), max_size=4).map(b"".join), max_size=8
    ),
    st.integers(1, 50),
    st.integers(1, 50),
)
def test_of_much_output_the_first_and_the_last_words_are_kept_and_what_is_between_is_counted(
    tmp_path_factory, pieces, head, part
):
    layout = made(tmp_path_factory.mktemp("output") / "1")
    writer = OutputWriter(layout, head_bytes=head, part_bytes=part, pending_every_s=0)
    for piece in pieces:
        writer.write(piece)
        writer.tick()
    writer.close()
    printed, read = b"".join(pieces), read_all(layout)
    assert layout.output.read_bytes() == printed[:head]
    gap = re.search(rb"\[(\d+) B of output left out\]\n", read)
    if gap is None:
        assert read == printed
    else:
        left_out = int(gap[1])
        end = read[gap.end() :]
        assert printed.endswith(end) and len(end) <= 2 * part
        assert len(printed) == head + left_out + len(end)
        assert read[: gap.start()].removesuffix(b"\n") == printed[:head].removesuffix(b"\n")
    assert sum(path.stat().st_size for path in layout.folder.iterdir()) <= head + 2 * part


# --- progress bars


def test_of_a_progress_bar_the_last_state_stays(layout):
    writer = OutputWriter(layout, pending_every_s=60)
    for percent in range(101):
        writer.write(b"\r%3d%%" % percent)
    writer.write(b"\ndone\r\n")
    assert layout.output.read_bytes() == b"100%\ndone\n"


def test_a_return_is_written_only_where_a_state_takes_the_place_of_another(layout):
    writer = OutputWriter(layout, pending_every_s=0)
    writer.write(b"\r1%")
    writer.tick()
    writer.write(b"\r2%\r3%\n")
    writer.write(b"\r4%\r5%\nplain\r\n")
    assert layout.output.read_bytes() == b"1%\r3%\n5%\nplain\n"


def test_who_follows_sees_a_progress_bar_move_and_its_file_stays_small(layout, monkeypatch):
    monkeypatch.setattr("time.monotonic", lambda: now)
    writer = OutputWriter(layout)
    now, seen, position = 100.0, [], START
    for _ in range(120):  # a minute
        now += 0.5
        writer.write(b"\r%.1f" % now)
        writer.tick()
        data, position = OutputReader(layout).read(position)
        seen += [data] if data else []
    assert seen[:3] == [b"100.5", b"\r102.5", b"\r104.5"]
    assert len(seen) == 30
    writer.write(b"\n")
    assert collapse(layout.output.read_bytes()) == b"160.0\n"


def test_the_last_lines_are_collapsed_also_when_the_last_is_not_over(layout):
    writer = OutputWriter(layout, pending_every_s=0)
    writer.write(b"one\ntwo\n\r10%")
    writer.tick()
    writer.write(b"\r20%")
    writer.tick()
    assert OutputReader(layout).tail(2)[0] == b"two\n20%"


def test_bars_of_several_lines_break_nothing(run_script, layout):
    pytest.importorskip("tqdm")
    done = run_script("""
        import sys
        from tqdm import tqdm
        bars = [tqdm(total=50, position=at, desc=f"bar{at}", file=sys.stdout, mininterval=0) for at in range(3)]
        for _ in range(50):
            for bar in bars:
                bar.update()
        for bar in bars:
            bar.close()
        print("\\n\\n\\nafter")
    """)
    printed = done.stdout.encode()
    writer = OutputWriter(layout, pending_every_s=0)
    for at in range(0, len(printed), 7):
        writer.write(printed[at : at + 7])
        writer.tick()
    writer.close()
    assert read_all(layout).endswith(b"after\n")
    assert OutputReader(layout).tail(1)[0] == b"after\n"


def test_a_line_without_end_is_passed_on_and_held_nowhere(layout):
    writer = OutputWriter(layout, pending_every_s=3600)
    for _ in range(1000):
        writer.write(b"x" * 10_000)
    assert layout.output.stat().st_size > 9_900_000
    writer.write(b"\rand its last state\n")
    assert OutputReader(layout).tail(1)[0] == b"and its last state\n"


def test_a_million_returns_are_nothing(layout):
    writer = OutputWriter(layout)
    for _ in range(20):
        writer.write(b"\r" * 1_000_000)
    writer.write(b"x" + b"\r" * 1_000_000 + b"\n")
    assert layout.output.read_bytes() == b"x\n"


# --- the end of a big file


def test_the_last_lines_of_a_big_file_are_read_from_its_end(layout):
    layout.output.write_bytes(b"".join(b"line %d\n" % number for number in range(2_000_000)))
    before = os.times()
    tail, position = OutputReader(layout).tail(3)
    assert tail == b"line 1999997\nline 1999998\nline 1999999\n"
    assert position == (0, layout.output.stat().st_size)
    assert os.times().user - before.user < 0.1


def test_the_last_lines_go_over_parts_and_say_what_is_missing_before_them(layout):
    writer = OutputWriter(layout, head_bytes=100, part_bytes=100)
    for number in range(100):
        writer.write(b"line %03d\n" % number)
    writer.close()
    assert OutputReader(layout).tail(15)[0] == b"".join(b"line %03d\n" % number for number in range(85, 100))
    notice, _, lines = OutputReader(layout).tail(50)[0].partition(b"\n")
    assert notice == b"[600 B of output left out]"
    assert lines == b"".join(b"line %03d\n" % number for number in range(100))[-len(lines) :]
    assert lines.startswith(b"line ")


@pytest.mark.parametrize("lines", [38, 100])
def test_a_reader_that_was_overtaken_goes_on_with_what_is_left_and_is_told_exactly_what_is_not(layout, lines):
    writer = OutputWriter(layout, head_bytes=100, part_bytes=100)
    printed = b"a" * 149 + b"\n"
    writer.write(printed)
    _, position = OutputReader(layout).read()
    _, position = OutputReader(layout).read(position)
    assert position == (1, 50)
    for number in range(lines):
        writer.write(b"line %03d\n" % number)
        printed += b"line %03d\n" % number
        if number == 18:  # part 3 begins, part 1 is removed
            assert layout.output_parts() == [0, 2, 3]
            before = read_all(layout, position)
    for rest, end in ((before, 150 + 19 * 9), (read_all(layout, position), len(printed))):
        told = re.match(rb"\n\[(\d+) B of output left out\]\n(line [^$]+)$", rest)
        assert told is not None
        assert 150 + int(told[1]) + len(told[2]) == end
        assert printed[:end].endswith(told[2])


def test_a_pipe_in_the_place_of_output_is_no_trap(layout):
    os.mkfifo(layout.output)
    from hypertuner import CorruptFileError

    with pytest.raises(CorruptFileError):
        OutputReader(layout).read()


# --- disks


def test_a_full_disk_loses_what_does_not_fit_says_how_much_and_goes_on(run_script, layout):
    run_script(
        f"""
        import resource
        from pathlib import Path
        from hypertuner.store.layout import AttemptLayout
        from hypertuner.store.output import OutputWriter
        writer = OutputWriter(AttemptLayout(Path({str(layout.folder)!r})), pending_every_s=0)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (25, hard))
        for number in range(10):
            writer.write(b"before %d\\n" % number)
            writer.tick()
        print(writer.lost_bytes)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        writer.tick()
        writer.write(b"after\\n")
        writer.close()
        """
    )
    assert layout.output.read_bytes() == (
        b"before 0\nbefore 1\nbefore \n[65 bytes of output could not be written]\nafter\n"
    )


def test_a_line_that_was_cut_by_a_full_disk_is_ended_once_and_closing_says_what_is_missing(run_script, layout):
    run_script(
        f"""
        import resource
        from pathlib import Path
        from hypertuner.store.layout import AttemptLayout
        from hypertuner.store.output import OutputWriter
        writer = OutputWriter(AttemptLayout(Path({str(layout.folder)!r})), pending_every_s=0)
        writer.write(b"begun")
        writer.tick()
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8, hard))
        writer.write(b", and ended\\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        writer.close()
        """
    )
    assert layout.output.read_bytes() == b"begun, a\n[9 bytes of output could not be written]\n"


@pytest.mark.parametrize("failing", range(1, 10))
@pytest.mark.parametrize("length", [1, 4])
def test_whatever_fails_the_writer_goes_on_and_counts(layout, monkeypatch, failing, length):
    operations = 0

    def plan(operation):
        nonlocal operations
        operations += 1
        if failing <= operations < failing + length:
            raise OSError(errno.ENOSPC, "full", operation.path)

    monkeypatch.setattr(files, "fault_plan", plan)
    writer = OutputWriter(layout, head_bytes=50, part_bytes=200, pending_every_s=0)
    lines = [b"this is line %02d\n" % number for number in range(12)]
    for line in lines:
        writer.write(line)
        writer.tick()
    writer.close()
    monkeypatch.setattr(files, "fault_plan", None)
    notice = re.compile(rb"\[(\d+) bytes of output could not be written\]\n")
    kept, notices = notice.subn(b"", read_all(layout))
    assert sum(int(found[1]) for found in notice.finditer(read_all(layout))) == writer.lost_bytes
    assert 0 <= len(kept) + writer.lost_bytes - len(b"".join(lines)) <= notices  # a line that was cut was ended
    assert kept.endswith(lines[-1])
    rest = iter(b"".join(lines).replace(b"\n", b""))
    assert all(sign in rest for sign in kept.replace(b"\n", b""))  # in the order in which it was printed


def test_a_folder_that_is_gone_stops_nothing(layout):
    writer = OutputWriter(layout, head_bytes=10, part_bytes=10)
    layout.output.unlink()
    layout.folder.rmdir()
    writer.write(b"x" * 100)
    writer.tick()
    writer.close()
    assert writer.lost_bytes == 90


def test_a_writer_that_comes_after_another_goes_on_where_that_was(layout):
    first = OutputWriter(layout, head_bytes=10, part_bytes=10)
    first.write(b"0123456\n" * 3)
    first.close()
    second = OutputWriter(layout, head_bytes=10, part_bytes=10)
    second.write(b"last\n")
    second.close()
    assert read_all(layout).endswith(b"last\n")
    assert layout.output_parts() == [0, 1, 2]


# --- a lot of it


@pytest.mark.skipif(sys.platform == "win32", reason="needs yes")
def test_a_script_that_prints_without_end_never_waits_long_and_takes_little_room(layout):
    """A real child through a real pipe: 1 GB, of which 6 MB stay."""
    child = subprocess.Popen(["sh", "-c", "yes 'a line of output, of a usual length' | head -c 1000000000"], stdout=-1)
    writer = OutputWriter(layout, head_bytes=2_000_000, part_bytes=2_000_000)
    assert child.stdout is not None
    while data := os.read(child.stdout.fileno(), 1 << 16):
        writer.write(data)
    child.stdout.close()
    child.wait()
    writer.close()
    read = read_all(layout)
    assert re.search(rb"\[99[4-6] MB of output left out\]\n", read)
    assert len(read) < 6_100_000
    assert writer.lost_bytes == 0
