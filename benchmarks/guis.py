"""The GUIs that are measured: how each gets the same runs, how it is served, and the address that shows their curves.

Every one is filled by its own way of logging, and served by its own command with its own defaults, on this machine.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.children import ChildFailed
from benchmarks.measurement import OURS

METRIC = "train/loss"
_PATIENCE_S = 120
_PROJECT = "bench"


class Gui(ABC):
    """A product's pages over runs of one metric."""

    name: str
    needs: str
    """The module that must be there."""
    curves = "canvas"
    """Selects what curves are drawn on, or the curves themselves where they are paths."""
    opens_with: int | None = None
    """How many runs it draws of those that are there, where it picks some; 0: none before it is asked for one."""

    def is_installed(self) -> bool:
        """Whether it can be used here."""
        return importlib.util.find_spec(self.needs) is not None

    @abstractmethod
    def fill(self, runs: int, points: int) -> None:
        """Log the runs, in a process of their own whose working folder is empty."""

    @abstractmethod
    def command(self, port: int) -> list[str]:
        """What serves them, started in the folder that was filled."""

    def page(self, runs: int) -> str:
        """The path, of the served address, of the page that shows their curves."""
        return "/"

    def address(self, process: subprocess.Popen[str], port: int) -> str:
        """Of the server, once it answers; what follows `#` lets in."""
        address = f"http://127.0.0.1:{port}"
        end = time.monotonic() + _PATIENCE_S
        while process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                with urllib.request.urlopen(address, timeout=5) as answer:
                    answer.read()
                return address
            time.sleep(0.2)
        raise ChildFailed(f"{self.name}: its server never answered")

    def is_ready(self, address: str) -> bool:
        """Whether the server has read what it was given."""
        return True


def run_name(number: int) -> str:
    """Of a run."""
    return f"run-{number:03}"


def curve(number: int, points: int) -> list[float]:
    """What a run logs: a loss that falls, with the noise that losses have."""
    noise = (math.sin(12.9898 * step + 78.233 * number) * 43758.5453 % 1 for step in range(points))
    return [(1 + 0.02 * number) / (1 + step / 100) + 0.05 * each for step, each in enumerate(noise)]


class Hypertuner(Gui):
    """`hypertuner`, with all runs selected."""

    name = OURS
    needs = "hypertuner"

    def fill(self, runs: int, points: int) -> None:
        import hypertuner

        for number in range(runs):
            with hypertuner.new_run(name=run_name(number)):
                logger = hypertuner.Logger()
                for step, value in enumerate(curve(number, points)):
                    logger.log({METRIC: value}, step)

    def command(self, port: int) -> list[str]:
        return [sys.executable, "-m", "hypertuner", "--no-browser", "--no-drain", "--port", str(port)]

    def page(self, runs: int) -> str:
        return f"/runs?sel={','.join(run_name(number) for number in range(runs))}"

    def address(self, process: subprocess.Popen[str], port: int) -> str:
        assert process.stdout is not None
        return next((line.strip() for line in process.stdout if "#token=" in line), "") or super().address(
            process, port
        )


class TensorBoard(Gui):
    """`tensorboard --logdir`: its time series, as they open."""

    name = "TensorBoard"
    needs = "tensorboard"

    def fill(self, runs: int, points: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        for number in range(runs):
            writer = SummaryWriter(f"events/{run_name(number)}")
            for step, value in enumerate(curve(number, points)):
                writer.add_scalar(METRIC, value, step)
            writer.close()

    def command(self, port: int) -> list[str]:
        return [sys.executable, "-m", "tensorboard.main", "--logdir", "events", "--port", str(port)]

    def is_ready(self, address: str) -> bool:
        with urllib.request.urlopen(f"{address}/data/runs", timeout=30) as answer:
            return run_name(0).encode() in answer.read()


class Trackio(Gui):
    """`trackio show`: the metrics of the project, as they open."""

    name = "Trackio"
    needs = "trackio"

    def fill(self, runs: int, points: int) -> None:
        os.environ["TRACKIO_STORAGE_MODE"] = "sqlite"
        import trackio

        for number in range(runs):
            trackio.init(project=_PROJECT, name=run_name(number), embed=False, auto_log_gpu=False, auto_log_cpu=False)
            for step, value in enumerate(curve(number, points)):
                trackio.log({METRIC: value}, step)
            trackio.finish()

    def command(self, port: int) -> list[str]:
        show = f"project={_PROJECT!r}, open_browser=False, block_thread=True, server_port={port}"
        return [sys.executable, "-c", f"import trackio; trackio.show({show})"]

    def page(self, runs: int) -> str:
        return f"/?project={_PROJECT}"


class Mlflow(Gui):
    """`mlflow server`: the charts of the experiment."""

    name = "MLflow"
    needs = "mlflow"
    curves = "path.js-line"
    opens_with = 10
    _STORE = "sqlite:///mlflow.db"
    _AT_ONCE = 1000
    """More metrics are refused in one batch."""

    def fill(self, runs: int, points: int) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        client = MlflowClient(self._STORE)
        experiment = client.create_experiment(_PROJECT, Path("artifacts").absolute().as_uri())
        for number in range(runs):
            run = client.create_run(experiment, run_name=run_name(number))
            now = time.time_ns() // 1_000_000
            logged = [Metric(METRIC, value, now, step) for step, value in enumerate(curve(number, points))]
            for begin in range(0, points, self._AT_ONCE):
                client.log_batch(run.info.run_id, metrics=logged[begin : begin + self._AT_ONCE])
            client.set_terminated(run.info.run_id)

    def command(self, port: int) -> list[str]:
        words = ["server", "--backend-store-uri", self._STORE, "--host", "127.0.0.1", "--port", str(port)]
        return [sys.executable, "-m", "mlflow", *words, "--workers", "1"]

    def page(self, runs: int) -> str:
        return "/#/experiments/1/runs?compareRunsMode=CHART"


class Aim(Gui):
    """`aim up`: its first page, which shows no curve before one is asked for."""

    name = "Aim"
    needs = "aim"
    opens_with = 0

    def fill(self, runs: int, points: int) -> None:
        from aim import Run

        for number in range(runs):
            run = Run(repo=".", experiment=_PROJECT, system_tracking_interval=None, log_system_params=False)
            run.name = run_name(number)
            for step, value in enumerate(curve(number, points)):
                run.track(value, name=METRIC, step=step)
            run.close()

    def command(self, port: int) -> list[str]:
        return [str(Path(sys.executable).with_name("aim")), "up", "--repo", ".", "--port", str(port), "--yes"]


GUIS: tuple[Gui, ...] = (Hypertuner(), TensorBoard(), Trackio(), Mlflow(), Aim())


def gui(name: str) -> Gui:
    """The GUI of that name."""
    return next(one for one in GUIS if one.name == name)


def fill(name: str, runs: int, points: int) -> None:
    """What a child does."""
    gui(name).fill(runs, points)


@contextlib.contextmanager
def serving(one: Gui, folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """The address of the server of what lies in `folder`, ready."""
    port = _free_port()
    with (folder / "server.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            one.command(port),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if isinstance(one, Hypertuner) else log,
            stderr=log,
            encoding="utf-8",
            start_new_session=True,
        )
    try:
        address = one.address(process, port)
        end = time.monotonic() + _PATIENCE_S
        while not one.is_ready(address):
            if time.monotonic() > end:
                raise ChildFailed(f"{one.name}: its server never had read the runs")
            time.sleep(0.5)
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
