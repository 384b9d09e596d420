"""Names and values that look like paths or code: refused in clear words, or kept as data; never written elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import hypertuner
from hypertuner.store import current

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_touched: list[str] | None = None


def _hook(event, arguments):
    if _touched is None:
        return
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
        _touched.append(os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes)) else "")
    elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"):
        _touched.append(os.fsdecode(arguments[0]))
    elif event in ("os.rename", "os.link", "os.symlink"):
        _touched.append(os.fsdecode(arguments[1]))


sys.addaudithook(_hook)


@contextlib.contextmanager
def writes_only_below(*folders):
    """Fail when anything outside of `folders` is opened for writing, made, renamed or removed."""
    global _touched
    _touched = []
    try:
        yield
    finally:
        touched, _touched = _touched, None
        roots = [os.path.realpath(folder) for folder in folders]
        outside = [
            path
            for path in touched
            if path and not any((os.path.realpath(path) + os.sep).startswith(root + os.sep) for root in roots)
        ]
        assert not [path for path in outside if not path.startswith("/dev/")], outside


REFUSALS = (
    hypertuner.RunNotFoundError,
    hypertuner.CheckpointNotFoundError,
    hypertuner.CorruptFileError,
    hypertuner.ConfigError,
)
BAD_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "a/../../b",
    "/etc/passwd",
    "/",
    "a/b",
    "a\\b",
    "..\\x",
    "C:\\x",
    "C:x",
    "\\\\host\\share",
    "a\0b",
    "a\nb",
    "a b",
    " a",
    "a ",
    "a.",
    ".hidden",
    ".trash",
    ".gitignore",
    "-rf",
    "--config",
    "_x",
    "~",
    "~root",
    "$HOME",
    "${env:X}",
    "a;b",
    "a|b",
    "a*",
    "a?",
    "<b>",
    "a:b",
    "a@best",
    "%2e%2e%2fx",
    "CON",
    "con",
    "nul.txt",
    "LPT1",
    "com9.tar.gz",
    "x" * 65,
    "x" * 5000,
    "rυn",
    "ｒun",
    "run\u200b",
    "\u202erun",
    "caf\u00e9",
    "cafe\u0301",
    "\u2024\u2024",
    "run\ud800",
    "١٢",
    "a%00",
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_name_that_cannot_be_is_refused_before_anything_is_written(tmp_path, storage, monkeypatch, name):
    with writes_only_below(tmp_path / "nowhere"):
        with pytest.raises(hypertuner.ConfigError) as caught, hypertuner.new_run(name=name):
            hypertuner.Logger().log({"x": 1})
        assert "cannot be the name of a run" in str(caught.value)
        if name and "\0" not in name and not Path(name).is_absolute() and "\ud800" not in name:
            monkeypatch.setenv("HYPERTUNER_RUN", name)
            with pytest.raises(hypertuner.ConfigError):
                current._resolve()
        with pytest.raises(REFUSALS):
            hypertuner.load(name)
    assert not storage.exists()


# Hypothesis: whatever is no name by the pattern is refused; whatever is one makes exactly its folder.
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=70) | st.from_regex(r"[A-Za-z0-9._/\\-]{1,70}", fullmatch=True))
def test_a_name_is_refused_or_makes_its_own_folder(tmp_path, storage, name):
    before = set(storage.iterdir()) if storage.exists() else set()
    with writes_only_below(storage, tmp_path / "home"):
        try:
            with hypertuner.new_run(name=name):
                current.run().attempt()
        except (hypertuner.ConfigError, hypertuner.RunExistsError):
            return
    made = set(storage.iterdir()) - before - {storage / ".gitignore"}
    assert made == {storage / name}
    assert (storage / name / "run.json").is_file()
    assert name.isascii()


def test_case_twins_are_one_name(storage):
    with hypertuner.new_run(name="Run"):
        hypertuner.Logger().log({"x": 1})
    with pytest.raises(hypertuner.RunExistsError, match="case does not tell"), hypertuner.new_run(name="rUN"):
        hypertuner.Saver(nn.Linear(1, 1)).save()
    assert [path.name for path in storage.iterdir() if path.is_dir()] == ["Run"]


CONFIGS = [
    "storage/../config.json",
    "storage/./../config.json",
    "storage/../../x/config.json",
    "storage/a b/config.json",
    "storage/.trash/config.json",
    "storage/-rf/config.json",
    "storage/con/config.json",
    "storage/r/../../config.json",
]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_path_that_names_no_run_makes_none_there(tmp_path, storage, run_script, config):
    outside = tmp_path / "config.json"
    outside.write_text('{"lr": 0.5}')
    before = set(tmp_path.iterdir()) | {tmp_path / "train.py"}
    run_script(
        """
        import hypertuner
        args = hypertuner.Args(lr=0.1)
        hypertuner.Logger().log({"x": args.lr})
        """,
        f"--config={config}",
        check=False,
    )
    made = set(tmp_path.iterdir()) - before - {storage, tmp_path / "home"}
    assert not made
    assert outside.read_text() == '{"lr": 0.5}'
    for folder in storage.iterdir() if storage.exists() else ():
        assert folder.name == ".gitignore" or hypertuner.runs()[folder.name].config == {"lr": 0.5}


REFERENCES = [
    "@",
    "r@",
    "@best",
    "r@@best",
    "r@../x",
    "r@-1",
    "r@+1",
    "r@1.0",
    "r@0x1",
    "r@١",
    "r@１",
    "r@²",
    "r@" + "9" * 5000,
    "r@999",
    "r@Best",
    "r@best ",
    "R",
    "r/",
    "../x@best",
    "../storage@best",
    "a/../../b",
    "r/../../b@last",
    "/",
    "//",
    "r\0",
    "r@\0",
    "x/\0/y",
    "x" * 5000,
    "x/" * 3000,
    "storage/" + "x" * 300 + "@best",
    "~",
    "$HOME",
    "*",
    "file:///etc/passwd",
    "http://localhost/x.pt",
    "s3://bucket/x.pt",
]


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda text: ascii(text)[:40])
def test_a_reference_to_nothing_says_so(tmp_path, storage, reference):
    with hypertuner.new_run(name="r"):
        hypertuner.Saver(nn.Linear(1, 1)).save(step=1)
    with writes_only_below(storage, tmp_path / "home"):
        with pytest.raises(REFUSALS) as caught:
            hypertuner.load(reference)
        assert len(str(caught.value)) < 8000
        with pytest.raises(REFUSALS), hypertuner.new_run(parent=reference):
            raise AssertionError("it began from nothing")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40) | st.from_regex(r"[r@./0-9-]{1,12}", fullmatch=True))
def test_any_text_is_a_reference_or_a_clear_error(storage, reference):
    if not storage.exists():
        with hypertuner.new_run(name="r"):
            hypertuner.Saver(nn.Linear(1, 1)).save(step=1)
    with contextlib.suppress(hypertuner.HypertunerError):
        hypertuner.load(reference, weights=True)


METRICS = ["../../x", "/etc/x", "a/b/c", "..", "a\0b", "\ud800", "x" * 5000, "CON", "<script>", "a\nb", "", "☃"]


def test_names_of_metrics_are_never_paths(tmp_path, storage):
    with writes_only_below(storage, tmp_path / "home"), hypertuner.new_run(name="r"):
        logger = hypertuner.Logger()
        for name in METRICS:
            logger.log({name: 1.0, "group": {name: 2.0}}, 0)
            logger.log({name: hypertuner.Text("t" * 10_000)}, 1)
            logger.log({name: hypertuner.Image(torch.zeros(2, 2))}, 2)
    media = storage / "r/attempts/1/media"
    assert len(list(media.iterdir())) == 2 * len(METRICS)
    row = hypertuner.runs()["r"]
    assert row.metrics["../../x"] == 1.0
    assert row.metrics["group/../../x"] == 2.0


LOOKS = {
    "_target_": "os.system",
    "path": "../../etc/passwd",
    "interpolated": "${env:HOME}",
    "resolver": "${oc.env:SECRET}",
    "template": "{{7*7}}",
    "format": "{0.__class__}",
    "yaml": "!!python/object/apply:os.system ['touch ran']",
    "html": "<script>alert(1)</script>",
    "../key": "x",
    "a\0b": "nul",
    "__class__": "x",
    "__init__": "y",
    "$(touch ran)": "`touch ran`",
}


def test_a_config_that_looks_like_paths_or_code_is_data(tmp_path, storage, run_script):
    with writes_only_below(storage, tmp_path / "home"), hypertuner.new_run(name="r", **LOOKS) as args:
        assert dict(args) == LOOKS
        hypertuner.Saver(nn.Linear(1, 1)).save(step=1)
    assert json.loads((storage / "r/config.json").read_text()) == LOOKS
    assert torch.load(storage / "r/model.pt")["hyperparameters"] == LOOKS
    (tmp_path / "template.json").write_text(json.dumps(LOOKS))
    done = run_script(
        """
        import hypertuner, json
        args = hypertuner.Args()
        hypertuner.Logger().log({"x": 1})
        print(json.dumps(dict(args)))
        """,
        "--config=template.json",
    )
    assert json.loads(done.stdout) == LOOKS
    assert not (tmp_path / "ran").exists()


def test_an_argument_that_is_no_utf_8_does_not_stop_a_save(storage, run_script):
    run_script(
        """
        import hypertuner, torch
        hypertuner.Logger().log({"x": 1})
        hypertuner.Saver(torch.nn.Linear(1, 1)).save()
        """,
        os.fsdecode(b"data/caf\xe9"),
        env={"HYPERTUNER_RUN": "r"},
    )
    assert json.loads((storage / "r/run.json").read_text())["arguments"] == ["data/caf?"]
    assert hypertuner.load("r", weights=True)
