"""The token, its file, and the code for a browser that is opened."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.conftest import script_environment

from hypertuner.errors import ConfigError
from hypertuner.server.guard import Door
from hypertuner.server.guard.refusals import UnauthorisedError


def test_the_code_that_a_browser_is_opened_with_lets_in_once(storage):
    door = Door(storage)
    code = door.launch_code()
    assert door.log_in(code) == "run"
    with pytest.raises(UnauthorisedError):
        door.log_in(code)


def test_such_a_code_is_no_token_of_a_program(storage):
    door = Door(storage)
    with pytest.raises(UnauthorisedError):
        door.log_in(door.launch_code(), once=False)


def test_every_token_and_cookie_is_another_text(storage, tmp_path):
    doors = [Door(storage), Door(tmp_path / "another")]
    scopes = ("view", "edit", "run")
    texts = {door.token(scope) for door in doors for scope in scopes}
    texts |= {door.cookie(scope) for door in doors for scope in scopes}
    # The user's own hold for all storages, those to share for one.
    assert len(texts) == 2 * (2 + 2 + 1)
    assert doors[0].token("run") == doors[1].token("run")
    assert all(len(text) == 43 for text in texts)


def test_a_secret_that_others_can_read_or_that_is_none_keeps_the_server_from_starting(storage, tmp_path):
    Door(storage)
    path = tmp_path / "home" / "token"
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="other users can read or change the token of the GUI"):
        Door(storage)
    path.chmod(0o600)
    path.write_text("\n")
    with pytest.raises(ConfigError, match="holds a token of 0 characters"):
        Door(storage)
    done = subprocess.run(
        [sys.executable, "-m", "hypertuner", "--no-browser", "--port", "0"],
        env=script_environment({}),
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "Delete the file: a new one is made." in done.stderr


def test_whoever_had_an_old_secret_is_out_when_a_new_one_is_made(storage, tmp_path):
    old = Door(storage)
    token, cookie = old.token("run"), old.cookie("run")
    (tmp_path / "home" / "token").unlink()
    for door in (Door(storage), old):
        with pytest.raises(UnauthorisedError):
            door.log_in(token)
        assert door.known_by(cookie) is None
