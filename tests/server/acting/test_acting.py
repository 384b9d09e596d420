"""What people do to runs from the page: each thing done, taken back, and refused where it must be."""

from __future__ import annotations

import os

import pytest
from tests.queue.conftest import until
from tests.server.acting.trained import TRAIN

from hypertuner.store import RunState

SLOW = """
    import time, hypertuner
    args = hypertuner.Args(lr=0.1)
    logger = hypertuner.Logger()
    for step in range(100_000):
        logger.log({"loss": 1 / (step + 1)}, step)
        time.sleep(0.05)
"""
QUICK = """
    import hypertuner
    args = hypertuner.Args(lr=0.1)
    hypertuner.Logger().log({"loss": 1.0}, 0)
"""


def act(served, action: str, *names: str, **more):
    answer = served.ask("POST", "/api/actions", {"action": action, "names": names, **more})
    assert answer.status == 200, answer.body
    return answer.json


def launch(served, **asked):
    (script,) = served.ask("GET", "/api/scripts").json["scripts"]
    answer = served.ask("POST", "/api/launch", {"script": script["id"], **asked})
    assert answer.status == 200, answer.body
    return answer.json["runs"]


@pytest.mark.parametrize(
    ("action", "undo", "done", "undone"),
    [
        ("archive", "unarchive", {"archived": True}, {"archived": False}),
        ("star", "unstar", {"starred": True}, {"starred": False}),
        ("tag", "untag", {"tags": ("good",)}, {"tags": ()}),
    ],
)
def test_what_people_say_of_runs_is_done_and_taken_back(place, serve, action, undo, done, undone):
    place.script(QUICK)
    for name in ("one", "two"):
        place.command("run", "train.py", "--name", name)
    served = serve("train.py", "--no-drain")
    told = act(served, action, "one", "two", "no-such-run", tag="good")
    assert (told["done"], [one["name"] for one in told["failed"]], told["undo"]) == (
        ["one", "two"],
        ["no-such-run"],
        undo,
    )
    assert {name: getattr(place.run("two").notes(), name) for name in done} == done
    act(served, told["undo"], *told["done"], tag="good")
    assert {name: getattr(place.run("two").notes(), name) for name in done} == undone


def test_notes_are_replaced_as_far_as_they_are_given(place, serve):
    place.script(QUICK)
    place.command("run", "train.py", "--name", "one")
    served = serve("--no-drain")
    row = served.ask("PATCH", "/api/runs/one/notes", {"note": "<b>seen</b>", "tags": ["b", "a", "b"], "colour": 3}).json
    assert (row["note"], row["tags"], row["starred"]) == ("<b>seen</b>", ["b", "a"], False)
    served.ask("PATCH", "/api/runs/one/notes", {"starred": True})
    assert (place.run("one").notes().note, place.run("one").notes().starred) == ("<b>seen</b>", True)
    for change in ({"tags": ["a,b"]}, {"tags": ["x"] * 1000}, {"note": "x" * 200_000}, {"colour": 9}):
        assert served.ask("PATCH", "/api/runs/one/notes", change).status == 400


def test_the_trash_takes_what_is_over_and_gives_it_back(place, serve):
    place.script(TRAIN)
    place.command("run", "train.py", "--name", "root", "epochs=1")
    place.command("run", "--from", "root@0", "--name", "child")
    served = serve("train.py", "--no-drain")
    before = (place.run("root").folder / "model.pt").read_bytes()
    told = act(served, "trash", "root")
    assert (told["done"], told["undo"]) == (["root"], "restore")
    assert "child" in told["message"]
    assert "root" not in place.storage.folder_names()
    (entry,) = served.ask("GET", "/api/trash").json["entries"]
    assert entry["name"] == "root"
    # A gone parent is still in the family tree.
    assert {one["name"]: one["is_gone"] for one in served.ask("GET", "/api/lineage").json["nodes"]} == {
        "root": True,
        "child": False,
    }
    assert act(served, "restore", entry["id"])["done"] == ["root"]
    assert (place.run("root").folder / "model.pt").read_bytes() == before
    assert act(served, "restore", "root")["failed"][0]["name"] == "root"


@pytest.mark.parametrize("name", ["", ".", "..", "/", "*", "../x", ".trash", ".queue", "\u200b", "a/b", "~", "CON"])
@pytest.mark.parametrize("action", ["trash", "archive", "restore", "stop", "requeue", "resume", "hold"])
def test_what_is_no_run_is_left_alone(looked, trained, action, name):
    before = sorted(path.name for path in trained.storage.path.rglob("*"))
    told = act(looked, action, name)
    assert (told["done"], len(told["failed"])) == ([], 1)
    assert sorted(path.name for path in trained.storage.path.rglob("*")) == before


def test_a_run_that_runs_cannot_be_deleted_and_is_stopped(place, serve):
    place.script(SLOW)
    served = serve("train.py")
    launch(served, name="slow")
    until(lambda: place.run("slow").state() == RunState.running and place.run("slow").newest_attempt().script())
    assert "running" in act(served, "trash", "slow")["failed"][0]["message"]
    pid = place.run("slow").newest_attempt().script().pid
    assert act(served, "stop", "slow")["done"] == ["slow"]
    until(lambda: place.run("slow").state() == RunState.stopped)
    until(lambda: not os.path.exists(f"/proc/{pid}"))
    assert "it is stopped" in act(served, "stop", "slow")["failed"][0]["message"]


def test_what_waits_is_held_moved_withdrawn_and_queued_again(place, serve):
    place.script(QUICK)
    served = serve("train.py", "--no-drain")
    names = launch(served, several={"lr": [0.1, 0.2, 0.3]}, name="n")
    waiting = lambda: [one["name"] for one in served.ask("GET", "/api/queue").json["waiting"]]  # noqa: E731
    assert waiting() == names
    served.ask("POST", "/api/queue/move", {"name": "n-3", "before": "n-1"})
    assert waiting() == ["n-3", "n-1", "n-2"]
    served.ask("POST", "/api/queue/move", {"name": "n-3", "last": True})
    assert waiting() == ["n-1", "n-2", "n-3"]
    act(served, "hold", "n-1")
    held = served.ask("GET", "/api/queue").json["waiting"][0]
    assert (held["name"], held["is_held"], held["reason"], held["label"]) == ("n-1", True, "held", "lr=0.1")
    assert act(served, "release", "n-1")["undo"] == "hold"
    assert act(served, "withdraw", "n-2")["done"] == ["n-2"]
    assert (place.run("n-2").state(), waiting()) == (RunState.draft, ["n-1", "n-3"])
    assert act(served, "requeue", "n-2")["done"] == ["n-2"]
    assert sorted(waiting()) == ["n-1", "n-2", "n-3"]
    assert served.ask("POST", "/api/queue/move", {"name": "n-1", "before": "n-1"}).status == 409
    assert served.ask("POST", "/api/queue/move", {"name": "nobody"}).status == 404


def test_a_run_that_has_ended_is_queued_again_as_a_new_one_like_it(place, serve):
    place.script(QUICK)
    place.command("run", "train.py", "lr=0.7", "--name", "old")
    served = serve("train.py")
    (new,) = act(served, "requeue", "old")["done"]
    assert new != "old"
    until(lambda: place.run(new).state() == RunState.finished)
    assert place.run(new).config()["lr"] == 0.7
    assert len(place.run("old").attempts()) == 1


def test_a_run_goes_on_from_its_last_checkpoint(place, serve):
    place.script(TRAIN + "        if epoch == 0 and not saver.next_epoch: raise SystemExit(3)\n")
    place.command("run", "train.py", "--name", "broken", check=False)
    place.script(TRAIN)
    served = serve("train.py")
    assert served.ask("GET", "/api/runs/broken").json["can_resume"]
    assert act(served, "resume", "broken")["done"] == ["broken"]
    until(lambda: place.run("broken").state() == RunState.finished)
    assert [record.step for record in place.run("broken").logged()] == [0, 1, 2]
    attempts = served.ask("GET", "/api/runs/broken").json["attempts"]
    assert [one["resumed_from"] for one in attempts] == [None, "broken@0"]


def test_checkpoints_are_pinned_by_their_references(place, serve):
    place.script(TRAIN)
    place.command("run", "train.py", "--name", "one", "epochs=2")
    served = serve("--no-drain")
    told = served.ask("POST", "/api/actions", {"action": "pin", "references": ["one@0", "../one@0", "one@7"]}).json
    assert (told["done"], len(told["failed"]), told["undo"]) == (["one@0"], 2, "unpin")
    pinned = {one["reference"]: one["is_pinned"] for one in served.ask("GET", "/api/checkpoints").json["rows"]}
    assert pinned == {"one@0": True, "one@1": False}
    served.ask("POST", "/api/actions", {"action": "unpin", "references": told["done"]})
    assert place.run("one").notes().pins == ()


def test_many_tabs_that_tag_at_once_lose_no_tag(place, serve):
    import threading

    place.script(QUICK)
    place.command("run", "train.py", "--name", "one")
    served = serve("--no-drain")
    from tests.server.serving import Served

    def tag(number: int) -> None:
        mine = Served(served.process, served.port, served.token, [], served.folder)
        act(mine, "tag", "one", tag=f"t{number}")
        mine.close()

    threads = [threading.Thread(target=tag, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(place.run("one").notes().tags) == {f"t{number}" for number in range(8)}
