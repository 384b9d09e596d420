"""The run panel: what a run was, what happened to it, what it printed, its files and media."""

from __future__ import annotations

import io
import os
import random
import shutil
import zipfile
from pathlib import Path

import pytest

from hypertuner.server.panel import folder
from hypertuner.server.panel.output import Outputs
from hypertuner.store import Attempt, Run
from hypertuner.store.output import OutputWriter


def detail(served, name: str):
    answer = served.ask("GET", f"/api/runs/{name}")
    assert answer.status == 200, answer.body
    return answer.json


def test_a_run_is_told_with_what_differs_from_its_parent(looked):
    told = detail(looked, "forked")
    changed = {one["key"]: (one["parent"], one["value"]) for one in told["config"] if one["is_changed"]}
    assert changed == {"lr": (0.1, 0.01), "epochs": (3, 4)}
    assert (told["parent"], told["parent_how"], told["parent_share"]) == ("first@1", "fork", 1.0)
    assert "forked" in detail(looked, "first")["children"]


def test_settings_that_the_script_never_read_are_marked(looked):
    read = {one["key"]: one["is_read"] for one in detail(looked, "first")["config"]}
    assert read == {"lr": True, "hidden": True, "epochs": True, "seed": True, "dropout": False}


def test_an_attempt_says_how_it_ended(looked):
    (attempt,) = detail(looked, "first")["attempts"]
    assert (attempt["state"], attempt["code"], attempt["has_output"]) == ("finished", 0, False)
    assert attempt["ended_at"] >= attempt["started_at"]


@pytest.mark.parametrize(
    ("name", "title", "key", "value", "instead"),
    [
        ("out-of-memory", "CUDA out of memory", "batch_size", 64, 32),
        ("out-of-nan", "FloatingPointError: loss is NaN", "lr", 0.1, 0.01),
        ("misfit", "MismatchError", "hidden", 64, 16),
    ],
)
def test_a_failure_opens_on_its_reason_and_a_remedy(looked, name, title, key, value, instead):
    failure = detail(looked, name)["failure"]
    assert failure["title"].startswith(title)
    assert failure["suggestion"] == {"key": key, "value": value, "instead": instead}
    script = "train.py" if name == "misfit" else "fail.py"
    assert failure["where"].partition(":")[0] == script
    line = (looked.folder / script).read_text().splitlines()[int(failure["where"].partition(":")[2]) - 1]
    assert "Saver(" in line or "raise" in line


def test_a_failure_shows_the_last_30_lines_that_it_printed(looked):
    lines = detail(looked, "out-of-memory")["failure"]["last_lines"]
    assert len(lines) == 30
    assert "batch 99" in lines
    assert lines[-1].startswith("RuntimeError: CUDA out of memory")


def test_a_run_that_finished_has_no_failure(looked):
    assert detail(looked, "first")["failure"] is None


def test_its_code_loads_its_weights(looked, trained):
    for path, name in (("/api/runs/first", "run"), ("/api/checkpoints/forked/2", "checkpoint")):
        code = looked.ask("GET", path).json["load_code"]
        done = trained.python("-c", f"{code}\nprint([tuple(one.shape) for one in model.parameters()])")
        assert "(16, 4)" in done.stdout, name


# --- output


def test_the_output_of_a_run_is_read_by_lines(looked):
    told = looked.ask("GET", "/api/runs/out-of-memory/output?first=5&count=3").json
    assert (told["first"], len(told["lines"])) == (5, 3)
    found = looked.ask("GET", "/api/runs/out-of-memory/output/search?text=BATCH%209").json
    assert found["total"] == 11
    lines = looked.ask("GET", "/api/runs/out-of-memory/output?first=0&count=1000").json["lines"]
    assert all("batch 9" in lines[number] for number in found["lines"])
    errors = looked.ask("GET", "/api/runs/out-of-memory/output/search?errors=true").json
    assert [lines[number] for number in errors["lines"]][-1].startswith("RuntimeError")


def test_an_attempt_that_is_not_there_is_said(looked):
    answer = looked.ask("GET", "/api/runs/first/output?attempt=7")
    assert (answer.status, "attempt 7" in answer.json["message"]) == (404, True)


@pytest.mark.parametrize("seed", range(6))
def test_a_window_of_lines_is_that_part_of_all_lines_also_when_the_middle_is_left_out(tmp_path: Path, seed: int):
    rng = random.Random(seed)
    (tmp_path / "1").mkdir()
    attempt = Attempt(tmp_path / "1")
    sizes = {"head_bytes": rng.choice([5000, 10_000_000]), "part_bytes": rng.choice([3000, 50_000])}
    writer, kept = OutputWriter(attempt.layout, **sizes, pending_every_s=0), Outputs()
    pieces = [b"\n", b"a\r\n", b"\r50%", b"\x1b[31mred\x1b[0m\n", "é\n".encode()]
    for _ in range(12):
        for number in range(rng.randint(0, 300)):
            writer.write(rng.choice([*pieces, b"line %d\n" % number, b"x" * rng.randint(0, 500)]))
        writer.tick()
        everything = all_lines(attempt)
        last = kept.window(attempt, -50, 50)
        assert (last.total, last.lines) == (len(everything), everything[-50:])
        begin = rng.randint(0, len(everything))
        assert kept.window(attempt, begin, 100).lines == everything[begin : begin + 100]
        wanted = [number for number, line in enumerate(everything) if "line 1" in line]
        assert kept.search(attempt, "LINE 1", errors=False).lines == wanted
        assert (last.left_out is not None) == any("of output left out]" in line for line in everything)
    writer.close()


def all_lines(attempt: Attempt) -> list[str]:
    """Everything there is, read by who has never looked before."""
    fresh, found = Outputs(), list[str]()
    while lines := fresh.window(attempt, len(found), 777).lines:
        found += lines
    return found


# --- files


def test_the_files_of_a_run_are_fetched_by_ids(looked, trained):
    files = {one["name"]: one["id"] for one in detail(looked, "first")["files"]}
    assert {"config.json", "source/train.py", "attempts/1/metrics.jsonl"} <= files.keys()
    answer = looked.ask("GET", f"/api/runs/first/files/{files['config.json']}")
    assert answer.body == (trained.run("first").folder / "config.json").read_bytes()
    assert answer.headers["content-disposition"].startswith("attachment")
    text = looked.ask("GET", f"/api/runs/first/text/{files['source/train.py']}").json
    assert text["text"] == (trained.folder / "train.py").read_text()


@pytest.mark.parametrize("asked", ["config.json", "..%2f..%2ftrain.py", "0" * 16, "%00"])
def test_what_is_no_id_of_a_listing_is_not_there(looked, asked):
    assert looked.ask("GET", f"/api/runs/first/files/{asked}").status == 404
    assert looked.ask("GET", f"/api/runs/first/text/{asked}").status == 404


def test_links_pipes_and_hidden_files_are_neither_listed_nor_opened(tmp_path: Path):
    (tmp_path / "secret").write_text("canary")
    run = Run(tmp_path / "storage" / "odd")
    inner = run.folder / "attempts" / "1"
    inner.mkdir(parents=True)
    (run.folder / "config.json").write_text("{}")
    (run.folder / "link").symlink_to(tmp_path / "secret")
    (run.folder / "out").symlink_to(tmp_path)
    (run.folder / ".draft-1").write_text("half")
    os.mkfifo(inner / "pipe")
    assert [file.name for file in folder.list_files(run)] == ["config.json"]
    for parts in (("link",), ("out", "secret"), ("attempts", "1", "pipe"), ("..", "..", "secret")):
        with pytest.raises(folder.NoSuchFileError):
            folder.open_file(run, parts) if ".." not in parts else folder.find(run, "/".join(parts))
    assert b"canary" not in b"".join(folder.zipped(run))


def test_a_run_folder_that_is_a_link_shows_no_files(tmp_path: Path):
    real = tmp_path / "elsewhere"
    real.mkdir()
    (real / "config.json").write_text("{}")
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage" / "linked").symlink_to(real)
    with pytest.raises(OSError, match="linked"):
        folder.list_files(Run(tmp_path / "storage" / "linked"))


def test_a_file_that_becomes_a_link_after_it_was_listed_is_not_opened(tmp_path: Path):
    (tmp_path / "secret").write_text("canary")
    run = Run(tmp_path / "storage" / "odd")
    run.folder.mkdir(parents=True)
    (run.folder / "config.json").write_text("{}")
    (listed,) = folder.list_files(run)
    (run.folder / "config.json").unlink()
    (run.folder / "config.json").symlink_to(tmp_path / "secret")
    with pytest.raises(folder.NoSuchFileError):
        folder.open_file(run, listed.parts)


def test_the_zip_of_a_run_is_a_run(looked, trained, tmp_path: Path):
    answer = looked.ask("GET", "/api/runs/first/export.zip")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "storage")
    shown = trained.python("-m", "hypertuner", "show", "first", "--json", "--storage", str(tmp_path / "storage"))
    assert '"finished"' in shown.stdout
    assert (tmp_path / "storage/first/model.pt").read_bytes() == trained.run("first").layout.model.read_bytes()


# --- media


def test_images_texts_and_histograms_are_shown_as_they_were_logged(looked):
    items = looked.ask("GET", "/api/runs/first/media").json["items"]
    assert {(one["name"], one["kind"], one["step"]) for one in items} == {
        (name, kind, step)
        for name, kind in (("weights", "histogram"), ("note", "text"), ("pixels", "image"))
        for step in range(3)
    }
    by_name = {one["name"]: one for one in items}
    image = looked.ask("GET", by_name["pixels"]["url"])
    assert (image.headers["content-type"], image.body[:4]) == ("image/png", b"\x89PNG")
    assert "sandbox" in image.headers["content-security-policy"]
    assert by_name["pixels"]["caption"] == "noise"
    assert looked.ask("GET", by_name["note"]["url"]).json == {"value": "<b>bold</b>"}
    histogram = looked.ask("GET", by_name["weights"]["url"]).json
    assert sum(histogram["counts"]) == 64
    assert len(histogram["edges"]) == len(histogram["counts"]) + 1


@pytest.mark.parametrize(
    "said",
    [
        {"media": "image", "file": "../../../../secret.png"},
        {"media": "image", "file": "/etc/passwd"},
        {"media": "text", "file": "00000000-0000000000000000.txt"},
        {"media": "histogram", "counts": "many", "edges": [1]},
        {"media": "image", "file": "00000001-0000000000000000.png"},
    ],
)
def test_metrics_that_lie_about_media_open_nothing(looked, trained, said):
    import orjson

    made = trained.folder / "storage" / "liar"
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(trained.run("first").folder, made)
    (trained.folder / "secret.png").write_bytes(b"\x89PNG\r\n\x1a\ncanary")
    media = made / "attempts" / "1" / "media"
    (media / "00000000-0000000000000000.txt").symlink_to(trained.folder / "secret.png")
    (media / "00000001-0000000000000000.png").write_bytes(b"<svg onload=alert(1)>")
    line = orjson.dumps({"step": 9, "time": 1.0, "values": {"evil": said}}) + b"\n"
    (made / "attempts" / "1" / "metrics.jsonl").write_bytes(line)
    (item,) = looked.ask("GET", "/api/runs/liar/media").json["items"]
    answer = looked.ask("GET", item["url"])
    shutil.rmtree(made)
    assert answer.status == 404
    assert b"canary" not in answer.body
