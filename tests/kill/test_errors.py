"""An error at every operation of saves in the background, and of saves whose retention thins and removes files.

A save that failed is never taken for one that was saved; what was there before stays, whole; and the error reaches
whoever saves: at once, at `wait`, at the next save, or when the run ends.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
from dataclasses import dataclass, field

import pytest
from tests.kill.saving import (
    KINDS,
    RUN,
    Parts,
    ShortWrites,
    Told,
    failing_at,
    files_are_whole,
    forget,
    nothing_is_lost,
    save,
)

import hypertuner
from hypertuner import files
from hypertuner.checkpoint.saves import Saves
from hypertuner.store import Run, RunState, current, said

CODES = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.EINTR, errno.ESTALE)
FULL = (errno.ENOSPC, errno.EDQUOT)
ERRORS = (OSError, hypertuner.StorageError)

_REMOVING = ("retention of the last", "retention of the best", "two best", "thinned and removed")
REMOVING = [kind for kind in KINDS if kind.name in _REMOVING]
BACKGROUND = [kind for kind in KINDS if kind.options.get("background")]


@dataclass
class Tried:
    """What came of the saves of a kind among which one operation failed."""

    begun: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    seen: list[files.Operation] = field(default_factory=list)
    has_failed: bool = False
    """Whether any operation was left to fail."""

    def told(self, kind):
        return Told([*kind.before, *self.begun], [*kind.before, *self.kept], was_killed=False)


def tried(storage, kind, number, code, way):
    """Save, with one operation failing, and be told of it in a way: 'wait', 'next save' or 'end'."""
    parts, done = Parts(kind), Tried()
    with hypertuner.new_run(RUN):
        saver = save(kind, parts, kind.before, lambda _: None)
        before = {path: path.read_bytes() for path in storage.rglob("*.pt")}
        made = []
        with failing_at(number, code) as done.seen:
            for step in kind.then:
                parts.become(step)
                done.begun.append(step)
                with telling(done.errors):
                    made.append(saver.save(step=step, metrics={"acc": kind.score(step)}))
                parts.become(100)
            Saves.of(current.run()).drain()
        done.has_failed = len(done.seen) == number
        for checkpoint in made if way == "wait" else ():
            with telling(done.errors):
                checkpoint.wait()
        done.kept = [checkpoint.step for checkpoint in made if checkpoint.is_durable]
        files_are_whole(storage)
        if len(kind.then) == 1 and not any(file.step in kind.then for file in Run(storage / RUN).checkpoints()):
            # Nothing is touched before the new one is there.
            assert {path: path.read_bytes() for path in storage.rglob("*.pt")} == before
        for step in {"wait": (9,), "next save": (7, 9), "end": ()}[way]:
            parts.become(step)
            with telling(done.errors):
                done.begun.append(step)
                done.kept.append(saver.save(step=step, metrics={"acc": kind.score(step)}).wait().step)
    return done


@contextlib.contextmanager
def telling(errors):
    try:
        yield
    except ERRORS as error:
        errors.append(error)


def check(error, code, operation):
    if code == errno.EINTR:
        # Python itself asks again after a signal: only a system that says so for good is passed on as it is.
        assert isinstance(error, InterruptedError), operation
        return
    assert isinstance(error, hypertuner.StorageFullError if code in FULL else hypertuner.StorageError), operation
    assert len(str(error).splitlines()) == 2


def fail_everywhere(storage, kind, code, way, every, capsys):
    """Let each `every`-th operation of a kind's saves fail, from another one on for each error; how many did."""
    for count in itertools.count():
        said.say_once.cache_clear()
        done = tried(storage, kind, CODES.index(code) % every + 1 + count * every, code, way)
        if not done.has_failed:
            assert not done.errors
            nothing_is_lost(storage, kind, done.told(kind))
            return count
        run, heard = Run(storage / RUN), capsys.readouterr().err
        ended = run.newest_attempt().exit()
        for error in done.errors:
            check(error, code, done.seen[-1])
        if way == "end" and run.state() == RunState.failed:
            assert f"of {RUN} failed: " in ended.reason
            assert f"of {RUN} failed in the background: " in heard
            done.errors.append(ended)
        else:
            assert run.state() == RunState.finished, done.seen[-1]
        # Whoever waits for what failed, or for what it took the place of, is told; nobody else is once it was told.
        assert len(set(map(id, done.errors)) if way == "wait" else done.errors) <= 1, (done.seen[-1], done.errors)
        if not done.errors:
            # After the commit only tidying up may fail: it is said, but for drafts, which are swept some day.
            is_draft = done.seen[-1].name == "unlink" and ".draft-" in done.seen[-1].path
            assert is_draft or "old checkpoint" in heard, done.seen[-1]
            assert kind.then[-1] in done.kept
        nothing_is_lost(storage, kind, done.told(kind))
        forget(storage)
    raise AssertionError


# Each operation with one of the errors, which take turns; slowly, with each of them.
EVERY = [pytest.param(len(CODES), id="in turn"), pytest.param(1, id="each", marks=pytest.mark.slow)]


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("kind", REMOVING, ids=lambda kind: kind.name)
def test_an_error_while_old_checkpoints_are_removed_is_raised_or_said(storage, capsys, kind, code, every):
    assert fail_everywhere(storage, kind, code, "wait", every, capsys) >= 9 // every


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("way", ["wait", "next save", "end"])
@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("kind", BACKGROUND, ids=lambda kind: kind.name)
def test_an_error_in_the_background_is_told_once(storage, capsys, kind, code, way, every):
    assert fail_everywhere(storage, kind, code, way, every, capsys) >= 9 // every


@pytest.mark.parametrize("every", [pytest.param(5, id="some"), pytest.param(1, id="each", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", [*REMOVING, *BACKGROUND], ids=lambda kind: kind.name)
def test_where_only_a_part_of_each_write_is_taken_a_disk_that_fills_is_known(storage, capsys, monkeypatch, kind, every):
    monkeypatch.setattr(files, "NewFile", ShortWrites)
    assert fail_everywhere(storage, kind, errno.ENOSPC, "wait", every, capsys) >= 20 // every
