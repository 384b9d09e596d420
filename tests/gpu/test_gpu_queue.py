"""Queued runs on a CUDA device: which one they get, what they take of it, and what is said when it is full."""

from __future__ import annotations

import json
import time

import pytest
from tests.queue.conftest import Place, until
from tests.queue.conftest import place as place  # the fixture
from tests.server.serving import serving

from hypertuner.queue.drain import Drainer
from hypertuner.queue.executor import LocalExecutor
from hypertuner.queue.slots import Slots
from hypertuner.store.figures import read_figures
from hypertuner.store.gpus import list_gpus

pytestmark = pytest.mark.gpu

FULL = """
    import torch, hypertuner
    args = hypertuner.Args(batch_size=64)
    hypertuner.Logger().log({"loss": 1.0}, 0)
    torch.empty(args.batch_size << 40, dtype=torch.uint8, device="cuda")
"""

WORKS = """
    import os, time, torch, hypertuner
    args = hypertuner.Args(seconds=8.0)
    logger = hypertuner.Logger()
    held = torch.zeros(512 << 20, dtype=torch.uint8, device="cuda")
    x = torch.randn(8192, 8192, device="cuda")
    print("has", os.environ["CUDA_VISIBLE_DEVICES"], torch.cuda.device_count(), flush=True)
    began, step = time.monotonic(), 0
    while time.monotonic() - began < args.seconds:
        x = (x @ x) * 1e-2
        torch.cuda.synchronize()
        logger.log({"step": step}, step)
        step += 1
"""

TRAINS = """
    import torch, hypertuner
    args = hypertuner.Args(lr=0.1)
    torch.manual_seed(0)
    net = torch.nn.Linear(64, 64).cuda()
    optimizer = torch.optim.SGD(net.parameters(), lr=args.lr)
    saver, logger = hypertuner.Saver(net, optimizer=optimizer), hypertuner.Logger()
    for step in range(5):
        loss = net(torch.randn(32, 64, device="cuda")).square().mean()
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        logger.log({"loss": loss}, step)
        saver.save()
"""


def drain(place: Place, *, zygote: bool = False) -> None:
    Drainer(place.queue, LocalExecutor(place.storage, zygote=zygote), Slots(), place.events.append).run()


def test_a_run_that_the_gpu_has_no_memory_for_says_so_and_what_to_try(place: Place):
    place.add(FULL, "full")
    drain(place)
    ended = place.exit("full")
    assert (ended.state, ended.cause) == ("failed", "gpu memory")
    assert "GPU 0 has" in ended.reason
    with serving(place.folder) as served:
        failure = served.ask("GET", "/api/runs/full").json["failure"]
    assert failure["title"] == "CUDA out of memory"
    assert failure["suggestion"] == {"key": "batch_size", "value": 64, "instead": 32}
    assert failure["where"] == "full.py:5"


def test_a_queued_run_is_given_the_gpu_and_its_figures_say_what_it_took(place: Place):
    place.add(WORKS, "works")
    drain(place)
    (gpu, *_) = list_gpus()
    assert f"has {gpu.uuid} 1" in place.output("works")
    figures = list(read_figures(place.run("works").attempts()[0].layout))
    uses = [use for sample in figures for use in sample.gpus]
    assert {use.uuid for use in uses} == {gpu.uuid}
    assert max(use.memory_bytes for use in uses) >= 512 << 20
    assert max(use.utilisation or 0 for use in uses) > 0.5


def test_runs_take_turns_on_one_gpu(place: Place):
    for name in ("one", "two"):
        place.add(WORKS.replace("8.0", "1.0"), name)
    drain(place)
    assert [f"{event.entry.name} {event.kind}" for event in place.events if event.kind in ("started", "ended")] == [
        "one started",
        "one ended",
        "two started",
        "two ended",
    ]


def test_a_forked_run_trains_on_the_gpu_as_a_plain_one_does(place: Place):
    place.add(TRAINS, "plain")
    drain(place)
    place.add(TRAINS, "forked")
    drainer = Drainer(place.queue, LocalExecutor(place.storage, zygote=True), Slots(), place.events.append)
    try:
        executor = drainer.executor
        entry = place.queue.waiting()[0]
        environment = executor._environment(entry, (list_gpus()[0].uuid,))
        executor._zygote(entry.queued.python, environment, 10)
        until(lambda: executor._zygote(entry.queued.python, environment, 0) is not None, timeout=120)
        drainer.run()
    finally:
        drainer.executor.close()
    assert place.exit("forked").state == "finished", place.output("forked")
    plain, forked = ([record.values for record in place.run(name).logged()] for name in ("plain", "forked"))
    assert plain == forked and len(plain) == 5


def test_the_page_is_told_of_the_gpus_every_two_seconds(place: Place):
    place.add(WORKS, "works")
    with serving(place.folder) as served:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            samples = served.ask("GET", "/api/machine").json["samples"]
            seen = [gpu for sample in samples for gpu in sample["gpus"]]
            if any((gpu["used_share"] or 0) > 0.5 for gpu in seen):
                break
            time.sleep(0.5)
        print(json.dumps(seen[-1:]))
    gpu = max(seen, key=lambda one: one["used_share"] or 0)
    assert gpu["id"] == list_gpus()[0].uuid
    assert gpu["used_share"] > 0.5
    assert 512 << 20 <= gpu["memory_used_bytes"] < gpu["memory_bytes"]
    assert 0 < gpu["temperature_c"] < 120 and gpu["power_w"] > 0
