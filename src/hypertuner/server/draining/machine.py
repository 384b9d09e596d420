"""The machine over the last ten minutes: CPU, memory, disk and GPUs, sampled every two seconds."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import psutil

from hypertuner.host import host_name
from hypertuner.server.contract.queue import GpuSample, MachineSample, MachineView
from hypertuner.store.gpus import Gpu, GpuMeter, list_gpus

_EVERY_S = 2.0
_KEPT = 300
_LOOKS_FOR_GPUS_EVERY_S = 60.0


class Machine:
    """Samples this machine while it is started. Safe for several threads."""

    def __init__(self, place: Path, besides: Callable[[], None] = lambda: None) -> None:
        """`place` lies on the disk that is asked for its room; `besides` is called at every sample."""
        self._place = place
        self._besides = besides
        self._samples: deque[MachineSample] = deque(maxlen=_KEPT)
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None
        self._gpus: tuple[Gpu, ...] = ()
        self._looked_at = float("-inf")
        self.count = 0
        """How many samples were taken."""

    def start(self) -> None:
        """Begin to sample."""
        if self._thread is None:
            self._ends.clear()
            self._thread = threading.Thread(target=self._keep_sampling, name="hypertuner-machine", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Sample no more."""
        self._ends.set()
        if self._thread is not None:
            self._thread.join(_EVERY_S + 1)
            self._thread = None

    def newest(self) -> MachineSample | None:
        """The last sample."""
        return self._samples[-1] if self._samples else None

    def __call__(self) -> MachineView:
        """The last ten minutes."""
        return MachineView(host=host_name(), samples=list(self._samples))

    def _keep_sampling(self) -> None:
        psutil.cpu_percent(percpu=True)  # the first answer is about no time at all
        with contextlib.ExitStack() as stack:
            meter: GpuMeter | None = None
            while not self._ends.wait(_EVERY_S if self._samples else 0.2):
                if time.monotonic() - self._looked_at > _LOOKS_FOR_GPUS_EVERY_S:
                    self._looked_at, self._gpus = time.monotonic(), list_gpus()
                    if meter is not None:
                        meter.close()
                    meter = GpuMeter([gpu.uuid for gpu in self._gpus])
                    stack.callback(meter.close)
                with contextlib.suppress(OSError, psutil.Error):
                    self._samples.append(self._sample(meter))
                    self.count += 1
                    self._besides()

    def _sample(self, meter: GpuMeter | None) -> MachineSample:
        memory = psutil.virtual_memory()
        disk = psutil.disk_usage(str(self._existing()))
        return MachineSample(
            time=time.time(),
            cpu=[share / 100 for share in psutil.cpu_percent(percpu=True)],
            memory_used_bytes=memory.total - memory.available,
            memory_bytes=memory.total,
            disk_free_bytes=disk.free,
            disk_bytes=disk.total,
            gpus=self._gpu_samples(meter),
        )

    def _gpu_samples(self, meter: GpuMeter | None) -> list[GpuSample]:
        states = {state.use.uuid: state for state in meter.states()} if meter is not None and self._gpus else {}
        found = []
        for gpu in self._gpus:
            state = states.get(gpu.uuid)
            found.append(
                GpuSample(
                    id=gpu.uuid,
                    name=gpu.name,
                    used_share=state.use.utilisation if state is not None else None,
                    memory_used_bytes=state.use.memory_bytes if state is not None else None,
                    memory_bytes=gpu.memory_bytes or None,
                    temperature_c=state.temperature_c if state is not None else None,
                    power_w=state.power_w if state is not None else None,
                )
            )
        return found

    def _existing(self) -> Path:
        """The storage, or the nearest folder above it that is there."""
        place = self._place
        while not place.exists() and place != place.parent:
            place = place.parent
        return place
