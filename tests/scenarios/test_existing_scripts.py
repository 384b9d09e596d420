"""Training scripts as people have them: a few lines added, nothing else changed, and all that they do stays."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

import pytest

import hypertuner

ARGPARSE = (Path(__file__).parent / "scripts" / "argparse_train.py").read_text()
THREE_LINES = {
    "import yaml\n": "import yaml\nimport hypertuner\n",
    "    args = parser.parse_args()\n": "    args = hypertuner.Args(parser)\n",
    "        save_checkpoint(state, is_best, args.output)\n": (
        "        save_checkpoint(state, is_best, args.output)\n"
        '        hypertuner.Saver(model).save(epoch, metrics={"val_loss": val_loss, "val_acc": val_acc1})\n'
    ),
}
ARGV = ("data", "out", "--arch", "wide", "--lr", "0.05", "--no-nesterov", "--betas", "0.8", "0.9", "--world-size", "2")


def with_three_lines() -> str:
    text = ARGPARSE
    for line, new in THREE_LINES.items():
        assert text.count(line) == 1, line
        text = text.replace(line, new)
    return text


@pytest.fixture
def place(tmp_path):
    """What the argparse script needs: its data folder and its own YAML file."""
    (tmp_path / "data").mkdir()
    (tmp_path / "small.yaml").write_text("epochs: 3\nsamples: 32\nmomentum: 0.5\n")
    return tmp_path


def test_the_argparse_script_needs_three_lines():
    changes = [line for line in difflib.ndiff(ARGPARSE.splitlines(), with_three_lines().splitlines()) if line[0] == "+"]
    assert len(changes) == 3
    assert len(ARGPARSE.splitlines()) > 280


def test_the_argparse_script_runs_alike_and_is_recorded(run_script, place, storage):
    plain = run_script(ARGPARSE, *ARGV, "--config", "small.yaml", name="plain.py")
    own = (place / "out" / "args.json").read_bytes()
    assert not storage.exists()
    done = run_script(with_three_lines(), *ARGV, "--config", "small.yaml")
    assert done.stdout == plain.stdout
    assert (place / "out" / "args.json").read_bytes() == own

    (row,) = hypertuner.runs()
    assert (row.state, row.script) == ("finished", "train.py")
    folder = storage / row.name
    config = json.loads((folder / "config.json").read_text())
    # As given: the learning rate before the script scaled it, paths as text, YAML's values where it gave them.
    given = {"data": "data", "output": "out", "arch": "wide", "lr": 0.05, "nesterov": False, "betas": [0.8, 0.9]}
    assert {key: config[key] for key in given} == given
    assert (config["epochs"], config["samples"], config["momentum"], config["config"]) == (3, 32, 0.5, "small.yaml")
    assert (config["pretrained"], config["device"], config["clip_grad"]) == (False, "cpu", None)
    assert "distributed" not in config and "amp" not in config
    # As used: what the script made of it.
    saved = hypertuner.inspect(folder / "model.pt")
    assert (saved.hyperparameters["lr"], saved.hyperparameters["distributed"]) == (0.1, True)
    assert [path.name for path in (folder / "attempts/1/checkpoints").iterdir()] != []


def test_the_argparse_script_takes_another_runs_config_and_its_own_yaml_file(run_script, place, storage):
    script = with_three_lines()
    run_script(script, *ARGV, "--epochs", "1", "--samples", "32")
    (first,) = hypertuner.runs()
    template = place / "template.json"
    template.write_text(json.dumps({"lr": 0.2, "epochs": 1, "arch": "narrow"}))
    run_script(script, "data", "out2", "-c", "small.yaml", "--epochs", "2", env={"HYPERTUNER_CONFIG": str(template)})
    (second,) = [row for row in hypertuner.runs() if row.name != first.name]
    assert {key: second.config[key] for key in ("lr", "epochs", "arch", "samples", "output")} == {
        "lr": 0.2,
        "epochs": 2,
        "arch": "narrow",
        "samples": 32,
        "output": "out2",
    }


@pytest.mark.parametrize("argv", [("--help",), ("data",), ("data", "out", "--arch", "huge"), ("nowhere", "out")])
def test_help_and_mistakes_of_the_argparse_script_leave_no_run(run_script, place, storage, argv):
    plain = run_script(ARGPARSE, *argv, name="plain.py", check=False)
    done = run_script(with_three_lines(), *argv, name="plain.py", check=False)
    assert done.returncode == plain.returncode
    assert done.stdout == plain.stdout
    assert done.stderr.splitlines()[-1:] == plain.stderr.splitlines()[-1:]
    assert not storage.exists()


def the_config(storage: Path) -> dict[str, object]:
    (row,) = hypertuner.runs()
    return json.loads((storage / row.name / "config.json").read_text())


def test_a_dataclass_config_is_recorded(run_script, storage):
    run_script(
        """
        import dataclasses, hypertuner

        @dataclasses.dataclass
        class Optimizer:
            name: str = "sgd"
            lr: float = 0.1

        @dataclasses.dataclass
        class Settings:
            epochs: int
            optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
            layers: tuple[int, ...] = (8, 8)

        args = hypertuner.Args(Settings)
        assert (args.epochs, args.optimizer.lr, args.layers) == (4, 1.0, (8, 8))
        hypertuner.Logger().log({"loss": 1.0}, 0)
        """,
        "--epochs=4",
        "optimizer.lr=1",
    )
    assert the_config(storage) == {"epochs": 4, "optimizer.name": "sgd", "optimizer.lr": 1.0, "layers": [8, 8]}


def test_a_nested_dict_is_recorded(run_script, storage):
    run_script(
        """
        import hypertuner
        config = {"model": {"width": 8, "act": "gelu"}, "lr": 0.1, "stages": [{"depth": 2}]}
        hypertuner.Args(config)
        hypertuner.Logger().log({"loss": 1.0}, 0)
        """,
        "anything",
        "--that",
        "belongs=to",
        "--the-script",
    )
    assert the_config(storage) == {"model.width": 8, "model.act": "gelu", "lr": 0.1, "stages": [{"depth": 2}]}


def test_an_omegaconf_config_is_recorded(run_script, storage):
    pytest.importorskip("omegaconf")
    run_script(
        """
        import hypertuner
        from omegaconf import OmegaConf
        config = OmegaConf.create({"model": {"width": 8, "head": "${model.width}"}, "lr": 0.1, "layers": [1, 2]})
        hypertuner.Args(config)
        hypertuner.Logger().log({"loss": 1.0}, 0)
        """,
    )
    assert the_config(storage) == {"model.width": 8, "model.head": 8, "lr": 0.1, "layers": [1, 2]}


HYDRA = """
import os
import hydra
import hypertuner
from omegaconf import DictConfig

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    assert os.getcwd() == hydra.core.hydra_config.HydraConfig.get().runtime.output_dir
    hypertuner.Args(cfg)
    hypertuner.Logger().log({"loss": cfg.optimizer.lr}, 0)
    if cfg.get("fail"):
        raise RuntimeError("diverged")

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def hydra_config(tmp_path):
    pytest.importorskip("hydra")
    (tmp_path / "conf" / "optimizer").mkdir(parents=True)
    (tmp_path / "conf" / "config.yaml").write_text(
        "defaults:\n  - optimizer: sgd\n  - _self_\nepochs: 2\nhydra:\n  job:\n    chdir: true\n"
    )
    (tmp_path / "conf" / "optimizer" / "sgd.yaml").write_text("name: sgd\nlr: 0.1\n")
    (tmp_path / "conf" / "optimizer" / "adam.yaml").write_text("name: adam\nlr: 0.001\n")


def test_a_hydra_app_records_its_overrides_in_the_storage_of_the_folder_it_began_in(run_script, hydra_config, storage):
    run_script(HYDRA, "optimizer=adam", "optimizer.lr=0.5", "+seed=3", env={"HYPERTUNER_STORAGE": None})
    assert the_config(storage) == {"optimizer.name": "adam", "optimizer.lr": 0.5, "epochs": 2, "seed": 3}
    (row,) = hypertuner.runs()
    assert (row.state, row.metrics["loss"], row.script) == ("finished", 0.5, "train.py")


def test_a_hydra_app_that_fails_is_a_failed_run(run_script, hydra_config, storage):
    done = run_script(HYDRA, "+fail=true", check=False)
    assert done.returncode == 1
    (row,) = hypertuner.runs()
    assert row.state == "failed"


def test_a_hydra_multirun_says_how_to_make_each_job_a_run(run_script, hydra_config, storage):
    done = run_script(HYDRA, "--multirun", "optimizer.lr=0.1,0.2", check=False)
    assert "Hydra's multirun" in (said := done.stderr + done.stdout)
    assert "with hypertuner.new_run(**config) as args" in said
    assert "only records" not in said  # the first job's config is nothing that this script was given
    by_config = HYDRA.replace(
        "    hypertuner.Args(cfg)\n    hyper", "    with hypertuner.new_run(**cfg):\n        hyper"
    )
    run_script(by_config, "--multirun", "optimizer.lr=0.1,0.2", env={"HYPERTUNER_STORAGE": "blocks"})
    assert sorted(row.config["optimizer.lr"] for row in hypertuner.runs(storage="blocks")) == [0.1, 0.2]
    inside = HYDRA.replace(
        '    hypertuner.Args(cfg)\n    hypertuner.Logger().log({"loss": cfg.optimizer.lr}, 0)\n',
        "    with hypertuner.new_run():\n        hypertuner.Args(cfg)\n"
        '        hypertuner.Logger().log({"loss": cfg.optimizer.lr}, 0)\n',
    )
    assert inside != HYDRA
    run_script(inside, "--multirun", "optimizer.lr=0.1,0.2", env={"HYPERTUNER_STORAGE": "sweep"})
    table = hypertuner.runs(storage="sweep")
    assert sorted((row.config["optimizer.lr"], row.metrics["loss"], row.state) for row in table) == [
        (0.1, 0.1, "finished"),
        (0.2, 0.2, "finished"),
    ]


def test_an_import_alone_and_a_script_that_only_reads_leave_nothing(run_script, storage, tmp_path):
    run_script("import hypertuner\n")
    run_script("import hypertuner\nassert hypertuner.Args(lr=0.1).lr == 0.1\nhypertuner.Logger()\nhypertuner.runs()\n")
    run_script("import hypertuner\nhypertuner.Args(lr=0.1)\n", "--help")
    assert {path.name for path in tmp_path.iterdir()} == {"train.py"}


def test_mode_off_leaves_nothing(run_script, storage, tmp_path):
    run_script(
        """
        import hypertuner, torch
        args = hypertuner.Args(lr=0.1)
        net = torch.nn.Linear(2, 2)
        saver, logger = hypertuner.Saver(net), hypertuner.Logger()
        with hypertuner.new_run(lr=0.2) as inner:
            hypertuner.Logger().log({"loss": hypertuner.Histogram([1, 2])}, 0)
        logger.log({"loss": 1.0}, 0)
        assert saver.save().path is None
        """,
        "lr=0.5",
        env={"HYPERTUNER_MODE": "off"},
    )
    assert {path.name for path in tmp_path.iterdir()} == {"train.py"}


def test_a_second_saver_of_the_same_model_saves_it_and_of_another_is_an_error(run_script, storage):
    done = run_script(
        """
        import torch, hypertuner
        from torch import nn
        net = nn.Linear(2, 2)
        hypertuner.Saver(net).save(1)
        hypertuner.Saver(torch.compile(net)).save(2)
        try:
            hypertuner.Saver(nn.Linear(3, 3))
        except hypertuner.CheckpointError as error:
            print(error)
        """
    )
    assert "{'first': first, 'second': second}" in done.stdout
    assert "with hypertuner.new_run():" in done.stdout
    (row,) = hypertuner.runs()
    assert hypertuner.inspect(storage / row.name / "model.pt").run["step"] == 2


def test_a_gan_with_an_ema_copy_is_one_model_of_its_parts(run_script, storage):
    run_script(
        """
        import copy, torch, hypertuner
        from torch import nn

        class Generator(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(2, 4)
            def forward(self, z):
                return self.fc(z)

        class Critic(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(4, 1)
            def forward(self, x):
                return self.fc(x)

        def main():
            g, d = Generator(), Critic()
            g_ema = copy.deepcopy(g)
            saver = hypertuner.Saver({"G": g, "D": d}, ema=g_ema)
            optimizers = [torch.optim.Adam(net.parameters()) for net in (g, d)]
            for step in range(2):
                loss = -d(g(torch.ones(3, 2))).mean()
                loss.backward()
                [optimizer.step() for optimizer in optimizers]
                hypertuner.Logger().log({"g_loss": loss}, step)
            saver.save()
            torch.save(g.state_dict(), "g.pt")

        if __name__ == "__main__":
            main()
        """
    )
    (row,) = hypertuner.runs()
    done = run_script(
        """
        import sys, hypertuner, torch
        gan = hypertuner.load(sys.argv[1])
        g = hypertuner.load(sys.argv[1], part="G")
        assert sorted(gan) == ["D", "G"] and type(g).__name__ == "Generator"
        for name, value in torch.load("g.pt").items():
            assert torch.equal(g.state_dict()[name], value)
        print(sorted(hypertuner.load(sys.argv[1], weights=True)))
        """,
        row.name,
        name="reader.py",
    )
    assert done.stdout.strip() == "['D.fc.bias', 'D.fc.weight', 'G.fc.bias', 'G.fc.weight']"
