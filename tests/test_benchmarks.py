"""The benchmarks run, say what they measured, and reckon right. How long anything takes is no test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import children, kills, measurement, publish, report, targets
from benchmarks.measurement import OURS, Measurement, median, missing
from benchmarks.targets import Target
from benchmarks.trackers import TRACKERS, tracker
from tests.conftest import REPOSITORY

PEERS = {one.name for one in TRACKERS} - {OURS}


def bench(into: Path, *arguments: str) -> tuple[list[dict[str, object]], str]:
    """The lines and the words of a tiny `make bench`."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks",
            "--tiny",
            "--into",
            str(into),
            "--scratch",
            str(into / "scratch"),
            *arguments,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(REPOSITORY / "src"), str(REPOSITORY)))},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in (into / publish.LINES).read_text().splitlines()], done.stdout


def test_every_benchmark_gives_lines_that_are_complete_in_themselves(tmp_path: Path) -> None:
    lines, said = bench(tmp_path / "result")
    assert {line["benchmark"] for line in lines} == set(report.TITLES)
    for line in lines:
        place = line["place"]
        assert isinstance(place, dict)
        assert place["commit"] and place["date"] and place["versions"]["torch"] and place["load"] >= 0
        assert line["unit"] in {"s", "bytes", "share"}
        assert (line["value"] is None) == (line["missing"] is not None)
        assert line["value"] is None or line["rounds"], line
    ours = [line for line in lines if line["subject"] == OURS]
    assert {line["benchmark"] for line in ours} == set(report.TITLES)
    assert {line["missing"] for line in ours if line["value"] is None} <= {"no GPU here"}
    for title in report.TITLES.values():
        assert title in said


def test_a_peer_that_is_not_there_is_named(tmp_path: Path) -> None:
    absent = {one.name for one in TRACKERS if not one.is_installed()}
    if not absent:
        pytest.skip("all peers are installed")
    lines, said = bench(tmp_path / "result", "--only", "log")
    assert {line["subject"] for line in lines} == {OURS, *PEERS}
    assert {line["subject"] for line in lines if line["missing"] == "not installed"} == absent
    assert "not installed" in said


def test_the_machine_is_described_and_not_named(tmp_path: Path) -> None:
    place = measurement.here(tmp_path)
    assert place.machine.startswith(f"{os.cpu_count()}-core-")
    assert os.uname().nodename not in json.dumps(place.versions) + place.machine + place.platform


def test_lines_come_back_as_they_were_written(tmp_path: Path) -> None:
    place = measurement.here(tmp_path)
    measurements = [median("log", "one record", OURS, "s", [3.0, 1.0, 2.0], records=7), missing("log", "x", "Y", "s")]
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b"".join(measurement.line(one, place) for one in measurements))
    assert measurement.read(path) == (measurements, {place.machine: place})
    assert measurements[0].value == 2.0


@pytest.mark.parametrize(
    ("target", "theirs", "limit"),
    [
        (Target("log", "one record", times=0.4), 10.0, 4.0),
        (Target("import", "x", times=0.1, at_most=0.05), 2.0, 0.05),
        (Target("import", "x", times=0.1, at_most=0.05), 0.2, 0.02),
        (Target("size", "x", times=1.002, plus=65536, plus_a_tensor=160), 1000.0, 1002 + 65536 + 160 * 5),
        (Target("kills", "x", at_most=0), 0.5, 0),
        (Target("log", "one record", times=0.4), None, None),
    ],
)
def test_a_limit_is_the_strictest_that_the_target_says(
    target: Target, theirs: float | None, limit: float | None
) -> None:
    assert target.limit(theirs, tensors=5) == (None if limit is None else pytest.approx(limit))


def values(**seconds: float | None) -> list[Measurement]:
    return [
        missing("log", "one record", name, "s") if value is None else median("log", "one record", name, "s", [value])
        for name, value in seconds.items()
    ]


@pytest.mark.parametrize(("ours", "is_reached"), [(4.0, True), (4.001, False)])
def test_log_is_compared_with_the_fastest_peer_that_is_there(ours: float, is_reached: bool) -> None:
    (row,) = targets.compare(values(slow=100.0, fast=10.0, absent=None, hypertuner=ours))
    assert (row.peer, row.theirs, row.ratio, row.is_reached) == ("fast", 10.0, ours / 10.0, is_reached)


def test_nothing_is_said_to_be_reached_without_a_peer() -> None:
    (row,) = targets.compare(values(hypertuner=1.0, absent=None))
    assert (row.ratio, row.is_reached) == (None, None)
    (shown,) = report.target_rows(values(hypertuner=1.0, absent=None))
    assert shown[-1] == "–"


def test_records_that_cannot_be_read_after_a_kill_are_counted(tmp_path: Path) -> None:
    acknowledged = kills.kill(OURS, tmp_path, 0.3)
    assert acknowledged
    assert kills.lost(OURS, tmp_path, acknowledged) == 0
    (metrics,) = tmp_path.glob("storage/*/attempts/1/metrics.jsonl")
    metrics.write_bytes(b"".join(metrics.read_bytes().splitlines(keepends=True)[:10]))
    assert kills.lost(OURS, tmp_path, acknowledged) == len(acknowledged) - 10


@pytest.mark.parametrize("one", [one for one in TRACKERS if one.is_installed()], ids=lambda one: one.name)
def test_a_tracker_reads_all_that_it_logged(one: object, tmp_path: Path) -> None:
    name = getattr(one, "name")  # noqa: B009
    logged = children.call("benchmarks.log_rate:rate", tmp_path / "run", name, 0.01)
    read = children.call("benchmarks.kills:readable", tmp_path / "run", name)
    assert len(read) == logged["records"] + 20
    assert tracker(name).name == name


def test_the_page_shows_a_committed_result() -> None:
    folders = [path.parent for path in (REPOSITORY / "benchmarks" / "results").glob(f"*/{publish.LINES}")]
    assert publish.shown() in [publish.part(folder) for folder in folders]


def test_a_part_takes_the_place_of_the_same_part_and_the_others_stay(tmp_path):
    import dataclasses

    from benchmarks import __main__ as run
    from benchmarks import measurement

    place = measurement.here(tmp_path)
    made = [measurement.median(name, "m", "s", "s", [1.0]) for name in ("log", "save")]
    path = tmp_path / publish.LINES
    path.write_bytes(b"".join(measurement.line(one, place) for one in made))
    kept = run._others(path, ["save"])
    assert kept == measurement.line(made[0], place)
    path.write_bytes(kept + measurement.line(made[1], dataclasses.replace(place, commit="later")))
    measurements, places = measurement.read(path)
    assert measurements == made
    assert places[place.machine].commit == f"{place.commit} (log); later (save)"
    path.write_bytes(kept + measurement.line(made[1], dataclasses.replace(place, machine="another")))
    _, places = measurement.read(path)
    assert [(one.machine, one.commit) for one in places.values()] == [
        (place.machine, f"{place.commit} (log)"),
        ("another", f"{place.commit} (save)"),
    ]
