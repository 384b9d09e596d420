"""Which GPUs a script would see, and who holds them: real processes with a stand-in for NVIDIA's library."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Answers as the library does, from FAKE_GPUS: a list of cards, or the number of the error of nvmlInit.
PYNVML = """
import json, os
from types import SimpleNamespace

(NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_NO_PERMISSION, NVML_ERROR_NOT_FOUND, NVML_ERROR_DRIVER_NOT_LOADED,
 NVML_ERROR_FUNCTION_NOT_FOUND, NVML_ERROR_GPU_IS_LOST, NVML_ERROR_NO_DATA) = 3, 4, 6, 9, 13, 15, 21

class NVMLError(Exception):
    def __init__(self, value):
        self.value = value

FAKE = json.loads(os.environ["FAKE_GPUS"])
opened = 0

def nvmlInit():
    global opened
    if isinstance(FAKE, int):
        raise NVMLError(FAKE)
    opened += 1

def nvmlShutdown():
    global opened
    opened -= 1

def asked(card):
    assert opened
    if card.get("lost"):
        raise NVMLError(NVML_ERROR_GPU_IS_LOST)
    return card

def nvmlDeviceGetCount():
    return len(FAKE)

def nvmlDeviceGetHandleByIndex(index):
    return asked(FAKE[index])

def nvmlDeviceGetHandleByUUID(uuid):
    for card in FAKE:
        for one in (card, *card.get("instances", ())):
            if one and one["uuid"] == uuid:
                return asked(one)
    raise NVMLError(NVML_ERROR_NOT_FOUND)

def nvmlDeviceGetUUID(card):
    return asked(card)["uuid"]

def nvmlDeviceGetName(card):
    return asked(card)["name"].encode()  # as older versions do

def nvmlDeviceGetMemoryInfo(card):
    if card.get("memory") is None:
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    return SimpleNamespace(total=asked(card)["memory"][0], used=card["memory"][1])

def nvmlDeviceGetUtilizationRates(card):
    if "busy" not in asked(card):
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    return SimpleNamespace(gpu=card["busy"], memory=0)

NVML_TEMPERATURE_GPU = 0

def nvmlDeviceGetTemperature(card, sensor):
    if "warm" not in asked(card):
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    return card["warm"]

def nvmlDeviceGetPowerUsage(card):
    if "draws" not in asked(card):
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    return card["draws"]

def nvmlDeviceGetComputeRunningProcesses(card):
    return [SimpleNamespace(pid=pid, usedGpuMemory=memory) for pid, memory in asked(card).get("processes", ())]

def nvmlDeviceGetMigMode(card):
    if "instances" not in asked(card):
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    return [1, 1]

def nvmlDeviceGetMaxMigDeviceCount(card):
    return len(card["instances"])

def nvmlDeviceGetMigDeviceHandleByIndex(card, index):
    if card["instances"][index] is None:
        raise NVMLError(NVML_ERROR_NOT_FOUND)
    return card["instances"][index]
"""


def card(uuid: str, **more: Any) -> dict[str, Any]:
    return {"uuid": uuid, "name": "NVIDIA H100", "memory": [80 * 10**9, 10**9], "busy": 50, **more}


CARDS = [card("GPU-aaa1"), card("GPU-aab2"), card("GPU-ccc3")]
MIG = card(
    "GPU-ddd4",
    instances=[
        {"uuid": "MIG-111", "name": "NVIDIA H100 MIG 1g.10gb", "memory": [10 * 10**9, 5]},
        None,
        {"uuid": "MIG-122", "name": "NVIDIA H100 MIG 1g.10gb", "memory": [10 * 10**9, 6]},
    ],
)


@pytest.fixture
def seen(run_script, tmp_path: Path):
    """`seen(cards, visible)`: what `list_gpus` gives in a process with these cards, as plain data."""
    library = tmp_path / "library"
    library.mkdir()
    (library / "pynvml.py").write_text(PYNVML)
    script = """
    import dataclasses, json, pynvml
    from hypertuner.store.gpus import list_gpus
    print(json.dumps([dataclasses.asdict(gpu) for gpu in list_gpus()]))
    assert pynvml.opened == 0
    """

    def see(cards: object, visible: str | None = None, script: str = script) -> Any:
        done = run_script(
            script,
            env={"PYTHONPATH": path(library), "FAKE_GPUS": json.dumps(cards), "CUDA_VISIBLE_DEVICES": visible},
        )
        return json.loads(done.stdout)

    return see


def path(*folders: Path) -> str:
    source = Path(__file__).resolve().parents[2] / "src"
    return os.pathsep.join(map(str, [*folders, source]))


def test_a_gpu_is_told_with_who_holds_it(seen):
    stranger = subprocess.Popen([sys.executable, "-c", "input()", "--password", "xyz"], stdin=subprocess.PIPE)
    try:
        (gpu,) = seen([card("GPU-aaa1", processes=[(stranger.pid, 7), (2**22 + 1, None)])])
    finally:
        stranger.communicate()
    assert gpu["holders"] == [
        {
            "pid": stranger.pid,
            "memory_bytes": 7,
            "command": f"{sys.executable} -c input() --password <hidden>",
            "user": getpass.getuser(),
        },
        {"pid": 2**22 + 1, "memory_bytes": None, "command": "", "user": ""},
    ]
    del gpu["holders"]
    assert gpu == {
        "index": 0,
        "uuid": "GPU-aaa1",
        "name": "NVIDIA H100",
        "memory_bytes": 80 * 10**9,
        "memory_used_bytes": 10**9,
        "utilisation": 0.5,
    }


def test_a_lost_gpu_is_left_out_and_keeps_its_index(seen):
    cards = [card("GPU-aaa1"), card("GPU-aab2", lost=True), card("GPU-ccc3")]
    assert [(gpu["index"], gpu["uuid"]) for gpu in seen(cards)] == [(0, "GPU-aaa1"), (2, "GPU-ccc3")]
    assert [gpu["uuid"] for gpu in seen(cards, "0,1,2")] == ["GPU-aaa1"]


def test_a_gpu_in_mig_mode_is_its_instances(seen):
    found = [(gpu["index"], gpu["uuid"], gpu["name"], gpu["utilisation"]) for gpu in seen([card("GPU-aaa1"), MIG])]
    assert found == [
        (0, "GPU-aaa1", "NVIDIA H100", 0.5),
        (1, "MIG-111", "NVIDIA H100 MIG 1g.10gb", None),
        (1, "MIG-122", "NVIDIA H100 MIG 1g.10gb", None),
    ]


def test_a_gpu_that_shares_the_machines_memory_is_listed(seen):
    (gpu,) = seen([card("GPU-aaa1", memory=None)])
    assert (gpu["memory_bytes"], gpu["memory_used_bytes"]) == (0, 0)


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [
        ("0", ["GPU-aaa1"]),
        ("2,0", ["GPU-ccc3", "GPU-aaa1"]),
        (" 1 , 2 ", ["GPU-aab2", "GPU-ccc3"]),
        ("GPU-ccc3,GPU-aaa1", ["GPU-ccc3", "GPU-aaa1"]),
        ("GPU-c", ["GPU-ccc3"]),
        ("GPU-aa", []),  # two begin so
        ("", []),
        ("-1", []),
        ("0,-1,2", ["GPU-aaa1"]),
        ("0,9,2", ["GPU-aaa1"]),
        ("2,GPU-zzz,0", ["GPU-ccc3"]),
        ("NoDevFiles", []),
        ("0,0", []),
        ("MIG-111,MIG-122", ["MIG-111", "MIG-122"]),
        ("MIG-12", ["MIG-122"]),
        ("MIG-1", []),
        ("GPU-ddd4", ["MIG-111", "MIG-122"]),
        ("3", ["MIG-111", "MIG-122"]),
    ],
)
def test_the_process_sees_what_cuda_would_show_it(seen, visible, uuids):
    assert [gpu["uuid"] for gpu in seen([*CARDS, MIG], visible)] == uuids


@pytest.mark.parametrize("error", [9, 12, 18])  # no driver; no library; driver and library of different versions
def test_a_machine_without_a_working_driver_has_none(seen, error):
    assert seen(error) == []


def test_a_machine_without_the_library_has_none(run_script):
    done = run_script("""
        import sys
        sys.modules["pynvml"] = None
        from hypertuner.store.gpus import GpuMeter, list_gpus
        print(list_gpus(), GpuMeter(["GPU-aaa1"]).read())
    """)
    assert done.stdout == "() []\n"


def test_a_meter_reads_the_gpus_of_a_run_and_survives_that_one_is_lost(seen):
    script = """
    import dataclasses, json, pynvml
    from hypertuner.store.gpus import GpuMeter
    meter = GpuMeter(["GPU-aaa1", "MIG-111"])
    found = [[dataclasses.asdict(use) for use in meter.read()]]
    pynvml.FAKE[0]["lost"] = True
    found.append([use.uuid for use in meter.read()])
    pynvml.FAKE[1]["instances"] = []
    found.append(meter.read())
    pynvml.FAKE[0]["lost"] = False
    found.append([use.uuid for use in meter.read()])
    meter.close()
    assert pynvml.opened == 0
    print(json.dumps(found))
    """
    assert seen([card("GPU-aaa1"), MIG], script=script) == [
        [
            {"uuid": "GPU-aaa1", "utilisation": 0.5, "memory_bytes": 10**9},
            {"uuid": "MIG-111", "utilisation": None, "memory_bytes": 5},
        ],
        ["MIG-111"],
        [],
        ["GPU-aaa1"],
    ]


def test_a_meter_tells_how_warm_a_gpu_is_and_what_it_draws_where_that_is_measured(seen):
    script = """
    import dataclasses, json
    from hypertuner.store.gpus import GpuMeter
    meter = GpuMeter(["GPU-aaa1", "GPU-bbb2"])
    print(json.dumps([[one.use.uuid, one.temperature_c, one.power_w] for one in meter.states()]))
    meter.close()
    """
    cards = [card("GPU-aaa1") | {"warm": 61, "draws": 250500}, card("GPU-bbb2")]
    assert seen(cards, script=script) == [["GPU-aaa1", 61.0, 250.5], ["GPU-bbb2", None, None]]
