"""What is asked for by name is found in a listing or not at all: no name from outside ever becomes a path."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import shutil
import socket
import sys
import threading
import unicodedata
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.server.security.conftest import content_of
from tests.server.security.routes import GUARDED, PARAMETERS, READING, named

REPOSITORY = Path(__file__).parents[3]
TARGETS = ["etc/passwd", "home/token", "canary", "train.py"]
_UPS = [
    *("../", "..\\", "..;/", "%2e%2e/", "..%2f", "%2e%2e%2f", "..%5c", "%252e%252e%252f", "..%c0%af", "..%ef%bc%8f"),
    *(".../", "....//", "..%00/", "..\u2044", "\uff0e\uff0e/", "..%0a/", "..%09/", "./../", "x/../../"),
]
_STARTS = [
    *("/", "//", "\\", "\\\\localhost\\c$\\", "C:\\", "C:/", "file:///", "file:/", "~/", "~root/", "$HOME/", "%HOME%/"),
    *("http://127.0.0.1/", "/proc/self/cwd/", "/proc/self/root/", "/dev/fd/3/", "/proc/self/environ"),
]
_ENDS = ["", "%00", "%00.png", "#", "?", ";x", ".", " ", "/.", "::$DATA", "%20", "~1"]
_PLAIN = [
    *(
        "",
        ".",
        "..",
        "...",
        "/",
        "\\",
        "*",
        "?",
        "-",
        "--",
        "-rf",
        "--config=/etc/passwd",
        "@",
        "@last",
        ";id",
        "$(id)",
    ),
    *("`id`", "|id", "\x00", "a\x00b", "CON", "NUL", "aux.txt", "con.", ".trash", ".draft-x", ".queue", ".gitignore"),
    *("a" * 255, "a" * 4096, "%", "%%", "%zz", "\r\n", "a\r\nSet-Cookie: x=y", "\u202e", "\u200b", "é", "e\u0301"),
    *("calm-lynx/", "calm-lynx/.", "calm-lynx/../calm-lynx", "calm-lynx/config.json", "CALM-LYNX", "calm-lynx "),
    *("calm-lynx.", "calm-lynx%00", "calm-lynx@../../canary", "calm-lynx@/etc/passwd", "/etc/passwd@last", "None"),
    *("0", "-1", "1e999", "NaN", "99999999999999999999999", "true", "{}", "[]", "null", "__class__", "{0.__class__}"),
    *("constructor", "__proto__", "${jndi:ldap://127.0.0.1/x}", "{{7*7}}", "<script>alert(1)</script>", "' or 1=1 --"),
]


@functools.cache
def traversals() -> list[str]:
    """Some thousand ways to ask for what is elsewhere."""
    ways = [up * depth + target + end for up in _UPS for depth in (1, 3, 6) for target in TARGETS for end in _ENDS]
    ways += [start + target + end for start in _STARTS for target in TARGETS for end in _ENDS]
    return list(dict.fromkeys([*_PLAIN, *ways]))


@pytest.mark.parametrize("number", range(len(PARAMETERS)), ids=[f"{r.template}:{name}" for r, _, name in PARAMETERS])
def test_no_parameter_reaches_a_file_outside(served, number: int):
    (served.folder / "canary").write_text("canary-3f1c")
    route, place, name = PARAMETERS[number]
    # Each parameter has another part of the thousands; the plain ones have all.
    for way in [*_PLAIN, *itertools.islice(traversals(), number % 40, None, 40)]:
        exact = way if "%" in way and way.isascii() and way.isprintable() else quote(way, safe="")
        for spelled in {exact.replace(" ", "%20"), quote(way, safe="")}:
            path = route.path(**{name: spelled}) if place == "path" else f"{route.path()}?{quote(name)}={spelled}"
            answer = served.ask("GET", path)
            assert answer.status < 500, (path, answer.body)
            assert b"canary-3f1c" not in answer.body
            assert b"root:x:0:0" not in answer.body
    assert foreign(served) == []


def foreign(served) -> list[str]:
    """What the server has opened or listed that belongs neither to the storage and hypertuner's own folders, nor to
    Python, nor to what the system says of itself."""
    mine = [served.folder / name for name in ("storage", "home", "cache", "train.py")]
    python = [*sys.path, sys.prefix, sys.base_prefix, os.__file__.rpartition("/")[0], REPOSITORY, REPOSITORY / "src"]
    system = ["/proc", "/sys", "/dev/urandom", "/dev/null", "/usr/share/zoneinfo", "/usr/lib", "/usr/local/lib"]
    below = [os.path.realpath(place) for place in (*mine, *python, *system) if place] + [str(mine[0])]
    exact = {os.path.realpath(served.folder), "/etc/mime.types", "/etc/localtime", "/etc/os-release"}
    exact |= {os.path.realpath(served.folder / place) for place in os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    found = []
    for event, arguments in served.events():
        if event not in ("open", "os.listdir", "os.scandir") or not arguments or arguments[0].isdigit():
            continue
        if "/" not in arguments[0] and arguments[0] not in ("", ".", ".."):
            continue  # below the descriptor of a folder that is in this list itself
        path = os.path.realpath(served.folder / arguments[0])
        is_forbidden = "canary" in path or path.startswith("/etc/passwd")
        if is_forbidden or not (path in exact or any(_is_below(path, place) for place in below)):
            found.append(path)
    return found


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def test_the_oracle_sees_a_file_that_is_opened(served):
    """Without it, the tests here could not fail."""
    assert any(event == "open" and "token" in arguments[0] for event, arguments in served.events())


HOSTILE = ["/etc/passwd", "../../canary", "file:///etc/passwd", "http://127.0.0.1:9/x", "\\\\host\\share", "~/canary"]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_path_in_the_text_of_a_run_is_text(served, value: str):
    """Every string that a run's files hold names something elsewhere; looking at the run opens none of it."""
    (served.folder / "canary").write_text("canary-3f1c")
    made = served.folder / "storage" / f"tainted-{HOSTILE.index(value)}"
    taint(served.folder / "storage" / "calm-lynx", made, value)
    for route in READING:
        answer = served.ask("GET", route.path(name=made.name, run=made.name))
        assert answer.status < 500, (route.template, answer.body)
        assert b"canary-3f1c" not in answer.body
        assert b"root:x:0:0" not in answer.body
    assert foreign(served) == []


def taint(source: Path, target: Path, value: str) -> None:
    """A copy of a run in which every string of every JSON file is another."""

    def tainted(thing):
        if isinstance(thing, dict):
            return {key: tainted(item) for key, item in thing.items()}
        if isinstance(thing, list):
            return [tainted(item) for item in thing]
        return value if isinstance(thing, str) else thing

    shutil.copytree(source, target, dirs_exist_ok=True)
    for path in target.rglob("*.json"):
        path.chmod(0o644)
        path.write_text(json.dumps(tainted(json.loads(path.read_text()))))
    for path in target.rglob("*.jsonl"):
        lines = [json.dumps(tainted(json.loads(line))) for line in path.read_text().splitlines()]
        path.write_text("\n".join([*lines, ""]))


def test_links_pipes_sockets_and_deep_folders_in_a_run_are_not_followed_and_block_nobody(served):
    (served.folder / "canary").write_text("canary-3f1c")
    run = served.folder / "storage" / "odd-goat"
    shutil.copytree(served.folder / "storage" / "calm-lynx", run, dirs_exist_ok=True)
    (run / "link.txt").symlink_to(served.folder / "canary")
    (run / "passwd.txt").symlink_to("/etc/passwd")
    (run / "up").symlink_to("..")
    (run / "root").symlink_to("/")
    os.mkfifo(run / "pipe")
    os.mkfifo(run / "source" / "pipe.py") if (run / "source").is_dir() else None
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind(os.path.relpath(run / "socket"))
    deep = run / "/".join("d" * 40)
    deep.mkdir(parents=True)
    (deep / "file.txt").write_text("deep")
    (run / "..dots").mkdir()
    for storage_link in ("runs-link", "outside"):
        with contextlib.suppress(FileExistsError):
            (served.folder / "storage" / storage_link).symlink_to(served.folder if storage_link == "outside" else run)
    # The listed files can all be asked for.
    detail = served.ask("GET", f"/api/runs/{run.name}")
    listed = detail.json["files"] if detail.status == 200 else []
    assert not {"link.txt", "passwd.txt", "pipe", "socket"} & {entry["name"] for entry in listed}
    paths = [f"/api/runs/{run.name}/{kind}/{entry['id']}" for entry in listed for kind in ("files", "text")]
    for path in [*paths, *(route.path(name=run.name, run=run.name) for route in READING)]:
        answer = served.ask("GET", path)
        assert answer.status < 500, (path, answer.body)
        assert b"canary-3f1c" not in answer.body
        assert b"root:x:0:0" not in answer.body


def test_a_link_that_comes_between_the_look_and_the_reading_leads_nowhere(served):
    """Whoever can write into a run's folder may swap a file for a link; what is read then is no other file."""
    (served.folder / "canary").write_text("canary-3f1c")
    run = served.folder / "storage" / "calm-lynx"
    files = served.ask("GET", "/api/runs/calm-lynx")
    if files.status != 200:
        pytest.skip("no run is shown yet")
    victim = run / "swapped.txt"
    ends = threading.Event()

    def swap() -> None:
        while not ends.is_set():
            victim.write_text("harmless")
            victim.unlink()
            victim.symlink_to(served.folder / "canary")
            victim.unlink()

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(200):
            listed = served.ask("GET", "/api/runs/calm-lynx").json["files"]
            for entry in listed:
                if entry["name"] == "swapped.txt":
                    for kind in ("files", "text"):
                        assert b"canary-3f1c" not in served.ask("GET", f"/api/runs/calm-lynx/{kind}/{entry['id']}").body
    finally:
        ends.set()
        thread.join()


DANGEROUS = ["", ".", "..", "*", "/", "./", "../", "???", "-", " ", "\u200b", "\u3000", "calm-lynx/..", ".trash", "~"]


@pytest.mark.parametrize("name", DANGEROUS)
@pytest.mark.parametrize("action", ["trash", "archive", "stop", "restore", "requeue", "withdraw"])
def test_a_name_that_is_none_deletes_and_changes_nothing(served, action: str, name: str):
    before = kept(served)
    answer = served.ask("POST", "/api/actions", {"action": action, "names": [name]})
    assert answer.status < 500
    if answer.status == 200:
        assert answer.json["done"] == []
    assert kept(served) == before


def kept(served) -> dict[str, str]:
    """All that lies in the project, but what can be made again."""
    can_be_made = (str(served.folder / "cache"), str(served.log))
    return {name: content for name, content in content_of(served.folder).items() if not name.startswith(can_be_made)}


def test_names_of_runs_that_differ_only_in_case_or_in_how_a_letter_is_made_are_not_mixed_up(served):
    answer = served.ask("GET", "/api/runs/calm-lynx")
    if answer.status != 200:
        pytest.skip("no run is shown yet")
    for name in ("CALM-LYNX", "Calm-lynx", unicodedata.normalize("NFD", "calm-lynx\u00e9")):
        assert served.ask("GET", f"/api/runs/{quote(name)}").status == 404


@pytest.mark.parametrize(
    "name", [".gitignore", ".trash", ".queue", ".hypertuner", "token", "key", "index.sqlite", ".env"]
)
def test_hidden_files_and_the_users_secrets_cannot_be_had_by_their_exact_name(served, name: str):
    token = (served.folder / "home" / "token").read_text().strip()
    for template in (
        "/api/runs/{}",
        "/api/runs/calm-lynx/files/{}",
        "/api/runs/calm-lynx/text/{}",
        "/assets/{}",
        "/{}",
    ):
        for spelled in (name, quote(f"../../home/{name}", safe=""), f"%2e%2e%2f{name}"):
            answer = served.ask("GET", template.format(spelled))
            assert answer.status == 404
            assert token.encode() not in answer.body


def test_the_secret_is_in_no_answer(served):
    secret = (served.folder / "home" / "token").read_text().strip().encode()
    for route in GUARDED:
        if "GET" in route.methods:
            body = served.ask("GET", route.path()).body
            assert secret not in body, named(route)
            assert served.token.encode() not in body, named(route)
