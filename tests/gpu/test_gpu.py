"""What only a CUDA device can show; without one every test here is skipped, and says so.

Scripts run in processes of their own, as everywhere: what a CUDA context leaves behind ends with them.
"""

from __future__ import annotations

import json
import os
import random

import pytest
from tests.conftest import free_port

pytestmark = pytest.mark.gpu


def test_logging_a_cuda_tensor_does_not_wait_for_the_gpu(run_script, storage):
    script = """
    import torch, hypertuner
    logger = hypertuner.Logger()
    x = torch.randn(4096, 4096, device="cuda")
    (x @ x).sum().item()
    logger.log({"loss": 0.0}, 0)
    torch.cuda.synchronize()

    def work():
        y = x
        for _ in range(200):
            y = (y @ x) * 1e-3
        return y.square().mean()

    torch.cuda.set_sync_debug_mode("error")  # anything that waits for the GPU raises, and log() would lose the record
    loss = work()
    logger.log({"loss": loss, "two": {"halves": loss / 2}}, 1)
    torch.cuda.set_sync_debug_mode("default")
    loss.add_(1.0)  # what was logged is what it was then
    logger.log({"loss": 2.0}, 2)
    """
    done = run_script(script, env={"HYPERTUNER_RUN": "r"})
    assert "could not be logged" not in done.stderr
    records = [json.loads(line) for line in (storage / "r/attempts/1/metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [0, 1, 2]
    assert records[1]["values"].keys() == {"loss", "two/halves"}


def test_what_was_logged_from_the_gpu_is_written_at_the_end(run_script, storage):
    script = """
    import torch, hypertuner
    logger = hypertuner.Logger()
    for step in range(3):
        logger.log({"loss": torch.full((), step / 4, device="cuda")}, step)
    """
    run_script(script, env={"HYPERTUNER_RUN": "r"})
    lines = (storage / "r/attempts/1/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["values"]["loss"] for line in lines] == [0.0, 0.25, 0.5]


def test_a_model_saved_on_the_gpu_opens_where_there_is_none(run_script, storage):
    run_script(
        """
        import torch, hypertuner
        net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8)).cuda()
        optimizer = torch.optim.AdamW(net.parameters())
        scaler = torch.amp.GradScaler("cuda")
        for _ in range(2):
            with torch.autocast("cuda"):
                loss = net(torch.randn(16, 4, device="cuda")).square().mean()
            scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update(); optimizer.zero_grad()
        saver = hypertuner.Saver(net, optimizer=optimizer, scaler=scaler)
        saver.save(epoch=0)
        print(net[0].weight.sum().item().hex())
        """,
        env={"HYPERTUNER_RUN": "r"},
    )
    done = run_script(
        """
        import torch, hypertuner
        assert not torch.cuda.is_available()
        whole = torch.load("storage/r/model.pt")
        assert {value.device.type for value in whole["state_dict"].values()} == {"cpu"}
        net = hypertuner.load("r")
        assert next(net.parameters()).device.type == "cpu"
        print(net.eval()(torch.ones(1, 4)).shape)
        """,
        env={"CUDA_VISIBLE_DEVICES": ""},
        name="cpu.py",
    )
    assert "torch.Size([1, 8])" in done.stdout


TRAIN = """
import os, random, signal, sys
import torch, hypertuner
from torch import nn
from torch.nn import functional

torch.use_deterministic_algorithms(True)
args = hypertuner.Args(epochs=4, die_after=-1, ddp=False)
if args.ddp:
    torch.distributed.init_process_group("nccl")
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
torch.manual_seed(1)
net = nn.Sequential(nn.Linear(8, 64), nn.Dropout(0.5), nn.Linear(64, 1)).cuda()
trained = nn.parallel.DistributedDataParallel(net, find_unused_parameters=True) if args.ddp else net
optimizer = torch.optim.AdamW(trained.parameters(), lr=0.01)
saver = hypertuner.Saver(trained, optimizer=optimizer)
x = torch.linspace(0, 1, 256).reshape(32, 8).cuda()
die = int(os.environ.get("DIE_AFTER", "-1"))
for epoch in range(saver.next_epoch, args.epochs):
    for number in range(5):
        # Dropout and the noise draw from the GPU's own random state.
        loss = (trained(x) - torch.randn(32, 1, device="cuda")).square().mean()
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        print("loss", epoch, number, loss.item().hex(), flush=True)
        if die == epoch * 5 + number:
            os.kill(os.getpid(), signal.SIGKILL)
    saver.save(epoch=epoch)
if args.ddp:
    torch.distributed.destroy_process_group()
"""


def losses(text: str) -> dict[str, str]:
    return {line.rpartition(" ")[0]: line for line in text.splitlines() if line.startswith("loss")}


def test_a_run_killed_on_the_gpu_goes_on_digit_for_digit(run_script):
    fixed = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    whole = losses(run_script(TRAIN, env={**fixed, "HYPERTUNER_RUN": "whole"}).stdout)
    die = {"DIE_AFTER": str(random.randrange(6, 19)), "HYPERTUNER_RUN": "victim"}
    first = run_script(TRAIN, env={**fixed, **die}, check=False)
    assert first.returncode == -9
    second = run_script(TRAIN, env={**fixed, "HYPERTUNER_RUN": "victim", "HYPERTUNER_RESUME": "last"})
    assert "not restored" not in second.stderr
    assert losses(first.stdout + second.stdout) == whole


def test_a_run_resumed_without_the_gpu_says_that_its_random_state_is_not_restored(run_script):
    run_script(TRAIN, "epochs=1", env={"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "HYPERTUNER_RUN": "r"})
    on_cpu = TRAIN.replace(".cuda()", "").replace('device="cuda"', 'device="cpu"').replace("args.epochs", "2")
    done = run_script(
        on_cpu, name="cpu.py", env={"CUDA_VISIBLE_DEVICES": "", "HYPERTUNER_RUN": "r", "HYPERTUNER_RESUME": "last"}
    )
    assert "not restored: random state of the GPU: there is none here" in done.stderr
    assert "loss 1 4" in done.stdout


def test_ddp_over_nccl_on_one_gpu_saves_and_goes_on(run_script, storage):
    one = {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }
    whole = losses(run_script(TRAIN, "ddp=true", env={**one, "HYPERTUNER_RUN": "whole"}).stdout)
    first = run_script(TRAIN, "ddp=true", env={**one, "HYPERTUNER_RUN": "r", "DIE_AFTER": "12"}, check=False)
    assert first.returncode == -9
    one["MASTER_PORT"] = str(free_port())
    second = run_script(TRAIN, env={**one, "HYPERTUNER_RUN": "r", "HYPERTUNER_RESUME": "last"})
    assert losses(first.stdout + second.stdout) == whole
    import torch

    names = list(torch.load(storage / "r/model.pt")["state_dict"])
    assert names == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert os.listdir(storage / "r/attempts") in (["1", "2"], ["2", "1"])


LOAD = """
import torch, hypertuner
with hypertuner.new_run(name="r"):
    net = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.Linear(512, 512))
    net[1].weight = net[0].weight
    hypertuner.Saver(net).save(step=1)
"""


def test_weights_come_onto_the_gpu_mapped_and_read_and_tied(run_script):
    script = (
        LOAD
        + """
for how in ({}, {"verify": "full"}):
    found = hypertuner.load("r", weights=True, device="cuda", **how)
    assert all(value.is_cuda for value in found.values())
    assert found["0.weight"].data_ptr() == found["1.weight"].data_ptr()
    assert torch.equal(found["0.weight"].cpu(), net[0].weight)
    with torch.device("meta"):
        empty = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.Linear(512, 512))
    hypertuner.load("r", into=empty, device="cuda", **how)
    assert empty(torch.ones(1, 512, device="cuda")).is_cuda
    there = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.Linear(512, 512)).cuda()
    hypertuner.load("r", into=there, **how)
    assert torch.equal(there[1].weight.cpu(), net[0].weight)
"""
    )
    for how in ("map", "read"):
        run_script(script.replace('"r"', f'"{how}"'), env={"HYPERTUNER_READ": how})


def test_weights_come_into_page_locked_memory(run_script):
    run_script(
        LOAD
        + """
found = hypertuner.load("r", weights=True, pin_memory=True)
assert all(value.is_pinned() for value in found.values())
assert torch.equal(found["0.weight"].cuda(non_blocking=True).cpu(), net[0].weight)
"""
    )


def test_the_gpus_are_listed_as_cuda_sees_them_with_this_process_as_a_holder(run_script):
    pytest.importorskip("pynvml")
    script = """
    import json, os
    from hypertuner.store.gpus import GpuMeter, list_gpus
    before = list_gpus()
    import torch
    held = torch.zeros(256 << 20, dtype=torch.uint8, device="cuda:0")
    after = list_gpus()
    properties = torch.cuda.get_device_properties(0)
    (use,) = GpuMeter([after[0].uuid]).read()
    print(json.dumps({
        "count": [len(before), len(after), torch.cuda.device_count()],
        "name": [after[0].name, properties.name],
        "uuid": [after[0].uuid, str(properties.uuid)],
        "grown": after[0].memory_used_bytes - before[0].memory_used_bytes,
        "use": [use.uuid, use.memory_bytes >= 256 << 20, use.utilisation is None or 0 <= use.utilisation <= 1],
        "holders": [holder.pid for holder in after[0].holders],
        "pid": os.getpid(),
    }))
    """
    told = json.loads(run_script(script).stdout)
    assert len(set(told["count"])) == 1
    assert told["name"][0] == told["name"][1]
    assert told["uuid"][1] in told["uuid"][0]
    assert told["grown"] >= 256 << 20
    assert told["use"] == [told["uuid"][0], True, True]
    # In a container the driver may tell none, or the numbers that processes have outside.
    assert told["pid"] in told["holders"] or os.path.exists("/.dockerenv") or not told["holders"]


def test_a_save_of_a_gpus_model_in_the_background_is_what_it_was_at_the_call(run_script):
    """By clones; and by kernels that wait, where the GPU has no room for them."""
    run_script(
        """
import torch, hypertuner
from hypertuner.frameworks.torch import staging

net = torch.nn.Sequential(*[torch.nn.Linear(512, 512) for _ in range(40)]).cuda()
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
x = torch.randn(2048, 512, device="cuda")

def train():
    for _ in range(5):
        optimizer.zero_grad(); net(x).square().mean().backward(); optimizer.step()

for name, room in (("cloned", staging._has_room), ("gated", lambda device, nbytes: False)):
    staging._has_room = room
    with hypertuner.new_run(name=name):
        saver = hypertuner.Saver(net, optimizer=optimizer, background=True, keep_last=9, keep_trail=0)
        wanted = {}
        for step in range(6):
            train()
            wanted[step] = {key: value.clone() for key, value in net.state_dict().items()}
            saved = saver.save(step=step)
            train()
            saved.wait()
    for step, values in wanted.items():
        found = hypertuner.load(f"{name}@{step}", weights=True)
        for key in net.state_dict():
            assert values[key].isfinite().all()
            assert torch.equal(found[key].cpu(), values[key].cpu()), (name, step, key)
    (stage,) = saver._adapter._staging._free
    assert all(flat.is_pinned() for flat, _ in stage.plan._fetches)
"""
    )
