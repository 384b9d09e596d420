from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tests.conftest import script_environment
from tests.server.serving import serving

from hypertuner.server.page import Page


def hypertuner(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hypertuner", *words],
        cwd=folder,
        env=script_environment({}),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def test_hypertuner_alone_shows_the_runs_and_ctrl_c_ends_it(tmp_path):
    with serving(tmp_path) as served:
        assert served.said[0] == f"hypertuner shows {tmp_path / 'storage'}"
        assert served.ask("GET", "/", token=None).status == 200
        session = served.ask("GET", "/api/session").json
        assert session["storage"] == str(tmp_path / "storage")
        assert (session["scopes"], session["has_scripts"]) == (["view", "edit", "run"], False)
        code, said = served.stop()
        assert code == 0
        assert "Stopped serving. 0 runs of the queue go on, 0 runs wait." in said


@pytest.mark.parametrize("what", ["train.py", "experiments"])
def test_a_script_or_a_folder_opens_the_gui_for_it(tmp_path, what):
    (tmp_path / "train.py").write_text("print('hello')\n")
    (tmp_path / "experiments").mkdir()
    with serving(tmp_path, what) as served:
        assert served.ask("GET", "/api/session").json["has_scripts"] is True


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.py"], "There is no missing.py."),
        (["notes.txt"], "notes.txt is no Python script."),
        (["--host", "0.0.0.0"], "--host 0.0.0.0 would answer the whole network"),
        (["--host", "::"], "--host :: would answer the whole network"),
        (["--host", ""], "--host '' would answer the whole network"),
        (["--host", "203.0.113.7"], "Cannot listen on 203.0.113.7"),
    ],
)
def test_what_cannot_be_served_is_told_with_what_to_do(tmp_path, words, message):
    (tmp_path / "notes.txt").write_text("no script")
    done = hypertuner(*words, "--no-browser", folder=tmp_path)
    assert done.returncode == 1
    assert f"error: {message}" in done.stderr
    assert "\n  " in done.stderr


def test_a_word_that_is_no_command_no_script_and_no_folder_is_still_told(tmp_path):
    done = hypertuner("shwo", folder=tmp_path)
    assert done.returncode == 2
    assert "Did you mean 'show'" in done.stderr


def test_it_listens_on_this_machine_only(tmp_path):
    with serving(tmp_path) as served:
        found = [c for c in psutil.Process(served.process.pid).net_connections("inet") if c.status == "LISTEN"]
        assert [connection.laddr.ip for connection in found] == ["127.0.0.1"]


def test_a_port_that_was_asked_for_and_is_in_use_is_refused_and_says_by_whom(tmp_path):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        done = hypertuner("--port", str(port), "--no-browser", folder=tmp_path)
    assert done.returncode == 1
    assert f"Port {port} is in use by process {os.getpid()}" in done.stderr


def test_where_the_usual_port_is_in_use_the_next_free_one_is_taken_and_told(tmp_path):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "hypertuner", "--no-browser"]
        environment = script_environment({"HYPERTUNER_PORT": str(port), "SSH_CONNECTION": None})
        with subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            address = process.stdout.readline().strip()
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
    used = int(address.partition("/#")[0].rpartition(":")[2])
    assert port < used <= port + 99
    assert f"Port {port} is in use; this server has {used}." in errors


def test_the_same_address_works_after_a_restart_so_that_bookmarks_live(tmp_path):
    with serving(tmp_path) as first:
        cookie = first.ask("POST", "/api/login", {"token": first.token}, token=None).headers["set-cookie"]
    with serving(tmp_path, "--port", str(first.port)) as second:
        assert (second.port, second.token) == (first.port, first.token)
        named = {"Cookie": cookie.partition(";")[0], "Sec-Fetch-Site": "same-origin"}
        assert second.ask("GET", "/api/session", token=None, headers=named).status == 200


def test_the_token_is_for_this_user_alone(tmp_path):
    with serving(tmp_path) as served:
        (path,) = (tmp_path / "home").iterdir()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert served.token not in path.read_text()
        assert served.token not in " ".join(psutil.Process(served.process.pid).cmdline())


def test_over_ssh_the_line_that_opens_a_tunnel_is_printed(tmp_path):
    with serving(tmp_path, env={"SSH_CONNECTION": "10.0.0.2 50000 10.0.0.9 2222"}) as served:
        (there,) = [line.strip() for line in _rest(served) if "ssh -N" in line]
    assert there.startswith(f"ssh -N -L {served.port}:127.0.0.1:{served.port} ")
    assert there.endswith("@10.0.0.9 -p 2222")


def _rest(served) -> list[str]:
    return [served.process.stdout.readline() for _ in range(2)]


def test_an_address_to_share_shows_the_runs_of_its_storage_and_changes_nothing(tmp_path):
    with serving(tmp_path) as served:
        environment = {"HYPERTUNER_HOME": str(tmp_path / "home"), "HYPERTUNER_STORAGE": str(tmp_path / "storage")}
        done, elsewhere = (
            subprocess.run(
                [sys.executable, "-m", "hypertuner", "share", f"--port={port}"],
                env=script_environment(environment),
                capture_output=True,
                encoding="utf-8",
                check=True,
            )
            for port in (served.port, 1)
        )
        assert "Nothing answers" not in done.stderr
        assert "Nothing answers at port 1 now" in elsewhere.stderr
        token = done.stdout.strip().partition("#token=")[2]
        assert served.ask("GET", "/api/session", token=token).json["scopes"] == ["view"]
        with serving(tmp_path, env={"HYPERTUNER_STORAGE": str(tmp_path / "another")}) as other:
            assert other.ask("GET", "/api/session", token=token).status == 401
            assert other.ask("GET", "/api/session", token=served.token).status == 200


def test_a_source_without_a_built_page_says_how_to_build_it(tmp_path):
    answer = Page(tmp_path / "nothing").answer("index.html")
    assert answer is not None
    assert b"make web" in answer.body


def test_the_pages_files_are_kept_by_the_browser_and_its_document_is_not(tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "assets" / "index-aBc123_-.js").write_text("let a = 1")
    (tmp_path / "assets" / "index-aBc123_-.js.gz").write_bytes(b"\x1f\x8bsqueezed")
    (tmp_path / "assets" / "index-aBc123_-.js.br").write_bytes(b"squeezed more")
    (tmp_path / "secret.txt").write_text("not a file of a page")
    (tmp_path / "link.js").symlink_to("/etc/passwd")
    page = Page(tmp_path)
    name = "assets/index-aBc123_-.js"
    assert "immutable" in page.answer(name).headers["cache-control"]
    for takes, encoding, body in [
        ("gzip, deflate, br, zstd", "br", b"squeezed more"),
        ("gzip, deflate", "gzip", b"\x1f\x8bsqueezed"),
        ("br;q=0, identity", None, b"let a = 1"),
        ("", None, b"let a = 1"),
    ]:
        script = page.answer(name, takes)
        assert (script.headers.get("content-encoding"), script.body) == (encoding, body)
    assert page.answer("index.html", "br").headers["cache-control"] == "no-store"
    assert [page.answer(name, "gzip") for name in ("secret.txt", "link.js", "../page.py")] == [None] * 3
