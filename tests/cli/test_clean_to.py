"""`hypertuner clean --to`, `pin`, `unpin`: a storage is made to fit, least worth first, and nothing is lost by it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import hypertuner
from hypertuner import cli as cli_
from hypertuner import files, settings
from hypertuner.checkpoint import cleaning
from hypertuner.checkpoint.cleaning import Kind
from hypertuner.checkpoint.format.archive import verify
from hypertuner.checkpoint.reference import resolve
from hypertuner.cli.space import size_bytes
from hypertuner.store import Run, Storage, layout, orders, records
from hypertuner.store.trash import Trash

WEIGHTS = 64 * 64 * 4  # of the net below; Adam's state takes twice as much


def trained(name, losses, *, fails=False, **keep):
    """A run that saved once a value, Adam's state with it; the weights at step n are n."""
    net = nn.Linear(64, 64)
    adam = torch.optim.Adam(net.parameters())
    net(torch.zeros(64)).sum().backward()
    adam.step()
    try:
        with hypertuner.new_run(name=name) as _:
            saver = hypertuner.Saver(net, optimizer=adam, **keep)
            logger = hypertuner.Logger()
            for step, loss in enumerate(losses):
                nn.init.constant_(net.weight, step)
                logger.log({"val_loss": loss}, step)
                saver.save()
            if not losses:
                logger.log({"x": 1}, 0)
            if fails:
                raise RuntimeError("on purpose")
    except RuntimeError:
        assert fails
    return Storage().open(name)


@pytest.fixture
def main(monkeypatch, capsys):
    """The command line in this process: (exit code, what it printed)."""

    def run(*words):
        monkeypatch.setattr(settings, "_AT_IMPORT", Path.cwd())
        capsys.readouterr()
        code = cli_.main([str(word) for word in words])
        from hypertuner.cli import terminal

        terminal.stdout.cache_clear()
        terminal.stderr.cache_clear()
        said = capsys.readouterr()
        print(f"$ hypertuner {words}\n{said.out}{said.err}")
        return code, said.out + said.err

    from hypertuner.cli import terminal

    terminal.stdout.cache_clear()
    terminal.stderr.cache_clear()
    yield run
    terminal.stdout.cache_clear()
    terminal.stderr.cache_clear()


def size(storage):
    return cleaning.storage_bytes(Storage(storage))


def kinds(storage, most_bytes):
    return [(item.kind, item.run.name, item.path.name) for item in cleaning.plan(Storage(storage), most_bytes).gone]


def steps(run):
    return [file.step for file in run.checkpoints()]


def whole(run):
    return [file.step for file in run.checkpoints() if "training" in torch.load(file.path)]


# --- sizes


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("20GB", 20 * 10**9),
        ("500 MB", 500 * 10**6),
        ("1.5TB", 1.5 * 10**12),
        ("8GiB", 8 * 2**30),
        ("20g", 20 * 10**9),
        ("0GB", 0),
        ("12kB", 12000),
        ("7B", 7),
    ],
)
def test_a_size_is_read_as_it_is_written(text, nbytes):
    assert size_bytes(text) == nbytes


@pytest.mark.parametrize(
    "text", ["", "20", "GB", "-5GB", "20XB", "1,5GB", "20GB 3", "1e3GB", "inf GB", "٣GB", "20 GB!"]
)
def test_what_is_no_size_is_a_clear_error(main, storage, text):
    code, said = main("clean", f"--to={text}", "--yes")
    assert code == 1
    assert "is no size" in said and "20GB" in said


# --- what goes, and in which order


def test_optimizer_state_goes_before_weights_and_weights_before_runs(storage):
    run = trained("r", [3, 1, 2, 4], keep_last=4)
    assert whole(run) == [0, 1, 2, 3]
    before = size(storage)
    assert kinds(storage, before) == []
    assert kinds(storage, before - 1) == [(Kind.older_training, "r", "step-00000000.pt")]
    two = [(Kind.older_training, "r", "step-00000000.pt"), (Kind.older_training, "r", "step-00000002.pt")]
    assert kinds(storage, before - 3 * WEIGHTS) == two
    # What went in part goes whole, and is told once.
    assert kinds(storage, before - int(6.3 * WEIGHTS)) == [
        (Kind.older_training, "r", "step-00000002.pt"),
        (Kind.checkpoints, "r", "step-00000000.pt"),
    ]
    everything = kinds(storage, before - 13 * WEIGHTS)
    assert [kind for kind, _, _ in everything] == [Kind.checkpoints] * 2 + [Kind.last_training] * 2
    assert kinds(storage, 0) == [(Kind.runs, "r", "r")]


def test_what_is_planned_is_what_is_freed(storage, main):
    run = trained("r", [3, 1, 2, 4, 5, 6], keep_last=3, keep_trail=2)
    for wanted in (size(storage) - 100, size(storage) - 5 * WEIGHTS, size(storage) - 13 * WEIGHTS):
        before = size(storage)
        plan = cleaning.plan(Storage(storage), wanted)
        assert plan.before == before
        assert plan.before - plan.after == sum(item.nbytes for item in plan.gone)
        cleaning.carry_out(Storage(storage), plan, thin)
        # Less than what was planned for: pickled descriptions of the training state go with its tensors.
        assert plan.after - 12_000 <= size(storage) <= plan.after
        for file in run.checkpoints():
            verify(file.path)
            assert hypertuner.load(file.path).weight[0, 0] == file.step


def thin(path):
    from hypertuner.frameworks.adapter import torch_adapter

    torch_adapter().thin(path)


def test_the_best_and_the_last_keep_their_weights_and_model_pt_its_place(storage, main):
    run = trained("r", [3, 1, 2, 4], keep_last=4)
    code, _ = main("clean", "--to", f"{size(storage) - 13 * WEIGHTS} B", "--yes")
    assert code == 0
    assert steps(run) == [1, 3]
    assert whole(run) == []
    assert run.layout.model.samefile(resolve("r@best").path)
    assert hypertuner.load("r").weight[0, 0] == 1
    assert hypertuner.load("r@last").weight[0, 0] == 3


def test_the_worst_run_goes_first_whatever_its_age(storage):
    for name, loss in (("good", 0.1), ("bad", 9.0), ("middling", 1.0)):
        trained(name, [loss])
    plan = cleaning.plan(Storage(storage), 0)
    assert [item.run.name for item in plan.gone] == ["bad", "middling", "good"]
    trained("nothing-saved", [], fails=True)
    assert next(iter(kinds(storage, 0)))[:2] == (Kind.empty_runs, "nothing-saved")


def test_where_more_is_better_the_lowest_is_the_worst(storage):
    for name, score in (("low", 0.1), ("high", 0.9)):
        net = nn.Linear(2, 2)
        with hypertuner.new_run(name=name):
            hypertuner.Saver(net, monitor="score", mode="max").save(step=1, metrics={"score": score})
    assert [item.run.name for item in cleaning.plan(Storage(storage), 0).gone] == ["low", "high"]


def test_starred_pinned_and_running_runs_and_needed_parents_stay(storage, main, tmp_path):
    runs = {name: trained(name, [1.0]) for name in ("starred", "pinned", "parent", "plain")}
    main("star", "starred")
    main("pin", "pinned@0")
    child = Storage().create(
        "child", replace(records.RunRecord("t.py", (), "", records.now()), parent=parent_of("parent")), {}
    )
    queued = orders.Queued(attempt=1, queued_at=records.now(), place=1.0, python="", private="")
    child.layout.queued.write_bytes(records.to_bytes(queued))
    ready = tmp_path / "ready"
    script = tmp_path / "runs.py"
    script.write_text(
        "import time, torch, hypertuner, pathlib\n"
        "hypertuner.Saver(torch.nn.Linear(64, 64)).save(step=1)\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "time.sleep(120)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(hypertuner.__file__))}
    process = subprocess.Popen([sys.executable, script], env={**environment, "HYPERTUNER_RUN": "running"})
    try:
        end = time.monotonic() + 60
        while not ready.exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        code, said = main("clean", "--to", "0GB", "--yes")
    finally:
        process.kill()
        process.wait()
    assert code == 1
    assert "stay, more than 0 B" in said
    assert {run.name for run in Storage().list()} == {"starred", "pinned", "parent", "child", "running"}
    assert whole(runs["pinned"]) == [0]
    assert whole(runs["starred"]) == []
    assert hypertuner.load("starred").weight[0, 0] == 0


def parent_of(name):
    return records.Parent(f"{name}@best", "start from", name, 0)


def test_what_a_child_holds_frees_nothing_and_stays(storage):
    run = trained("r", [1.0, 2.0, 3.0], keep_last=3)
    os.link(resolve("r@1").path, storage / "held.pt")
    gone = kinds(storage, size(storage) - int(1.5 * WEIGHTS))
    assert all(name != "step-00000001.pt" for _, _, name in gone)
    assert steps(run) == [0, 1, 2]


def test_a_file_with_two_names_counts_once(storage):
    run = trained("r", [1.0])
    assert run.layout.model.stat().st_nlink == 2
    listed = {path.stat().st_ino: path.stat().st_size for path in storage.rglob("*") if path.is_file()}
    assert size(storage) == sum(listed.values())


def test_a_killed_saves_draft_goes_first_and_a_living_ones_not_at_all(storage, main):
    run = trained("r", [1.0])
    folder = resolve("r@last").path.parent
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    host = files._draft_path(folder / "x").name.split("-")[1:-2]
    dead = folder / f".draft-{'-'.join(host)}-{gone.pid}-0123abcd"
    alive = folder / f".draft-{'-'.join(host)}-{os.getpid()}-0123abcd"
    dead.write_bytes(b"x" * 5000)
    alive.write_bytes(b"x" * 5000)
    assert kinds(storage, size(storage) - 10) == [(Kind.drafts, "r", dead.name)]
    assert main("clean", "--to", f"{size(storage) - 10}B", "--yes")[0] == 0
    assert not dead.exists()
    assert alive.exists()
    assert whole(run) == [0]


def test_a_run_on_a_host_that_cannot_be_asked_stays(storage, make):
    make("calm-lynx")
    (storage / "calm-lynx" / "attempts" / "1" / "exit.json").unlink()
    assert kinds(storage, 0) == []


def test_a_stopped_run_can_still_be_resumed(storage):
    """Training state of last checkpoints goes from finished runs only."""
    trained("failed", [1.0], fails=True)
    trained("finished", [2.0])
    gone = kinds(storage, size(storage) - WEIGHTS)
    assert gone == [(Kind.last_training, "finished", "step-00000000.pt")]


def test_a_link_to_a_folder_elsewhere_is_left_alone(storage, tmp_path):
    run = trained("r", [1.0])
    run.folder.rename(tmp_path / "elsewhere")
    (storage / "r").symlink_to(tmp_path / "elsewhere")
    assert kinds(storage, 0) == []


def test_a_run_that_began_to_run_meanwhile_is_left_alone(storage, tmp_path):
    run = trained("r", [1.0])
    plan = cleaning.plan(Storage(storage), 0)
    (run.layout.attempt(1).exit).unlink()  # this process made it: it lives
    problems = cleaning.carry_out(Storage(storage), plan, thin)
    assert "is running" in problems[0]
    assert run.exists()


def test_a_damaged_checkpoint_is_no_reason_to_stop_and_stays(storage):
    run = trained("r", [1.0, 2.0, 3.0], keep_last=3)
    path = resolve("r@1").path
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-500])
    gone = kinds(storage, size(storage) - 6 * WEIGHTS)
    assert gone and all(name != "step-00000001.pt" for _, _, name in gone)
    assert steps(run) == [0, 1, 2]


# --- what is said


def test_it_shows_what_would_go_and_dry_run_touches_nothing(storage, main, tmp_path):
    trained("r", [3, 1, 2, 4], keep_last=4)
    trained("empty", [], fails=True)
    before = sorted((path, path.stat().st_mtime_ns) for path in storage.rglob("*"))
    code, said = main("clean", "--to", f"{size(storage) - 4 * WEIGHTS}B", "--dry-run")
    assert code == 0
    rows = [line.split("  ") for line in said.splitlines() if line.startswith("training state")]
    assert "training state of older checkpoints" in rows[0][0]
    assert "Nothing was moved" in said
    assert sorted((path, path.stat().st_mtime_ns) for path in storage.rglob("*")) == before
    code, said = main("clean", "--to", "1kB", "--dry-run")
    assert "r goes whole, with its weights" in said
    assert "empty failed without a checkpoint" in said


def test_without_a_terminal_it_wants_yes(storage, main):
    trained("r", [1.0])
    code, said = main("clean", "--to", "1kB")
    assert code == 1
    assert "--yes" in said
    assert Storage().open("r")


def test_a_storage_that_fits_is_left_alone(storage, main):
    trained("r", [1.0])
    code, said = main("clean", "--to", "1GB", "--yes")
    assert code == 0
    assert "takes" in said
    assert not (storage / layout.TRASH).exists()


def test_the_trash_takes_room_until_it_is_emptied_and_it_says_so(storage, main):
    trained("r", [3, 1, 2, 4], keep_last=4)
    before = sum({path.stat().st_ino: path.stat().st_size for path in storage.rglob("*.pt")}.values())
    _, said = main("clean", "--to", f"{size(storage) - 13 * WEIGHTS}B", "--yes")
    assert "The trash lies on the same disk: hypertuner clean" in said
    after = sum({path.stat().st_ino: path.stat().st_size for path in storage.rglob("*.pt")}.values())
    assert after > before  # the smaller files, and the whole ones in the trash
    _, said = main("ls", "--trash")
    assert "4 checkpoints" in said
    _, said = main("clean", "--yes")
    assert "4 checkpoints of r" in said
    assert size(storage) < before
    assert not list((storage / layout.TRASH).iterdir())


def test_two_things_at_once_are_refused(main, storage):
    code, said = main("clean", "--to", "1GB", "--older-than", "30d")
    assert code == 1
    assert "one after the other" in said


# --- and back


def test_everything_comes_back_as_it_was(storage, main):
    run = trained("r", [3, 1, 2, 4], keep_last=4)
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    main("clean", "--to", f"{size(storage) - 13 * WEIGHTS}B", "--yes")
    assert whole(run) == []
    code, said = main("restore", "r")
    assert code == 0
    assert "4 checkpoints back in" in said
    assert {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()} == before
    assert run.layout.model.samefile(resolve("r@best").path)
    assert Trash(storage).list() == []


def test_checkpoints_come_back_to_a_run_that_was_renamed(storage, main):
    trained("r", [3, 1, 2, 4], keep_last=4)
    main("clean", "--to", f"{size(storage) - 5 * WEIGHTS}B", "--yes")
    time.sleep(1.1)  # a trash folder's name says when to the second
    main("mv", "r", "another")
    assert main("restore", "r")[0] == 0
    assert steps(Storage().open("another")) == [0, 1, 2, 3]


def test_checkpoints_of_a_run_that_is_gone_say_where_they_are(storage, main):
    run = trained("r", [3, 1, 2, 4], keep_last=4)
    main("clean", "--to", f"{size(storage) - 5 * WEIGHTS}B", "--yes")
    files.remove_folder(run.folder)
    code, said = main("restore", "r")
    assert code == 1
    assert "not in" in said and str(storage / layout.TRASH) in said


def test_a_kill_between_keeps_every_checkpoint(storage):
    run = trained("r", [3, 1, 2, 4], keep_last=4)
    number = 0
    while True:
        number += 1
        plan = cleaning.plan(Storage(storage), size(storage) - 13 * WEIGHTS)
        count = 0

        def stop(operation, at=number):
            nonlocal count
            count += 1
            if count == at:
                raise KeyboardInterrupt

        files.fault_plan = stop
        try:
            cleaning.carry_out(Storage(storage), plan, thin)
            is_done = True
        except KeyboardInterrupt:
            is_done = False
        finally:
            files.fault_plan = None
        found = {path.name for path in storage.rglob("step-*.pt")}
        assert found == {f"step-0000000{step}.pt" for step in range(4)}
        assert torch.load(run.layout.model)["run"]["step"] == 1
        for trashed in Trash(storage).list():
            Trash(storage).restore(trashed)
        from hypertuner.checkpoint import offer

        offer.refresh(run)
        assert whole(run) == [0, 1, 2, 3]
        for draft in run.folder.rglob(".draft-*"):
            draft.unlink()
        if is_done and count < number:
            break
    assert number > 15


# --- pins


def test_pin_is_shown_and_unpin_takes_it_back(storage, main):
    run = trained("r", [3, 1, 2, 4], keep_last=4)
    code, said = main("pin", "r@2", "r@best")
    assert code == 0
    assert "step 2 is pinned" in said and "step 1 is pinned" in said
    shown = json.loads(main("show", "r", "--json")[1])["checkpoint_files"]
    assert [saved["is_pinned"] for saved in shown] == [False, True, True, False]
    assert main("show", "r")[1].count("pinned") == 2
    before = size(storage)
    assert all("step-00000002" not in name for _, _, name in kinds(storage, before - 6 * WEIGHTS))
    main("unpin", "r@2", "r@1")
    assert Run(run.folder).notes().pins == ()
    assert "pinned" not in main("show", "r")[1]


def test_pin_says_what_it_cannot_pin(storage, main, tmp_path):
    trained("r", [1.0])
    torch.save({"x": torch.ones(1)}, tmp_path / "mine.pt")
    assert "no checkpoint of a run" in main("pin", "mine.pt")[1]
    code, said = main("pin", "r@77")
    assert code == 1
    assert "has no checkpoint '77'" in said


def test_show_marks_what_has_weights_only(storage, main):
    trained("r", [3.0, 2.0, 1.0])
    said = main("show", "r")[1]
    assert said.count("weights only") == 2
    shown = json.loads(main("show", "r", "--json")[1])["checkpoint_files"]
    assert [saved["is_thinned"] for saved in shown] == [True, True, False]


def test_resume_and_fork_of_what_has_weights_only_stop_before_they_start(storage, main, tmp_path):
    run = trained("r", [3.0, 2.0, 1.0], keep_last=2)
    (tmp_path / "train.py").write_text("raise SystemExit('started')\n")
    for words in (("resume", "r@0"), ("run", "train.py", "--fork", "r@0")):
        code, said = main(*words)
        assert code == 1
        assert "has its weights only" in said
        assert "Whole are: r@1, r@2" in said
        assert "--from r@0" in said
    assert [found.name for found in Storage().list()] == ["r"]
    assert len(run.attempts()) == 1


def test_pinning_leaves_what_else_people_noted(storage, main):
    trained("r", [1.0])
    main("note", "r", "odd")
    main("tag", "r", "+good")
    main("pin", "r@0")
    notes = Storage().open("r").notes()
    assert (notes.note, notes.tags, notes.pins) == ("odd", ("good",), ("1/step-00000000",))
