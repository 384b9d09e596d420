"""Resume and fork: a run that was killed goes on as if it never had been; a fork goes on under changed settings."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time

import pytest

TRAIN = """
import random, sys, time
import numpy, torch
from torch import nn
import hypertuner

args = hypertuner.Args(optimizer="sgd", scheduler="none", loader="plain", scaler=False, ema=False, learning_rate=0.05,
                       epochs=6, slow=0.0, hidden=16)
torch.set_num_threads(1)
torch.manual_seed(3); random.seed(4); numpy.random.seed(5)
data = torch.utils.data.TensorDataset(torch.randn(48, 5), torch.randn(48, 1))
net = nn.Sequential(nn.Linear(5, args.hidden), nn.Dropout(0.3), nn.BatchNorm1d(args.hidden), nn.Linear(args.hidden, 1))
if args.optimizer == "sgd":
    optimizer = torch.optim.SGD(net.parameters(), lr=args.learning_rate, momentum=0.9)
else:
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.learning_rate)
S = torch.optim.lr_scheduler
scheduler = {
    "none": lambda: None,
    "step": lambda: S.StepLR(optimizer, 2, 0.5),
    "cosine": lambda: S.CosineAnnealingLR(optimizer, args.epochs),
    "onecycle": lambda: S.OneCycleLR(optimizer, args.learning_rate, total_steps=40),
    "warmup": lambda: S.LambdaLR(optimizer, lambda epoch: min(1.0, (epoch + 1) / 4)),
    "plateau": lambda: S.ReduceLROnPlateau(optimizer, patience=0),
    "sequential": lambda: S.SequentialLR(
        optimizer, [S.ConstantLR(optimizer, 0.5, 2), S.StepLR(optimizer, 1, 0.7)], [2]
    ),
}[args.scheduler]()
scaler = torch.amp.GradScaler("cpu", enabled=True) if args.scaler else None
ema = torch.optim.swa_utils.AveragedModel(net) if args.ema else None
if args.loader == "stateful":
    from torchdata.stateful_dataloader import StatefulDataLoader
    loader = StatefulDataLoader(data, batch_size=8, shuffle=True)
elif args.loader == "generator":
    loader = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(1))
else:
    loader = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)
counts = {"batches": 0}
saver = hypertuner.Saver(net, optimizer=optimizer, scheduler=scheduler, scaler=scaler, ema=ema, dataloader=loader,
                         extra=counts)
logger = hypertuner.Logger()
torch.rand(3)  # what a script draws while it sets itself up

for epoch in range(saver.next_epoch, args.epochs):
    for x, y in loader:
        loss = (net(x) - y).pow(2).mean() * (1 + random.random() + numpy.random.rand())
        optimizer.zero_grad()
        if scaler:
            scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update()
        else:
            loss.backward(); optimizer.step()
        if ema:
            ema.update_parameters(net)
        counts["batches"] += 1
        print("loss", counts["batches"], epoch, loss.item().hex(), optimizer.param_groups[0]["lr"].hex(), flush=True)
        logger.log({"loss": loss}, counts["batches"])
        time.sleep(args.slow)
    if scheduler and args.scheduler == "plateau":
        scheduler.step(loss.item())
    elif scheduler:
        scheduler.step()
    saver.save(epoch=epoch)
print("done", sum(p.double().sum().item() for p in (ema or net).state_dict().values()).hex())
"""


def losses(text: str) -> dict[int, str]:
    """Batch number → the line; of a batch that was done twice, the later."""
    found = {}
    for line in text.splitlines():
        if line.startswith("loss "):
            found[int(line.split()[1])] = line
        elif line.startswith("done"):
            found[10**9] = line
    return found


def killed_and_resumed(run_script, tmp_path, storage, *config: str) -> str:
    """What a run printed that was killed with SIGKILL somewhere in its middle, and then resumed."""
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    import os

    from tests.conftest import REPOSITORY

    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "HYPERTUNER_RUN": "victim"}
    process = subprocess.Popen(
        [sys.executable, script, "slow=0.03", *config], stdout=subprocess.PIPE, env=environment, text=True, cwd=tmp_path
    )
    stop_at = random.randint(8, 34)
    first = ""
    for line in process.stdout:
        first += line
        if line.startswith(f"loss {stop_at} "):
            time.sleep(random.random() * 0.05)
            break
    process.send_signal(signal.SIGKILL)
    first += process.stdout.read()
    process.wait()
    process.stdout.close()
    done = run_script(script, env={"HYPERTUNER_RUN": "victim", "HYPERTUNER_RESUME": "last"})
    return first + done.stdout, done.stderr


CASES = [
    ("optimizer=sgd", "scheduler=step"),
    ("optimizer=adamw", "scheduler=cosine", "ema=true"),
    ("optimizer=sgd", "scheduler=onecycle", "loader=generator"),
    ("optimizer=adamw", "scheduler=warmup", "scaler=true"),
    ("optimizer=sgd", "scheduler=plateau"),
    ("optimizer=sgd", "scheduler=sequential", "loader=stateful"),
]


@pytest.mark.parametrize("config", CASES, ids=" ".join)
def test_a_killed_run_goes_on_digit_for_digit(run_script, tmp_path, storage, config):
    (tmp_path / "whole.py").write_text(TRAIN)
    whole = losses(run_script(tmp_path / "whole.py", *config).stdout)
    printed, said = killed_and_resumed(run_script, tmp_path, storage, *config)
    assert losses(printed) == whole
    assert "resumes victim@last" in said
    victim = storage / "victim"
    assert {path.name for path in (victim / "attempts").iterdir()} == {"1", "2"}
    loaded = json.loads((victim / "attempts/2/parent.json").read_text())
    assert loaded["how"] == "resume"
    assert {"optimizer", "dataloader", "extra"} <= set(loaded["restored"])


def test_the_chart_of_a_resumed_run_is_one_line_without_what_was_done_twice(run_script, tmp_path, storage):
    import hypertuner
    from hypertuner.store import Run

    printed, _ = killed_and_resumed(run_script, tmp_path, storage)
    records = list(Run(storage / "victim").logged())
    assert [record.step for record in records] == list(range(1, 37))
    shown = {record.step: float(record.values["loss"]).hex() for record in records}
    assert shown == {step: line.split()[3] for step, line in losses(printed).items() if step < 10**9}
    assert hypertuner.runs()["victim"].step == 36
    first = (storage / "victim/attempts/1/metrics.jsonl").read_text().splitlines()
    assert len(first) >= 8  # nothing was erased


def test_nothing_is_resumed_because_a_file_happens_to_exist(run_script, tmp_path, storage):
    once = losses(run_script(TRAIN, "epochs=2", env={"HYPERTUNER_RUN": "twice"}).stdout)
    again = losses(run_script(TRAIN, "epochs=2", env={"HYPERTUNER_RUN": "twice"}).stdout)
    assert once == again


def test_resume_can_be_asked_for_in_the_script(run_script, tmp_path, storage):
    asking = TRAIN.replace("logger = hypertuner", "print('resumed', saver.resume())\nlogger = hypertuner")
    done = run_script(asking, "epochs=6", env={"HYPERTUNER_RUN": "asked"})
    assert "resumed None" in done.stdout
    whole = losses(done.stdout)
    shorter = run_script(asking, "epochs=3", env={"HYPERTUNER_RUN": "longer"})
    with open(storage / "longer/config.json") as file:
        config = json.load(file)
    (storage / "longer/config.json").write_text(json.dumps({**config, "epochs": 6}))
    longer = run_script(asking, env={"HYPERTUNER_RUN": "longer"})
    assert re.search(r"resumed Checkpoint\(run='longer', step=18, epoch=2", longer.stdout)
    assert losses(shorter.stdout + longer.stdout) == whole


@pytest.mark.parametrize(
    ("saved", "wanted", "said"),
    [
        ("", "optimizer=optimizer", "holds the model only"),
        ("optimizer=optimizer", "optimizer=optimizer, scaler=torch.amp.GradScaler('cpu')", "has no scaler state"),
    ],
)
def test_a_checkpoint_that_lacks_what_is_asked_for_is_an_error_that_names_it(run_script, saved, wanted, said):
    script = """
    import torch, hypertuner
    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    saver = hypertuner.Saver(net, {parts})
    saver.save()
    """
    run_script(script.replace("{parts}", saved), env={"HYPERTUNER_RUN": "r"})
    done = run_script(
        script.replace("{parts}", wanted), env={"HYPERTUNER_RUN": "r", "HYPERTUNER_RESUME": "last"}, check=False
    )
    assert done.returncode == 1
    assert said in done.stderr


def test_an_epoch_that_was_never_said_is_asked_for(run_script):
    script = """
    import torch, hypertuner
    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    saver = hypertuner.Saver(net, optimizer=optimizer)
    print(saver.next_epoch, saver.next_step)
    saver.save()
    """
    assert run_script(script, env={"HYPERTUNER_RUN": "r"}).stdout == "0 0\n"
    done = run_script(script, env={"HYPERTUNER_RUN": "r", "HYPERTUNER_RESUME": "last"}, check=False)
    assert "saver.save(epoch=epoch)" in done.stderr


def test_a_loop_that_starts_at_0_again_is_told_so(run_script):
    script = """
    import torch, hypertuner
    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    saver = hypertuner.Saver(net, optimizer=optimizer)
    logger = hypertuner.Logger()
    for step in range(5):
        logger.log({"loss": 1.0}, step)
    saver.save()
    """
    run_script(script, env={"HYPERTUNER_RUN": "r"})
    done = run_script(script, env={"HYPERTUNER_RUN": "r", "HYPERTUNER_RESUME": "last"})
    assert "your loop restarts at 0" in done.stderr


def test_asking_where_the_loop_began_while_it_runs_does_not_set_the_random_states_back(run_script):
    done = run_script(
        """
        import torch, hypertuner
        net = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        with hypertuner.new_run("r"):
            hypertuner.Saver(net, optimizer=optimizer).save(step=0, epoch=0)
        with hypertuner.new_run("r", resume=True):
            saver = hypertuner.Saver(net, optimizer=optimizer)
            torch.rand(3)
            print("starts at", saver.next_epoch)
            torch.rand(3)
            first = None
            for epoch in range(saver.next_epoch, 4):
                drawn = torch.rand(1).item()
                assert drawn != first, "the random states of the checkpoint, once more"
                first = drawn if first is None else first
                net(torch.ones(1, 2)).sum().backward()
                optimizer.step()
                if epoch > saver.next_epoch:
                    print("not the first epoch any more")
        """
    )
    assert done.stdout.splitlines() == ["starts at 1", *["not the first epoch any more"] * 2]


def test_a_save_that_no_loop_could_go_on_from_says_so_at_once(run_script):
    script = """
    import torch, hypertuner
    net = torch.nn.Linear(2, 2)
    saver = hypertuner.Saver(net, optimizer=torch.optim.SGD(net.parameters(), lr=0.1))
    logger = hypertuner.Logger()
    for epoch in range(saver.next_epoch, 3):
        logger.log({"loss": 1.0}, epoch)
        saver.save(GIVEN)
    """
    said = run_script(script.replace("GIVEN", "")).stderr
    assert said.count("saved without its epoch, so no loop could go on here: saver.save(epoch=epoch)") == 1
    assert "without its epoch" not in run_script(script.replace("GIVEN", "epoch=epoch")).stderr
