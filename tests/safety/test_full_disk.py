"""Disks that fill, break or may not be written: the previous model stays, errors say what to do, training goes on."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess

import pytest
import torch
from tests.kill.saving import failing_at
from torch import nn

import hypertuner
from hypertuner import files
from hypertuner.checkpoint.format.archive import verify

root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")


def net_of(value):
    net = nn.Linear(40, 30)
    nn.init.constant_(net.weight, value)
    return net


def drafts(storage):
    return list(storage.rglob(".draft-*"))


def is_whole(path, value):
    verify(path)
    weights = torch.load(path)["state_dict"]
    assert torch.equal(weights["weight"], torch.full((30, 40), float(value)))


def count_operations(save):
    with failing_at(10**9, errno.EIO) as seen:
        save()
    return len(seen)


# Full for every operation; the rarer answers at every third, so that all meet all kinds of operations.
CODES = [(errno.EIO, 1), (errno.ENOSPC, 1), (errno.EDQUOT, 3), (errno.EROFS, 3), (errno.EACCES, 3)]


@pytest.mark.parametrize(("code", "stride"), CODES, ids=[errno.errorcode[code] for code, _ in CODES])
def test_an_error_at_any_operation_of_a_repeated_save_leaves_the_previous_model(storage, code, stride):
    net = net_of(0)
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net)
        saver.save(step=0)
        saver.save(step=1)
        nn.init.constant_(net.weight, 2)
        total = count_operations(lambda: saver.save(step=2))
        assert total > 8
        model = storage / "r" / "model.pt"
        good = step = 2
        for number in range(1, total + 1, stride):
            step += 1
            nn.init.constant_(net.weight, step)
            with failing_at(number, code) as seen:
                try:
                    saver.save(step=step)
                    was_saved = True
                except (OSError, hypertuner.StorageError) as error:
                    was_saved = False
                    if code == errno.ENOSPC:
                        assert isinstance(error, hypertuner.StorageFullError), (seen[-1], error)
                        assert len(str(error).splitlines()) == 2
                    elif code != errno.EIO:
                        assert isinstance(error, hypertuner.StorageError), (seen[-1], error)
            if was_saved:
                # Only what comes after the commit may be passed over.
                assert seen[-1].name == "unlink", seen[-1]
                is_whole(model, step)
            else:
                there = torch.load(model)["run"]["step"]
                assert there in (good, step)
                is_whole(model, there)
                assert hypertuner.load("r@last", weights=True)
            for draft in drafts(storage):
                assert seen[-1].name == "unlink", seen[-1]  # the one operation that would have removed it
                draft.unlink()
            step += 1
            nn.init.constant_(net.weight, step)
            saver.save(step=step)
            is_whole(model, step)
            good = step


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.ESTALE], ids=errno.errorcode.get)
def test_an_error_at_any_operation_of_the_first_save_can_be_tried_again(storage, code):
    with hypertuner.new_run(name="warm"):  # makes the storage and the key
        hypertuner.Saver(net_of(1)).save(step=1)
    with hypertuner.new_run(name="counted"):
        total = count_operations(lambda: hypertuner.Saver(net_of(1)).save(step=1))
    assert total > 30
    for number in range(1, total + 1):
        with hypertuner.new_run(name=f"r{number}"):
            saver = hypertuner.Saver(net_of(1))
            with failing_at(number, code) as seen, contextlib.suppress(OSError, hypertuner.StorageError):
                saver.save(step=1)
            assert len(seen) == number
            nn.init.constant_(saver._model.weight, 2)
            saver.save(step=2)
        is_whole(storage / f"r{number}" / "model.pt", 2)
        assert hypertuner.load(f"r{number}@last").weight[0, 0] == 2
    assert len(hypertuner.runs()) >= total // 3


ALL = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.EINTR, errno.ESTALE)


@pytest.mark.parametrize("background", [False, True], ids=["durable", "background"])
@pytest.mark.parametrize("code", ALL, ids=errno.errorcode.get)
def test_no_error_at_any_operation_is_taken_for_success(storage, code, background):
    """With a log, retention and model.pt: what comes before the commit, and what comes after it."""
    net = net_of(0)

    def save(step):
        nn.init.constant_(net.weight, step)
        return saver.save(step=step, metrics={"acc": step}).wait()

    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net, background=background, keep_last=2, keep_best=1, monitor="acc", mode="max")
        for step in range(3):
            hypertuner.Logger().log({"loss": 1.0}, step)
            save(step)
        total = count_operations(lambda: save(3))
        model, step = storage / "r" / "model.pt", 3
        assert total > 12
        for number in range(1, total + 1):
            step += 1
            failure = None
            with failing_at(number, code) as seen:
                try:
                    assert save(step).is_durable
                except (OSError, hypertuner.StorageError) as error:
                    failure = error
            there = torch.load(model)["run"]["step"]
            is_whole(model, there)
            if failure is None:
                # Only what comes after the commit may be passed over.
                assert seen[-1].name == "unlink", seen[-1]
                assert there == step
            else:
                assert there in (step - 1, step)
                # Python itself asks again after a signal: only a system that says so for good is passed on as it is.
                wanted = {errno.ENOSPC: hypertuner.StorageFullError, errno.EDQUOT: hypertuner.StorageFullError}
                kind = InterruptedError if code == errno.EINTR else wanted.get(code, hypertuner.StorageError)
                assert isinstance(failure, kind), (seen[-1], failure)
                assert code == errno.EINTR or len(str(failure).splitlines()) == 2
            for file in hypertuner_run(storage / "r").checkpoints():
                verify(file.path)
            for draft in drafts(storage):
                assert seen[-1].name == "unlink", seen[-1]  # the one operation that would have removed it
                draft.unlink()
            step += 1
            save(step)
            is_whole(model, step)


def test_an_error_with_retention_of_the_best_never_removes_the_best(storage):
    net = net_of(0)
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net, monitor="acc", mode="max")
        saver.save(step=0, metrics={"acc": 1.0})
        nn.init.constant_(net.weight, 7)
        total = count_operations(lambda: saver.save(step=1, metrics={"acc": 0.5}))
        for number in range(1, total + 1):
            with failing_at(number, errno.EIO), contextlib.suppress(OSError, hypertuner.StorageError):
                saver.save(step=number + 1, metrics={"acc": 0.5})
            is_whole(hypertuner_path("r@best"), 0)
            is_whole(storage / "r" / "model.pt", 0)


def hypertuner_path(reference):
    from hypertuner.checkpoint.reference import resolve

    return resolve(reference).path


def test_an_unreadable_old_checkpoint_is_not_removed(storage, capsys):
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net_of(0), monitor="acc", mode="max")
        best = saver.save(step=0, metrics={"acc": 1.0}).path
        data = bytearray(best.read_bytes())
        data[-60] ^= 1  # its seal
        best.chmod(0o644)
        best.write_bytes(data[:-40])
        saver.save(step=1, metrics={"acc": 0.5})
        saver.save(step=2, metrics={"acc": 0.4})
        assert best.exists()
    assert "cannot be read, and stays" in capsys.readouterr().err


def test_ctrl_c_while_writing_is_ctrl_c(storage):
    """torch's writer turns whatever its file raises into a RuntimeError."""

    def plan(operation):
        if operation.name == "write" and operation.path.count("checkpoints"):
            raise KeyboardInterrupt

    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net_of(1))
        saver.save(step=1)
        files.fault_plan = plan
        try:
            with pytest.raises(KeyboardInterrupt):
                saver.save(step=2)
        finally:
            files.fault_plan = None
        is_whole(storage / "r" / "model.pt", 1)
        assert not drafts(storage)


def test_a_file_size_limit_while_saving(run_script, storage):
    run_script("""
        import os, resource, torch, hypertuner
        from torch import nn

        small, big = nn.Linear(10, 10), nn.Linear(1000, 1000)
        with hypertuner.new_run(name="small"):
            hypertuner.Saver(small).save(step=1)
        with hypertuner.new_run(name="r"):
            saver = hypertuner.Saver(big)
            saver.save(step=1)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
            for step in (2, 3):
                try:
                    saver.save(step=step)
                except hypertuner.StorageFullError as error:
                    first, second = str(error).splitlines()
                    assert first.startswith("Cannot write ") and "file-size limit" in first, first
                    assert "Free some room" in second
                    assert error.path is not None
                else:
                    raise AssertionError("a save that did not fit succeeded")
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            assert torch.equal(hypertuner.load("r").weight, big.weight)
            saver.save(step=4)
        assert torch.load("storage/r/model.pt")["run"]["step"] == 4
    """)
    verify(storage / "r" / "model.pt")
    assert not drafts(storage)


LOGS = """
import resource, sys, hypertuner
with hypertuner.new_run(name="r"):
    logger = hypertuner.Logger()
    logger.log({"loss": 1.0}, 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150, resource.RLIM_INFINITY))
    for step in range(1, 50):
        logger.log({"loss": 1.0}, step)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    logger.log({"loss": 2.0}, 50)
    logger.log({"loss": 3.0}, 51)
print("trained to the end")
"""


def test_a_limit_while_logging_warns_once_and_training_goes_on(run_script, storage):
    done = run_script(LOGS)
    assert "trained to the end" in done.stdout
    assert done.stderr.count("could not be logged") == 1
    assert "records of metrics could not be written" in done.stderr
    ended = json.loads((storage / "r/attempts/1/exit.json").read_text())
    assert ended["state"] == "finished"
    steps = [record.step for record in hypertuner_run(storage / "r").logged()]
    # The record cut short by the limit does not swallow the first one after it.
    assert steps[-2:] == [50, 51]
    assert ended["lost_records"] == 52 - len(steps)


def hypertuner_run(folder):
    from hypertuner.store import Run

    return Run(folder)


@pytest.mark.root
@root
def test_a_small_disk_that_fills(run_script, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], check=True)
    try:
        done = run_script(
            """
            import os, torch, hypertuner
            from pathlib import Path
            from torch import nn

            net = nn.Linear(500, 500)  # 1 MB
            logger = hypertuner.Logger()
            saver = hypertuner.Saver(net, keep_last=100)
            failed = 0
            for step in range(10):
                logger.log({"loss": 1.0}, step)
                try:
                    good = saver.save(step=step)
                except hypertuner.StorageFullError as error:
                    assert len(str(error).splitlines()) == 2, error
                    failed += 1
            assert failed >= 3, failed
            Path(os.environ["HYPERTUNER_STORAGE"], "ballast").write_bytes(b"")
            with open(os.environ["HYPERTUNER_STORAGE"] + "/ballast", "wb", buffering=0) as ballast:
                try:
                    while ballast.write(bytes(4096)): pass
                except OSError: pass
            for step in range(10, 2000):
                logger.log({"loss": 1.0, "text": "x" * 50}, step)
            os.unlink(os.environ["HYPERTUNER_STORAGE"] + "/ballast")
            logger.log({"loss": 0.5}, 2000)
            run = hypertuner.load(good.path.parents[3])
            assert torch.equal(run.weight, net.weight)
            for path in good.path.parent.glob("step-*"):
                if path != good.path:
                    path.unlink()
            saver.save(step=3000)
            print(good.run)
            """,
            env={"HYPERTUNER_STORAGE": str(disk / "storage")},
        )
        assert done.stderr.count("could not be logged") == 1
        assert not drafts(disk)
        run = hypertuner_run(disk / "storage" / done.stdout.split()[-1])
        verify(run.layout.model)
        assert torch.load(run.layout.model)["run"]["step"] == 3000
        steps = [record.step for record in run.logged()]
        assert steps[-1] == 2000
        ended = run.newest_attempt().exit()
        assert ended.lost_records == 2001 - len(steps) > 0
        assert f"{ended.lost_records} records of metrics could not be written" in done.stderr
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


# --- a storage that cannot be written


@contextlib.contextmanager
def as_nobody():
    """Permissions say nothing to root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def reachable(tmp_path):
    """tmp_path, which pytest keeps to its owner, for nobody."""
    changed = []
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 0o001 and os.geteuid() == 0:
            changed.append((folder, folder.stat().st_mode))
            folder.chmod(0o755)
    yield tmp_path
    for folder, mode in changed:
        folder.chmod(mode)


def saved_and_logged(capsys):
    """What Saver raises and Logger says, in a new run."""
    with hypertuner.new_run(name="n"):
        with pytest.raises(hypertuner.StorageError) as caught:
            hypertuner.Saver(net_of(1)).save(step=1)
        hypertuner.Logger().log({"loss": 1.0})
    assert len(str(caught.value).splitlines()) == 2
    assert not isinstance(caught.value, hypertuner.StorageFullError)
    said = capsys.readouterr().err
    assert "a record could not be logged" in said
    return str(caught.value), said


def test_a_storage_that_may_not_be_written(reachable, storage, capsys):
    storage.mkdir()
    storage.chmod(0o555)
    with as_nobody():
        message, said = saved_and_logged(capsys)
    assert "permission denied" in message
    assert str(storage) in message
    assert "HYPERTUNER_STORAGE" in message
    assert "permission denied" in said


def test_a_storage_that_is_a_file(storage, capsys):
    storage.write_text("notes\n")
    message, _ = saved_and_logged(capsys)
    assert "is a file, not a folder" in message
    assert storage.read_text() == "notes\n"


def test_a_run_folder_that_became_read_only(reachable, storage, capsys):
    with hypertuner.new_run(name="r"):
        saver, logger = hypertuner.Saver(net_of(1)), hypertuner.Logger()
        saver.save(step=1)
        folders = [path for path in (storage / "r").rglob("*") if path.is_dir()]
        for folder in (storage / "r", *folders):
            folder.chmod(0o555)
        try:
            with as_nobody():
                with pytest.raises(hypertuner.StorageError, match="permission denied"):
                    saver.save(step=2)
                logger.log({"loss": 1.0})
                assert hypertuner.load("r", weights=True)["weight"][0, 0] == 1
        finally:
            for folder in (storage / "r", *folders):
                folder.chmod(0o755)
    assert "a record could not be logged" in capsys.readouterr().err


def test_a_run_folder_that_is_removed_while_training_costs_no_model(storage, capsys):
    import shutil

    with hypertuner.new_run(name="r"):
        saver, logger = hypertuner.Saver(net_of(1)), hypertuner.Logger()
        saver.save(step=1)
        shutil.rmtree(storage / "r")
        logger.log({"loss": 1.0})
        saver.save(step=2)
    is_whole(storage / "r" / "model.pt", 1)
    assert "its folder is gone" in capsys.readouterr().err
