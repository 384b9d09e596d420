"""The command line as people use it: `python -m hypertuner` in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from hypertuner.store import Run, Storage, metrics, records

REPOSITORY = Path(__file__).resolve().parents[2]

Cli = Callable[..., "subprocess.CompletedProcess[str]"]

TRAIN = """
import torch, hypertuner
args = hypertuner.Args(lr=0.1, epochs=2)
torch.manual_seed(0)
net = torch.nn.Linear(4, 2)
saver = hypertuner.Saver(net, monitor="val_acc")
logger = hypertuner.Logger()
for epoch in range(args.epochs):
    logger.log({"loss": 1 / (epoch + 1), "val_acc": 0.5 + epoch / 10}, epoch)
    saver.save()
print("trained with", args.lr)
"""


def environment(changes: Mapping[str, str | None] = {}) -> dict[str, str]:
    made = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"}
    for name, value in changes.items():
        made.pop(name, None)
        if value is not None:
            made[name] = value
    return made


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """`cli("ls", "--json", code=0)` runs a command in the test's folder and returns what it printed."""

    def run(
        *words: object, code: int = 0, env: Mapping[str, str | None] = {}, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "hypertuner", *map(str, words)],
            capture_output=True,
            encoding="utf-8",
            env=environment(env),
            cwd=tmp_path,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        print(f"$ hypertuner {' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
        assert done.returncode == code
        return done

    return run


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script that trains for a moment, logs and saves."""
    path = tmp_path / "train.py"
    path.write_text(TRAIN)
    return path


@pytest.fixture
def make(storage: Path) -> Callable[..., Run]:
    """`make("calm-lynx", {"lr": 0.1}, [{"loss": 1.0}])`: a finished run that logged these values, one a step."""

    def made(
        name: str,
        config: Mapping[str, object] = {},
        logged: Sequence[Mapping[str, object]] = (),
        state: str = "finished",
    ) -> Run:
        record = records.RunRecord("train.py", (), str(storage.parent), records.now())
        run = Storage(storage).create(name, record, config)
        attempt = run.claim_attempt(
            records.Started(0, records.now(), "host", None, None, 1, 1.0, "script", config, "3.11", "linux", "me")
        )
        lines = [metrics.encode(step, 1.0, values) for step, values in enumerate(logged)]
        attempt.layout.metrics.write_bytes(b"".join(lines))
        run.end_attempt(attempt, records.Exit(state, 0, None, "the script ended", records.now()))
        return run

    return made


class Terminal:
    """A command with a terminal of its own, as a person has it."""

    def __init__(self, words: list[str], folder: Path, env: Mapping[str, str | None] = {}) -> None:
        import pty

        self.output = ""
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests in the background of a shell ignore it; people do not
            os.execve(sys.executable, [sys.executable, "-m", "hypertuner", *words], environment(env))

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def read_until(self, text: str, timeout_s: float = 60) -> None:
        import select

        end = time.monotonic() + timeout_s
        while text not in self.output:
            ready, _, _ = select.select([self._master], [], [], max(0, end - time.monotonic()))
            assert ready, f"no {text!r} within {timeout_s} s in {self.output!r}"
            try:
                data = os.read(self._master, 65536)
            except OSError:  # Linux' answer when the last process has closed the terminal
                data = b""
            assert data, f"ended without {text!r}: {self.output!r}"
            self.output += data.decode(errors="replace")

    def wait(self, timeout_s: float = 60, *, pressing: str = "", every_s: float = 3.0) -> int:
        """The exit code, once the command has ended; `pressing` is typed again and again until it has."""
        import select

        end, next_press = time.monotonic() + timeout_s, 0.0
        while time.monotonic() < end:
            if pressing and time.monotonic() >= next_press:
                next_press = time.monotonic() + every_s
                with contextlib.suppress(OSError):
                    self.type(pressing)
            if select.select([self._master], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    self.output += os.read(self._master, 65536).decode(errors="replace")
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(f"still running: {self.output!r}")

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._master)


@pytest.fixture
def terminal(tmp_path: Path):
    """`terminal("run", "train.py")`: the command in a pseudo terminal."""
    opened = []

    def open_(*words: str, env: Mapping[str, str | None] = {}) -> Terminal:
        opened.append(Terminal(list(words), tmp_path, env))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()
