"""The NVIDIA GPUs of this machine, by NVML: what they are, how full and how busy they are, and who holds them.

Starts no CUDA context. Where there is no driver, no GPU or no `nvidia-ml-py`, there are none; a GPU that the driver has
lost is left out. NVML is closed after a look: while it is open, a GPU cannot be reset.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hypertuner.store.capture import without_secrets

_MOST_COMMAND = 200  # signs
T = TypeVar("T")


@dataclass(frozen=True)
class Holder:
    """A process that computes on a GPU; `command` and `user` are '' where this process may not ask."""

    pid: int
    memory_bytes: int | None
    """Of the GPU; None where the driver does not tell (Windows)."""
    command: str
    user: str


@dataclass(frozen=True)
class Gpu:
    """One GPU, or one instance of a GPU in MIG mode."""

    index: int
    """As nvidia-smi counts; an instance has its GPU's. Good until the next boot: a `uuid` names a GPU for ever."""
    uuid: str
    """What CUDA_VISIBLE_DEVICES takes: 'GPU-…', of an instance 'MIG-…'."""
    name: str
    memory_bytes: int
    """0 where it shares the machine's own."""
    memory_used_bytes: int
    utilisation: float | None
    """Share of the last second in which something ran on it, 0 to 1; None where that is not measured (MIG)."""
    holders: tuple[Holder, ...]
    """Processes that compute on it; a desktop's drawing does not count."""


@dataclass(frozen=True)
class GpuUse:
    """How much of one GPU is in use at one moment."""

    uuid: str
    utilisation: float | None
    memory_bytes: int


@dataclass(frozen=True)
class GpuState:
    """The same, with how warm it is and what it draws; None where that is not measured."""

    use: GpuUse
    temperature_c: float | None
    power_w: float | None


@dataclass(frozen=True)
class _Card:
    """A GPU as it sits in the machine, and what CUDA makes of it: itself, or its instances."""

    index: int
    uuid: str
    gpus: tuple[Gpu, ...]


def list_gpus() -> tuple[Gpu, ...]:
    """The GPUs that a script started by this process would see (CUDA_VISIBLE_DEVICES), in its order; () for none."""
    with _nvml() as nvml:
        return () if nvml is None else _visible(_cards(nvml), os.environ.get("CUDA_VISIBLE_DEVICES"))


class GpuMeter:
    """Reads how busy some GPUs are, again and again. NVML stays open until `close`."""

    def __init__(self, uuids: Sequence[str]) -> None:
        self._uuids = tuple(uuids)
        self._stack = contextlib.ExitStack()
        self._nvml: Any = None

    def read(self) -> list[GpuUse]:
        """The use of each; one that the driver does not find now is left out."""
        return self._each(_use)

    def states(self) -> list[GpuState]:
        """The state of each; one that the driver does not find now is left out."""
        return self._each(_state)

    def _each(self, ask: Callable[[Any, Any, str], T]) -> list[T]:
        if not self._uuids:
            return []
        if self._nvml is None:
            self._nvml = self._stack.enter_context(_nvml())
        found = []
        for uuid in self._uuids if self._nvml is not None else ():
            try:
                found.append(ask(self._nvml, self._nvml.nvmlDeviceGetHandleByUUID(uuid), uuid))
            except self._nvml.NVMLError:
                continue
        if not found:
            self.close()  # a driver that was loaded anew is seen only by who opens it anew
        return found

    def close(self) -> None:
        """Let go of the driver."""
        self._nvml = None
        self._stack.close()


@contextlib.contextmanager
def _nvml() -> Iterator[Any]:
    """NVML, open; None where there is none."""
    try:
        import pynvml
    except ImportError:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _cards(nvml: Any) -> list[_Card]:
    found: list[_Card] = []
    try:
        count = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError:
        return found
    for index in range(count):
        with contextlib.suppress(nvml.NVMLError):  # lost: its index stays taken, as for CUDA
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            mode = _or_none(nvml, nvml.nvmlDeviceGetMigMode, handle)
            gpus = tuple(_instances(nvml, handle, index)) if mode and mode[0] else (_gpu(nvml, handle, index),)
            found.append(_Card(index, _text(nvml.nvmlDeviceGetUUID(handle)), gpus))
    return found


def _instances(nvml: Any, card: Any, index: int) -> Iterator[Gpu]:
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(card)):
        with contextlib.suppress(nvml.NVMLError):  # most numbers have no instance
            yield _gpu(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex(card, number), index)


def _gpu(nvml: Any, handle: Any, index: int) -> Gpu:
    size, used = _memory(nvml, handle)
    running = _or_none(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, handle) or []
    return Gpu(
        index=index,
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        name=_text(nvml.nvmlDeviceGetName(handle)),
        memory_bytes=size,
        memory_used_bytes=used,
        utilisation=_utilisation(nvml, handle),
        holders=tuple(Holder(one.pid, one.usedGpuMemory, *_command_and_user(one.pid)) for one in running),
    )


def _memory(nvml: Any, handle: Any) -> tuple[int, int]:
    memory = _or_none(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    return (0, 0) if memory is None else (int(memory.total), int(memory.used))


def _utilisation(nvml: Any, handle: Any) -> float | None:
    rates = _or_none(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
    return None if rates is None else rates.gpu / 100


def _use(nvml: Any, handle: Any, uuid: str) -> GpuUse:
    return GpuUse(uuid, _utilisation(nvml, handle), _memory(nvml, handle)[1])


def _state(nvml: Any, handle: Any, uuid: str) -> GpuState:
    temperature = _or_none(nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU)
    power = _or_none(nvml, nvml.nvmlDeviceGetPowerUsage, handle)
    return GpuState(
        _use(nvml, handle, uuid),
        None if temperature is None else float(temperature),
        None if power is None else power / 1000,
    )


def _or_none(nvml: Any, ask: Callable[..., Any], *arguments: Any) -> Any:
    """NVML's answer; None where this GPU, driver or user has none. Raises: NVMLError for a GPU that is lost."""
    try:
        return ask(*arguments)
    except nvml.NVMLError as error:
        if error.value in (
            nvml.NVML_ERROR_NOT_SUPPORTED,
            nvml.NVML_ERROR_NO_PERMISSION,
            nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
            nvml.NVML_ERROR_NO_DATA,
        ):
            return None
        raise


def _command_and_user(pid: int) -> tuple[str, str]:
    import psutil

    command, user = "", ""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        command = process.name()
        user = process.username()
        command = " ".join(without_secrets(process.cmdline())) or command
    return command[:_MOST_COMMAND], user


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _visible(cards: Sequence[_Card], wanted: str | None) -> tuple[Gpu, ...]:
    """What CUDA shows of `cards` for this value of CUDA_VISIBLE_DEVICES; None: all."""
    if wanted is None:
        return tuple(gpu for card in cards for gpu in card.gpus)
    chosen: list[tuple[Gpu, ...]] = []
    for word in wanted.split(","):
        found = _named(word.strip(), cards)
        if found is None:  # hides all that follow
            break
        if found in chosen:  # named twice: CUDA shows none at all
            return ()
        chosen.append(found)
    return tuple(gpu for gpus in chosen for gpu in gpus)


def _named(word: str, cards: Sequence[_Card]) -> tuple[Gpu, ...] | None:
    if number := re.match(r"\d+", word, re.ASCII):  # CUDA reads '1gpu' as 1
        return next((card.gpus for card in cards if card.index == int(number[0])), None)
    if not word.startswith(("GPU-", "MIG-")):
        return None
    # The beginning of a UUID is enough, when only one begins so.
    whole = [card.gpus for card in cards if card.uuid.startswith(word)]
    instances = [(gpu,) for card in cards for gpu in card.gpus if gpu.uuid != card.uuid and gpu.uuid.startswith(word)]
    found = whole + instances
    return found[0] if len(found) == 1 else None
