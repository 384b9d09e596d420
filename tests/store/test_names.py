"""A run's name is a folder's name on every system, and never anything else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypertuner.errors import ConfigError, RunExistsError
from hypertuner.store import Storage, names, records

RECORD = records.RunRecord(script=None, arguments=(), folder="/", created="2026-03-01T00:00:00.000Z")


@pytest.mark.parametrize("name", ["a", "brave-otter", "A1", "0", "run.1", "run_2", "x" * 64])
def test_plain_names_are_taken_as_they_are(name):
    assert names.check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *"""
    ../otter .. . .hidden /etc/passwd a/b a\\b C:\\run C:run ~root -rf _x otter. otter..
    CON con nul.txt com1 LPT9.log aux
    a*b a?b a:b a|b a<b a"b $HOME %PATH% a;b
    """.split(),
        *["", " ", "a b", " a", "a ", "a\n", "a\0", "\n", "x" * 65, "a\u202eb", "a\u200bb"],
        # Look-alikes: Cyrillic, Greek, full-width, an accent that combines, no slash, no dots, an unseen hyphen.
        *["\u0430bc", "\u03bftter", "\uff41bc", "e\u0301", "a\u2215b", "\u2024\u2024", "l\u0131on", "otter\u00ad"],
    ],
)
def test_a_name_that_is_a_path_a_device_or_a_look_alike_is_refused_with_the_reason(name):
    with pytest.raises(ConfigError, match="cannot be the name of a run") as caught:
        names.check_name(name)
    assert caught.value.key == "name"
    assert "\n  " in str(caught.value)  # what to do instead


@pytest.mark.parametrize("name", [None, 7, b"otter", ["otter"]])
def test_what_is_not_text_is_no_name(name):
    with pytest.raises(ConfigError, match="is text, not"):
        names.check_name(name)


@given(st.one_of(st.text(max_size=70), st.text("ab./\\-_ ~", max_size=8), st.from_regex(r"[A-Za-z0-9._-]{1,66}")))
def test_whatever_is_accepted_stays_directly_in_the_storage(tmp_path_factory, name):
    storage = tmp_path_factory.getbasetemp() / "storage"
    try:
        accepted = names.check_name(name)
    except ConfigError:
        return
    assert accepted == name
    assert accepted.isascii() and 1 <= len(accepted) <= 64
    assert not accepted.startswith(".") and not accepted.endswith(".")
    assert (storage / accepted).resolve().parent == storage.resolve()


def test_case_does_not_tell_runs_apart(tmp_path):
    storage = Storage(tmp_path / "storage")
    storage.create("Otter", RECORD, {})
    with pytest.raises(RunExistsError, match=r"as 'Otter'"):
        storage.create("oTTER", RECORD, {})
    with pytest.raises(RunExistsError):
        storage.create("Otter", RECORD, {})
    assert [run.name for run in storage.list()] == ["Otter"]


def test_friendly_names_are_names_and_never_one_that_is_taken():
    taken: set[str] = set()
    for _ in range(3000):
        name = names.friendly_name(taken)
        assert names.check_name(name) == name
        assert name == name.casefold() and name not in taken
        taken.add(name)


def test_when_all_short_names_are_taken_longer_ones_are_found():
    taken = {f"{adjective}-{animal}" for adjective in names._ADJECTIVES for animal in names._ANIMALS}
    assert names.friendly_name(taken).count("-") == 2


def test_a_friendly_name_neither_follows_nor_disturbs_the_scripts_random_numbers():
    random.seed(0)
    expected = random.random()
    random.seed(0)
    one = [names.friendly_name(()) for _ in range(4)]
    assert random.random() == expected
    random.seed(0)
    assert one != [names.friendly_name(()) for _ in range(4)]
