"""The JSON files of a run: what is written is read again, and a damaged one is an error that names it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypertuner.errors import CorruptFileError
from hypertuner.store import Run, records

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
texts = st.lists(text, max_size=3).map(tuple)
number = st.integers(-(2**53), 2**53)
real = st.floats(allow_nan=False, allow_infinity=False)
some = st.none()
json_values = st.recursive(some | st.booleans() | number | real | text, lambda inner: st.lists(inner, max_size=2))
mapping = st.dictionaries(text, json_values, max_size=3)
parents = st.builds(records.Parent, text, text, some | text, some | number, some | text)
RECORDS = st.one_of(
    st.builds(records.RunRecord, some | text, texts, text, text, some | parents, some | text),
    st.builds(records.Notes, some | text, texts, text, st.booleans(), some | text, st.booleans()),
    st.builds(
        records.Started,
        number,
        text,
        text,
        some | text,
        some | text,
        number,
        some | real,
        text,
        mapping,
        text,
        text,
        text,
        texts,
        texts,
        st.dictionaries(text, text, max_size=3),
        some | mapping,
    ),
    st.builds(
        records.Exit, text, some | number, some | text, text, text, some | text, some | st.integers(0, 2**40), number
    ),
    st.builds(
        records.ParentLoaded,
        *(text, text, text, number, real, some | text, some | number, some | number, some | number, some | text),
        *(texts, texts, texts, texts, texts),
    ),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("records") / "record.json"


@given(RECORDS)
def test_every_record_is_read_as_it_was_written(place, record):
    place.write_bytes(records.to_bytes(record))
    assert records.read(type(record), place) == record


@given(RECORDS, st.data())
def test_a_record_cut_short_anywhere_is_a_corrupt_file(place, record, data):
    whole = records.to_bytes(record).rstrip()
    place.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(CorruptFileError) as caught:
        records.read(type(record), place)
    assert caught.value.path == place
    assert str(place) in str(caught.value)


@given(RECORDS, st.binary(max_size=40))
def test_any_bytes_are_a_record_or_a_corrupt_file(place, record, noise):
    place.write_bytes(noise)
    try:
        assert isinstance(records.read(type(record), place), type(record))  # b"{}" are notes
    except CorruptFileError as error:
        assert error.path == place


@given(RECORDS, st.data())
def test_a_value_of_any_other_type_is_a_corrupt_file_or_one_that_the_field_allows(place, record, data):
    values = dataclasses.asdict(record)
    key = data.draw(st.sampled_from(sorted(values)))
    values[key] = data.draw(st.one_of(json_values, mapping))
    place.write_bytes(records.to_bytes(values))
    try:
        read = records.read(type(record), place)
    except CorruptFileError as error:
        assert error.path == place
        return
    place.write_bytes(records.to_bytes(read))
    assert records.read(type(record), place) == read


@pytest.mark.parametrize(
    ("kind", "json"),
    [
        (records.Notes, '{"tags": null}'),
        (records.Notes, '{"tags": "mnist"}'),
        (records.Notes, '{"tags": [1, 2]}'),
        (records.Notes, '{"note": 5}'),
        (records.RunRecord, '{"script": "train.py"}'),
        (records.RunRecord, '{"script": "a", "arguments": [], "folder": "/", "created": "", "parent": "otter"}'),
        (records.RunRecord, '{"script": "a", "arguments": [], "folder": "/", "created": "", "parent": {"how": ""}}'),
        (records.Exit, "[]"),
        (records.Exit, "null"),
        (records.Exit, ""),
    ],
)
def test_a_wrong_type_or_a_missing_key_is_a_corrupt_file(place, kind, json):
    place.write_text(json)
    with pytest.raises(CorruptFileError, match=place.name):
        records.read(kind, place)


def test_keys_of_a_later_version_are_ignored(place):
    place.write_text('{"tags": ["mnist"], "mood": {"happy": true}}')
    assert records.read(records.Notes, place) == records.Notes(tags=("mnist",))


def test_a_file_that_is_not_there_is_no_record(tmp_path):
    assert records.read(records.Notes, tmp_path / "notes.json") is None
    (tmp_path / "file").touch()
    assert records.read(records.Notes, tmp_path / "file" / "notes.json") is None
    assert Run(tmp_path).notes() == records.Notes()


def test_a_moment_is_read_as_it_was_written_and_anything_else_is_none():
    assert records.now().endswith("Z")
    assert records.seconds("2026-11-24T10:12:26.123Z") == pytest.approx(1795515146.123)
    assert records.seconds("2026-11-24T11:12:26.123+01:00") == pytest.approx(1795515146.123)
    for wrong in (None, "", "yesterday", "0001-01-01T00:00:00", "9999-12-31T23:59:59"):
        assert records.seconds(wrong) is None or isinstance(records.seconds(wrong), float)


@given(text)
def test_no_text_at_all_stops_reading_a_moment(moment):
    assert isinstance(records.seconds(moment), (float, type(None)))
