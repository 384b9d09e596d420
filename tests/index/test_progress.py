"""Progress is learnt from steps, and nothing is claimed where nothing is known."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypertuner.index.progress import Learnt, pace_s, says_how_long
from hypertuner.index.runs import runs
from hypertuner.index.table import RunRow
from hypertuner.store import Storage, metrics, records
from hypertuner.store.metrics import Record


@pytest.fixture
def made(storage):
    """`made("a", {"epochs": 3}, [0, 1, 2])`: a run that logged at these steps, a second each; finished or not."""

    def make(name, config, steps, *, state="finished", script="train.py", folder="/project", asked=()):
        record = records.RunRecord(script, (), folder, records.now(), asked=tuple(asked))
        run = Storage(storage).create(name, record, config)
        about = {"python": "", "platform": "", "user": ""}
        attempt = run.claim_attempt(records.Started.here(exit_by="script", config=config, **about))
        attempt.layout.metrics.write_bytes(
            b"".join(metrics.encode(step, float(number), {"loss": 1.0}) for number, step in enumerate(steps))
        )
        if state is not None:
            run.end_attempt(attempt, records.Exit(state, 0, None, "the script ended", records.now()))
        return run

    return make


def last_step(storage: Path, name: str) -> int | None:
    table = runs(storage=str(storage))
    return Learnt(table.rows).last_step(table[name])


def records_at(times: list[float], stride: int = 1) -> list[Record]:
    return [Record(number * stride, when, {}) for number, when in enumerate(times)]


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("epochs", True),
        ("max_steps", True),
        ("train.num_train_epochs", True),
        ("maxIters", True),
        ("total_timesteps", True),
        ("warmup_steps", False),
        ("eval_every_steps", False),
        ("lr_decay_epochs", False),
        ("steps_per_epoch", False),
        ("gradient_accumulation_steps", False),
        ("log_interval", False),
        ("learning_rate", False),
        ("max_grad_norm", False),
    ],
)
def test_a_setting_that_says_how_long_a_run_trains_is_known_by_its_name(key, says):
    assert says_how_long(key) is says


def test_a_run_is_expected_to_end_where_one_with_the_same_length_did(storage, made):
    made("old", {"epochs": 10, "lr": 0.1}, range(10))
    made("other", {"epochs": 50, "lr": 0.2}, range(50))
    made("now", {"epochs": 10, "lr": 0.2}, range(3), state=None)
    assert last_step(storage, "now") == 9


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (range(10), 19),  # 0, 1, …, 9
        (range(1, 11), 20),  # 1, 2, …, 10
        (range(0, 1000, 100), 1900),
        (range(937, 9371, 937), 18740),  # once an epoch, counted in batches
    ],
)
def test_where_only_the_length_differs_it_is_scaled_however_steps_are_counted(storage, made, before, expected):
    made("old", {"epochs": 10}, before)
    made("now", {"epochs": 20}, list(before)[:2], state=None)
    assert last_step(storage, "now") == expected


def test_nothing_is_claimed_where_nothing_is_known(storage, made):
    made("alone", {"epochs": 10}, range(3), state=None)
    assert last_step(storage, "alone") is None
    made("failed", {"epochs": 10}, range(2), state="failed")
    made("another-script", {"epochs": 10}, range(10), script="eval.py")
    made("another-project", {"epochs": 10}, range(10), folder="/elsewhere")
    made("two-lengths", {"epochs": 20, "max_steps": 5}, range(10))
    made("no-number", {"epochs": "all"}, range(10))
    assert last_step(storage, "alone") is None


def test_runs_that_contradict_each_other_tell_nothing(storage, made):
    """Early stopping: the same settings end anywhere."""
    for number, steps in enumerate((5, 40, 90)):
        made(f"old-{number}", {"epochs": 100, "seed": number}, range(steps))
    made("now", {"epochs": 100, "seed": 9}, range(3), state=None)
    assert last_step(storage, "now") is None


def test_the_runs_that_are_most_alike_tell(storage, made):
    """Twice the batch is half the steps."""
    made("small", {"epochs": 1, "batch_size": 16}, range(200))
    made("large", {"epochs": 1, "batch_size": 32}, range(100))
    made("now", {"epochs": 1, "batch_size": 32, "lr": 0.1}, range(3), state=None)
    assert last_step(storage, "now") == 99


def test_a_run_that_waits_is_like_those_that_took_the_same_defaults(storage, made):
    made("asked", {"epochs": 100}, range(100), asked=["epochs"])
    made("default", {"epochs": 10}, range(10))
    table = runs(storage=str(storage))
    record = records.RunRecord("train.py", (), "/project", records.now())
    run = Storage(storage).create("waits", record, {})
    waits = RunRow(name="waits", state="queued", script="train.py", folder=str(run.folder))
    assert Learnt(table.rows).last_step(waits) == 9


def test_a_run_that_went_on_past_what_was_learnt_has_no_end_that_is_known(storage, made):
    made("old", {"epochs": 10}, range(10))
    made("now", {"epochs": 10}, range(15), state=None)
    table = runs(storage=str(storage))
    progress = Learnt(table.rows).progress(table["now"], records_at([float(n) for n in range(15)]))
    assert (progress.step, progress.last_step, progress.left_s, progress.share) == (14, None, None, None)


def test_what_is_left_goes_down_while_a_step_takes_its_time_and_no_further(storage, made):
    made("old", {"epochs": 10}, range(10))
    made("now", {"epochs": 10}, range(5), state=None)
    table = runs(storage=str(storage))
    learnt, logged = Learnt(table.rows), records_at([60.0 * n for n in range(5)])
    left = [learnt.progress(table["now"], logged, since).left_s for since in (0, 30, 60, 3600)]
    assert left == [300, 270, 240, 240]
    assert learnt.progress(table["now"], logged).share == pytest.approx(4 / 9)


gaps = st.lists(st.floats(0.5, 2.0), min_size=8, max_size=120)


@given(gaps, st.integers(1, 1000))
def test_the_pace_is_the_mean_of_steady_gaps_and_counts_in_steps(lengths, stride):
    times = [sum(lengths[:n]) for n in range(len(lengths) + 1)]
    assert pace_s(records_at(times, stride)) == pytest.approx(sum(lengths) / len(lengths) / stride)


@given(gaps, st.data())
def test_a_laptop_that_slept_does_not_spoil_the_pace(lengths, data):
    awake = sum(lengths) / len(lengths)
    at = data.draw(st.integers(0, len(lengths)))
    with_sleep = [*lengths[:at], data.draw(st.floats(60, 1e6)), *lengths[at:]]
    times = [sum(with_sleep[:n]) for n in range(len(with_sleep) + 1)]
    assert pace_s(records_at(times)) == pytest.approx(awake)


def test_an_evaluation_each_epoch_counts_and_a_night_among_them_does_not():
    lengths = ([1.0] * 29 + [60.0]) * 6
    times = [sum(lengths[:n]) for n in range(len(lengths) + 1)]
    assert pace_s(records_at(times)) == pytest.approx(89 / 30, rel=0.01)
    lengths[40] = 8 * 3600.0
    times = [sum(lengths[:n]) for n in range(len(lengths) + 1)]
    assert pace_s(records_at(times)) == pytest.approx(89 / 30, rel=0.02)


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 1e9)), max_size=60))
def test_whatever_was_logged_a_pace_is_a_time_or_not_known(pairs):
    pace = pace_s([Record(step, when, {}) for step, when in pairs])
    assert pace is None or pace >= 0


def test_fewer_than_three_steps_tell_no_pace_and_only_the_last_stretch_counts():
    assert pace_s(records_at([0.0, 1.0])) is None
    again = [*records_at([0.0, 50.0, 100.0, 150.0]), *records_at([200.0, 201.0, 202.0, 203.0])]
    assert pace_s(again) == pytest.approx(1.0)
