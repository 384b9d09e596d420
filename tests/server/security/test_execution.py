"""What the server starts, imports, unpickles and connects to: nothing that nobody asked for, and nothing by a shell."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest
from tests.server.security.routes import ALL, GUARDED, READING
from tests.server.serving import Served, serving

ASKED = """
import json, os, sys
import hypertuner
args = hypertuner.Args(lr=0.1, text="plain", many=[1])
out = os.environ["SEEN_IN"]
with open(os.path.join(out, f"{os.getpid()}.json"), "w") as file:
    json.dump({"argv": sys.argv, "config": dict(args), "cwd": os.getcwd(), "env": dict(os.environ),
               "parent_token": os.environ.get("HYPERTUNER_GUI_TOKEN"), "executable": sys.executable}, file)
"""

STARTS = {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork"}


@pytest.fixture
def launching(tmp_path: Path):
    """A watched server that drains, for ask.py: what each run saw is in the folder `seen`."""
    (tmp_path / "ask.py").write_text(ASKED)
    (tmp_path / "other.py").write_text("open('pwned', 'w')")
    (tmp_path / "seen").mkdir()
    with serving(tmp_path, "ask.py", watched=True, env={"SEEN_IN": str(tmp_path / "seen")}) as served:
        yield served


def script_of(served: Served) -> str:
    (script,) = served.ask("GET", "/api/scripts").json["scripts"]
    return script["id"]


def seen_by(served: Served, count: int) -> list[dict]:
    """What the first runs saw, once so many have ended."""
    until = time.monotonic() + 90
    while time.monotonic() < until:
        found = sorted((served.folder / "seen").glob("*.json"))
        if len(found) >= count and all(path.stat().st_size for path in found):
            time.sleep(0.2)
            return [json.loads(path.read_text()) for path in found]
        time.sleep(0.1)
    raise AssertionError(served.ask("GET", "/api/queue").body)


HOSTILE = ["--config=/etc/passwd", ";touch pwned", "$(touch pwned)", "`touch pwned`", "-rf", "a\nb", "${HOME}", "%s%n"]


def test_text_of_a_config_reaches_the_script_as_text_and_no_shell(launching):
    script = script_of(launching)
    for value in HOSTILE:
        asked = {"script": script, "config": {"text": value}, "mode": "queue"}
        answer = launching.ask("POST", "/api/launch", asked)
        assert answer.status == 200, answer.body
    seen = seen_by(launching, len(HOSTILE))
    assert sorted(one["config"]["text"] for one in seen) == sorted(HOSTILE)
    assert not list(launching.folder.rglob("pwned*"))
    for one in seen:
        assert Path(one["argv"][0]).name == "ask.py"
        assert one["executable"] == sys.executable
        assert Path(one["cwd"]) == launching.folder


EVALUATED = [
    {"_target_": "os.system", "_args_": ["touch pwned"]},
    {"!!python/object/apply:os.system": ["touch pwned"]},
    {"__reduce__": ["os.system", ["touch pwned"]]},
    "${env:HOME}",
    "${oc.env:HOME}",
    "{{ 7 * 7 }}",
    "{0.__class__}",
    "__import__('os').system('touch pwned')",
    "!!python/object/apply:os.system ['touch pwned']",
]


@pytest.mark.parametrize("value", EVALUATED, ids=str)
def test_no_value_of_a_config_is_evaluated(served, value):
    asked = {"from_run": "calm-lynx", "config": {"name": value}, "mode": "draft"}
    answer = served.ask("POST", "/api/launch", asked)
    assert answer.status in (200, 400)
    if answer.status == 200:
        (name,) = answer.json["runs"]
        config = json.loads((served.folder / "storage" / name / "config.json").read_text())
        flat = json.dumps(config)
        assert "49" not in flat
        assert os.environ.get("HOME", "/root") not in flat
        assert served.ask("POST", "/api/actions", {"action": "trash", "names": [name]}).status == 200
    assert not list(served.folder.rglob("pwned*"))


ELSEWHERE = ["other.py", "/etc/passwd", "../other.py", "0123456789abcdef", "ask.py", "-c", "\x00"]
NO_WORDS_OF_OURS = {
    "script_path": "other.py",
    "path": "other.py",
    "interpreter": "/bin/sh",
    "python": "/bin/sh",
    "executable": "/bin/sh",
    "cwd": "/",
    "folder": "/",
    "environment": {"LD_PRELOAD": "/tmp/x.so", "PYTHONPATH": "/tmp", "PYTHONSTARTUP": "/tmp/x.py"},
    "env": {"PYTHONSTARTUP": "/tmp/x.py"},
    "arguments": ["-c", "import os"],
}


def test_nothing_but_the_script_that_was_named_at_the_start_can_be_started(launching):
    for script in ELSEWHERE:
        answer = launching.ask("POST", "/api/launch", {"script": script, "mode": "queue"})
        assert (answer.status, script) == (400, script)
    answer = launching.ask("POST", "/api/launch", {"script": script_of(launching), **NO_WORDS_OF_OURS})
    if answer.status == 200:  # what the interface has no word for is nothing at all
        (one,) = seen_by(launching, 1)
        assert (one["executable"], Path(one["cwd"])) == (sys.executable, launching.folder)
        assert not {"LD_PRELOAD", "PYTHONSTARTUP"} & set(one["env"])
        assert Path(one["argv"][0]).name == "ask.py"
    assert not list(launching.folder.rglob("pwned*"))


def test_a_script_that_is_started_has_nothing_of_the_server_but_the_users_environment(launching):
    launching.ask("POST", "/api/launch", {"script": script_of(launching), "mode": "queue"})
    (one,) = seen_by(launching, 1)
    everything = json.dumps(one)
    secret = (launching.folder / "home" / "token").read_text().strip()
    assert launching.token not in everything
    assert secret not in everything


def test_a_server_that_was_given_no_script_starts_none(lone):
    assert lone.ask("GET", "/api/scripts").json["scripts"] == []
    answer = lone.ask("POST", "/api/launch", {"script": "0123456789abcdef", "mode": "queue"})
    assert answer.status in (400, 404, 409)


PLANTED = ["conftest.py", "sitecustomize.py", "usercustomize.py", "__init__.py", "evil.pth", "json.py"]
FOREIGN = {"torch", "numpy", "cloudpickle", "train", "conftest", "sitecustomize", "usercustomize", "evil"}


def test_looking_at_everything_starts_imports_and_unpickles_nothing_of_a_run(served):
    for folder in (served.folder, served.folder / "storage", served.folder / "storage" / "calm-lynx"):
        for name in PLANTED:
            if not (folder / name).exists():
                (folder / name).write_text("import os; os.system('touch pwned')\n")
    for route in READING:
        if route.template != "/api/checkpoints/{run}/{which}/export":
            served.ask("GET", route.path())
    for route in ALL:
        for method in route.methods & {"POST", "PATCH"}:
            served.ask(method, route.path(), {})
    for name in PLANTED:
        for folder in (served.folder, served.folder / "storage", served.folder / "storage" / "calm-lynx"):
            if name != "train.py":
                (folder / name).unlink(missing_ok=True)
    events = served.events()
    imported = {arguments[0].partition(".")[0] for event, arguments in events if event == "import"}
    assert "fastapi" in imported, "the hook has seen nothing, and could not have found anything"
    assert not FOREIGN & imported
    assert [arguments for event, arguments in events if event == "pickle.find_class"] == []
    assert not list(served.folder.rglob("pwned*"))


def test_the_server_connects_to_nobody(served):
    for route in GUARDED:
        served.ask("GET", route.path())
    reached = [arguments for event, arguments in served.events() if event in ("socket.connect", "socket.sendto")]
    assert [one for one in reached if "127.0.0.1" not in one[-1] and "::1" not in one[-1] and "/" not in one[-1]] == []


def test_only_python_is_started_and_never_by_a_shell(served):
    """Children look into weights; each is this Python, with words that nobody outside has chosen."""
    served.ask("GET", "/api/checkpoints/calm-lynx/last/statistics")
    started = [arguments for event, arguments in served.events() if event in STARTS]
    for arguments in started:
        assert arguments[0] in (sys.executable, os.path.realpath(sys.executable), "None") or "git" in arguments[0]
    assert [1 for event, _ in served.events() if event == "os.system"] == []
