"""Writing: the old content or the new, never a mix, whenever the process dies, the disk fills or others write too."""

from __future__ import annotations

import errno
import os
import signal

import pytest
from tests.store.racing import race, run_until_killed

from hypertuner import files
from hypertuner.errors import StorageError, StorageFullError

OLD = b"old" * 5000
NEW = b"new!" * 5000


@pytest.fixture(autouse=True)
def no_plan_is_left():
    yield
    files.fault_plan = None


def at(number: int, act):
    """A plan that does `act` at the `number`-th operation from now on, 1 first."""
    passed = 0

    def plan(operation: files.Operation) -> None:
        nonlocal passed
        passed += 1
        if passed == number:
            act(operation)

    return plan


def fail_with(code: int):
    def act(operation: files.Operation) -> None:
        raise OSError(code, os.strerror(code), operation.path)

    return act


def kill_myself(operation: files.Operation) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stream(path):
    """A draft that is written in several pieces, as a checkpoint is."""
    with files.Draft(path, mode=0o444) as draft:
        for begin in range(0, len(NEW), 4000):
            draft.file.write(NEW[begin : begin + 4000])
        draft.commit_replace()


def link(path):
    source = path.parent / "source"
    source.write_bytes(NEW)
    files.link_or_copy(source, path)


REPLACING = [lambda path: files.replace(path, NEW), stream, link]
NAMES = ["replace", "stream", "link"]


def operations(action) -> int:
    """How many operations an action is made of."""
    seen = []
    files.fault_plan = seen.append
    action()
    files.fault_plan = None
    return len(seen)


@pytest.mark.parametrize("write", REPLACING, ids=NAMES)
def test_killed_at_any_operation_a_replacement_leaves_the_old_content_or_the_new(tmp_path, write):
    path = tmp_path / "file"
    path.write_bytes(OLD)
    count = operations(lambda: write(path))
    assert path.read_bytes() == NEW
    found = set()
    for number in range(1, count + 1):
        path.unlink()
        path.write_bytes(OLD)

        def action(number=number):
            files.fault_plan = at(number, kill_myself)
            write(path)

        _, killed = run_until_killed(action)
        assert killed
        found.add(path.read_bytes())
    assert OLD in found
    assert found <= {OLD, NEW}
    files.sweep_drafts(tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} <= {"file", "source"}


def test_killed_at_any_operation_a_new_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "file"
    count = operations(lambda: files.put_new(tmp_path / "other", NEW))
    found = []
    for number in range(1, count + 1):

        def action(number=number):
            files.fault_plan = at(number, kill_myself)
            files.put_new(path, NEW)

        _, killed = run_until_killed(action)
        assert killed
        found.append(path.read_bytes() if path.exists() else None)
        path.unlink(missing_ok=True)
    assert set(found) == {None, NEW}
    files.sweep_drafts(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["other"]


@pytest.mark.parametrize("write", REPLACING, ids=NAMES)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_at_any_operation_is_said_and_leaves_the_old_content_or_the_new(tmp_path, write, code):
    path = tmp_path / "file"
    count = operations(lambda: write(path))
    raised = 0
    for number in range(1, count + 1):
        path.unlink()
        path.write_bytes(OLD)
        files.fault_plan = at(number, fail_with(code))
        try:
            write(path)
        except StorageFullError as error:
            raised += 1
            assert error.path == path
            assert str(path) in str(error)
        files.fault_plan = None
        assert path.read_bytes() in (OLD, NEW)
        assert {entry.name for entry in tmp_path.iterdir()} <= {"file", "source"}, "no half-written file is left"
    assert raised >= 2


@pytest.mark.parametrize("write", REPLACING, ids=NAMES)
def test_another_error_of_the_system_passes_as_it_is(tmp_path, write):
    path = tmp_path / "file"
    files.fault_plan = at(1, fail_with(errno.EBADF))
    with pytest.raises(OSError, match="Bad file descriptor"):
        write(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EIO, "the disk reports an error"),
        (errno.ESTALE, "network file system lost it"),
        (errno.EMFILE, "too many files open"),
        (errno.EROFS, "read-only disk"),
    ],
)
@pytest.mark.parametrize("write", REPLACING, ids=NAMES)
def test_what_a_disk_refuses_is_named_with_what_to_do(tmp_path, write, code, words):
    path = tmp_path / "file"
    files.fault_plan = at(1, fail_with(code))
    with pytest.raises(StorageError, match=words) as caught:
        write(path)
    assert caught.value.path == path
    assert len(str(caught.value).splitlines()) == 2
    assert not path.exists()


def test_a_new_file_does_not_replace_one(tmp_path):
    path = tmp_path / "file"
    files.put_new(path, OLD)
    with pytest.raises(FileExistsError):
        files.put_new(path, NEW)
    assert path.read_bytes() == OLD
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_of_eight_processes_that_put_a_new_file_one_wins(tmp_path):
    code = f"""
from pathlib import Path
from hypertuner import files
# --- go
for round in range(20):
    try:
        files.put_new(Path({str(tmp_path)!r}, f"file-{{round}}"), sys.argv[2].encode() * 10000)
        print(round, end=" ")
    except FileExistsError:
        pass
"""
    printed = race(code, tmp_path, 8)
    won = {int(number): process for process, line in enumerate(printed) for number in line.split()}
    assert sorted(won) == list(range(20))
    assert sum(len(line.split()) for line in printed) == 20
    for number, process in won.items():
        assert (tmp_path / f"file-{number}").read_bytes() == str(process).encode() * 10000
    assert len(list(tmp_path.iterdir())) == 21


def test_where_hard_links_are_not_to_be_had_a_new_file_is_written_all_the_same(tmp_path):
    def no_links(operation: files.Operation) -> None:
        if operation.name == "link":
            raise OSError(errno.EPERM, "no links here", operation.path)

    source = tmp_path / "source"
    source.write_bytes(NEW)
    files.fault_plan = no_links
    files.link_or_copy(source, tmp_path / "copy")
    files.fault_plan = None
    assert (tmp_path / "copy").read_bytes() == NEW
    assert not (tmp_path / "copy").samefile(source)
    assert {entry.name for entry in tmp_path.iterdir()} == {"source", "copy"}


def test_linking_a_file_to_its_own_name_leaves_it_and_nothing_else(tmp_path):
    files.put_new(tmp_path / "source", NEW)
    for _ in range(2):
        files.link_or_copy(tmp_path / "source", tmp_path / "model")
    assert (tmp_path / "model").samefile(tmp_path / "source")
    assert {entry.name for entry in tmp_path.iterdir()} == {"source", "model"}


def test_a_draft_never_writes_into_what_has_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "urandom", bytes)
    with files.Draft(tmp_path / "one") as one:
        one.file.write(OLD)
        with pytest.raises(FileExistsError), files.Draft(tmp_path / "other") as other:
            other.file.write(NEW)
        one.commit_new()
        (draft,) = set(tmp_path.iterdir()) - {tmp_path / "one"}
        (tmp_path / "elsewhere").write_bytes(OLD)
        draft.unlink()
        draft.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(FileExistsError), files.Draft(tmp_path / "other") as other:
            other.file.write(NEW)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "elsewhere").read_bytes() == OLD
    assert not (tmp_path / "other").exists()


def test_a_draft_that_is_not_committed_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), files.Draft(tmp_path / "file") as draft:
        draft.file.write(NEW)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_files_have_the_mode_that_was_asked_for(tmp_path):
    files.put_new(tmp_path / "secret", b"", mode=0o600)
    files.put_new(tmp_path / "checkpoint", b"", mode=0o444)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "checkpoint").stat().st_mode & 0o777 == 0o444 & ~files._UMASK


def test_only_what_dead_writers_of_this_host_left_is_swept(tmp_path):
    pid, killed = run_until_killed(lambda: (files.Draft(tmp_path / "dead").__enter__(), os.kill(os.getpid(), 9)))
    assert killed
    (left,) = tmp_path.iterdir()
    assert f"-{pid}-" in left.name
    (tmp_path / ".draft-elsewhere-4000-ab").touch()
    with files.Draft(tmp_path / "alive") as draft:
        files.sweep_drafts(tmp_path)
        assert not left.exists()
        assert (tmp_path / ".draft-elsewhere-4000-ab").exists()
        draft.commit_new()
    assert (tmp_path / "alive").exists()


def test_what_was_appended_is_there_for_whoever_reads_next(tmp_path):
    appender = files.Appender(tmp_path / "lines")
    for number in range(3):
        appender.append(b"%d\n" % number)
        assert (tmp_path / "lines").read_bytes() == b"".join(b"%d\n" % seen for seen in range(number + 1))
    assert appender.size == 6
    appender.sync()
    appender.close()
    appender.close()


def test_killed_while_appending_only_whole_lines_or_one_half_line_are_there_and_the_next_writer_closes_it(tmp_path):
    path = tmp_path / "lines"

    def action():
        appender = files.Appender(path)
        files.fault_plan = at(3, kill_myself)
        for number in range(5):
            appender.append(b"%d\n" % number)

    assert run_until_killed(action)[1]
    assert path.read_bytes() == b"0\n1\n"
    with path.open("ab") as file:
        file.write(b"hal")
    appender = files.Appender(path)
    appender.append(b"2\n")
    appender.close()
    assert path.read_bytes() == b"0\n1\nhal\n2\n"


def test_a_file_that_cannot_grow_is_an_error_and_the_half_line_is_closed(tmp_path):
    import resource

    path = tmp_path / "lines"

    def action():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        appender = files.Appender(path)
        appender.append(b"x" * 90 + b"\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        with pytest.raises(StorageFullError, match="file-size limit"):
            appender.append(b"y" * 50 + b"\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        appender.append(b"z\n")

    assert not run_until_killed(action)[1]
    assert path.read_bytes() == b"x" * 90 + b"\n" + b"y" * 9 + b"\nz\n"


def test_a_quota_or_limit_is_named_in_the_message(tmp_path):
    for code, words in ((errno.ENOSPC, "disk is full"), (errno.EDQUOT, "quota"), (errno.EFBIG, "file-size limit")):
        files.fault_plan = at(1, fail_with(code))
        with pytest.raises(StorageFullError, match=words):
            files.put_new(tmp_path / "file", NEW)


def test_folders_are_made_with_their_parents_and_new_ones_only_once(tmp_path):
    files.make_folder(tmp_path / "a" / "b")
    files.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    with pytest.raises(FileExistsError):
        files.make_new_folder(tmp_path / "a" / "b")
    files.fault_plan = at(1, fail_with(errno.ENOSPC))
    with pytest.raises(StorageFullError):
        files.make_folder(tmp_path / "c")


def test_removing_a_folder_never_follows_a_link(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "link").symlink_to(tmp_path / "kept")
    files.remove_folder(tmp_path / "gone")
    assert (tmp_path / "kept" / "file").exists()
    files.remove(tmp_path / "gone")


def test_moving_never_replaces(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(FileExistsError):
        files.move(tmp_path / "a", tmp_path / "b")
    files.move(tmp_path / "a", tmp_path / "c")
    assert {entry.name for entry in tmp_path.iterdir()} == {"b", "c"}
