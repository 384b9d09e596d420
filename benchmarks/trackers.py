"""How each tracker logs three numbers a step, and how what it kept is read: every use of a peer's logging is here.

Peers are set as suits them best where only speed counts: no console capture, no measuring of the machine, no network,
no user interface. Where a peer has several ways to store, each is a tracker of its own here. Nothing is imported before
it is used, and hypertuner is used exactly as its documentation shows.
"""

from __future__ import annotations

import importlib.util
import struct
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.measurement import OURS

VALUES = ("loss", "accuracy", "learning_rate")
"""The three numbers that every record has."""

Log = Callable[[dict[str, float], int], object]


class Tracker(ABC):
    """A way to log."""

    name: str
    peer: str
    """The product that this is a way of."""
    needs: str
    """The module that must be there."""
    package: str
    """The line that imports it."""
    imports: str
    """The line that imports what logs."""
    has_helper = False
    """Whether a process of its own writes."""

    def is_installed(self) -> bool:
        """Whether it can be used here."""
        return importlib.util.find_spec(self.needs) is not None

    @abstractmethod
    def start(self, folder: Path) -> Log:
        """Begin a run in `folder`; the function that logs."""

    def finish(self) -> None:  # noqa: B027
        """End the run as its users do."""

    @abstractmethod
    def steps(self, folder: Path) -> set[int]:
        """The steps in `folder` of which all three numbers can be read."""


class Hypertuner(Tracker):
    """`Logger().log(...)`; nothing is set."""

    name = peer = OURS
    needs = "hypertuner"
    package = "import hypertuner"
    imports = "from hypertuner import Logger"

    def start(self, folder: Path) -> Log:
        from hypertuner import Logger

        return Logger().log

    def steps(self, folder: Path) -> set[int]:
        from hypertuner.store import Storage

        records = [record for run in Storage(folder / "storage").list() for record in run.logged()]
        return {record.step for record in records if all(name in record.values for name in VALUES)}


class TensorBoard(Tracker):
    """`SummaryWriter` with its defaults, three `add_scalar` a step; `add_scalars` is slower, it makes a file a name."""

    name = peer = "TensorBoard"
    needs = "tensorboard"
    package = imports = "from torch.utils.tensorboard import SummaryWriter"

    def start(self, folder: Path) -> Log:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder / "events"))
        return self._log

    def _log(self, values: dict[str, float], step: int) -> None:
        add_scalar = self._writer.add_scalar
        for name, value in values.items():
            add_scalar(name, value, step)

    def finish(self) -> None:
        self._writer.close()

    def steps(self, folder: Path) -> set[int]:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(folder / "events"), size_guidance={"scalars": 0})
        events.Reload()
        tags = events.Tags()["scalars"]
        return _complete(event.step for name in VALUES if name in tags for event in events.Scalars(name))


class TensorBoardFlushed(TensorBoard):
    """TensorBoard made to keep what `kill -9` would take: `flush()` after each step."""

    name = "TensorBoard, flush()"

    def _log(self, values: dict[str, float], step: int) -> None:
        super()._log(values, step)
        self._writer.flush()


class Wandb(Tracker):
    """W&B offline: `run.log(...)`, without console capture and system metrics."""

    name = peer = "W&B offline"
    needs = "wandb"
    package = "import wandb"
    imports = "from wandb import init, log"
    has_helper = True

    def start(self, folder: Path) -> Log:
        import wandb

        settings = wandb.Settings(console="off", x_disable_stats=True, x_disable_machine_info=True, x_disable_meta=True)
        self._run = wandb.init(project="bench", dir=str(folder), settings=settings)
        log: Log = self._run.log
        return log

    def finish(self) -> None:
        self._run.finish()

    def steps(self, folder: Path) -> set[int]:
        from wandb.proto.wandb_internal_pb2 import Record

        found = set()
        for path in folder.glob("wandb/offline-run-*/*.wandb"):
            for payload in _leveldb_records(path.read_bytes()):
                record = Record()
                record.ParseFromString(payload)
                keys = {item.key or "/".join(item.nested_key) for item in record.history.item}
                if record.HasField("history") and keys.issuperset(VALUES):
                    found.add(int(record.history.step.num))
        return found


class Trackio(Tracker):
    """Trackio, local and without a server: into SQLite, as on a local disk; no figures of the machine."""

    name = peer = "Trackio"
    needs = "trackio"
    package = "import trackio"
    imports = "from trackio import init, log"
    mode = "sqlite"

    def start(self, folder: Path) -> Log:
        import os

        os.environ["TRACKIO_STORAGE_MODE"] = self.mode
        import trackio

        trackio.init(project="bench", name="run", embed=False, auto_log_gpu=False, auto_log_cpu=False)
        log: Log = trackio.log
        return log

    def finish(self) -> None:
        import trackio

        trackio.finish()

    def steps(self, folder: Path) -> set[int]:
        from trackio import fragments
        from trackio.sqlite_storage import SQLiteStorage

        fragments.import_inbox_dir()  # what the dashboard does with files that a run has left
        logs = SQLiteStorage.get_logs("bench", "run")
        return {int(entry["step"]) for entry in logs if all(name in entry for name in VALUES)}


class TrackioFiles(Trackio):
    """Trackio into its append-only files, as on a network file system."""

    name = "Trackio, JSONL"
    mode = "jsonl"


class Mlflow(Tracker):
    """`mlflow.log_metrics(...)` into SQLite, MLflow's own choice without a server."""

    name = "MLflow"
    peer = "MLflow"
    needs = "mlflow"
    package = "import mlflow"
    imports = "from mlflow import start_run, log_metrics"
    synchronous = True

    def uri(self, folder: Path) -> str:
        """The address of the store."""
        return f"sqlite:///{folder / 'mlflow.db'}"

    def start(self, folder: Path) -> Log:
        import mlflow

        mlflow.set_tracking_uri(self.uri(folder))
        mlflow.set_experiment(experiment_id=mlflow.create_experiment("bench", (folder / "artifacts").as_uri()))
        mlflow.start_run()
        log_metrics = mlflow.log_metrics
        if self.synchronous:
            return lambda values, step: log_metrics(values, step=step)
        return lambda values, step: log_metrics(values, step=step, synchronous=False)

    def finish(self) -> None:
        import mlflow

        mlflow.flush_async_logging()
        mlflow.end_run()

    def steps(self, folder: Path) -> set[int]:
        from mlflow import MlflowClient

        client = MlflowClient(self.uri(folder))
        experiment = client.get_experiment_by_name("bench")
        runs = client.search_runs([experiment.experiment_id]) if experiment is not None else []
        return _complete(
            metric.step
            for run in runs
            for name in VALUES
            for metric in client.get_metric_history(run.info.run_id, name)
        )


class MlflowLater(Mlflow):
    """MLflow into SQLite, written by its threads (`synchronous=False`)."""

    name = "MLflow, async"
    synchronous = False


class MlflowFiles(Mlflow):
    """MLflow into files, which must be asked for since 3.13."""

    name = "MLflow, files"

    def uri(self, folder: Path) -> str:
        return (folder / "mlruns").as_uri()


TRACKERS: tuple[Tracker, ...] = (
    Hypertuner(),
    TensorBoard(),
    TensorBoardFlushed(),
    Wandb(),
    Trackio(),
    TrackioFiles(),
    Mlflow(),
    MlflowLater(),
    MlflowFiles(),
)


def tracker(name: str) -> Tracker:
    """The tracker of that name."""
    return next(one for one in TRACKERS if one.name == name)


def record(step: int) -> dict[str, float]:
    """Three numbers, others at each step."""
    return {"loss": 1.0 / (step + 1), "accuracy": 1.0 - 0.5 / (step + 1), "learning_rate": 0.1 * 0.999**step}


def _complete(steps: Iterable[int]) -> set[int]:
    """The steps that come once a number."""
    times: Mapping[int, int] = Counter(steps)
    return {step for step, count in times.items() if count >= len(VALUES)}


def _leveldb_records(data: bytes) -> Iterable[bytes]:
    """The records of a W&B file: LevelDB's log format, after seven bytes that name it; a torn end is left out."""
    block_size, header = 32 * 1024, struct.Struct("<IHB")  # checksum, length, kind
    position, parts = 7, b""
    while position + header.size <= len(data):
        left = block_size - position % block_size
        if left < header.size:
            position += left
            continue
        _, length, kind = header.unpack_from(data, position)
        payload = data[position + header.size : position + header.size + length]
        if kind not in (1, 2, 3, 4) or len(payload) < length:  # zeros, or torn
            return
        position += header.size + length
        parts = payload if kind in (1, 2) else parts + payload
        if kind in (1, 4):
            yield parts
