"""Curves are what was logged, along the path of a run, in the form that the contract says."""

from __future__ import annotations

import csv
import io
import json
import math
import struct
import textwrap
from array import array
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.server.made import asking, end, log, make_run, start, trained

from hypertuner.server.contract.series import SeriesAnswer
from hypertuner.server.reading.curves import Curves
from hypertuner.server.reading.points import Points
from hypertuner.store import Run, Storage, metrics, records


class Series(NamedTuple):
    header: dict
    steps: list[float]
    times: list[float]
    values: list[float]


def read(data: bytes) -> tuple[list[Series], list[str]]:
    """An answer, read as the page does."""
    (length,) = struct.unpack_from("<I", data)
    assert (4 + length) % 8 == 0
    header = json.loads(data[4 : 4 + length])
    SeriesAnswer.model_validate(header)
    found, at = [], 4 + length
    for each in header["series"]:
        even = each["even_steps"]
        columns = [] if even is None else [[float(even[0] + at * even[1]) for at in range(each["points"])]]
        while len(columns) < 3:
            end = at + 8 * each["points"]
            columns.append(list(struct.unpack(f"<{each['points']}d", data[at:end])))
            at = end
        found.append(Series(each, *columns))
    assert at == len(data)
    return found, header["missing"]


def curve(storage: Path, name: str, metric: str = "loss") -> Series:
    ((found,), missing) = read(Curves(Storage(storage)).answer([name], metric))
    assert not missing
    return found


def segments(found: Series) -> list[tuple]:
    return [
        (each["run"], each["attempt"], found.values[each["start"] : each["end"]], each["is_abandoned"])
        for each in found.header["segments"]
    ]


def test_several_curves_come_at_once_and_what_is_gone_is_named(storage):
    trained(storage, "one", losses=[0.5, 0.25])
    trained(storage, "two", losses=[])
    with asking(storage) as asker:
        answer = asker.client.get(
            "/api/series", params={"run": ["one", "../one", "gone", "two"], "metric": "train/loss"}
        )
        assert answer.headers["content-type"] == "application/octet-stream"
        found, missing = read(answer.content)
        text = asker.client.get("/api/series.csv", params={"run": ["one", "two"], "metric": "train/loss"}).text
    assert [(each.header["run"], each.steps, each.values) for each in found] == [
        ("one", [0, 1], [0.5, 0.25]),
        ("two", [], []),
    ]
    assert missing == ["../one", "gone"]
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["run", "attempt", "step", "time", "train/loss", "abandoned"]
    assert [(*row[:3], *row[4:]) for row in rows[1:]] == [
        ("one", "1", "0", "0.5", "false"),
        ("one", "1", "1", "0.25", "false"),
    ]


def resumed(run: Run, from_attempt: int, nbytes: int, how: str = "resume", parent: str | None = None):
    attempt = start(run)
    attempt.layout.parent.write_bytes(
        records.to_bytes(
            records.ParentLoaded(
                "x", how, records.now(), 1, 1.0, run=parent or run.name, attempt=from_attempt, metrics_bytes=nbytes,
                saved_at=records.now(),
            )
        )
    )  # fmt: skip
    return attempt


STEPS = st.one_of(
    st.lists(st.integers(-(2**60), 2**60), max_size=5),
    st.builds(
        lambda first, by, count: list(range(first, first + by * count, by)),
        st.integers(-(2**60), 2**60),
        st.integers(1, 2**55),
        st.integers(0, 6),
    ),
)


@given(STEPS)
@example([0, 1, 2, 3])
@example([10, 20, 40])
@example([5, 4, 3])
@example([1, 1])
def test_two_numbers_tell_the_steps_where_they_do(tmp_path_factory, steps):
    storage = tmp_path_factory.mktemp("storage")
    attempt = start(make_run(storage, "otter"))
    for step in steps:
        log(attempt, step, {"loss": 0.5})
    found = curve(storage, "otter")
    assert found.steps == [float(step) for step in steps]
    if steps == list(range(len(steps))) and len(steps) > 1:
        assert found.header["even_steps"] == [0, 1]


def test_what_a_resumed_attempt_went_back_before_is_abandoned(storage):
    run = make_run(storage, "otter")
    first = start(run)
    saved = [log(first, step, {"loss": float(step)}) for step in range(4)]
    end(run, first, "failed")
    second = resumed(run, 1, saved[1])
    log(second, 2, {"loss": 20.0})
    assert segments(curve(storage, "otter")) == [
        ("otter", 1, [0.0, 1.0], False),
        ("otter", 1, [2.0, 3.0], True),
        ("otter", 2, [20.0], False),
    ]
    assert curve(storage, "otter").header["cursor"] == f"2:{second.layout.metrics.stat().st_size}"
    with asking(storage) as asker:
        text = asker.client.get("/api/series.csv", params={"run": "otter", "metric": "loss"}).text
    taken = [(row[1], row[4], row[5]) for row in csv.reader(io.StringIO(text))][1:]
    assert taken == [
        ("1", "0.0", "false"),
        ("1", "1.0", "false"),
        ("1", "2.0", "true"),
        ("1", "3.0", "true"),
        ("2", "20.0", "false"),
    ]


def test_an_attempt_that_began_anew_leaves_the_earlier_one_in_grey(storage):
    run = make_run(storage, "otter")
    first = start(run)
    log(first, 0, {"loss": 1.0})
    end(run, first, "failed")
    log(start(run), 0, {"loss": 2.0})
    assert segments(curve(storage, "otter")) == [("otter", 1, [1.0], True), ("otter", 2, [2.0], False)]


def test_a_fork_holds_its_parents_curve_and_a_start_from_weights_stands_behind_it(storage):
    parent = make_run(storage, "parent")
    attempt = start(parent)
    saved = [log(attempt, step, {"loss": float(step)}) for step in range(4)]
    fork = make_run(storage, "fork", created=records.now(), parent=records.Parent("parent@1", "fork", "parent", 1))
    log(resumed(fork, 1, saved[1], "fork", "parent"), 2, {"loss": 9.0})
    child = make_run(storage, "child", created=records.now(), parent=records.Parent("fork@2", "start from", "fork", 2))
    log(start(child), 0, {"loss": 7.0})
    found = curve(storage, "fork")
    assert segments(found) == [("parent", 1, [0.0, 1.0], False), ("fork", 1, [9.0], False)]
    assert (found.header["parent"], found.header["step_offset"]) == ("parent", 0)
    found = curve(storage, "child")
    assert (segments(found), found.header["parent"], found.header["step_offset"]) == (
        [("child", 1, [7.0], False)],
        "fork",
        2,
    )


def test_a_folder_of_the_published_version_has_curves(storage):
    folder = storage / "old"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"lr": 0.1}')
    (folder / "logs.csv").write_text("frame,loss\n1,0.5\n2,nan\n3,0.25\n")
    found = curve(storage, "old")
    assert (found.steps, found.values[::2], math.isnan(found.values[1])) == ([1, 2, 3], [0.5, 0.25], True)
    assert found.header["cursor"] == "0:0"


def test_marks_are_where_the_library_saved(storage, run_script):
    run_script(
        textwrap.dedent(
            """
            import hypertuner, torch
            args = hypertuner.Args(lr=0.1)
            net = torch.nn.Linear(2, 2)
            saver = hypertuner.Saver(net, monitor="loss", keep_last=9)
            logger = hypertuner.Logger()
            for step, loss in enumerate([0.5, 0.1, 0.3]):
                logger.log({"loss": loss}, step)
                saver.save()
            """
        ),
        env={"HYPERTUNER_RUN": "otter"},
    )
    found = curve(storage, "otter")
    assert found.values == [0.5, 0.1, 0.3]
    assert [(mark["reference"], mark["step"], mark["is_best"], mark["is_last"]) for mark in found.header["marks"]] == [
        ("otter@0", 0, False, False),
        ("otter@1", 1, True, False),
        ("otter@2", 2, False, True),
    ]


def test_memory_stays_within_its_bounds_and_answers_stay_the_same(storage):
    for number in range(4):
        trained(storage, f"run-{number}", losses=[float(step) for step in range(100)])
    curves = Curves(Storage(storage), most_bytes=7_000)
    names = [f"run-{number}" for number in range(4)]
    first = curves.answer(names, "train/loss")
    assert 0 < curves.nbytes <= 7_000
    assert curves.answer(names, "train/loss") == first


VALUES = st.one_of(
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
    st.just({"kind": "image"}),
    st.just([{"a": 1}, {"b": 2}]),
)


def line(step: int, when: float, values: dict) -> bytes:
    """What the library writes, for which a whole number of more than 64 bits is a float."""
    fit = {
        name: float(value) if type(value) is int and abs(value) >= 2**63 else value for name, value in values.items()
    }
    return metrics.encode(step, when, fit)


LINES = st.one_of(
    st.builds(
        line,
        st.integers(0, 2**40),
        st.floats(0, 2e9),
        st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3),
    ),
    st.sampled_from(
        [
            b"\n",
            b"{\n",
            b"1\n",
            b'{"step":1}\n',
            b'{"step":1.5,"time":"2","values":{"a":1}}\n',
            b'{"step":1,"time":2,"values":{"a":1},"nonfinite":{"b":"x"}}\n',
            b'{"step":1,"time":2,"values":{"a":[{"c":1}\n',
            b'{"step":2},{"step":3,"time":1,"values":{"a":1}}]},"x":0}\n',
            b'{"step":1,"time":2,"values":[1]}\r\n',
            b'{"step":7,"time":2,"values":{"a":3}}\r\n',
        ]
    ),
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.lists(LINES, max_size=6), max_size=4), st.booleans(), st.integers(0, 400), st.integers(0, 400))
def test_points_are_the_records_however_a_file_grew_and_whatever_is_in_it(tmp_path, pieces, torn, begin, stop):
    path = tmp_path / "metrics.jsonl"
    path.unlink(missing_ok=True)
    points = Points(path)
    points.read_on()
    for piece in pieces:
        with path.open("ab") as file:
            file.write(b"".join(piece))
        points.read_on()
    if torn:
        with path.open("ab") as file:
            file.write(b'{"step":1,"time"')
        points.read_on()
    low, high = sorted((begin, stop))
    for name in "abc":
        for upto in (None, high):
            whole = list(metrics.read_records(path, upto))
            skipped = len(list(metrics.read_records(path, low))) if low else 0
            expected = [
                (float(record.step), record.time, float(record.values[name]))
                for record in whole[skipped:]
                if isinstance(record.values.get(name), (int, float))
            ]
            found = points.cut(name, low, upto)
            assert (
                array("d", [number for row in expected for number in row]).tobytes()
                == array("d", [number for row in zip(*found, strict=True) for number in row]).tobytes()
            )


def test_a_file_that_was_replaced_is_read_anew(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(metrics.encode(1, 1.0, {"a": 1.0}) * 3)
    points = Points(path)
    points.read_on()
    path.unlink()
    path.write_bytes(metrics.encode(2, 1.0, {"a": 2.0}) * 4)
    points.read_on()
    assert list(points.cut("a").values) == [2.0] * 4
    path.unlink()
    points.read_on()
    assert list(points.cut("a").values) == []


@pytest.mark.parametrize("count", [1, 3])
def test_a_line_longer_than_any_record_is_passed_over(tmp_path, count):
    path = tmp_path / "metrics.jsonl"
    long = orjson.dumps({"step": 1, "time": 1.0, "values": {"a": 1, "b": "x" * (count * 2_500_000)}}) + b"\n"
    path.write_bytes(metrics.encode(1, 1.0, {"a": 5.0}) + long + metrics.encode(2, 1.0, {"a": 6.0}))
    points = Points(path)
    points.read_on()
    assert list(points.cut("a").values) == [record.values["a"] for record in metrics.read_records(path)]
