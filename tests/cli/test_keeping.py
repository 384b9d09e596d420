"""`mv`, `tag`, `note`, `star`, `rm`, `restore`, `clean`: runs are put in order, and nothing is lost by it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.conftest import environment

import hypertuner
from hypertuner.store import Run, Storage, layout, orders, records
from hypertuner.store.process import ProcessIdentity


def fingerprint(folder: Path) -> str:
    """Of every name, link and byte below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(str(path.relative_to(folder)).encode())
        if path.is_symlink():
            digest.update(os.readlink(path).encode())
        elif path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def child_of(storage: Path, name: str, parent: str, *, pid: int | None = None, queued: bool = False) -> Run:
    """A run that begins from `parent`: finished; or queued; or running as the process `pid`."""
    record = records.RunRecord(
        "train.py", (), str(storage.parent), records.now(), records.Parent(f"{parent}@best", "start from", parent, 1)
    )
    run = Storage(storage).create(name, record, {})
    if queued:
        queued = orders.Queued(attempt=1, queued_at=records.now(), place=1.0, python="", private="")
        run.layout.queued.write_bytes(records.to_bytes(queued))
        return run
    me = ProcessIdentity.mine()
    run.claim_attempt(
        records.Started(
            0,
            records.now(),
            me.host,
            me.boot_id,
            me.pid_namespace,
            pid or me.pid,
            me.started,
            "script",
            {},
            "",
            "",
            "me",
        )
    )
    if pid is None:
        run.end_attempt(run.attempts()[-1], records.Exit("finished", 0, None, "the script ended", records.now()))
    return run


def test_mv_gives_another_name_and_the_children_still_find_their_parent(cli, script, storage):
    cli("run", "train.py", "--name", "calm-lynx")
    cli("run", "train.py", "--name", "bold-crow", "--from", "calm-lynx@best")
    said = cli("mv", "calm-lynx", "baseline").stderr
    assert "is called baseline now" in said
    assert not (storage / "calm-lynx").exists()
    shown = cli("show", "bold-crow").stdout
    assert "baseline@best, then called calm-lynx (step 1)" in shown
    assert "It is called 'baseline' now" in cli("show", "calm-lynx", code=1).stderr
    # Another run that takes the old name is not taken for the parent.
    time.sleep(0.01)
    cli("run", "train.py", "--name", "calm-lynx")
    assert Storage(storage).open("bold-crow").parent().name == "baseline"
    cli("run", "train.py", "--name", "wise-owl", "--from", "calm-lynx")
    cli("run", "train.py", "--name", "shy-newt", "--from", "baseline")
    assert Storage(storage).open("wise-owl").parent().name == "calm-lynx"
    assert Storage(storage).open("shy-newt").parent().name == "baseline"
    cli("mv", "baseline", "first")
    assert [Storage(storage).open(name).parent().name for name in ("bold-crow", "shy-newt")] == ["first", "first"]
    assert hypertuner.load("first@best", weights=True).keys() == {"weight", "bias"}
    cli("verify")


def test_the_curve_of_a_fork_goes_back_to_its_parent_also_when_that_was_renamed(storage, tmp_path):
    import torch

    def train(name, parent=None):
        with hypertuner.new_run(name, parent=parent, how="fork"):
            net = torch.nn.Linear(2, 1)
            saver = hypertuner.Saver(net, optimizer=torch.optim.SGD(net.parameters(), lr=0.1))
            hypertuner.Logger().log({"loss": 1.0}, 0 if parent is None else 1)
            saver.save()

    train("calm-lynx")
    train("bold-crow", "calm-lynx")
    from hypertuner.store.care import rename

    rename(Storage(storage), Storage(storage).open("calm-lynx"), "baseline")
    assert [record.step for record in Storage(storage).open("bold-crow").logged()] == [0, 1]


def test_mv_refuses_a_taken_name_a_bad_one_and_a_run_that_runs(cli, make, storage):
    make("calm-lynx")
    make("bold-crow")
    child_of(storage, "busy-bee", "calm-lynx", pid=os.getpid())
    before = fingerprint(storage)
    assert "is in" in cli("mv", "calm-lynx", "Bold-Crow", code=1).stderr
    for bad in ("../evil", "", ".", "..", "a/b", "*"):
        cli("mv", "calm-lynx", bad, code=1)
    assert "is running" in cli("mv", "busy-bee", "other", code=1).stderr
    assert fingerprint(storage) == before


def test_tags_are_added_removed_listed_and_asked_for(cli, make):
    make("calm-lynx", {"lr": 0.1})
    make("bold-crow", {"lr": 0.2})
    cli("tag", "calm-lynx", "bold-crow", "+baseline", "+old")
    cli("tag", "lr > 0.15", "-old", "+good")
    assert cli("tag", "calm-lynx", "bold-crow").stdout.splitlines() == [
        "calm-lynx  baseline, old",
        "bold-crow  baseline, good",
    ]
    rows = [line.split() for line in cli("tag").stdout.splitlines()]
    assert rows == [["tag", "runs"], ["baseline", "2"], ["good", "1"], ["old", "1"]]
    assert [row["name"] for row in json.loads(cli("ls", '"good" in tags', "--json").stdout)] == ["bold-crow"]
    assert "Which runs" in cli("tag", "+lonely", code=1).stderr
    assert "no tag" in cli("tag", "calm-lynx", "+a,b", code=1).stderr


def test_a_note_and_a_star_are_written_shown_and_found(cli, make):
    make("calm-lynx")
    cli("note", "calm-lynx", "odd [red]loss[/red]")
    assert cli("note", "calm-lynx").stdout == "odd [red]loss[/red]\n"
    assert "odd [red]loss[/red]" in cli("show", "calm-lynx").stdout
    cli("star", "calm-lynx")
    assert len(json.loads(cli("ls", 'starred and note.contains("odd")', "--json").stdout)) == 1
    cli("star", "--off", "calm-lynx")
    cli("note", "calm-lynx", "")
    assert json.loads(cli("ls", "starred", "--json").stdout) == []


def test_archived_runs_are_out_of_sight_until_they_are_asked_for(cli, make):
    for name, lr in (("calm-lynx", 0.1), ("bold-crow", 0.2), ("dry-hare", 0.3)):
        make(name, {"lr": lr})

    def listed(*words):
        return sorted(row["name"] for row in json.loads(cli("ls", "--json", *words).stdout))

    assert "2 runs archived" in cli("archive", "calm-lynx", "lr == 0.2").stderr
    assert listed() == listed("lr > 0") == listed("not archived") == ["dry-hare"]
    assert listed("--archived") == listed("archived") == ["bold-crow", "calm-lynx"]
    assert listed("--archived", "lr > 0.15") == ["bold-crow"]
    assert len(listed("--all")) == 3
    assert "archived" in cli("show", "calm-lynx").stdout
    # What is out of sight in `ls` is no part of what the same query does.
    cli("rm", "lr > 0", "-y")
    assert listed("--all") == ["bold-crow", "calm-lynx"]
    assert "are archived" in cli("ls").stderr
    assert "1 run in sight again" in cli("unarchive", "lr < 0.15").stderr
    assert listed() == ["calm-lynx"]
    cli("unarchive", "bold-crow")
    assert "No run is archived" in cli("ls", "--archived").stderr


def test_the_trash_tells_runs_of_one_name_apart(cli, make, storage):
    make("calm-lynx", {"lr": 0.1})
    cli("note", "calm-lynx", "too slow")
    cli("rm", "calm-lynx", "-y")
    make("calm-lynx", {"lr": 0.2})
    cli("rm", "calm-lynx", "-y")
    new, old = json.loads(cli("ls", "--trash", "--json").stdout)
    assert (new["differs"], new["note"]) == ({"lr": 0.2}, "")
    assert (old["differs"], old["note"]) == ({"lr": 0.1}, "too slow")
    first, *lines = cli("ls", "--trash").stdout.splitlines()
    assert first.split() == ["name", "state", "differs", "note", "size", "deleted"]
    assert "lr=0.2" in lines[0]
    assert "lr=0.1" in lines[1] and "too slow" in lines[1]
    (Path(old["folder"]) / "run.json").chmod(0o644)
    (Path(old["folder"]) / "run.json").write_text("{")
    assert "? unknown" in cli("ls", "--trash").stdout


def test_a_removed_run_comes_back_as_it_was(cli, script, storage):
    cli("run", "train.py", "--name", "calm-lynx")
    before = fingerprint(storage / "calm-lynx")
    said = cli("rm", "calm-lynx", "--yes").stderr
    assert "1 run (" in said and "kB)" in said
    assert cli("ls").stdout == ""
    (trashed,) = json.loads(cli("ls", "--trash", "--json").stdout)
    assert (trashed["name"], trashed["state"]) == ("calm-lynx", "finished")
    assert "calm-lynx" in cli("ls", "--trash").stdout
    cli("restore", "calm-lynx")
    assert fingerprint(storage / "calm-lynx") == before
    assert "The trash is empty" in cli("ls", "--trash").stderr
    assert not list((storage / layout.TRASH).iterdir())


def test_rm_takes_queries_and_asks_and_without_a_terminal_wants_yes(cli, make, storage):
    for name, loss in (("calm-lynx", 1.0), ("bold-crow", 5.0), ("wise-owl", 9.0)):
        make(name, {}, [{"loss": loss}])
    before = fingerprint(storage)
    refused = cli("rm", "loss > 2", code=1).stderr
    assert "bold-crow" in refused and "2 runs" in refused and "--yes" in refused
    assert fingerprint(storage) == before
    cli("rm", "loss > 2", "--yes")
    assert [row["name"] for row in json.loads(cli("ls", "--json").stdout)] == ["calm-lynx"]
    assert "No run matches" in cli("rm", "loss > 2", "--yes").stderr


@pytest.mark.skipif(os.name != "posix", reason="pseudo terminals")
@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("y", 0)])
def test_on_a_terminal_rm_does_what_it_is_answered(terminal, make, storage, answer, code):
    make("calm-lynx")
    shell = terminal("rm", "calm-lynx")
    shell.read_until("[y/N]")
    shell.type(f"{answer}\n")
    assert shell.wait() == code
    assert (storage / "calm-lynx").exists() == (answer == "n")


BAD = (
    *("", " ", ".", "..", "*", "**", "/", "./", "../", "~", "\\", "*.pt", "calm*", ".trash", "no-such-run", "loss"),
    *("storage", "storage/..", "storage/.trash", "storage/../outside", "../outside", "/etc"),
)


@pytest.mark.parametrize("command", ["rm", "star", "tag"])
@pytest.mark.parametrize("word", BAD)
def test_a_word_that_is_no_run_and_no_query_touches_nothing(in_process, make, storage, tmp_path, command, word):
    make("calm-lynx", {}, [{"loss": 1.0}])
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "run.json").write_text("{}")
    before = fingerprint(tmp_path)
    options = {"rm": ["--yes"], "tag": ["+x"], "star": []}[command]
    assert in_process(command, word, *options) in (1, 2)
    assert fingerprint(tmp_path) == before


@pytest.fixture
def in_process(monkeypatch):
    """The command line without a process of its own: many words in little time."""
    from hypertuner import cli as cli_
    from hypertuner import settings

    def run(*words: str) -> int:
        monkeypatch.setattr(settings, "_AT_IMPORT", Path.cwd())
        return cli_.main(list(words))

    return run


def test_a_run_that_runs_stays_and_so_does_one_that_a_waiting_run_begins_from(cli, make, storage):
    make("calm-lynx")
    make("bold-crow")
    child_of(storage, "done", "calm-lynx")
    child_of(storage, "waits", "bold-crow", queued=True)
    child_of(storage, "runs", "bold-crow", pid=os.getpid())
    before = fingerprint(storage)
    assert "'runs' is running" in cli("rm", "runs", "--yes", code=1).stderr
    held = cli("rm", "bold-crow", "--yes", code=1).stderr
    assert "waits (queued)" in held and "runs (running)" in held
    # All or none: a run that may go does not, beside one that may not.
    cli("rm", "calm-lynx", "bold-crow", "--yes", code=1)
    assert fingerprint(storage) == before
    cli("rm", "calm-lynx", "--yes")
    assert not (storage / "calm-lynx").exists()


def test_a_run_on_a_host_that_cannot_be_asked_stays_while_it_writes(cli, make, storage):
    make("calm-lynx")
    (storage / "calm-lynx" / "attempts" / "1" / "exit.json").unlink()
    assert "may be running on a host" in cli("rm", "calm-lynx", "--yes", code=1).stderr
    for path in [storage / "calm-lynx", *(storage / "calm-lynx").rglob("*")]:
        os.utime(path, (1, 1))
    cli("rm", "calm-lynx", "--yes")


def test_a_child_keeps_its_weights_when_its_parent_is_gone_for_ever(cli, script, storage):
    cli("run", "train.py", "--name", "calm-lynx")
    cli("run", "train.py", "--name", "bold-crow", "--from", "calm-lynx@best")
    cli("rm", "calm-lynx", "--yes")
    said = cli("clean", "--yes").stderr
    assert "stays" in said  # the checkpoint has another name in the child
    assert cli("verify").returncode == 0
    assert hypertuner.load(storage / "bold-crow" / "parent.pt", weights=True).keys() == {"weight", "bias"}


def test_clean_says_what_it_frees_and_frees_it(cli, make, storage):
    for name in ("calm-lynx", "bold-crow"):
        run = make(name)
        (run.folder / "big.bin").write_bytes(b"x" * 3_000_000)
        cli("rm", name, "--yes")
    trash = storage / layout.TRASH
    old = next(place for place in trash.iterdir() if (place / "calm-lynx").exists())
    old.rename(trash / "20200101T000000Z-00000000")
    before = fingerprint(trash)
    assert "would free 2 runs, 6" in cli("clean", "--dry-run").stderr
    assert "--yes" in cli("clean", code=1).stderr
    assert "no duration" in cli("clean", "--older-than", "soon", "--yes", code=1).stderr
    assert fingerprint(trash) == before
    assert "1 run, 3" in cli("clean", "--older-than", "30d", "--yes").stderr
    assert [row["name"] for row in json.loads(cli("ls", "--trash", "--json").stdout)] == ["bold-crow"]
    cli("clean", "--yes")
    assert list(trash.iterdir()) == []
    assert "Nothing to clean" in cli("clean", "--yes").stderr


def test_what_links_point_to_is_never_touched(cli, make, storage, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("mine")
    run = make("calm-lynx")
    (run.folder / "link").symlink_to(outside)
    elsewhere = tmp_path / "disk" / "bold-crow"
    elsewhere.parent.mkdir()
    make("bold-crow").folder.rename(elsewhere)
    (storage / "bold-crow").symlink_to(elsewhere)
    before = fingerprint(outside), fingerprint(elsewhere)
    cli("rm", "calm-lynx", "bold-crow", "--yes")
    cli("clean", "--yes")
    assert (fingerprint(outside), fingerprint(elsewhere)) == before
    assert {path.name for path in storage.iterdir()} <= {layout.TRASH, layout.GITIGNORE}


def test_a_trash_that_is_a_link_is_refused(cli, make, storage, tmp_path):
    make("calm-lynx")
    (tmp_path / "outside").mkdir()
    (storage / layout.TRASH).symlink_to(tmp_path / "outside")
    assert "is a link" in cli("rm", "calm-lynx", "--yes", code=1).stderr
    assert (storage / "calm-lynx").exists() and not list((tmp_path / "outside").iterdir())


def test_restoring_over_a_run_that_took_the_name_is_refused(cli, make, storage):
    make("calm-lynx", {"lr": 1})
    cli("rm", "calm-lynx", "--yes")
    make("calm-lynx", {"lr": 2})
    assert "hypertuner mv calm-lynx NEW" in cli("restore", "calm-lynx", code=1).stderr
    cli("mv", "calm-lynx", "second")
    cli("restore", "calm-lynx")
    assert Storage(storage).open("calm-lynx").config() == {"lr": 1}
    assert "Did you mean 'second'" not in cli("restore", "secnd", code=1).stderr
    assert "is empty" in cli("restore", "second", code=1).stderr


def test_a_cleaning_that_was_killed_never_offers_half_a_run(cli, make, storage):
    make("calm-lynx")
    cli("rm", "calm-lynx", "--yes")
    (place,) = (storage / layout.TRASH).iterdir()
    place.rename(place.with_name(f"going-{place.name}"))
    (storage / layout.TRASH / layout.trash_place()).mkdir()
    assert json.loads(cli("ls", "--trash", "--json").stdout) == []
    cli("clean", "--yes")
    assert list((storage / layout.TRASH).iterdir()) == []


def test_since_shows_what_was_made_lately(cli, make):
    old, new = make("calm-lynx"), make("bold-crow")
    record = json.loads(old.layout.record.read_text())
    old.layout.record.write_text(json.dumps({**record, "created": "2020-01-01T00:00:00Z"}))
    assert [row["name"] for row in json.loads(cli("ls", "--since", "12h", "--json").stdout)] == [new.name]
    assert len(json.loads(cli("ls", "--since", "2019-12-31", "--json").stdout)) == 2
    assert "neither an age nor a date" in cli("ls", "--since", "lately", code=1).stderr


@pytest.mark.skipif(os.name != "posix", reason="pseudo terminals")
def test_where_settings_find_no_room_they_come_as_one_label(cli, terminal, make):
    for number in range(2):
        settings = {f"a_setting_with_a_long_name_{key}": number for key in range(6)}
        make(f"run-{number}", {"seed": number, "lr": 0.1 * (number + 1), "same": 1, **settings})
    shell = terminal("ls", env={"COLUMNS": "90", "TERM": "xterm", "NO_COLOR": "1"})
    assert shell.wait() == 0
    assert "differs" in shell.output and "lr=0.1 a_setting" in shell.output
    assert "lr=0.1" in cli("show", "run-0").stdout
    header, *rows = cli("ls", "--columns", "name,differs").stdout.splitlines()
    assert header.split() == ["name", "differs"]
    assert all("lr=0." in row and "same" not in row for row in rows)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("hypertuner show ca", {"calm-lynx", "calm-owl"}),
        ("hypertuner rm calm-lynx bo", {"bold-crow"}),
        ("hypertuner restore ", {"gone"}),
        ("hypertuner show calm-lynx@", {"calm-lynx@best", "calm-lynx@last"}),
        ("hypertuner run train.py --fork ca", {"calm-lynx", "calm-owl"}),
        ("hypertuner run train.py --from bo", {"bold-crow"}),
        ("hypertuner export calm-lynx --format s", {"safetensors", "state_dict"}),
    ],
)
def test_the_shell_completes_names_of_runs_quickly(make, cli, words, expected):
    for name in ("calm-lynx", "calm-owl", "bold-crow", "gone"):
        make(name)
    cli("rm", "gone", "--yes")
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "hypertuner"],
        capture_output=True,
        encoding="utf-8",
        env=environment(
            {"_HYPERTUNER_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
        ),
        check=False,
    )
    assert set(done.stdout.split()) == expected, done.stderr
    assert time.monotonic() - began < 5


def test_help_tells_exit_codes_and_how_completion_is_installed(cli):
    told = " ".join(cli("--help").stdout.split())
    assert "Exit codes: 0 it worked" in told
    assert "--install-completion" in told
    for command in ("mv", "tag", "note", "star", "archive", "unarchive", "rm", "restore", "clean", "adopt"):
        assert command in told
        assert cli(command, "--help").stdout
