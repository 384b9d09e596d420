"""Thirty secrets around a training: in environment, words, remote, diff, files, traceback. None is in what the server
answers, zips, prints or lets others see (S55, S58); and nothing planted in a run is ever imported (S54)."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from tests.conftest import script_environment
from tests.safety.test_secrets import ARGUMENTS, AWS, CANARY, ENVIRONMENT, SCRIPT, project
from tests.server.security.routes import READING, named
from tests.server.serving import serving

__all__ = ["project"]

MORE = {
    "GOOGLE_APPLICATION_CREDENTIALS": f'{{"type": "service_account", "private_key": "{CANARY}gcp"}}',
    "AZURE_STORAGE_CONNECTION_STRING": f"AccountKey={CANARY}azure",
    "COOKIE": f"session={CANARY}cookie",
    "SSH_PRIVATE_KEY": f"{CANARY}ssh",
    "MLFLOW_TRACKING_PASSWORD": f"{CANARY}mlflow",
    "COMET_API_KEY": f"{CANARY}comet",
    "NPM_TOKEN": f"{CANARY}npm",
    "PGPASSWORD": f"{CANARY}pg",
    "STRIPE_SECRET": f"{CANARY}stripe",
    "KAGGLE_KEY": f"{CANARY}kaggle",
}


def answered(body: bytes) -> bytes:
    """A body, unpacked where it is a zip."""
    if not body.startswith(b"PK\x03\x04"):
        return body
    parts = []
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            parts += [name.encode(), answered(data) if name.endswith(".pt") else data]
    return b"\n".join(parts)


@pytest.mark.parametrize("fails", [False, True], ids=["finished", "failed"])
def test_no_secret_around_a_training_is_in_anything_that_the_server_says(project: Path, run_script, fails: bool):
    said = {**ENVIRONMENT, **MORE}
    words = [*ARGUMENTS[:-1], "--fail", ARGUMENTS[-1]] if fails else ARGUMENTS
    run_script(SCRIPT, *words, env=said, check=not fails)
    (name,) = [path.name for path in (project / "storage").iterdir() if path.is_dir() and path.name[0] != "."]
    with serving(project, "--no-drain", env=said) as served:
        assert served.ask("GET", f"/api/runs/{name}").status == 200
        paths = [route.path(name=name, run=name) for route in READING]
        files = served.ask("GET", f"/api/runs/{name}").json["files"]
        paths += [f"/api/runs/{name}/{kind}/{one['id']}" for one in files for kind in ("files", "text")]
        paths += [f"/api/checkpoints/{name}/last/export?format={form}" for form in ("safetensors", "state_dict")]
        for path in paths:
            body = answered(served.ask("GET", path).body)
            assert CANARY.encode() not in body, path
            assert AWS.encode() not in body, path
        code, errors = served.stop()
    assert code == 0
    assert CANARY not in errors + "\n".join(served.said)
    cached = [path for folder in ("cache", "home") for path in (project / folder).rglob("*") if path.is_file()]
    assert [path for path in cached if CANARY.encode() in path.read_bytes()] == []


@pytest.mark.parametrize("form", ["safetensors", "state_dict"])
def test_exported_weights_have_no_host_no_user_and_no_absolute_path(project: Path, run_script, form: str):
    run_script(SCRIPT, *ARGUMENTS[:1], env={"USER": "someone-4711", "LOGNAME": "someone-4711"})
    (name,) = [path.name for path in (project / "storage").iterdir() if path.is_dir() and path.name[0] != "."]
    with serving(project, "--no-drain") as served:
        answer = served.ask("GET", f"/api/checkpoints/{name}/last/export?format={form}")
        assert answer.status == 200, answer.body
        body = answered(answer.body)
        told = json.dumps(dict(answer.headers))
    for private in (b"someone-4711", str(project).encode(), os.uname().nodename.encode()):
        assert private not in body
        assert private not in told.encode()


PLANTED = [
    "conftest.py",
    "sitecustomize.py",
    "usercustomize.py",
    "__init__.py",
    "evil.pth",
    "json.py",
    "torch.py",
    "numpy.py",
]


@pytest.mark.parametrize("name", PLANTED)
def test_nothing_that_lies_in_a_run_is_imported_by_the_server_its_child_or_a_look_from_there(tmp_path: Path, name: str):
    run = tmp_path / "storage" / "planted"
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    torch.save({"state_dict": {"w": torch.ones(3)}}, run / "model.pt")
    mark = tmp_path / "pwned"
    for folder in (run, run.parent, run / "source"):
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"import os; os.system('touch {mark}')\n")
    with serving(tmp_path, "--no-drain") as served:
        for route in READING:
            answer = served.ask("GET", route.path(name="planted", run="planted", which="model"))
            assert answer.status < 500, named(route)
        told = served.ask("GET", "/api/checkpoints/planted/model/statistics")
        assert (told.status, told.json["problem"]) == (200, None)
    assert not mark.exists()
    # Whoever stands in the folder and looks runs none of it either.
    for words in (["ls"], ["show", "planted"], ["verify", "planted"]):
        command = [str(Path(sys.executable).with_name("hypertuner")), *words]
        done = subprocess.run(
            command,
            cwd=run,
            env=script_environment({"HYPERTUNER_STORAGE": str(run.parent)}),
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    assert not mark.exists()
