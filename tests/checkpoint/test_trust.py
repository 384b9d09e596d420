import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hypertuner.checkpoint.format import trust
from hypertuner.errors import ConfigError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HYPERTUNER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HYPERTUNER_KEY", raising=False)
    return tmp_path / "home"


def test_the_first_use_makes_a_key_that_only_the_user_can_read(home):
    key = trust.user_key()
    assert len(key) == 32
    assert len(bytes.fromhex((home / "key").read_text())) == 32
    assert stat.S_IMODE((home / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert list(home.iterdir()) == [home / "key"]
    assert trust.user_key() == key


def test_two_homes_have_two_keys(tmp_path, monkeypatch):
    first = trust.user_key()
    monkeypatch.setenv("HYPERTUNER_HOME", str(tmp_path / "other"))
    assert trust.user_key() != first


def test_processes_that_start_together_agree_on_one_key(home):
    code = "from hypertuner.checkpoint.format.trust import user_key; print(user_key().hex())"
    environment = os.environ | {"PYTHONPATH": str(Path(trust.__file__).parents[2])}
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(6)
    ]
    keys = {process.communicate()[0].strip() for process in started}
    assert keys == {trust.user_key().hex()}
    assert [path.name for path in home.iterdir()] == ["key"]


def test_a_key_can_be_carried_to_another_machine(home, tmp_path, monkeypatch):
    key = trust.user_key()
    monkeypatch.setenv("HYPERTUNER_KEY", (home / "key").read_text())
    monkeypatch.setenv("HYPERTUNER_HOME", str(tmp_path / "elsewhere"))
    assert trust.user_key() == key
    assert not (tmp_path / "elsewhere").exists()


def test_any_long_text_is_a_key(monkeypatch):
    monkeypatch.setenv("HYPERTUNER_KEY", "correct horse battery staple")
    key = trust.user_key()
    monkeypatch.setenv("HYPERTUNER_KEY", "correct horse battery stapler")
    assert len(key) == 32
    assert trust.user_key() != key


@pytest.mark.parametrize("text", ["short", " " * 40, "x" * 15])
def test_a_short_key_is_refused_with_a_way_to_make_a_good_one(monkeypatch, text):
    monkeypatch.setenv("HYPERTUNER_KEY", text)
    with pytest.raises(ConfigError, match=r"at least 16.*\n.*token_hex") as caught:
        trust.user_key()
    assert caught.value.key == "HYPERTUNER_KEY"


@pytest.mark.parametrize("content", [b"", b"short\n"])
def test_a_damaged_key_file_is_refused_by_name(home, content):
    home.mkdir()
    (home / "key").write_bytes(content)
    (home / "key").chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        trust.user_key()
    assert caught.value.path == home / "key"


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_a_key_that_others_can_reach_is_refused_until_its_mode_is_right(home, mode):
    key = trust.user_key()
    (home / "key").chmod(mode)
    with pytest.raises(ConfigError, match=r"chmod 600 .*key"):
        trust.user_key()
    (home / "key").chmod(0o600)
    assert trust.user_key() == key


def test_a_home_that_cannot_be_written_says_where_the_key_belongs(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HYPERTUNER_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(ConfigError, match=r"neither read nor made.*\n.*HYPERTUNER_KEY"):
        trust.user_key()


def test_a_mark_covers_both_parts_and_where_one_ends():
    mark = trust.mark_of(b"k" * 32, b"pickle", b"index")
    assert trust.is_mark(mark, b"k" * 32, b"pickle", b"index")
    assert not trust.is_mark(None, b"k" * 32, b"pickle", b"index")
    for key, pickled, index in [
        (b"j" * 32, b"pickle", b"index"),
        (b"k" * 32, b"picklE", b"index"),
        (b"k" * 32, b"pickle", b"indeX"),
        (b"k" * 32, b"pickl", b"eindex"),
        (b"k" * 32, b"index", b"pickle"),
    ]:
        assert not trust.is_mark(mark, key, pickled, index)
