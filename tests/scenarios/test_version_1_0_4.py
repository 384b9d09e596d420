"""Scripts written for hypertuner 1.0.4 run unchanged, and the folders it left are read, shown and continued."""

from __future__ import annotations

import csv
import json
import math
import time
from pathlib import Path

import pytest

import hypertuner
from hypertuner.store import Run

# A script as 1.0.4's README had it: no defaults, no names for arguments, one dict used over and over.
SCRIPT = """
import hypertuner
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.fc = nn.Linear(4, hidden)

args = hypertuner.Args()
assert args.conf["lr"] == args.lr == 0.1
assert args.conf["optimizer"]["name"] == args.optimizer["name"] == "sgd"
assert sorted(args.conf) == ["hidden", "lr", "optimizer"]
net = Net(args.hidden)
logger = hypertuner.Logger()
saver = hypertuner.Saver(net)
stats = {}
for frame in range(3):
    stats["loss"] = 1.0 / (frame + 1)
    stats["accuracy"] = 0.5
    logger.log(stats, frame)
logger.log({"reward": 7.0})
saver.save()
"""
CONFIG = {"lr": 0.1, "hidden": 3, "optimizer": {"name": "sgd"}}


@pytest.fixture
def config(storage):
    """The config.json that 1.0.4's GUI wrote for a run called foo, and nothing else."""
    (storage / "foo").mkdir(parents=True)
    path = storage / "foo" / "config.json"
    path.write_text(json.dumps(CONFIG))
    return path


def write_old_metrics(path: Path, *records: tuple[dict[str, object], object]) -> None:
    """What `Logger.log(logs, framenum)` of 1.0.4 left: the frame put into the dict, the header once, then rows."""
    for logs, framenum in records:
        row = {**logs, "frame": time.time() if framenum is None else framenum}
        if not path.exists():
            with open(path, mode="w") as file:
                csv.DictWriter(file, fieldnames=row.keys()).writeheader()
        with open(path, mode="a") as file:
            csv.DictWriter(file, fieldnames=row.keys()).writerow(row)


# What `Saver(net).save()` of 1.0.4 did: torch.save(self.model, self.path), the class being the script's own.
OLD_SAVE = """
import sys, torch
from torch import nn

class Net(nn.Module):
    def __init__(self, hidden=3):
        super().__init__()
        self.fc = nn.Linear(4, hidden)

if __name__ == "__main__":
    torch.manual_seed(0)
    torch.save(Net(), sys.argv[1])
"""


@pytest.fixture
def old_folder(config, run_script):
    """A run as 1.0.4 left it: config.json, logs.csv and a whole-object model.pt."""
    folder = config.parent
    write_old_metrics(folder / "logs.csv", ({"loss": 1.0, "acc": 0.5}, 0), ({"loss": 0.25, "acc": 0.9}, 10))
    run_script(OLD_SAVE, folder / "model.pt", name="old.py", env={"HYPERTUNER_MODE": "off"})
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "logs.csv", "model.pt"]
    return folder


def records_of(folder: Path, attempt: int = 1) -> list[dict[str, object]]:
    lines = (folder / f"attempts/{attempt}/metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_an_old_script_runs_unchanged_in_its_folder(run_script, config, storage):
    written = config.read_bytes()
    run_script(SCRIPT, "--config=storage/foo/config.json")
    assert [path.name for path in storage.iterdir() if path.is_dir()] == ["foo"]
    assert [(record["step"], record["values"]) for record in records_of(config.parent)] == [
        (0, {"loss": 1.0, "accuracy": 0.5}),
        (1, {"loss": 0.5, "accuracy": 0.5}),
        (2, {"loss": 1 / 3, "accuracy": 0.5}),
        (3, {"reward": 7.0}),
    ]
    assert hypertuner.inspect(config.parent / "model.pt").hyperparameters == {
        "lr": 0.1,
        "hidden": 3,
        "optimizer.name": "sgd",
    }
    (row,) = hypertuner.runs()
    assert (row.name, row.state, row.config["lr"], row.metrics["reward"]) == ("foo", "finished", 0.1, 7.0)
    assert json.loads(written).keys() <= {"lr", "hidden", "optimizer"}


@pytest.mark.parametrize(
    "where", ["storage/foo/config.json", "{tmp}/storage/foo/config.json", "./storage/foo/config.json"]
)
def test_the_config_may_be_named_by_any_path_to_it(run_script, config, tmp_path, where):
    run_script(
        "import hypertuner\nassert hypertuner.Args().lr == 0.1\nhypertuner.Logger().log({'loss': 1})\n",
        f"--config={where.format(tmp=tmp_path)}",
    )
    assert len(records_of(config.parent)) == 1


def test_the_old_names_of_logs_arguments_still_work(run_script, config):
    run_script(
        "import hypertuner\nhypertuner.Logger().log(logs={'loss': 1.5}, framenum=7)\n",
        "--config=storage/foo/config.json",
    )
    (record,) = records_of(config.parent)
    assert (record["step"], record["values"]) == (7, {"loss": 1.5})


def test_a_fractional_frame_is_kept_as_the_time_and_steps_count_on(run_script, config):
    run_script(
        """
        import hypertuner
        logger = hypertuner.Logger()
        logger.log({"loss": 3.0}, 1600000000.25)
        logger.log({"loss": 2.0}, 1600000001.5)
        logger.log({"loss": 1.0}, 2.0)
        """,
        "--config=storage/foo/config.json",
    )
    assert [(record["step"], record["values"]["loss"]) for record in records_of(config.parent)] == [
        (0, 3.0),
        (1, 2.0),
        (2, 1.0),
    ]
    assert [record["time"] for record in records_of(config.parent)[:2]] == [1600000000.25, 1600000001.5]


def test_a_dict_that_is_logged_is_left_as_it_was(run_script, config):
    run_script(
        """
        import hypertuner
        stats = {"loss": 1.0}
        hypertuner.Logger().log(stats, 3)
        assert stats == {"loss": 1.0}, stats
        """,
        "--config=storage/foo/config.json",
    )


def test_a_dict_that_still_has_1_0_4s_frame_in_it_is_logged_with_it(run_script, config):
    run_script(
        "import hypertuner\nhypertuner.Logger().log({'loss': 1.0, 'frame': 5}, 6)\n", "--config=storage/foo/config.json"
    )
    assert records_of(config.parent)[0]["values"] == {"loss": 1.0, "frame": 5}


def test_a_missing_config_is_a_clear_error_with_args(run_script, storage):
    done = run_script("import hypertuner\nhypertuner.Args()\n", "--config=storage/foo/config.json", check=False)
    assert done.returncode == 1
    assert "ConfigError" in done.stderr
    assert str(storage / "foo" / "config.json") in done.stderr
    assert not storage.exists()


def test_a_logger_and_saver_alone_need_only_the_folder_of_the_config(run_script, storage):
    (storage / "foo").mkdir(parents=True)
    run_script(
        """
        import hypertuner, torch
        hypertuner.Logger().log({"loss": 1.0}, 0)
        hypertuner.Saver(torch.nn.Linear(2, 2)).save()
        """,
        "--config=storage/foo/config.json",
    )
    assert [path.name for path in storage.iterdir() if path.is_dir()] == ["foo"]
    assert (storage / "foo" / "model.pt").exists()
    assert [row.name for row in hypertuner.runs()] == ["foo"]


def test_old_metrics_show_in_the_table_of_runs(old_folder):
    (row,) = hypertuner.runs()
    assert (row.name, row.state) == ("foo", "finished")
    assert row.metrics == {"loss": 0.25, "acc": 0.9}
    assert row.first == {"loss": 1.0, "acc": 0.5}
    assert row.step == 10
    assert row.config["lr"] == 0.1
    assert [found.name for found in hypertuner.runs("acc > 0.8")] == ["foo"]


def test_old_metrics_without_frames_get_steps_and_keep_their_times(config):
    before = time.time()
    write_old_metrics(config.parent / "logs.csv", *[({"loss": float(number)}, None) for number in range(4)])
    (row,) = hypertuner.runs()
    assert (row.step, row.metrics["loss"]) == (3, 3.0)
    logged = list(Run(config.parent).logged())
    assert [record.step for record in logged] == [0, 1, 2, 3]
    assert all(before - 1 <= record.time <= time.time() + 1 for record in logged)


def test_old_metrics_that_are_tensors_nan_or_odd_frames_show_too(config):
    torch = pytest.importorskip("torch")
    write_old_metrics(
        config.parent / "logs.csv",
        ({"loss": torch.tensor(0.5), "grad": 1.0}, 0),
        ({"loss": torch.tensor(0.25, requires_grad=True) * 1, "grad": float("nan")}, 1),
        ({"loss": "oops", "grad": math.inf}, float("nan")),
        ({"loss": torch.tensor(0.125), "grad": math.inf}, float("inf")),
    )
    (row,) = hypertuner.runs()
    assert row.first["loss"] == 0.5
    assert row.lowest["loss"] == 0.125
    assert row.metrics == {"loss": 0.125, "grad": math.inf}


def test_an_old_model_is_refused_with_the_list_of_what_it_would_import(old_folder):
    pytest.importorskip("torch")
    with pytest.raises(hypertuner.UnsafeFileError, match="trust=True") as refused:
        hypertuner.load("foo")
    assert "__main__.Net" in refused.value.globals
    assert "torch.nn.modules.linear.Linear" in refused.value.globals
    assert "__main__.Net" in str(refused.value)
    with pytest.raises(hypertuner.UnsafeFileError):
        hypertuner.load("foo", weights=True)


def test_nothing_in_a_hostile_old_model_runs_unless_it_is_trusted(run_script, config, tmp_path):
    canary = tmp_path / "canary"
    run_script(
        """
        import sys, torch
        class Bomb:
            def __reduce__(self):
                return exec, (f"open({sys.argv[2]!r}, 'w')",)
        torch.save(Bomb(), sys.argv[1])
        """,
        config.parent / "model.pt",
        canary,
        name="hostile.py",
    )
    done = run_script(
        """
        import hypertuner, torch
        for ask in ({}, {"weights": True}, {"into": torch.nn.Linear(2, 2)}, {"trust": False}):
            try:
                hypertuner.load("foo", **ask)
            except hypertuner.UnsafeFileError as error:
                print(list(error.globals))
        hypertuner.inspect("storage/foo/model.pt")
        hypertuner.runs()
        """,
        name="reader.py",
    )
    assert done.stdout.splitlines() == ["['__builtin__.exec']"] * 4
    assert not canary.exists()
    run_script("import hypertuner\nhypertuner.load('foo', trust=True)\n", name="reader.py")
    assert canary.exists(), "the canary must be able to sing"


def test_a_trusted_old_model_loads_where_its_class_is(run_script, old_folder, tmp_path):
    reader = OLD_SAVE.partition("if __name__")[0] + (
        "import hypertuner\n"
        "net = hypertuner.load('foo', trust=True)\n"
        "assert type(net) is Net\n"
        "weights = hypertuner.load('foo', weights=True, trust=True)\n"
        "assert all(torch.equal(weights[name], value) for name, value in net.state_dict().items())\n"
        "mine = Net()\n"
        "report = hypertuner.load('foo', into=mine, trust=True)\n"
        "assert report.is_complete and report.share == 1\n"
        "assert torch.equal(mine.fc.weight, net.fc.weight)\n"
        "print(sorted(weights))\n"
    )
    done = run_script(reader, name="reader.py")
    assert done.stdout.strip() == "['fc.bias', 'fc.weight']"


def test_a_trusted_old_model_without_its_class_says_where_to_load_it(run_script, old_folder):
    done = run_script("import hypertuner\nhypertuner.load('foo', trust=True)\n", name="reader.py", check=False)
    assert done.returncode == 1
    assert "CheckpointError" in done.stderr
    assert "Net" in done.stderr.splitlines()[-2]


def test_a_run_goes_on_in_an_old_folder_beside_what_was_there(run_script, old_folder):
    kept = {name: (old_folder / name).read_bytes() for name in ("config.json", "logs.csv", "model.pt")}
    run_script(SCRIPT, "--config=storage/foo/config.json")
    assert (old_folder / "config.json").read_bytes() == kept["config.json"]
    assert (old_folder / "logs.csv").read_bytes() == kept["logs.csv"]
    assert len(records_of(old_folder)) == 4
    (row,) = hypertuner.runs()
    assert (row.state, row.metrics["reward"]) == ("finished", 7.0)
    # The script saves over model.pt, as it always did; the weights that were there are not lost.
    assert hypertuner.inspect(old_folder / "model.pt").format == "hypertuner/1"
    assert (old_folder / "model.old.pt").read_bytes() == kept["model.pt"]


def test_defaults_that_a_script_gained_since_leave_an_old_config_alone(run_script, old_folder):
    written = (old_folder / "config.json").read_bytes()
    run_script(
        """
        import hypertuner
        args = hypertuner.Args(lr=0.5, hidden=8, dropout=0.25)
        assert (args.lr, args.hidden, args.dropout) == (0.1, 3, 0.25)
        hypertuner.Logger().log({"loss": 1.0}, 0)
        """,
        "--config=storage/foo/config.json",
    )
    assert (old_folder / "config.json").read_bytes() == written
    (row,) = hypertuner.runs()
    assert (row.config["dropout"], row.config["lr"]) == (0.25, 0.1)


def test_a_config_that_only_python_calls_json_is_read(run_script, config):
    config.write_bytes(b"\xef\xbb\xbf" + json.dumps({"clip": math.inf, "seed": math.nan, "lr": 0.1}).encode())
    run_script(
        """
        import hypertuner
        args = hypertuner.Args()
        assert args.clip == float("inf") and args.seed != args.seed and args.lr == 0.1
        hypertuner.Logger().log({"loss": 1.0}, 0)
        """,
        "--config=storage/foo/config.json",
    )
    (row,) = hypertuner.runs()
    assert row.config["lr"] == 0.1
