"""Logger: what log() returned for is on the disk, whatever is logged; and it never raises into training."""

from __future__ import annotations

import json
import math
import os
import signal

import pytest

import hypertuner
from hypertuner.store import Run


def lines(storage):
    (path,) = storage.glob("*/attempts/1/metrics.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def logged(storage):
    (row,) = hypertuner.runs()
    return list(Run(storage / row.name).logged())


def exit_of(storage):
    (path,) = storage.glob("*/attempts/1/exit.json")
    return json.loads(path.read_text())


def test_nan_and_infinity_are_kept_and_shown(run_script, storage):
    run_script(
        """
        import hypertuner
        logger = hypertuner.Logger()
        logger.log({"loss": 1.0, "grad": 2.0}, 0)
        logger.log({"loss": float("nan"), "grad": float("inf"), "low": float("-inf")}, 1)
        """
    )
    assert lines(storage)[1]["values"] == {"loss": None, "grad": None, "low": None}
    assert lines(storage)[1]["nonfinite"] == {"loss": "nan", "grad": "inf", "low": "-inf"}
    (row,) = hypertuner.runs()
    assert math.isnan(row.metrics["loss"])
    assert (row.metrics["grad"], row.metrics["low"], row.lowest["loss"]) == (math.inf, -math.inf, 1.0)


def test_numbers_of_every_kind_are_one_number(run_script, storage):
    run_script(
        """
        import decimal, fractions
        import numpy, torch, hypertuner
        hypertuner.Logger().log({
            "float32": numpy.float32(0.5), "int64": numpy.int64(3), "bool_": numpy.bool_(True),
            "array0": numpy.array(1.5), "array1": numpy.array([2.5]), "nan": numpy.float64("nan"),
            "tensor": torch.tensor(0.25), "bf16": torch.tensor(0.5, dtype=torch.bfloat16),
            "grad": torch.tensor([3.0], requires_grad=True), "int": torch.tensor(7), "flag": True, "text": "warm-up",
            "big": 2**70, "none": None, "deep": {"er": {"still": 1}, "other": 2},
        }, numpy.int64(4))
        """
    )
    (record,) = logged(storage)
    assert record.step == 4
    assert math.isnan(record.values.pop("nan"))
    assert record.values == {
        "float32": 0.5,
        "int64": 3,
        "bool_": True,
        "array0": 1.5,
        "array1": 2.5,
        "tensor": 0.25,
        "bf16": 0.5,
        "grad": 3.0,
        "int": 7,
        "flag": True,
        "text": "warm-up",
        "big": float(2**70),
        "none": None,
        "deep/er/still": 1,
        "deep/other": 2,
    }


def test_bad_values_are_said_once_and_counted_and_the_rest_is_kept(run_script, storage):
    done = run_script(
        """
        import torch, hypertuner
        logger = hypertuner.Logger()
        for step in range(3):
            logger.log({"loss": 1.0, "image": torch.ones(3, 3), "thing": object(), 5: 1.0, "text": "\\ud800"}, step)
        """
    )
    assert done.stderr.count("'image' is torch.Tensor") == 1
    assert done.stderr.count("'thing' is builtins.object") == 1
    assert "6 values of metrics could not be written" in done.stderr
    assert [(record.step, record.values["loss"], record.values["5"]) for record in logged(storage)] == [
        (step, 1.0, 1.0) for step in range(3)
    ]


@pytest.mark.parametrize("bad", ["5", "None", "'loss'", "[1, 2]", "{'x': 1}, -1", "{'x': 1}, 'five'", "{'x': 1}, True"])
def test_a_call_that_cannot_be_recorded_is_said_counted_and_never_raises(run_script, storage, bad):
    done = run_script(
        f"""
        import hypertuner
        logger = hypertuner.Logger()
        logger.log({{"loss": 1.0}}, 0)
        logger.log({bad})
        logger.log({bad})
        logger.log({{"loss": 0.5}}, 1)
        """
    )
    assert done.stderr.count("a record could not be logged") == 1
    assert "2 records of metrics could not be written" in done.stderr
    assert exit_of(storage)["lost_records"] == 2
    assert [record.step for record in logged(storage)] == [0, 1]


def test_missing_steps_count_on_and_a_step_that_falls_back_is_said(run_script, storage):
    done = run_script(
        """
        import hypertuner
        logger = hypertuner.Logger()
        logger.log({"loss": 1.0})
        logger.log({"loss": 1.0}, 10)
        hypertuner.Logger().log({"loss": 1.0})
        logger.log({"acc": 1.0}, 11)
        for epoch in range(2):
            for step in range(3):
                logger.log({"loss": 1.0}, step)
        """
    )
    assert [record.step for record in logged(storage)] == [0, 10, 11, 11, 0, 1, 2, 0, 1, 2]
    assert done.stderr.count("your loop restarts at 0") == 1


def test_eight_threads_at_once_lose_nothing(run_script, storage):
    run_script(
        """
        import threading, hypertuner
        logger = hypertuner.Logger()
        barrier = threading.Barrier(8)
        def work(thread):
            barrier.wait()
            for number in range(250):
                logger.log({"thread": thread, "number": number, "text": "x" * (number % 50)})
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        """
    )
    records = logged(storage)
    assert sorted((record.values["thread"], record.values["number"]) for record in records) == [
        (thread, number) for thread in range(8) for number in range(250)
    ]
    assert sorted(record.step for record in records) == list(range(2000))


def test_what_log_returned_for_survives_kill_minus_9(run_script, storage):
    done = run_script(
        """
        import os, signal, hypertuner
        logger = hypertuner.Logger()
        for step in range(500):
            logger.log({"loss": 1.0 / (step + 1)}, step)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert [record.step for record in logged(storage)] == list(range(500))
    (row,) = hypertuner.runs()
    assert row.state == "crashed"


def test_images_texts_and_histograms_are_kept(run_script, storage):
    pytest.importorskip("PIL")
    run_script(
        """
        import numpy, torch, hypertuner
        logger = hypertuner.Logger()
        logger.log({
            "sample": hypertuner.Image(torch.rand(3, 8, 6), caption="first"),
            "../../evil": hypertuner.Image(numpy.zeros((4, 5), dtype="uint8")),
            "short": hypertuner.Text("hello"),
            "long": hypertuner.Text("x" * 10_000),
            "weights": hypertuner.Histogram(torch.tensor([0.0, 1.0, float("nan")]), bins=2),
        }, 3)
        logger.log({"sample": hypertuner.Image(torch.rand(3, 8, 6))}, 3)
        """
    )
    import PIL.Image

    first, second = logged(storage)
    (media,) = storage.glob("*/attempts/1/media")
    sample = first.values["sample"]
    assert (sample["width"], sample["height"], sample["caption"]) == (6, 8, "first")
    with PIL.Image.open(media / sample["file"]) as picture:
        assert (picture.format, picture.size) == ("PNG", (6, 8))
    assert second.values["sample"]["file"] != sample["file"]
    assert (media / first.values["../../evil"]["file"]).exists()
    assert first.values["short"]["text"] == "hello"
    assert (media / first.values["long"]["file"]).read_text() == "x" * 10_000
    assert first.values["weights"] == {"media": "histogram", "counts": [1, 1], "edges": [0.0, 0.5, 1.0], "nonfinite": 1}
    assert len(list(media.iterdir())) == 4
    (row,) = hypertuner.runs()
    assert row.metrics == {}


def test_one_image_that_cannot_be_written_does_not_take_the_numbers_with_it(run_script, storage):
    done = run_script(
        """
        import hypertuner
        hypertuner.Logger().log({"loss": 1.0, "sample": hypertuner.Image("no-such-file.png")}, 0)
        """
    )
    assert [record.values for record in logged(storage)] == [{"loss": 1.0}]
    assert "no-such-file.png" in done.stderr
    assert "1 values of metrics could not be written" in done.stderr


def test_a_closed_file_never_stops_training(run_script, storage):
    done = run_script(
        """
        import os, hypertuner
        logger = hypertuner.Logger()
        logger.log({"loss": 1.0}, 0)
        os.closerange(3, 64)
        for step in range(1, 4):
            logger.log({"loss": 1.0}, step)
        print("trained")
        """
    )
    assert done.stdout == "trained\n"
    assert done.stderr.count("a record could not be logged") == 1
    assert "3 records of metrics could not be written" in done.stderr
    assert [record.step for record in logged(storage)] == [0]


def test_a_place_where_no_storage_can_be_never_stops_training(run_script, tmp_path):
    (tmp_path / "storage").write_text("a file, where the folder should be")
    done = run_script(
        """
        import hypertuner
        for step in range(3):
            hypertuner.Logger().log({"loss": 1.0}, step)
        print("trained")
        """
    )
    assert done.stdout == "trained\n"
    assert done.stderr.count("a record could not be logged") == 1


@pytest.mark.skipif(os.name != "posix", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_is_said_once_and_what_fits_again_later_is_whole(run_script, storage):
    done = run_script(
        """
        import resource, signal, hypertuner
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        logger = hypertuner.Logger()
        logger.log({"loss": 1.0, "text": "x" * 500}, 0)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        for step in range(1, 5):
            logger.log({"loss": 1.0, "text": "x" * 500}, step)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        logger.log({"loss": 0.5}, 5)
        print("trained")
        """
    )
    assert done.stdout == "trained\n"
    assert done.stderr.count("a record could not be logged") == 1
    assert [record.step for record in logged(storage)] == [0, 5]
    assert exit_of(storage)["lost_records"] == 4
