"""Fork: a new run continues another's full state, and its own settings win. What is right, and what is refused."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

import hypertuner
from hypertuner.store import Run, Storage

S = torch.optim.lr_scheduler

DATA = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(1))


def build(hidden=6, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, hidden), nn.Tanh(), nn.Linear(hidden, 1))


def train(net, optimizer, scheduler, epochs, saver=None, by_hand=None):
    """Losses and rates, epoch by epoch, from the epoch that the Saver says; one checkpoint an epoch."""
    seen = []
    logger = hypertuner.Logger()
    for epoch in range(saver.next_epoch if saver else 0, epochs):
        rates = [group["lr"] for group in optimizer.param_groups]
        loss = net(DATA[epoch % len(DATA)]).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append((epoch, loss.item().hex(), rates))
        for each in scheduler if isinstance(scheduler, list) else [scheduler] if scheduler else []:
            each.step(loss.item()) if isinstance(each, S.ReduceLROnPlateau) else each.step()
        if by_hand:
            by_hand(optimizer)
        logger.log({"loss": loss}, epoch)
        if saver:
            saver.save(epoch=epoch)
    return seen


def sgd(net, lr):
    return torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)


def adamw(net, lr):
    return torch.optim.AdamW(net.parameters(), lr=lr)


SCHEDULERS = {
    "StepLR": lambda o, lr: S.StepLR(o, 2, 0.5),
    "MultiStepLR": lambda o, lr: S.MultiStepLR(o, [1, 3], 0.3),
    "CosineAnnealingLR": lambda o, lr: S.CosineAnnealingLR(o, 8),
    "OneCycleLR": lambda o, lr: S.OneCycleLR(o, lr, total_steps=12),
    "LambdaLR": lambda o, lr: S.LambdaLR(o, lambda epoch: min(1.0, (epoch + 1) / 7)),
    "SequentialLR": lambda o, lr: S.SequentialLR(
        o, [S.LinearLR(o, 0.1, total_iters=2), S.CosineAnnealingLR(o, 9)], [2]
    ),
    "CosineAnnealingWarmRestarts": lambda o, lr: S.CosineAnnealingWarmRestarts(o, 2, 2),
    "ExponentialLR": lambda o, lr: S.ExponentialLR(o, 0.8),
    "CyclicLR": lambda o, lr: S.CyclicLR(o, lr / 10, lr, step_size_up=3),
    "PolynomialLR": lambda o, lr: S.PolynomialLR(o, 9, 2.0),
    "ChainedScheduler": lambda o, lr: S.ChainedScheduler([S.LinearLR(o, 0.2), S.ExponentialLR(o, 0.9)]),
    "MultiplicativeLR": lambda o, lr: S.MultiplicativeLR(o, lambda epoch: 0.9),
    "ReduceLROnPlateau": lambda o, lr: S.ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=0.5),
}


def parent_of(name, optimizer, schedule, lr=0.1, epochs=4, **more):
    with hypertuner.new_run("parent", lr=lr):
        net = build()
        o = optimizer(net, lr)
        s = schedule(o, lr) if schedule else None
        saver = hypertuner.Saver(net, optimizer=o, scheduler=s)
        return train(net, o, s, epochs, saver, **more)


@pytest.mark.parametrize("make", [sgd, adamw])
@pytest.mark.parametrize("name", [*SCHEDULERS, None])
def test_a_fork_with_nothing_changed_goes_on_digit_for_digit(storage, name, make):
    schedule = SCHEDULERS[name] if name else None
    with hypertuner.new_run("whole", lr=0.1):
        net = build()
        o = make(net, 0.1)
        whole = train(net, o, schedule(o, 0.1) if schedule else None, 8)
    first = parent_of(name, make, schedule)
    with hypertuner.new_run("child", parent="parent@last", how="fork", lr=0.1):
        net = build(seed=9)
        o = make(net, 0.1)
        s = schedule(o, 0.1) if schedule else None
        saver = hypertuner.Saver(net, optimizer=o, scheduler=s)
        assert (saver.next_epoch, saver.next_step) == (4, 4)
        rest = train(net, o, s, 8, saver)
    assert first + rest == whole


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name != "ReduceLROnPlateau"])
def test_a_changed_rate_gives_the_rate_that_its_own_schedule_has_at_that_count(storage, name):
    schedule = SCHEDULERS[name]
    parent_of(name, sgd, schedule)
    twin = sgd(build(), 0.02)
    reference = schedule(twin, 0.02)
    rates, momenta = [], []
    for _ in range(8):
        rates.append(twin.param_groups[0]["lr"])
        momenta.append(twin.param_groups[0]["momentum"])
        twin.step()
        reference.step()
    with hypertuner.new_run("child", parent="parent@last", how="fork", lr=0.02):
        net = build(seed=9)
        o = sgd(net, 0.02)
        s = schedule(o, 0.02)
        saver = hypertuner.Saver(net, optimizer=o, scheduler=s)
        assert o.param_groups[0]["momentum"] == momenta[4]
        rest = train(net, o, s, 8, saver)
    assert [rate for _, _, (rate,) in rest] == rates[4:]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lambda o: S.StepLR(o, 2, 0.5), lambda o: S.StepLR(o, 3, 0.1)),
        (lambda o: S.CosineAnnealingLR(o, 8), lambda o: S.CosineAnnealingLR(o, 20, eta_min=0.01)),
        (lambda o: S.LambdaLR(o, lambda e: 0.95**e), lambda o: S.LambdaLR(o, lambda e: 0.5**e)),
        (lambda o: S.OneCycleLR(o, 0.1, total_steps=12), lambda o: S.OneCycleLR(o, 0.1, total_steps=30)),
        (lambda o: S.MultiStepLR(o, [1]), lambda o: S.MultiStepLR(o, [2, 3, 6], 0.5)),
        (lambda o: S.CosineAnnealingWarmRestarts(o, 3), lambda o: S.CosineAnnealingWarmRestarts(o, 5, 2)),
    ],
)
def test_a_changed_schedule_gives_its_own_rate_at_that_count(storage, before, after):
    parent_of("", sgd, lambda o, lr: before(o))
    twin = sgd(build(), 0.1)
    reference = after(twin)
    for _ in range(4):
        twin.step()
        reference.step()
    with hypertuner.new_run(parent="parent@last", how="fork", lr=0.1):
        o = sgd(net := build(seed=9), 0.1)
        hypertuner.Saver(net, optimizer=o, scheduler=after(o))
        assert o.param_groups[0]["lr"] == twin.param_groups[0]["lr"]


def test_warm_restarts_that_were_stepped_within_epochs_are_taken_to_the_same_fraction(storage):
    with hypertuner.new_run("parent"):
        o = sgd(net := build(), 0.1)
        s = S.CosineAnnealingWarmRestarts(o, 3)
        saver = hypertuner.Saver(net, optimizer=o, scheduler=s)
        o.step()
        s.step(4.25)
        saver.save(epoch=4)
    twin = sgd(build(), 0.02)
    S.CosineAnnealingWarmRestarts(twin, 5).step(4.25)
    with hypertuner.new_run(parent="parent", how="fork"):
        o = sgd(net := build(), 0.02)
        hypertuner.Saver(net, optimizer=o, scheduler=S.CosineAnnealingWarmRestarts(o, 5))
        assert o.param_groups[0]["lr"] == pytest.approx(twin.param_groups[0]["lr"], rel=1e-12)


def test_a_rate_that_the_script_lowered_by_hand_goes_on_unless_its_setting_changed(storage):
    def halve(optimizer):
        optimizer.param_groups[0]["lr"] /= 2

    parent_of("", sgd, None, by_hand=halve)
    for lr, expected in ((0.1, 0.1 / 16), (0.3, 0.3)):
        with hypertuner.new_run(parent="parent@last", how="fork", lr=lr):
            o = sgd(net := build(), lr)
            hypertuner.Saver(net, optimizer=o)
            assert o.param_groups[0]["lr"] == expected


def refused(make, match, lr=0.1):
    with (
        pytest.raises(hypertuner.CheckpointError, match=match) as caught,
        hypertuner.new_run(parent="parent@last", how="fork", lr=lr),
    ):
        o = sgd(net := build(), lr)
        hypertuner.Saver(net, optimizer=o, scheduler=make(o, lr))
    assert "--from" in str(caught.value)


def test_plateau_with_a_changed_rate_is_refused_with_advice(storage):
    parent_of("", sgd, SCHEDULERS["ReduceLROnPlateau"])
    refused(SCHEDULERS["ReduceLROnPlateau"], r"changed learning rate \(0\.1 → 0\.02\)", lr=0.02)
    refused(lambda o, lr: S.ReduceLROnPlateau(o, mode="max"), "mode='max'")


def test_plateau_with_other_settings_keeps_its_counters_and_reduced_rate(storage):
    parent_of("", sgd, SCHEDULERS["ReduceLROnPlateau"])
    saved = torch.load(storage / "parent/model.pt")["training"]
    with hypertuner.new_run(parent="parent@last", how="fork", lr=0.1):
        o = sgd(net := build(), 0.1)
        s = S.ReduceLROnPlateau(o, factor=0.9, patience=3)
        hypertuner.Saver(net, optimizer=o, scheduler=s)
    assert o.param_groups[0]["lr"] == saved["optimizer"]["param_groups"][0]["lr"] < 0.1
    assert (s.factor, s.patience) == (0.9, 3)
    assert (s.best, s.num_bad_epochs) == (saved["scheduler"]["best"], saved["scheduler"]["num_bad_epochs"])


@pytest.mark.parametrize("name", ["ExponentialLR", "ReduceLROnPlateau"])
def test_a_scheduler_without_its_optimizer_has_the_right_rate_or_is_refused(storage, name):
    with hypertuner.new_run("parent", lr=0.1):
        o = sgd(net := build(), 0.1)
        s = SCHEDULERS[name](o, 0.1)
        train(net, o, s, 3, hypertuner.Saver(net, scheduler=s))
    with hypertuner.new_run(parent="parent@last", how="fork", lr=0.1):
        fresh = sgd(net := build(), 0.1)
        s = SCHEDULERS[name](fresh, 0.1)
        if name == "ReduceLROnPlateau":
            with pytest.raises(hypertuner.CheckpointError, match="without its optimizer"):
                hypertuner.Saver(net, scheduler=s)
        else:
            hypertuner.Saver(net, scheduler=s)
            assert fresh.param_groups[0]["lr"] == o.param_groups[0]["lr"]


def test_one_cycle_beyond_its_total_is_refused_with_advice(storage):
    parent_of("", sgd, SCHEDULERS["OneCycleLR"])
    refused(lambda o, lr: S.OneCycleLR(o, lr, total_steps=3), "the parent was at step 4")


def test_a_plateau_inside_another_scheduler_is_refused_when_it_changed(storage):
    class Both(S.LRScheduler):
        def __init__(self, o, factor):
            self._schedulers = [S.ReduceLROnPlateau(o, factor=factor)]
            super().__init__(o)

        def get_lr(self):
            return [group["lr"] for group in self.optimizer.param_groups]

        def state_dict(self):
            return {"last_epoch": self.last_epoch, "_schedulers": [self._schedulers[0].state_dict()]}

    parent_of("", sgd, lambda o, lr: Both(o, 0.5))
    refused(lambda o, lr: Both(o, 0.2), "around ReduceLROnPlateau")


def test_a_scheduler_that_is_not_torchs_is_refused_when_it_changed(storage):
    class Own:
        def __init__(self, factor):
            self.factor, self.count = factor, 0

        def step(self):
            self.count += 1

        def state_dict(self):
            return vars(self)

        def load_state_dict(self, state):
            vars(self).update(state)

    parent_of("", sgd, lambda o, lr: Own(0.5))
    refused(lambda o, lr: Own(0.2), "no scheduler of torch")
    with hypertuner.new_run(parent="parent@last", how="fork", lr=0.1):
        o = sgd(net := build(), 0.1)
        hypertuner.Saver(net, optimizer=o, scheduler=(s := Own(0.5)))
    assert s.count == 4


@pytest.mark.parametrize("make", [sgd, adamw])
def test_a_changed_setting_wins_and_state_is_kept_by_name(storage, make):
    parent_of("", make, None)
    saved = torch.load(storage / "parent/model.pt")
    with hypertuner.new_run(parent="parent@last", how="fork", lr=0.02):
        net = build(seed=9)
        # Re-ordered, split into two groups, and one of them with a decay of its own.
        names = {parameter: name for name, parameter in net.named_parameters()}
        groups = [
            {"params": [net[2].bias, net[0].weight]},
            {"params": [net[2].weight, net[0].bias], "weight_decay": 0.5},
        ]
        o = type(make(net, 1))(groups, lr=0.02, **({"momentum": 0.8} if make is sgd else {"betas": (0.8, 0.9)}))
        hypertuner.Saver(net, optimizer=o)
    assert [group["lr"] for group in o.param_groups] == [0.02, 0.02]
    assert o.param_groups[1]["weight_decay"] == 0.5
    assert (o.param_groups[0]["momentum"] == 0.8) if make is sgd else (o.param_groups[0]["betas"] == (0.8, 0.9))
    before = {
        name: saved["training"]["optimizer"]["state"][number]
        for number, name in enumerate(saved["training"]["names"]["optimizer"][0])
    }
    assert set(before) == set(names.values())
    for parameter, name in names.items():
        for key, value in before[name].items():
            assert torch.equal(o.state[parameter][key], value), (name, key)


def test_frozen_parameters_lose_their_state_and_it_is_said(storage, capfd):
    parent_of("", adamw, None)
    saved = torch.load(storage / "parent/model.pt")["training"]
    with hypertuner.new_run("child", parent="parent@last", how="fork", lr=0.1):
        net = build()
        net[0].requires_grad_(False)
        o = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.1)
        hypertuner.Saver(net, optimizer=o)
        hypertuner.Logger().log({"a": 1})
    at = saved["names"]["optimizer"][0].index("2.weight")
    assert torch.equal(o.state[net[2].weight]["exp_avg"], saved["optimizer"]["state"][at]["exp_avg"])
    assert len(o.state) == 2
    said = "optimizer state of 0.weight (not trained by this optimizer), 0.bias (not trained by this optimizer)"
    assert said in capfd.readouterr().err
    assert list(Run(storage / "child").attempts()[0].loaded().left) == [said]


def test_new_and_reshaped_layers_start_anew_and_are_named_with_the_setting_that_explains_them(storage, capfd):
    with hypertuner.new_run("parent", hidden=6, depth=1):
        net = build(6)
        o = adamw(net, 0.1)
        train(net, o, None, 3, hypertuner.Saver(net, optimizer=o, ema=torch.optim.swa_utils.AveragedModel(net)))
    with hypertuner.new_run(parent="parent", how="fork", hidden=6, depth=1, classes=3):
        net = nn.Sequential(*build(6)[:2], nn.Linear(6, 3), nn.Linear(3, 3))
        before = net[3].weight.clone()
        o = adamw(net, 0.1)
        ema = torch.optim.swa_utils.AveragedModel(net)
        saver = hypertuner.Saver(net, optimizer=o, ema=ema)
        assert torch.equal(net[3].weight, before)
        assert set(map(id, o.state)) == {id(net[0].weight), id(net[0].bias)}
        saved = torch.load(storage / "parent/model.pt")["training"]["ema"]
        assert torch.equal(ema.module[0].weight, saved["module.0.weight"])
        assert saver.next_epoch == 3
    said = capfd.readouterr().err
    assert "config: classes not set → 3" in said
    assert "2.weight 1×6→3×6" in said
    assert "not in the file: 3.weight, 3.bias" in said
    assert "2.weight (another shape)" in said


@pytest.mark.parametrize("how", ["fork", "resume"])
def test_weights_that_hardly_fit_are_refused_by_the_name_of_their_checkpoint_with_what_explains_it(storage, how):
    def start(width):
        net = nn.Linear(4, width)
        return hypertuner.Saver(net, optimizer=sgd(net, 0.1))

    with hypertuner.new_run("parent", width=3):
        start(3).save(epoch=0)
    if how == "fork":
        begun = hypertuner.new_run("child", parent="parent@last", how="fork", width=8)
    else:
        begun = hypertuner.new_run("parent", resume="last", width=3)
    with pytest.raises(hypertuner.MismatchError) as raised, begun:
        start(8)
    said = str(raised.value)
    assert said.startswith("The weights of parent@last do not fit this model")
    assert "weight 3×4→8×4" in said
    assert ("probably because width 3→8" in said) == (how == "fork")
    assert ("--from parent@last" in said) == (how == "resume")
    assert "strict=False" not in said


def test_two_optimizers_are_forked_each_by_its_own_rule(storage):
    def parts(lr_d):
        g, d = build(), build(seed=3)
        o = {"G": adamw(g, 0.1), "D": adamw(d, lr_d)}
        s = {"G": S.ExponentialLR(o["G"], 0.5), "D": S.ExponentialLR(o["D"], 0.5)}
        return {"G": g, "D": d}, o, s

    with hypertuner.new_run("parent"):
        model, o, s = parts(0.1)
        saver = hypertuner.Saver(model, optimizer=o, scheduler=s)
        for key in o:
            model[key](DATA[0]).sum().backward()
            o[key].step()
            s[key].step()
        o["G"].param_groups[0]["lr"] = 0.04  # by hand
        saver.save(epoch=0)
    with hypertuner.new_run(parent="parent", how="fork"):
        model, o, s = parts(0.6)
        hypertuner.Saver(model, optimizer=o, scheduler=s)
    assert o["G"].param_groups[0]["lr"] == 0.04
    assert o["D"].param_groups[0]["lr"] == 0.3


def test_schedulers_that_share_an_optimizer_are_stepped_together_or_refused(storage):
    def pair(o, lr, gamma=0.9):
        return {"cosine": S.CosineAnnealingLR(o, 9), "decay": S.ExponentialLR(o, gamma)}

    def parent(name, uneven):
        with hypertuner.new_run(name, lr=0.1):
            o = sgd(net := build(), 0.1)
            s = pair(o, 0.1)
            saver = hypertuner.Saver(net, optimizer=o, scheduler=s)
            train(net, o, list(s.values()), 3)
            if uneven:
                s["decay"].step()
            saver.save(epoch=2)

    parent("even", False)
    twin = sgd(build(), 0.02)
    both = pair(twin, 0.02, 0.5)
    for _ in range(3):
        twin.step()
        for each in both.values():
            each.step()
    with hypertuner.new_run(parent="even", how="fork"):
        o = sgd(net := build(), 0.02)
        hypertuner.Saver(net, optimizer=o, scheduler=pair(o, 0.02, 0.5))
    assert o.param_groups[0]["lr"] == twin.param_groups[0]["lr"]
    parent("parent", True)
    refused(lambda o, lr: pair(o, lr, 0.5), "stepped unlike")


def test_another_optimizer_starts_anew_and_it_is_said(storage, capfd):
    parent_of("", sgd, None)
    with hypertuner.new_run(parent="parent@last", how="fork", lr=0.1):
        o = adamw(net := build(), 0.1)
        hypertuner.Saver(net, optimizer=o)
    assert not o.state
    said = capfd.readouterr().err
    assert "optimizer: its state is that of SGD, this is AdamW" in said
    assert "(step 3, epoch 3): model, random states restored" in said


def test_a_scaler_keeps_its_own_settings_and_the_parents_scale(storage):
    with hypertuner.new_run("parent"):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=7)
        scaler.scale(torch.ones(1))
        hypertuner.Saver(build(), scaler=scaler).save(epoch=0)
    with hypertuner.new_run(parent="parent", how="fork"):
        scaler = torch.amp.GradScaler("cpu", growth_interval=99)
        hypertuner.Saver(build(), scaler=scaler)
    assert (scaler.get_scale(), scaler.get_growth_interval()) == (2.0**10, 99)


# Charts: the path of a fork leads through its parent up to the point where it went on.


def curve(storage, name):
    return [(record.step, record.values["loss"]) for record in Run(storage / name).logged()]


def stretch(name, steps, save_at=(), parent=None, how="fork", scale=1.0, resume=False):
    """A run that logs twice a step of its own count, and saves under another count."""
    more = {"resume": True} if resume else {}
    with hypertuner.new_run(name, parent=parent, how=how, **more):
        o = sgd(net := nn.Linear(1, 1), 0.1)
        saver = hypertuner.Saver(net, optimizer=o, keep_last=10)
        logger = hypertuner.Logger()
        for step in steps:
            logger.log({"loss": step * scale}, step)
            if step in save_at:
                saver.save(step=step * 1000)


def test_the_chart_of_a_fork_is_its_parents_up_to_the_fork_and_its_own(storage):
    stretch("parent", range(10), save_at=(3, 7))
    stretch("child", range(4, 8), save_at=(6,), parent="parent@3000", scale=-1)
    assert curve(storage, "child") == [(s, float(s)) for s in range(4)] + [(s, -float(s)) for s in range(4, 8)]
    stretch("grandchild", range(7, 9), parent="child@6000", scale=100)
    assert curve(storage, "grandchild") == [*curve(storage, "child")[:-1], (7, 700.0), (8, 800.0)]
    assert curve(storage, "parent") == [(s, float(s)) for s in range(10)]


def test_a_fork_of_a_resumed_run_leads_through_both_attempts(storage):
    stretch("parent", range(6), save_at=(2,))
    stretch("parent", range(3, 6), save_at=(4,), scale=10, resume=True)
    stretch("child", [5], parent="parent@4000", scale=-1)
    assert [value for _, value in curve(storage, "child")] == [0, 1, 2, 30, 40, -5]
    # A checkpoint of the first attempt that is on the path: forked where it lies.
    stretch("other", [3], parent="parent@2000", scale=-1)
    assert [value for _, value in curve(storage, "other")] == [0, 1, 2, -3]


def test_a_fork_outlives_its_parent(storage):
    stretch("parent", range(5), save_at=(3,))
    stretch("child", [4], save_at=(4,), parent="parent@last", scale=-1)
    Storage().delete(Run(storage / "parent"))
    assert curve(storage, "child") == [(4, -4.0)]
    assert hypertuner.load(storage / "child/parent.pt", weights=True)
    # Another run that takes its name is not taken for it.
    stretch("parent", range(5), scale=77)
    assert curve(storage, "child") == [(4, -4.0)]


def test_a_run_that_starts_from_weights_has_a_chart_of_its_own(storage):
    stretch("parent", range(5), save_at=(3,))
    stretch("child", range(2), parent="parent@last", how="start from", scale=-1)
    assert curve(storage, "child") == [(0, 0.0), (1, -1.0)]


def test_the_changed_config_is_said_when_weights_are_taken_over(storage, capfd):
    parent_of("", sgd, None)
    with hypertuner.new_run("child", parent="parent", lr=0.3, epochs=2):
        hypertuner.Saver(build())
        hypertuner.Logger().log({"loss": 1})
    said = capfd.readouterr().err
    assert "starts from parent" in said
    assert "config: lr 0.1 → 0.3, epochs not set → 2" in said
    assert "kept 4 of 4 tensors, 100.0 % of parameters" in said
    record = json.loads((storage / "child/run.json").read_text())["parent"]
    assert (record["how"], record["run"], record["step"]) == ("start from", "parent", 3)
    assert math.isclose(Run(storage / "child").attempts()[0].loaded().share, 1.0)
