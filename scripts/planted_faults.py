"""Plants faults into the code that saves, one by one, and shows that the tests find each.

    python scripts/planted_faults.py [--only WORD] [--list]

Each fault is a change of a few words in a copy of the source, and the tests that must fail with it. A fault that they
do not find is a test that is missing: the script then ends with 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCE = REPOSITORY / "src" / "hypertuner"

_ORDER = "tests/kill/test_power_cut.py::test_every_name_is_given_to_synced_bytes_and_synced_before_a_save_returns"
_FILES = "tests/store/test_files.py"
_FULL = "tests/safety/test_full_disk.py"
_STREAM = "tests/frameworks/test_streaming.py"
_BACKGROUND = "tests/scenarios/test_background.py"
_RETENTION = "tests/checkpoint/test_retention.py"
_WRITERS = "tests/safety/test_two_writers.py"
_TEARS = "tests/frameworks/test_tears.py"
_PARENT = "tests/scenarios/test_start_from.py"
_KILL = "tests/kill/test_every_operation.py"
_SUPERVISOR = "tests/queue/test_supervisor.py"
_DRAIN = "tests/queue/test_drain.py"
_SLOTS = "tests/queue/test_slots.py"
_STATES = "tests/queue/test_states.py"


@dataclass(frozen=True)
class Fault:
    """`old` in `file`, which occurs there once, becomes `new`; one of `tests` must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


FAULTS = (
    Fault(
        "a file is not synced",
        "files.py",
        "        os.fsync(self.file.fileno())\n        self._inode",
        "        self._inode",
        (_ORDER,),
    ),
    Fault(
        "a folder is not synced after a new name",
        "files.py",
        "                elif not self._is_in_place():\n                    raise\n            sync_folder(self.target.parent)",
        "                elif not self._is_in_place():\n                    raise",
        (_ORDER,),
    ),
    Fault(
        "a folder is not synced after a rename",
        "files.py",
        "                if not self._is_in_place():\n                    raise\n            sync_folder(self.target.parent)",
        "                if not self._is_in_place():\n                    raise",
        (_ORDER,),
    ),
    Fault(
        "the folder of model.pt is not synced",
        "files.py",
        "                temporary.unlink()\n        sync_folder(target.parent)",
        "                temporary.unlink()",
        (_ORDER,),
    ),
    Fault(
        "a file has its name before it is synced",
        "files.py",
        '            self._finish()\n            _do("link", self.target)\n            try:\n                os.link(self._path, self.target)',
        '            os.link(self._path, self.target)\n            self._finish()\n            _do("link", self.target)\n'
        "            try:\n                pass",
        (_ORDER,),
    ),
    Fault(
        "a new folder is not synced",
        "files.py",
        "        os.mkdir(path, mode)\n        try:\n            sync_folder(path.parent)",
        "        os.mkdir(path, mode)\n        try:\n            pass",
        (_ORDER,),
    ),
    Fault(
        "the log is not synced before a save",
        "saver.py",
        "            active.sync_metrics()\n",
        "",
        ("tests/kill/test_power_cut.py::test_no_acknowledged_save_is_lost_when_the_power_goes", _ORDER),
    ),
    Fault(
        "old checkpoints go before the new one is committed",
        "saver.py",
        "            commit.commit(attempt, run, path, lambda file, key: captured.write(file, header, key))\n",
        "            for old in attempt.checkpoints():\n                old.path.unlink()\n"
        "            commit.commit(attempt, run, path, lambda file, key: captured.write(file, header, key))\n",
        (_FULL,),
    ),
    Fault(
        "model.pt is chosen before the new checkpoint is there",
        "saver.py",
        "            commit.commit(attempt, run, path, lambda file, key: captured.write(file, header, key))\n"
        "            commit.publish(attempt, run, path)\n",
        "            commit.publish(attempt, run, path)\n"
        "            commit.commit(attempt, run, path, lambda file, key: captured.write(file, header, key))\n",
        (_BACKGROUND, _FULL),
    ),
    Fault(
        "model.pt is what is not committed yet",
        "checkpoint/commit.py",
        "        draft.commit_new()\n",
        "        files.link_or_copy(Path(str(draft.file.name)), run.layout.model)\n        draft.commit_new()\n",
        (_ORDER, _FULL),
    ),
    Fault(
        "a checkpoint is written under its own name",
        "checkpoint/commit.py",
        "    with files.Draft(path, mode=0o444) as draft:\n        write(draft.file, _key())\n        draft.commit_new()\n",
        '    with files.NewFile(path, "x+") as file:\n        file.target = path\n        write(file, _key())\n'
        "        files.os.fsync(file.fileno())\n        path.chmod(0o444)\n        files.sync_folder(path.parent)\n",
        (_KILL, _FULL),
    ),
    Fault(
        "a new file may be another's",
        "files.py",
        "os.O_RDWR | os.O_CREAT | os.O_EXCL",
        "os.O_RDWR | os.O_CREAT",
        (_FILES,),
    ),
    Fault(
        "a run keeps no checkpoint of its parent's",
        "store/storage.py",
        "                files.link_or_copy(parent_file, draft.layout.parent)\n",
        "                pass\n",
        (f"{_PARENT}::test_the_child_outlives_its_parent", _KILL),
    ),
    Fault(
        "model.pt is written in place",
        "files.py",
        "            os.link(source, temporary)\n",
        "            target.write_bytes(source.read_bytes())\n            return\n",
        (_FULL, _FILES, _ORDER),
    ),
    Fault(
        "a name that is taken is taken again",
        "files.py",
        "                os.link(self._path, self.target)\n            except",
        "                os.replace(self._path, self.target)\n            except",
        (_FILES,),
    ),
    Fault(
        "a failed write is forgotten",
        "files.py",
        "            self.failure = error\n            raise",
        "            raise",
        (_FULL, _FILES, "tests/kill/test_planted_faults.py"),
    ),
    Fault(
        "a failed draft stays",
        "files.py",
        '            _do("unlink", self._path)\n            self._path.unlink(missing_ok=True)',
        '            _do("unlink", self._path)',
        (_FILES, _FULL),
    ),
    Fault(
        "a quota is no full disk",
        "errors.py",
        '    errno.EDQUOT: "your quota is used up",\n',
        "",
        (_FILES,),
    ),
    Fault(
        "a write that took a part is taken for whole",
        "files.py",
        "                while done < len(view):\n",
        "                if done < len(view):\n",
        ("tests/kill/test_planted_faults.py",),
    ),
    Fault(
        "checkpoints may be written to afterwards",
        "checkpoint/commit.py",
        "    with files.Draft(path, mode=0o444) as draft:",
        "    with files.Draft(path) as draft:",
        ("tests/kill/test_planted_faults.py",),
    ),
    Fault(
        "an older attempt moves model.pt",
        "checkpoint/commit.py",
        "    if newest is not None and newest.number > attempt.number:",
        "    if False and newest is not None and newest.number > attempt.number:",
        (_WRITERS,),
    ),
    Fault(
        "an attempt that was overtaken while it wrote moves model.pt",
        "checkpoint/commit.py",
        "    # A new attempt may have begun while this one wrote: model.pt is no longer this one's to move.\n"
        "    check_is_newest(attempt, run)\n",
        "",
        (_WRITERS,),
    ),
    Fault(
        "an attempt that was overtaken while it moved model.pt leaves its own there",
        "checkpoint/commit.py",
        "            offer.settle(run)\n",
        "            pass\n",
        (_WRITERS,),
    ),
    Fault(
        "an error of syncing the log is not named",
        "files.py",
        '        with refusal_named(self.path):\n            _do("fsync", self.path)',
        '        with contextlib.nullcontext():\n            _do("fsync", self.path)',
        (_FULL,),
    ),
    Fault(
        "drafts of killed saves stay",
        "checkpoint/commit.py",
        "        files.sweep_drafts(folder)",
        "        pass",
        (_KILL,),
    ),
    Fault(
        "a storage's hash leaves out its last bytes",
        "checkpoint/format/streaming.py",
        "            own.update(chunk)\n",
        "            own.update(chunk[:-1])\n",
        (_STREAM,),
    ),
    Fault(
        "the hash of the file leaves out what is large",
        "checkpoint/format/streaming.py",
        "            self.whole.update(chunk)\n",
        "",
        (_STREAM,),
    ),
    Fault(
        "the CRC is that of the last chunk",
        "checkpoint/format/streaming.py",
        "            crc = crc32(chunk, crc)\n",
        "            crc = crc32(chunk)\n",
        (_STREAM,),
    ),
    Fault(
        "the descriptor gets no CRC",
        "checkpoint/format/streaming.py",
        "    return between if crc is None else",
        "    return between if crc is None or True else",
        (_STREAM,),
    ),
    Fault(
        "the directory gets no CRC",
        "checkpoint/format/directory.py",
        "        if name in crcs:\n",
        "        if False and name in crcs:\n",
        (_STREAM,),
    ),
    Fault(
        "pieces are written in another order than they were hashed",
        "checkpoint/format/streaming.py",
        "            self.whole.update(chunk)\n            self._flush()\n            self._put(chunk)",
        "            self.whole.update(chunk)\n            self._put(chunk)",
        (_STREAM,),
    ),
    Fault(
        "the layout is believed unchecked",
        "checkpoint/format/streaming.py",
        "    if [(offset, payloads[key].nbytes) for offset, key in spans] != image.gaps:",
        "    if False and [(offset, payloads[key].nbytes) for offset, key in spans] != image.gaps:",
        (_STREAM,),
    ),
    Fault(
        "a save in the background keeps references to the tensors",
        "frameworks/torch/placing.py",
        "            if not self._copy:\n                self._left",
        "            if True:\n                self._left",
        (_BACKGROUND, f"{_TEARS}::test_no_optimizer_tears_a_save"),
    ),
    Fault(
        "a save in the background keeps references to lists and dicts",
        "frameworks/torch/placing.py",
        "def _replace(value: Any, placed: Iterator[torch.Tensor]) -> Any:\n",
        "def _replace(value: Any, placed: Iterator[torch.Tensor]) -> Any:\n    tensors: list[torch.Tensor] = []\n"
        "    _collect(value, tensors)\n    if not tensors:\n        return value\n",
        (_BACKGROUND,),
    ),
    Fault(
        "where tensors go is not found out again when they share otherwise",
        "frameworks/torch/placing.py",
        "if not isinstance(plan, _Plan) or plan.key != key:",
        "if not isinstance(plan, _Plan) or len(plan.key[1]) != len(rows):",
        ("tests/frameworks/test_placing.py",),
    ),
    Fault(
        "the model's source is looked up when the save is written",
        "saver.py",
        "                **told,\n",
        "                **captured.about(),\n",
        (_BACKGROUND,),
    ),
    Fault(
        "memory is used again while it is being written",
        "frameworks/torch/staging.py",
        "        return self._free.pop() if self._free else Stage(self)",
        "        self._one = getattr(self, '_one', None) or Stage(self)\n        return self._one",
        (f"{_TEARS}::test_no_optimizer_tears_a_save", _BACKGROUND),
    ),
    Fault(
        "an error in the background is lost",
        "checkpoint/saves.py",
        "                if save.error is not None:\n                    self._failed.append(save)\n",
        "",
        (_BACKGROUND,),
    ),
    Fault(
        "a checkpoint that failed in the background counts as durable",
        "checkpoint/commit.py",
        " and self.under_way.error is None",
        "",
        (_BACKGROUND,),
    ),
    Fault(
        "a run ends before its saves are durable",
        "checkpoint/saves.py",
        "        with self.timed():\n            self.drain()\n        lost",
        "        lost",
        (_BACKGROUND,),
    ),
    Fault(
        "any number of saves is under way",
        "checkpoint/saves.py",
        '            while len(self._queue) >= _MOST_UNDER_WAY:\n                if when_busy == "skip":',
        '            while False and len(self._queue) >= _MOST_UNDER_WAY:\n                if when_busy == "skip":',
        (_BACKGROUND,),
    ),
    Fault(
        "two saves under way get one name",
        "saver.py",
        "        self._paths.add(path)\n",
        "",
        (_BACKGROUND,),
    ),
    Fault(
        "NaN is the best",
        "checkpoint/offer.py",
        " or value != value",
        "",
        (_RETENTION,),
    ),
    Fault(
        "the best goes with the others",
        "checkpoint/retention.py",
        "        kept.add(best)\n",
        "",
        (_RETENTION,),
    ),
    Fault(
        "a pinned checkpoint is removed",
        "checkpoint/retention.py",
        "*pinned(run, remaining)}",
        "}",
        (_RETENTION,),
    ),
    Fault(
        "queue: what a script leaves behind is not adopted",
        "queue/supervisor.py",
        "        syscalls.adopt_orphans()\n        supervisor",
        "        supervisor",
        (f"{_SUPERVISOR}::test_what_a_script_leaves_behind_ends_with_it_also_a_daemon_in_a_session_of_its_own",),
    ),
    Fault(
        "queue: a supervisor does not notice that its guard is gone",
        "queue/supervisor.py",
        "        syscalls.be_told_of_death(guard, _GUARD_IS_GONE)\n",
        "",
        (
            f"{_SUPERVISOR}::test_when_a_supervisor_is_killed_nothing_it_started_goes_on_and_the_run_is_tried_again[guard]",
        ),
    ),
    Fault(
        "queue: what a script leaves behind is left",
        "queue/supervisor.py",
        "            tree.end_descendants(0 if was_killed else _LEFT_BEHIND_GRACE_S)\n",
        "",
        (f"{_SUPERVISOR}::test_what_a_script_leaves_behind_ends_with_it_also_a_daemon_in_a_session_of_its_own",),
    ),
    Fault(
        "queue: a script has no time to save when it is stopped",
        "queue/supervisor.py",
        "now + settings.GRACE_S.get()",
        "now",
        (f"{_SUPERVISOR}::test_a_script_that_is_stopped_may_save_and_is_stopped",),
    ),
    Fault(
        "queue: a process is told by its pid alone",
        "store/process.py",
        "return self.started is None or abs(started - self.started) < 0.5",
        "return True",
        (f"{_STATES}::test_a_stranger_that_got_the_pid_is_never_signalled",),
    ),
    Fault(
        "queue: a machine is told by its name alone",
        "store/process.py",
        " or (self.machine and self.machine != _machine_id())",
        "",
        (f"{_STATES}::test_a_machine_of_the_same_name_is_another_one",),
    ),
    Fault(
        "queue: environments are for everybody to read",
        "queue/private.py",
        "mode=0o600",
        "mode=0o644",
        (f"{_SUPERVISOR}::test_what_a_run_is_started_with_is_for_its_owners_eyes",),
    ),
    Fault(
        "queue: secrets among the arguments are recorded",
        "queue/make.py",
        "arguments=capture.without_secrets(arguments)",
        "arguments=tuple(arguments)",
        (f"{_SUPERVISOR}::test_arguments_reach_the_script_as_they_were_typed_secrets_too_and_are_not_recorded",),
    ),
    Fault(
        "queue: an error of the script is tried again unasked",
        "queue/drain.py",
        "retriable = ended.cause in records.INFRASTRUCTURE",
        "retriable = bool(ended.cause)",
        (f"{_SUPERVISOR}::test_an_error_of_the_script_is_tried_again_only_when_asked",),
    ),
    Fault(
        "queue: a run starts although the one that it comes after has failed",
        "queue/reasons.py",
        "        if state not in GOOD:\n",
        "        if state == RunState.queued:\n",
        (f"{_DRAIN}::test_what_comes_after_a_run_that_failed_waits_on_and_the_drainer_ends",),
    ),
    Fault(
        "queue: two processes drain",
        "queue/turn.py",
        "            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "            pass\n",
        (f"{_DRAIN}::test_one_process_drains_and_a_second_is_told_who_does",),
    ),
    Fault(
        "queue: one run too many at once",
        "queue/slots.py",
        "+ wanted > self.count",
        "+ wanted > self.count + 1",
        (_SLOTS, f"{_DRAIN}::test_no_more_run_at_once_than_there_are_slots"),
    ),
    Fault("queue: a GPU that a stranger holds is given", "queue/slots.py", "if strangers:", "if not gpu:", (_SLOTS,)),
    Fault(
        "queue: the code is the one of when it starts",
        "queue/code.py",
        "    if queued.live_code or not kept.is_file():\n",
        "    if True:\n",
        (f"{_SUPERVISOR}::test_the_source_is_the_one_of_when_it_was_queued",),
    ),
    Fault(
        "queue: a script has the last word on how it ended",
        "store/run.py",
        "is_awaited = script and",
        "is_awaited = script and False and",
        (f"{_SUPERVISOR}::test_each_end_has_its_state_its_cause_and_its_reason",),
    ),
    Fault(
        "queue: an attempt of which nothing was started counts",
        "store/run.py",
        "if not attempt.is_void()), None)",
        "if attempt), None)",
        (f"{_DRAIN}::test_an_attempt_that_was_claimed_and_never_started_is_void_and_the_next_number_starts",),
    ),
)


def plant(fault: Fault, source: Path) -> None:
    """Change the copy of the source at `source`. ValueError where the fault does not fit it any more."""
    path = source / fault.file
    text = path.read_text(encoding="utf-8")
    if text.count(fault.old) != 1:
        raise ValueError(f"{fault.name!r}: its text is {text.count(fault.old)} times in {fault.file}, not once")
    path.write_text(text.replace(fault.old, fault.new), encoding="utf-8")


def found_by(fault: Fault, folder: Path) -> str | None:
    """The test that fails with the fault, in a copy of the repository in `folder`; None: none does."""
    copy(folder)
    plant(fault, folder / "src" / "hypertuner")
    return failing(fault.tests, folder)


def copy(folder: Path) -> None:
    """Make a copy of source and tests, which other users can read, as a test asks one to."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    for name in ("src", "tests", "pyproject.toml"):
        origin = REPOSITORY / name
        if origin.is_dir():
            shutil.copytree(origin, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, folder / name)


def failing(tests: Iterable[str], folder: Path) -> str | None:
    """The first of the tests that fails in the copy, or None."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)
    # A file that cannot be imported is an ERROR without a test: that says nothing about the tests.
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR ")) and "::" in line]
    if done.returncode == 0:
        return None
    if not failed:
        raise RuntimeError(f"the tests did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return failed[0].split(" - ")[0].partition(" ")[2]


def main() -> int:
    """Plant, run, show; 1 when a fault was not found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="faults whose name has this in it")
    parser.add_argument("--list", action="store_true", help="name the faults, and stop")
    given = parser.parse_args()
    chosen = [fault for fault in FAULTS if given.only in fault.name]
    survived = 0
    if not given.list:
        with tempfile.TemporaryDirectory(prefix="planted-") as folder:
            copy(Path(folder))
            if (test := failing(sorted({test for fault in chosen for test in fault.tests}), Path(folder))) is not None:
                print(f"Without any fault, {test} fails: nothing can be said")
                return 1
    for fault in chosen:
        if given.list:
            print(f"{fault.file}: {fault.name}")
            continue
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="planted-") as folder:
            test = found_by(fault, Path(folder))
        survived += test is None
        print(
            f"{'SURVIVES' if test is None else 'found':8} {time.monotonic() - begun:5.0f} s  {fault.name}: {test}",
            flush=True,
        )
    if not given.list:
        print(f"{len(chosen) - survived} of {len(chosen)} planted faults are found")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
