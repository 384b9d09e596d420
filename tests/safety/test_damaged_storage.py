"""One damaged or hostile run folder costs that run, never the others: reading is bounded, never waits, never runs."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import tracemalloc

import orjson
import pytest
import torch
from torch import nn

import hypertuner
from hypertuner.store import Run, metrics


@pytest.fixture(autouse=True)
def no_waiting():
    """Whatever waits for a pipe is a failure, not a hang."""

    def late(number, frame):
        raise AssertionError("it waited")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def two(storage):
    """A sound run and one to be damaged."""
    for name in ("sound", "bad"):
        with hypertuner.new_run(name=name, lr=0.1):
            logger = hypertuner.Logger()
            logger.log({"loss": 1.0}, 0)
            logger.log({"loss": 0.5}, 1)
            hypertuner.Saver(nn.Linear(3, 3)).save()
    return storage


def pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def folder(path):
    path.unlink(missing_ok=True)
    path.mkdir()


def device(path):
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def dangling(path):
    path.unlink(missing_ok=True)
    path.symlink_to("/nowhere/at/all")


def to_itself(path):
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)


def content(data):
    def write(path):
        path.unlink(missing_ok=True)
        path.write_bytes(data() if callable(data) else data)

    return write


BAD_JSON = {
    "empty": content(b""),
    "cut short": content(b'{"a": 1'),
    "a million deep": content(lambda: b'{"a":' + b"[" * 10**6 + b"]" * 10**6 + b"}"),
    "100 MB": content(lambda: b'{"a": "' + b"x" * 100_000_000 + b'"}'),
    "not UTF-8": content(b'{"a": "\xff\xfe"}'),
    "a list": content(b"[1, 2]"),
    "null": content(b"null"),
    "a pipe": pipe,
    "a folder": folder,
    "a device": device,
}
FILES = ["config.json", "run.json", "notes.json", "attempts/1/started.json", "attempts/1/exit.json"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("how", BAD_JSON)
def test_a_damaged_file_is_named_and_the_others_are_shown(two, capsys, how, file):
    path = two / "bad" / file
    BAD_JSON[how](path)
    tracemalloc.start()
    table = hypertuner.runs()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40_000_000
    assert table["sound"].metrics == {"loss": 0.5}
    assert table["sound"].note == ""
    assert str(path) in table["bad"].note
    assert str(path) in capsys.readouterr().err
    assert repr(table)
    # What is whole is still had.
    assert hypertuner.load("bad", weights=True)["weight"].shape == (3, 3)


WRONG_TYPES = [
    ("notes.json", {"tags": "abc"}),
    ("notes.json", {"tags": [1, 2]}),
    ("notes.json", {"tags": {"a": 1}}),
    ("notes.json", {"note": 5}),
    ("notes.json", {"note": ["a"]}),
    ("notes.json", {"starred": "yes"}),
    ("notes.json", {"name": {"a": 1}}),
    ("run.json", {"created": 5}),
    ("run.json", {"created": None}),
    ("run.json", {"script": ["a"]}),
    ("run.json", {"parent": "x"}),
    ("run.json", {"parent": {"how": "start from"}}),
    ("attempts/1/started.json", {"pid": "12"}),
    ("attempts/1/started.json", {"pid": None}),
    ("attempts/1/started.json", {"config": [1]}),
    ("attempts/1/started.json", {"started_at": 12}),
    ("attempts/1/exit.json", {"ended_at": 1}),
    ("attempts/1/exit.json", {"state": ["finished"]}),
]


@pytest.mark.parametrize(("file", "change"), WRONG_TYPES)
def test_a_wrong_type_is_named_and_the_others_are_shown(two, file, change):
    path = two / "bad" / file
    values = orjson.loads(path.read_bytes()) if path.exists() else {}
    path.unlink(missing_ok=True)
    path.write_bytes(orjson.dumps({**values, **change}))
    table = hypertuner.runs()
    assert table["sound"].note == ""
    assert str(path) in table["bad"].note
    assert f"is not a {path.name}" in table["bad"].note
    assert repr(table)
    assert table._repr_html_()


@pytest.mark.parametrize("when", ["0001-01-01T00:00:00", "9999-12-31T23:59:59Z", "yesterday", ""])
def test_an_odd_date_is_no_reason_to_hide_a_run(two, when):
    path = two / "bad/run.json"
    values = orjson.loads(path.read_bytes())
    path.unlink()
    path.write_bytes(orjson.dumps({**values, "created": when}))
    assert hypertuner.runs()["bad"].metrics == {"loss": 0.5}
    assert repr(hypertuner.runs().sort("created"))


@pytest.mark.parametrize("make", [pipe, folder, device, dangling, to_itself])
def test_metrics_that_are_no_file(two, make):
    make(two / "bad/attempts/1/metrics.jsonl")
    table = hypertuner.runs()
    assert table["sound"].metrics == {"loss": 0.5}
    assert table["bad"].metrics == {}


def test_a_line_of_50_megabytes_is_skipped_in_bounded_memory(two):
    path = two / "bad/attempts/1/metrics.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b'{"step":9,"time":1,"values":{"x":"' + b"y" * 50_000_000 + b'"}}\n' + second)
    tracemalloc.start()
    table = hypertuner.runs()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * metrics.MOST_LINE_BYTES
    assert table["bad"].metrics == {"loss": 0.5}
    assert table["bad"].step == 1


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"5",
        b'{"step": "x", "time": 1, "values": {}}',
        b'{"step": 1e400, "time": 1, "values": {}}',
        b'{"step": 1, "time": 1, "values": []}',
        b'{"step": 1, "time": 1, "values": 5}',
        b'{"step": 1, "time": 1, "values": null}',
        b'{"step": 1, "time": 1, "values": {"a": 1}, "nonfinite": ["a"]}',
        b'{"step": 1, "time": 1, "values": {"a": 1}, "nonfinite": {"a": "os.system"}}',
        b'{"step": 1, "time": 1, "values": {"a": 1}, "nonfinite": {"a": [1]}}',
        b"[" * 100_000,
        b"\xff\xfe\x00",
        b'{"step": 123456789012345678901234567890, "time": 1, "values": {}}',
    ],
    ids=lambda line: line[:40].decode(errors="replace"),
)
def test_a_damaged_line_costs_that_line(two, line):
    path = two / "bad/attempts/1/metrics.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + line + b"\n" + second)
    row = hypertuner.runs()["bad"]
    assert row.metrics["loss"] == 0.5
    assert row.note == ""
    assert repr(hypertuner.runs())


@pytest.mark.parametrize("make", [pipe, folder, device, content(b""), content(b"PK\x03\x04 cut")])
def test_a_model_that_is_no_file_is_refused_at_once(two, make):
    model = two / "bad/model.pt"
    make(model)
    for read in (lambda: hypertuner.load(model), lambda: hypertuner.inspect(model)):
        with pytest.raises(hypertuner.CorruptFileError, match="bad"):
            read()
    assert hypertuner.runs()["sound"].note == ""
    assert hypertuner.load("bad@last").weight.shape == (3, 3)


def test_a_model_that_leads_elsewhere_is_read_and_never_written_through(two, tmp_path):
    outside = tmp_path / "outside.pt"
    torch.save({"theirs": torch.ones(2)}, outside)
    before = outside.read_bytes()
    run = Run(two / "bad")
    run.layout.model.unlink()
    run.layout.model.symlink_to(outside)
    assert hypertuner.load("bad", weights=True).keys() == {"theirs"}
    os.environ["HYPERTUNER_RUN"] = "bad"
    from hypertuner.store import current

    current._process_run = None
    try:
        hypertuner.Saver(nn.Linear(3, 3)).save(step=7)
        current.run().end("finished", "")
    finally:
        current._process_run = None
        os.environ.pop("HYPERTUNER_ATTEMPT", None)
    assert outside.read_bytes() == before
    assert not run.layout.model.is_symlink()
    assert torch.load(run.layout.model)["run"]["step"] == 7


def test_an_attempt_prepared_by_somebody_else_is_not_appended_to(two, tmp_path, run_script):
    """A folder that came by mail may hold attempts/2/metrics.jsonl, a link to the user's own files."""
    target = tmp_path / "profile"
    target.write_text("mine\n")
    (two / "bad/attempts/2").mkdir()
    (two / "bad/attempts/2/metrics.jsonl").symlink_to(target)
    (two / "bad/attempts/3").symlink_to(tmp_path)
    run_script("import hypertuner\nhypertuner.Logger().log({'x': 1})\n", env={"HYPERTUNER_RUN": "bad"})
    assert target.read_text() == "mine\n"
    assert not (tmp_path / "started.json").exists()
    assert (two / "bad/attempts/4/metrics.jsonl").is_file()


def test_a_run_folder_that_is_a_link_is_a_run_and_a_link_to_nothing_is_none(two, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (two / "bad").rename(elsewhere)
    (two / "bad").symlink_to(elsewhere)
    (two / "gone").symlink_to(tmp_path / "nowhere")
    (two / "loop").symlink_to("loop")
    (two / "file").write_text("x")
    table = hypertuner.runs()
    assert {row.name for row in table} == {"sound", "bad"}
    assert hypertuner.load("bad").weight.shape == (3, 3)
    for name in ("gone", "loop", "file"):
        with pytest.raises(hypertuner.RunNotFoundError):
            hypertuner.load(name)


def test_a_folder_with_odd_contents_is_listed(two):
    bad = two / "bad"
    with contextlib.suppress(PermissionError):
        os.mknod(bad / "device", 0o20600, os.makedev(1, 3))
    deep = bad / "source"
    for _ in range(40):
        deep = deep / "d"
    deep.mkdir(parents=True)
    os.mkfifo(bad / "source/pipe.py")
    (bad / "source/up").symlink_to("..")
    for name in ("0", "-1", "x", "٢", "9" * 30, "1.0"):
        (bad / "attempts" / name).mkdir()
        (bad / "attempts" / name / "started.json").write_text("{}")
    for name in ("step-1.pt", "step-٠٠٠٠٠٠٠٠.pt", "step-00000001.pt.part", f"step-{'9' * 30}.pt"):
        (bad / "attempts/1/checkpoints" / name).write_bytes(b"x")
    row = hypertuner.runs()["bad"]
    assert row.note == ""
    assert row.metrics == {"loss": 0.5}
    assert hypertuner.load("bad@last").weight.shape == (3, 3)


def test_a_folder_that_may_not_be_read_is_named(two):
    """As another user's run in a shared storage."""
    from tests.safety.test_full_disk import as_nobody

    changed = [(path, path.stat().st_mode) for path in (two, *two.parents) if not path.stat().st_mode & 0o001]
    for path, _ in changed:
        path.chmod(0o755)
    (two / "bad/attempts").chmod(0o700)
    try:
        with as_nobody():
            table = hypertuner.runs()
    finally:
        for path, mode in changed:
            path.chmod(mode)
    assert table["sound"].metrics == {"loss": 0.5}
    if os.geteuid() == 0:
        assert "Permission denied" in table["bad"].note


def test_reading_opens_a_bounded_number_of_files(two):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 30, hard))
    try:
        for _ in range(50):
            hypertuner.runs()
            hypertuner.load("bad", weights=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
