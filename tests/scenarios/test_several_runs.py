"""Several runs in one process, threads, notebooks, workers: each keeps to its own, and nothing makes a ghost run."""

from __future__ import annotations

import json

import pytest

import hypertuner


def table():
    return {row.name: row for row in hypertuner.runs()}


def steps_of(storage, name):
    lines = (storage / name / "attempts/1/metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_a_loop_of_five_runs_in_one_process(run_script, storage):
    run_script(
        """
        import hypertuner, torch
        logger = hypertuner.Logger()  # made outside: it belongs to no block, and logs into the current one
        for number in range(5):
            with hypertuner.new_run(name=f"run-{number}", lr=0.1 * number, layers=[8, 8]) as args:
                net = torch.nn.Linear(2, 1)
                saver = hypertuner.Saver(net)
                for step in range(3):
                    logger.log({"loss": args.lr + step}, step)
                saver.save()
        """
    )
    rows = table()
    assert sorted(rows) == [f"run-{number}" for number in range(5)]
    for number in range(5):
        row = rows[f"run-{number}"]
        assert (row.state, row.config["lr"], row.metrics["loss"]) == ("finished", 0.1 * number, 0.1 * number + 2)
        saved = hypertuner.inspect(storage / row.name / "model.pt")
        assert (saved.hyperparameters["lr"], saved.run["name"]) == (0.1 * number, row.name)


def test_a_failing_run_of_a_loop_leaves_the_others_alone(run_script, storage):
    run_script(
        """
        import hypertuner
        for number in range(3):
            try:
                with hypertuner.new_run(name=f"run-{number}"):
                    hypertuner.Logger().log({"loss": 1.0}, 0)
                    if number == 1:
                        raise ValueError("diverged")
            except ValueError:
                pass
        """
    )
    assert {name: row.state for name, row in table().items()} == {
        "run-0": "finished",
        "run-1": "failed",
        "run-2": "finished",
    }


def test_nested_runs_each_get_what_is_logged_inside(run_script, storage):
    run_script(
        """
        import hypertuner
        hypertuner.Args(lr=0.1)
        outermost = hypertuner.Logger()
        outermost.log({"loss": 1.0}, 0)
        with hypertuner.new_run(name="outer", lr=0.2) as outer:
            hypertuner.Logger().log({"loss": outer.lr}, 1)
            with hypertuner.new_run(name="inner", lr=0.3) as inner:
                hypertuner.Logger().log({"loss": inner.lr}, 2)
            hypertuner.Logger().log({"loss": outer.lr}, 3)
        outermost.log({"loss": 1.0}, 4)
        """
    )
    rows = table()
    (process_run,) = rows.keys() - {"outer", "inner"}
    assert (steps_of(storage, "outer"), steps_of(storage, "inner")) == ([1, 3], [2])
    assert steps_of(storage, process_run) == [0, 4]
    assert {row.state for row in rows.values()} == {"finished"}


def test_each_thread_with_a_run_of_its_own_keeps_to_it(run_script, storage):
    run_script(
        """
        import threading, hypertuner
        barrier = threading.Barrier(4)
        def train(number):
            with hypertuner.new_run(name=f"run-{number}", number=number) as args:
                logger = hypertuner.Logger()
                barrier.wait()
                for step in range(50):
                    logger.log({"number": args.number}, step)
                barrier.wait()
        threads = [threading.Thread(target=train, args=(number,)) for number in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        """
    )
    assert sorted(table()) == [f"run-{number}" for number in range(4)]
    for number in range(4):
        lines = (storage / f"run-{number}/attempts/1/metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["values"]["number"] for line in lines] == [number] * 50


def test_worker_threads_of_a_lone_run_log_into_it(run_script, storage):
    run_script(
        """
        from concurrent.futures import ThreadPoolExecutor
        import hypertuner
        with hypertuner.new_run(name="only", lr=0.1):
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda number: hypertuner.Logger().log({"number": number}, number), range(20)))
        """
    )
    assert list(table()) == ["only"]
    assert sorted(steps_of(storage, "only")) == list(range(20))


def test_an_evaluation_thread_logs_into_the_run_its_logger_was_made_in(run_script, storage):
    run_script(
        """
        import threading, hypertuner
        def evaluate(logger, number):
            logger.log({"number": number}, number)
        with hypertuner.new_run(name="one"):
            one = hypertuner.Logger()
            with hypertuner.new_run(name="two"):
                two = hypertuner.Logger()
                threads = [threading.Thread(target=evaluate, args=(logger, number))
                           for number, logger in enumerate([one, two])]
                [thread.start() for thread in threads]
                [thread.join() for thread in threads]
        """
    )
    assert (steps_of(storage, "one"), steps_of(storage, "two")) == ([0], [1])


# No `if __name__ == "__main__"` around hypertuner's calls: spawn and forkserver import the script again and run them.
WORKERS = """
import multiprocessing, os, sys
import torch
import hypertuner

args = hypertuner.Args(lr=0.1, method="fork")
logger = hypertuner.Logger()
logger.log({"loss": 1.0}, 0)
net = torch.nn.Linear(2, 1)
saver = hypertuner.Saver(net)

class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, index):
        hypertuner.Logger().log({"from a worker": index}, 1000 + index)
        return torch.ones(2) * args.lr

def work(number):
    hypertuner.Logger().log({"from a process": number}, 2000 + number)
    assert hypertuner.Args(lr=0.1, method="fork").lr == 0.1
    assert saver.save().path is None
    return number

if __name__ == "__main__":
    context = multiprocessing.get_context(args.method)
    loader = torch.utils.data.DataLoader(Data(), num_workers=2, multiprocessing_context=context)
    for step, batch in enumerate(loader, start=1):
        logger.log({"loss": float(batch.sum())}, step)
    process = context.Process(target=work, args=(0,))
    process.start(); process.join()
    assert process.exitcode == 0, process.exitcode
    with context.Pool(2) as pool:
        assert pool.map(work, range(3)) == [0, 1, 2]
    saver.save()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_make_no_runs_and_write_nothing(run_script, storage, method):
    run_script(WORKERS, f"method={method}")
    (row,) = hypertuner.runs()
    assert row.state == "finished"
    assert steps_of(storage, row.name) == [0, 1, 2, 3, 4]
    assert (row.checkpoints, sorted(row.metrics)) == (1, ["loss"])
    assert [path.name for path in (storage / row.name / "attempts").iterdir()] == ["1"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_started_before_anything_was_written_make_no_runs(run_script, storage, method):
    run_script(
        """
        import multiprocessing, sys
        import hypertuner
        args = hypertuner.Args(lr=0.1, method="fork")

        def work(number):
            return args.lr

        if __name__ == "__main__":
            with multiprocessing.get_context(args.method).Pool(2) as pool:
                assert pool.map(work, range(8)) == [0.1] * 8
        hypertuner.Logger().log({"loss": 1.0}, 0)
        with hypertuner.new_run(name="second"):
            hypertuner.Logger().log({"loss": 2.0}, 0)
        """,
        f"method={method}",
    )
    rows = table()
    assert len(rows) == 2 and "second" in rows
    assert {row.state for row in rows.values()} == {"finished"}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_process_that_trains_while_its_parent_does_nothing_makes_the_run(run_script, storage, method):
    """What torch.multiprocessing.spawn does: the script's first process only waits."""
    run_script(
        """
        import multiprocessing, hypertuner
        args = hypertuner.Args(lr=0.1, method="fork", fail=False)

        def train():
            hypertuner.Logger().log({"loss": args.lr}, 0)
            if args.fail:
                raise ValueError("diverged")

        if __name__ == "__main__":
            process = multiprocessing.get_context(args.method).Process(target=train)
            process.start(); process.join()
            assert process.exitcode == int(args.fail)
        """,
        f"method={method}",
        f"fail={method == 'spawn'}",
    )
    (row,) = hypertuner.runs()
    assert (row.state, row.config["lr"]) == ("failed" if method == "spawn" else "finished", 0.1)


def test_workers_of_the_outer_run_are_told_so_after_an_inner_one_has_ended(run_script, storage):
    run_script(
        """
        import multiprocessing, hypertuner
        def work():
            hypertuner.Logger().log({"from a worker": 1.0}, 5)
            assert hypertuner.Args().lr == 0.1
        if __name__ == "__main__":
            args = hypertuner.Args(lr=0.1)
            hypertuner.Logger().log({"loss": 1.0}, 0)
            with hypertuner.new_run(name="inner", lr=0.5):
                hypertuner.Logger().log({"loss": 1.0}, 0)
            process = multiprocessing.get_context("spawn").Process(target=work)
            process.start(); process.join()
            assert process.exitcode == 0
        """
    )
    assert len(table()) == 2


def test_a_worker_with_a_run_of_its_own_makes_it(run_script, storage):
    """A pool that trains one config a worker: each `new_run` is asked for, and is no ghost."""
    run_script(
        """
        import multiprocessing, hypertuner
        def train(number):
            with hypertuner.new_run(name=f"run-{number}", number=number) as args:
                hypertuner.Logger().log({"number": args.number}, 0)
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(2) as pool:
                pool.map(train, range(3))
        """
    )
    assert {name: (row.state, row.metrics["number"]) for name, row in table().items()} == {
        f"run-{number}": ("finished", number) for number in range(3)
    }


def test_another_script_started_from_a_running_one_makes_its_own_run(run_script, storage, tmp_path):
    (tmp_path / "evaluate.py").write_text(
        "import hypertuner\nargs = hypertuner.Args(kind='evaluation')\nhypertuner.Logger().log({'acc': 0.5}, 0)\n"
    )
    run_script(
        """
        import subprocess, sys, hypertuner
        args = hypertuner.Args(kind="training")
        logger = hypertuner.Logger()
        logger.log({"loss": 1.0}, 0)
        subprocess.run([sys.executable, "evaluate.py"], check=True)
        logger.log({"loss": 0.5}, 1)
        """
    )
    assert sorted((row.config["kind"], row.state, sorted(row.metrics)) for row in hypertuner.runs()) == [
        ("evaluation", "finished", ["acc"]),
        ("training", "finished", ["loss"]),
    ]


def test_os_fork_writes_nothing_in_the_child_and_ends_nothing(run_script, storage):
    run_script(
        """
        import os, sys, hypertuner
        logger = hypertuner.Logger()
        logger.log({"loss": 1.0}, 0)
        pid = os.fork()
        if not pid:
            logger.log({"loss": 9.0}, 9)
            sys.exit(5)
        os.waitpid(pid, 0)
        logger.log({"loss": 0.5}, 1)
        """
    )
    (row,) = hypertuner.runs()
    assert (row.state, steps_of(storage, row.name)) == ("finished", [0, 1])


NOTEBOOK = [
    "import hypertuner, torch\nfrom torch import nn",
    """class Net(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.fc = nn.Linear(2, hidden)

    def forward(self, x):
        return self.fc(x)""",
    """for number in range(3):
    with hypertuner.new_run(name=f"cell-{number}", hidden=number + 1) as args:
        net = Net(args.hidden)
        for step in range(2):
            hypertuner.Logger().log({"loss": 1.0 / (number + 1)}, step)
        hypertuner.Saver(net).save()""",
    """args = hypertuner.Args(hidden=7)
net = Net(args.hidden)
logger = hypertuner.Logger()
logger.log({"loss": 0.5}, 0)""",
    "hypertuner.Saver().save()",
    "1 / 0",
    "logger.log({'loss': 0.25}, 1)",
    "hypertuner.runs()",
]


def test_a_notebook_with_several_runs_and_a_class_defined_in_a_cell(run_script, storage, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    from tests.conftest import script_environment

    for name, value in script_environment({}).items():
        monkeypatch.setenv(name, value)
    cells = [nbformat.v4.new_code_cell(source) for source in NOTEBOOK]
    cells[5]["metadata"]["tags"] = ["raises-exception"]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    shown = notebook.cells[-1]["outputs"][0]["data"]
    assert "<table" in shown["text/html"] and "cell-0" in shown["text/plain"]

    rows = table()
    (other,) = rows.keys() - {"cell-0", "cell-1", "cell-2"}
    assert [rows[f"cell-{number}"].state for number in range(3)] == ["finished"] * 3
    assert (rows[other].config["hidden"], rows[other].metrics["loss"]) == (7, 0.25)
    # A cell that failed does not make the run that went on a failed one.
    assert rows[other].state == "finished"
    done = run_script(
        """
        import sys, hypertuner, torch
        for name in sys.argv[1:]:
            net = hypertuner.load(name)
            print(type(net).__name__, net.fc.out_features, tuple(net(torch.ones(1, 2)).shape))
        """,
        "cell-2",
        other,
        name="reader.py",
    )
    assert done.stdout.splitlines() == ["Net 3 (1, 3)", "Net 7 (1, 7)"]
