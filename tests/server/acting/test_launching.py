"""Launching from the page: what may be started, what is wrong with a config, and runs that really train."""

from __future__ import annotations

import json
import shutil

import pytest
from tests.queue.conftest import until
from tests.server.acting.trained import TRAIN

from hypertuner.store import RunState

QUICK = """
    import os, sys, hypertuner
    args = hypertuner.Args(lr=0.1, hidden=4, seed=0)
    hypertuner.Logger().log({"loss": args.lr, "seed": args.seed}, 0)
    print(sys.argv[1:], sorted(name for name in os.environ if "TOKEN" in name))
"""


def script_id(served) -> str:
    (script,) = served.ask("GET", "/api/scripts").json["scripts"]
    return script["id"]


def check(served, **asked):
    answer = served.ask("POST", "/api/launch/check", asked)
    assert answer.status == 200, answer.body
    return answer.json


def problems(told) -> dict[str, bool]:
    return {one["key"]: one["is_warning"] for one in told["problems"]}


def test_a_config_is_checked_before_anything_is_made(looked):
    asked = {"lr": "fast", "hidden": 8, "dropuot": 0.1}
    told = check(looked, script=script_id(looked), config=asked, several={"epochs": [1, 2]}, seeds=3)
    assert told["runs"] == 6
    assert problems(told) == {"lr": False, "dropuot": True}
    assert "Did you mean 'dropout'?" in told["problems"][1]["message"]
    made = looked.ask("POST", "/api/launch", {"script": script_id(looked), "config": asked})
    assert (made.status, made.json["key"]) == (400, "lr")


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ({"several": {"lr": []}}, "lr"),
        ({"several": {"lr": [0.1] * 11, "seed": list(range(100))}}, ""),
        ({"several": {"seed": [1]}, "seeds": 2}, "seed"),
        ({"config": {"seed": "x"}, "seeds": 2}, "seed"),
        ({"config": {"--config": "/etc/passwd"}}, "--config"),
        ({"config": {"hidden": 2**70}}, "hidden"),
        ({"name": "first"}, "name"),
        ({"name": "../../x"}, "name"),
        ({"tags": ["a,b"]}, "tags"),
        ({"script": "../../etc/passwd"}, "script"),
        ({"from_run": "no-such-run"}, ""),
        ({"from_run": "out-of-memory"}, "script"),
        ({"parent": "../first@1", "how": "weights"}, ""),
        ({"parent": "first@99", "how": "weights"}, ""),
        ({"parent": "first@../../x", "how": "weights"}, ""),
    ],
)
def test_what_cannot_be_launched_is_said_and_nothing_is_made(looked, trained, asked, key):
    before = sorted(trained.storage.folder_names())
    asked = {"script": script_id(looked)} | asked if "from_run" not in asked else asked
    wrong = [one for one in check(looked, **asked)["problems"] if not one["is_warning"]]
    assert key in [one["key"] for one in wrong]
    assert looked.ask("POST", "/api/launch", asked).status in (400, 404, 409)
    assert sorted(trained.storage.folder_names()) == before


def test_the_fit_of_a_parent_is_told_by_what_runs_have_saved(looked):
    same = check(looked, from_run="first", config={"lr": 0.5}, parent="first@1", how="fork")
    assert (same["fit"]["fits"], same["fit"]["fitting"], same["changed"]) == ("yes", 4, {"lr": 0.1})
    assert same["never_read"] == ["dropout"]
    other = check(looked, from_run="first", config={"hidden": 99}, parent="first@1", how="weights")
    assert (other["fit"]["fits"], other["fit"]["is_pending"]) == ("unknown", True)  # no run tells: the script is asked


def test_a_parent_that_fits_in_part_is_explained(place, serve):
    place.script(TRAIN)
    place.command("run", "train.py", "--name", "small", "epochs=1")
    place.command("run", "train.py", "--name", "large", "epochs=1", "hidden=24")
    served = serve("train.py", "--no-drain")
    told = check(served, from_run="small", config={"hidden": 24}, parent="small@0", how="weights")["fit"]
    assert (told["fits"], told["tensors"], told["fitting"]) == ("no", 4, 1)
    first = told["mismatched"][0]
    assert (first["tensor"], first["parent"], first["here"]) == ("0.weight", [16, 4], [24, 4])
    assert first["because"] == "hidden 16→24"
    assert "the run refuses them" in told["message"]


def test_runs_are_launched_for_each_value_and_seed_and_really_run(place, serve):
    place.script(QUICK)
    served = serve("train.py", "--slots", "2")
    asked = {"script": script_id(served), "several": {"lr": [0.5, 0.25]}, "seeds": 2, "name": "swept", "tags": ["a"]}
    made = served.ask("POST", "/api/launch", asked).json
    assert made["runs"] == ["swept-1", "swept-2", "swept-3", "swept-4"]
    until(lambda: all(place.run(name).state() == RunState.finished for name in made["runs"]))
    configs = [place.run(name).config() for name in made["runs"]]
    assert [(one["lr"], one["seed"]) for one in configs] == [(0.5, 0), (0.5, 1), (0.25, 0), (0.25, 1)]
    assert place.run("swept-1").notes().tags == ("a",)
    assert len({place.run(name).record().study for name in made["runs"]}) == 1
    printed = place.run("swept-1").newest_attempt().layout.output.read_text()
    assert "[] []" in printed  # no argument beyond our own, and no token in its environment


def test_a_run_begins_from_a_checkpoint_and_goes_on_as_a_fork(place, serve):
    place.script(TRAIN)
    place.command("run", "train.py", "--name", "root", "epochs=2")
    served = serve("train.py")
    asked = {"from_run": "root", "config": {"lr": 0.01, "epochs": 3}, "parent": "root@1", "how": "fork", "name": "fork"}
    assert served.ask("POST", "/api/launch", asked).json["runs"] == ["fork"]
    until(lambda: place.run("fork").state() in (RunState.finished, RunState.failed))
    assert [record.step for record in place.run("fork").logged()] == [0, 1, 2]
    (edge,) = served.ask("GET", "/api/lineage?run=fork").json["edges"]
    assert (edge["parent"], edge["step"], edge["how"]) == ("root", 1, "fork")
    assert edge["changed"] == {"lr": [0.1, 0.01], "epochs": [2, 3]}
    assert edge["gain"] == pytest.approx(0.1)


def test_a_draft_runs_nothing_until_it_is_queued(place, serve):
    place.script(QUICK)
    served = serve("train.py")
    made = served.ask("POST", "/api/launch", {"script": script_id(served), "mode": "draft", "name": "later"}).json
    assert "nothing runs yet" in made["message"]
    assert place.run("later").state() == RunState.draft
    assert served.ask("POST", "/api/actions", {"action": "requeue", "names": ["later"]}).json["done"] == ["later"]
    until(lambda: place.run("later").state() == RunState.finished)


def test_now_goes_before_all_that_waits_and_says_when_the_queue_is_paused(place, serve):
    place.script(QUICK)
    served = serve("train.py")
    served.ask("POST", "/api/queue/pause", {"paused": True})
    script = script_id(served)
    served.ask("POST", "/api/launch", {"script": script, "name": "usual"})
    made = served.ask("POST", "/api/launch", {"script": script, "name": "urgent", "mode": "now"}).json
    assert "paused" in made["message"]
    assert [one["name"] for one in served.ask("GET", "/api/queue").json["waiting"]] == ["urgent", "usual"]


def test_a_server_that_was_started_for_no_script_starts_none(place, serve):
    place.script(QUICK)
    place.command("run", "train.py", "--name", "old")
    served = serve("--no-drain")
    assert served.ask("GET", "/api/scripts").json["scripts"] == []
    for asked in ({}, {"from_run": "old"}, {"script": "train.py"}, {"script": str(place.folder / "train.py")}):
        answer = served.ask("POST", "/api/launch", asked)
        assert (answer.status, answer.json["key"]) == (400, "script"), asked
        assert "hypertuner train.py" in answer.json["message"]
    for action in ("requeue", "resume"):
        told = served.ask("POST", "/api/actions", {"action": action, "names": ["old"]}).json
        assert told["done"] == []
    assert place.storage.folder_names() == ("old",)


def test_a_folder_of_scripts_offers_those_that_lie_in_it_and_no_link_out_of_it(place, serve):
    (place.folder / "scripts").mkdir()
    place.script(QUICK, "scripts/one.py")
    place.script(QUICK, "scripts/two.py")
    place.script(QUICK, "outside.py")
    (place.folder / "scripts" / "linked.py").symlink_to(place.folder / "outside.py")
    served = serve("scripts", "--no-drain")
    assert [one["name"] for one in served.ask("GET", "/api/scripts").json["scripts"]] == ["one.py", "two.py"]


def test_what_a_mailed_run_folder_says_starts_no_other_script(place, serve):
    """Its run.json names a script of its sender's: launching like it, resuming it and queuing it start nothing."""
    place.script(QUICK)
    evil = place.script("open('owned', 'w').write('x')", "evil.py")
    place.command("run", "train.py", "--name", "mailed")
    made = place.run("mailed").layout
    record = json.loads(made.record.read_text()) | {"script": str(evil), "folder": "/"}
    made.record.write_text(json.dumps(record))
    shutil.rmtree(made.attempts)
    (made.source / "evil.py").write_text(evil.read_text())
    served = serve("train.py")
    assert served.ask("POST", "/api/launch", {"from_run": "mailed"}).json["key"] == "script"
    for action in ("requeue", "resume"):
        assert served.ask("POST", "/api/actions", {"action": action, "names": ["mailed"]}).json["done"] == []
    # A draft that names the right script, and brings another source of it along: the script as it is here runs.
    made.record.write_text(json.dumps(record | {"script": "train.py", "folder": str(place.folder)}))
    (made.source / "train.py").write_text(evil.read_text())
    assert served.ask("POST", "/api/actions", {"action": "requeue", "names": ["mailed"]}).json["done"] == ["mailed"]
    until(lambda: place.run("mailed").state() == RunState.finished)
    assert not list(place.folder.rglob("owned"))


def test_a_project_that_was_moved_starts_runs_like_its_own_with_the_script_that_is_there_now(place, serve):
    place.script(QUICK)
    place.command("run", "train.py", "lr=0.5", "--name", "before")
    record = json.loads(place.run("before").layout.record.read_text())
    place.run("before").layout.record.write_text(json.dumps(record | {"folder": "/a/place/that/was"}))
    served = serve("train.py", "--no-drain")
    (script,) = served.ask("GET", "/api/scripts").json["scripts"]
    assert (script["newest_run"], script["runs"]) == ("before", 1)
    assert problems(check(served, from_run="before")) == {}
    (name,) = served.ask("POST", "/api/launch", {"from_run": "before", "config": {"hidden": 8}}).json["runs"]
    assert place.run(name).config() == {"lr": 0.5, "hidden": 8, "seed": 0}
    assert place.run(name).record().folder == str(place.folder)
