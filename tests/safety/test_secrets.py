"""Secrets around a training stay where they are: none is in the run's folder, none in its model."""

from __future__ import annotations

import re
import subprocess
import zipfile

import pytest

import hypertuner

CANARY = "c4n4ry"  # in every one of them, so that one search finds any
AWS = "AKIAIOSFODNN7EXAMPLE"
AWS_SECRET = f"wJalrXUtnFEMIK7MDENGbPxRfiCY{CANARY}"
GITHUB = f"ghp_{CANARY}{'a' * 30}"
HF = f"hf_{CANARY}{'B' * 28}"
OPENAI = f"sk-proj-{CANARY}{'x' * 30}"
SLACK = f"xoxb-{CANARY}-1234567890"
JWT = f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx{CANARY}.c2lnbmF0dXJl{CANARY}"
URL = f"https://someone:{CANARY}password@git.example.com/x.git"
KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}b3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----"

SCRIPT = """
import argparse, hypertuner, sys, torch

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
known, rest = parser.parse_known_args()
args = hypertuner.Args({"lr": known.lr})
hypertuner.Logger().log({"loss": 1.0}, 0)
hypertuner.Saver(torch.nn.Linear(2, 2)).save()
if "--fail" in rest:
    raise RuntimeError("could not reach " + sys.argv[-1])
"""


def git(folder, *arguments):
    who = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path):
    """A work tree with secrets in all the usual places: its remote, tracked and untracked files, changes."""
    git(tmp_path, "init")
    git(tmp_path, "remote", "add", "origin", URL)
    tracked = [".env", ".env.local", "prod.env", "settings.py", "deploy/id_rsa", "notes.md", ".netrc", "server.pem"]
    for name in tracked:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("nothing yet\n")
    (tmp_path / ".gitignore").write_text("storage\nhome\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "begin")
    for name in (".env", ".env.local", "prod.env"):
        (tmp_path / name).write_text(f"DATABASE={CANARY}\nTOKEN_OF_MINE={CANARY}\n")
    (tmp_path / "settings.py").write_text(
        f"id = '{AWS}'\naws_secret_access_key = '{AWS_SECRET}'\nGITHUB = '{GITHUB}'\nhf = '{HF}'\nslack = '{SLACK}'\n"
        f"key = '{OPENAI}'\njwt = '{JWT}'\ndb = '{URL}'\nPASSWORD = \"{CANARY}hunter2\"\napi_key: {CANARY}abc\n"
        f'config = {{"auth_token": "{CANARY}tok"}}\nkept = "a line that says nothing"\n'
    )
    (tmp_path / "deploy/id_rsa").write_text(KEY)
    (tmp_path / "server.pem").write_text(KEY.replace("OPENSSH ", ""))
    (tmp_path / ".netrc").write_text(f"machine example.com login me password {CANARY}\n")
    (tmp_path / "untracked.txt").write_text(CANARY)
    return tmp_path


ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": AWS,
    "AWS_SECRET_ACCESS_KEY": AWS_SECRET,
    "GITHUB_TOKEN": GITHUB,
    "HF_TOKEN": HF,
    "WANDB_API_KEY": CANARY,
    "DATABASE_URL": URL,
    "HYPERTUNER_KEY": f"{CANARY} of some length",
    "TORCH_AUTH_TOKEN": CANARY,
    "CUDA_SECRET": CANARY,
    "SLURM_JOB_PASSWORD": CANARY,
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_PROXY": URL,
}
ARGUMENTS = [
    "--lr=0.5",
    "--api-key",
    f"{CANARY}1",
    f"--password={CANARY}2",
    f"hf_token={CANARY}3",
    f"--access_token={CANARY}4",
    "--secret",
    f"{CANARY}5",
    GITHUB,
    URL,
]


def leaks(folder):
    """Where a canary lies, in any file and in any member of any archive."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            blobs = {str(path): path.read_bytes()}
            if path.suffix == ".pt":
                with zipfile.ZipFile(path) as archive:
                    blobs |= {f"{path}!{name}": archive.read(name) for name in archive.namelist()}
            for name, data in blobs.items():
                for secret in (CANARY, AWS):
                    for match in re.finditer(secret.encode(), data):
                        found.append((name, data[max(0, match.start() - 60) : match.end() + 20]))
    return found


def test_no_secret_gets_into_a_run(project, storage, run_script):
    run_script(SCRIPT, *ARGUMENTS, env=ENVIRONMENT)
    assert leaks(storage) == []
    (row,) = hypertuner.runs()
    attempt = storage / row.name / "attempts/1/started.json"
    text = attempt.read_text()
    # The check of the check: the diff and the arguments are there.
    assert "a line that says nothing" in text
    assert "--lr=0.5" in text
    assert "CUDA_VISIBLE_DEVICES" in text


def test_no_secret_gets_into_the_record_of_a_failure(project, storage, run_script):
    done = run_script(SCRIPT, *ARGUMENTS[:-1], "--fail", URL, env=ENVIRONMENT, check=False)
    assert done.returncode == 1
    assert leaks(storage) == []
    (row,) = hypertuner.runs()
    ended = (storage / row.name / "attempts/1/exit.json").read_text()
    assert "RuntimeError: could not reach https://<hidden>@git.example.com" in ended


def test_words_that_only_sound_like_secrets_are_kept(storage, run_script):
    kept = ["--max-tokens=5", "tokenizer=bert", "--secretary", "ann", "key=value"]
    run_script(SCRIPT, *kept)
    (row,) = hypertuner.runs()
    text = (storage / row.name / "run.json").read_text()
    for argument in kept:
        assert argument in text
