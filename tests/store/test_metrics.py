"""What was logged is read again, whatever happened to the writer; a damaged line costs itself alone."""

from __future__ import annotations

import math
import os
import time
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypertuner import files
from hypertuner.store import metrics

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
value = st.one_of(st.floats(), st.integers(-(2**63), 2**63 - 1), st.booleans(), text)
names = st.sampled_from(["loss", "acc"]) | text
logged = st.tuples(st.integers(0, 2**53), st.floats(0, 4e9), st.dictionaries(names, value, max_size=4))
SUMMARY = ("first", "last", "lowest", "highest", "step", "time")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("metrics") / "metrics.jsonl"


def same(left, right) -> bool:
    """Equal, and NaN is NaN, and 1 is neither True nor 1.0."""
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    return type(left) is type(right) and (left == right or (left != left and right != right))


def read(path):
    return [(record.step, record.time, record.values) for record in metrics.read_records(path)]


@given(st.lists(logged, max_size=6))
def test_every_record_is_read_as_it_was_logged_nan_and_infinity_too(place, records):
    place.write_bytes(b"".join(metrics.encode(*record) for record in records))
    assert same(read(place), records)


@given(st.lists(logged, min_size=1, max_size=4), st.data())
def test_a_writer_killed_in_the_middle_of_a_line_loses_that_line_alone(place, records, data):
    lines = [metrics.encode(*record) for record in records]
    place.write_bytes(b"".join(lines)[: -data.draw(st.integers(1, len(lines[-1])))])
    assert same(read(place), records[:-1])
    # The next writer closes the half line; only if it was whole but for its end does it count.
    appender = files.Appender(place)
    appender.append(metrics.encode(7, 1.0, {"loss": 0.5}))
    appender.close()
    after = read(place)
    assert same(after[-1:], [(7, 1.0, {"loss": 0.5})])
    assert same(after[:-1], records[:-1]) or same(after[:-1], records)


@given(st.lists(logged, min_size=1, max_size=4), st.integers(0, 3), st.binary(max_size=30))
def test_a_damaged_line_costs_itself_alone(place, records, at, noise):
    lines = [metrics.encode(*record) for record in records]
    lines.insert(min(at, len(lines)), b"\0" + noise.replace(b"\n", b"") + b"\n")
    place.write_bytes(b"".join(lines))
    assert same(read(place), records)


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "null",
        "{}",
        '{"step": 1}',
        '{"step": 1, "time": 2}',
        '{"step": null, "time": 2, "values": {}}',
        '{"step": "x", "time": 2, "values": {}}',
        '{"step": 1, "time": 2, "values": [1]}',
        '{"step": 1, "time": 2, "values": "loss"}',
        '{"step": 1, "time": 2, "values": {}, "nonfinite": null}',
        '{"step": 1, "time": 2, "values": {}, "nonfinite": {"loss": "much"}}',
        '{"step": 1, "time": 2, "values": {"loss": NaN}}',
    ],
)
def test_a_line_that_is_json_but_no_record_is_passed_over(place, line):
    place.write_text(line + "\n" + '{"step": 3, "time": 4, "values": {"loss": 1}}\n')
    assert read(place) == [(3, 4.0, {"loss": 1})]
    assert metrics.summarise_on(place, None)[0].last == {"loss": 1}


def test_reading_stops_at_a_position(place):
    lines = [metrics.encode(step, 0.0, {"loss": step}) for step in range(4)]
    place.write_bytes(b"".join(lines))
    for count in range(5):
        upto = sum(map(len, lines[:count]))
        assert [record.step for record in metrics.read_records(place, upto)] == list(range(count))
        assert [record.step for record in metrics.read_records(place, upto + 3)] == list(range(count))


def test_no_file_is_no_records(tmp_path):
    assert read(tmp_path / "metrics.jsonl") == []
    (tmp_path / "file").touch()
    assert read(tmp_path / "file" / "metrics.jsonl") == []


def test_a_summary_has_the_first_last_least_and_greatest_and_no_nan_among_the_extremes():
    found = metrics.summarise(
        metrics.Record(step, step * 10.0, values)
        for step, values in enumerate(
            [
                {"loss": 2.0, "acc": 0.1, "phase": "warm", "picture": {"media": "image"}},
                {"loss": math.nan, "acc": 0.5},
                {"loss": 0.5, "acc": 0.3, "done": True, "phase": "main"},
                {"loss": math.inf},
                {"loss": math.nan},
            ]
        )
    )
    assert found.first == {"loss": 2.0, "acc": 0.1, "phase": "warm", "done": True}
    assert math.isnan(found.last.pop("loss"))
    assert found.last == {"acc": 0.3, "phase": "main", "done": True}
    assert found.lowest == {"loss": 0.5, "acc": 0.1}
    assert found.highest == {"loss": math.inf, "acc": 0.5}
    assert (found.step, found.time) == (4, 40.0)


def summary_of(path):
    return [asdict(metrics.summarise(metrics.read_records(path)))[name] for name in SUMMARY]


@given(st.lists(logged, max_size=8), st.lists(st.integers(0, 400), max_size=3))
def test_reading_on_gives_what_reading_all_gives(place, records, cuts):
    place.unlink(missing_ok=True)
    place.touch()
    known = None
    whole = b"".join(metrics.encode(*record) for record in records)
    for upto in [*sorted(cuts), len(whole)]:  # also in the middle of a line
        with place.open("ab") as file:
            file.write(whole[file.tell() : upto])
        found, position = metrics.summarise_on(place, known)
        known = (found, position)
        assert same([asdict(found)[name] for name in SUMMARY], summary_of(place))


def test_a_file_that_was_replaced_or_changed_is_read_from_its_start(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(metrics.encode(1, 0.0, {"loss": 1.0}))
    known = metrics.summarise_on(path, None)
    path.write_bytes(metrics.encode(1, 0.0, {"loss": 9.0}) + metrics.encode(2, 0.0, {"loss": 2.0}))
    changed, position = metrics.summarise_on(path, known)
    assert changed.first == {"loss": 9.0}
    files.replace(path, metrics.encode(3, 0.0, {"loss": 3.0}))
    assert metrics.summarise_on(path, (changed, position))[0].first == {"loss": 3.0}
    os.truncate(path, 0)
    assert metrics.summarise_on(path, (changed, position))[0].first == {}


# --- hypertuner 1.0.4 ---------------------------------------------------------------------------------------------


def read_old(path, content: str):
    path.write_text(content, newline="")
    return [(record.step, record.time, record.values) for record in metrics.read_old_records(path)]


def test_rows_of_1_0_4_have_their_frame_as_step_and_the_files_time(tmp_path):
    path = tmp_path / "logs.csv"
    rows = read_old(path, "loss,frame\r\n0.5,0\r\n0.25,10\r\n")
    written = path.stat().st_mtime
    assert rows == [(0, written, {"loss": 0.5}), (10, written, {"loss": 0.25})]


def test_a_frame_that_is_a_time_is_the_time_and_the_row_is_the_step(tmp_path):
    now = round(time.time(), 2)
    rows = read_old(tmp_path / "logs.csv", f"frame,loss\n{now},3\n{now + 0.5},2\n1700000000,1\n")
    assert rows == [(0, now, {"loss": 3}), (1, now + 0.5, {"loss": 2}), (2, 1700000000, {"loss": 1})]


@pytest.mark.parametrize("frame", ["", "nan", "inf", "-inf", "first", "1e999"])
def test_a_frame_that_is_no_number_leaves_the_row_its_place(tmp_path, frame):
    path = tmp_path / "logs.csv"
    assert read_old(path, f"frame,loss\n5,1\n{frame},0.5\n")[1] == (1, path.stat().st_mtime, {"loss": 0.5})


def test_torn_rows_and_odd_columns_are_read_as_far_as_they_go(tmp_path):
    rows = read_old(tmp_path / "logs.csv", "frame,loss,note\n1,0.5,ok\n2,0.4\n3,0.3,a,b\n4,nan,\n")
    assert [(step, values.get("loss")) for step, _, values in rows][:3] == [(1, 0.5), (2, 0.4), (3, 0.3)]
    assert rows[0][2] == {"loss": 0.5, "note": "ok"}
    assert rows[1][2] == {"loss": 0.4}
    assert math.isnan(rows[3][2]["loss"])


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_no_content_of_a_logs_csv_stops_reading(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "logs.csv"
    for step, when, values in read_old(path, "frame,loss\n" + content) + read_old(path, content):
        assert isinstance(step, int) and isinstance(when, (int, float)) and isinstance(values, dict)


def test_no_logs_csv_is_no_rows(tmp_path):
    assert list(metrics.read_old_records(tmp_path / "logs.csv")) == []
