"""Isolation and the one way to run a script: what every test may rely on.

Each test starts in an empty folder of its own, with no variable of hypertuner set but the two that keep it away
from the user: HYPERTUNER_STORAGE and HYPERTUNER_HOME (the key that marks files). Scripts run as users run them: in
a process of their own, with the same isolation.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

REPOSITORY = Path(__file__).resolve().parent.parent

# Set before anything imports torch: on a small machine, threads of several test workers only wait for each other.
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
os.environ.update(THREADS)

# A deadline an example is a race against the machine's other work, and so is how long it takes to think one up. CI's
# own profile stays: it is deterministic.
hypothesis_settings.register_profile(
    "house",
    hypothesis_settings.get_profile(hypothesis_settings.get_current_profile_name()),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
hypothesis_settings.load_profile("house")

# Variables by which a launcher (torchrun) or a terminal would reach into a test.
_FOREIGN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "FORCE_COLOR")
_FOREIGN_PREFIXES = ("HYPERTUNER_", "TORCHELASTIC_", "SLURM_")

RunScript = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def isolation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the test an empty working folder and keep it away from the user's storage, key and launcher."""
    for name in list(os.environ):
        if name in _FOREIGN or name.startswith(_FOREIGN_PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HYPERTUNER_STORAGE", str(tmp_path / "storage"))
    monkeypatch.setenv("HYPERTUNER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HYPERTUNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")  # a process that is killed keeps what it printed
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)


def free_port() -> int:
    """A port that nobody listens at, and that the system gives to nobody who asks for any: those begin at 32768."""
    for _ in range(1000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port := random.randint(10_000, 32_000)))
            return port
    raise AssertionError("every port is taken")


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """The test's storage, not there yet: `HYPERTUNER_STORAGE` names it, and it is `./storage` of the working folder."""
    return tmp_path / "storage"


@pytest.fixture
def run_script(tmp_path: Path) -> RunScript:
    """A function that runs a script in a real process of its own, isolated like the test, and returns what it said.

    `run_script(source_or_path, *argv, env=None, cwd=None, check=True, timeout=120, name="train.py")`: a `str` is
    source and is written to `tmp_path / name` first; a `Path` is run where it is. `env` adds variables, and removes
    those given as None. Both streams are printed, so that a failing test shows them; with `check`, a return code other
    than 0 fails the test. A script that outlives `timeout` is killed with all it started.
    """

    def run(
        source_or_path: str | Path,
        *argv: object,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        check: bool = True,
        timeout: float = 120,
        name: str = "train.py",
    ) -> subprocess.CompletedProcess[str]:
        script = source_or_path
        if isinstance(script, str):
            script = tmp_path / name
            script.write_text(textwrap.dedent(source_or_path), encoding="utf-8")
        command = [sys.executable, str(script), *map(str, argv)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=script_environment(env or {}),
            cwd=cwd or tmp_path,
            start_new_session=os.name == "posix",
        )
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            _kill(process)
            stdout, stderr = process.communicate()
            _show(stdout, stderr)
            pytest.fail(f"{script} was still running after {timeout} s")
        _show(stdout, stderr)
        if check and process.returncode != 0:
            pytest.fail(f"{' '.join(command)} ended with {process.returncode}\n{stdout}\n{stderr}")
        return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)

    return run


def script_environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    """This process's environment with this repository's source first, and `changes` on top."""
    path = [str(REPOSITORY / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, **THREADS, "PYTHONPATH": os.pathsep.join(path), "PYTHONIOENCODING": "utf-8"}
    for name, value in changes.items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    return environment


def _kill(process: subprocess.Popen[str]) -> None:
    """End the script and, where process groups exist, all it started in its group."""
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _show(stdout: str, stderr: str) -> None:
    """Print both streams: pytest shows them if, and only if, the test fails."""
    print(f"--- stdout\n{stdout}--- stderr\n{stderr}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot do, and say what is missing."""
    if item.get_closest_marker("root") and (os.name != "posix" or os.geteuid() != 0):
        pytest.skip("needs root")
    if item.get_closest_marker("gpu"):
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
