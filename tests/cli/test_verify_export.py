"""`hypertuner verify` and `export`: what was saved comes out again, to the last bit."""

from __future__ import annotations

import json
import os
import sys

import pytest
import torch

import hypertuner
from hypertuner.store import Storage


@pytest.fixture
def trained(cli, script, storage):
    cli("run", "train.py", "--name", "calm-lynx")
    return Storage(storage).open("calm-lynx")


def save(model, **config):
    with hypertuner.new_run("made", **config):
        hypertuner.Saver(model).save()


def test_a_kind_of_file_that_is_none_is_said_with_those_there_are(cli, script):
    cli("run", "train.py", "--name", "calm-lynx")
    assert "'onnx' is no kind of file" in (said := cli("export", "calm-lynx", "--format", "onnx", code=2).stderr)
    assert "--format safetensors or --format state_dict" in said
    assert "Did you mean 'safetensors'" in cli("export", "calm-lynx", "--format", "safetensor", code=2).stderr
    assert cli("export", "calm-lynx", code=2).stderr.startswith("error: Which kind of file?\n")


def test_every_checkpoint_of_a_storage_is_verified_once(cli, trained):
    results = json.loads(cli("verify", "--json").stdout)
    assert [result["ok"] for result in results] == [True] * len(trained.checkpoints())
    assert {result["checked"] for result in results} == {"every bit"}
    assert cli("verify", "calm-lynx@best", "storage/calm-lynx/model.pt").stdout.count("✓ ok") == 1
    assert "No checkpoints" in cli("verify", "--storage", "elsewhere").stderr


def test_a_flipped_bit_is_found_and_named(cli, trained):
    path = trained.layout.model
    data = bytearray(path.read_bytes())
    data[data.index(trained.name.encode())] ^= 1
    os.chmod(path, 0o644)
    path.write_bytes(data)
    done = cli("verify", code=1)
    assert "✗ damaged" in done.stdout
    assert "1 damaged" in done.stderr
    (wrong,) = [result for result in json.loads(cli("verify", "--json", code=1).stdout) if not result["ok"]]
    assert wrong["problem"]


@pytest.mark.skipif(os.name != "posix", reason="pseudo terminals")
def test_verify_shows_its_progress_on_a_terminal_and_leaves_a_clean_list(terminal, trained):
    shell = terminal("verify", env={"TERM": "xterm", "COLUMNS": "120"})
    assert shell.wait() == 0
    assert "✓ ok" in shell.output


def test_an_exported_state_dict_loads_into_a_model_without_hypertuner(cli, trained, run_script, tmp_path):
    assert cli("export", "calm-lynx", "--format", "state_dict").stdout == "calm-lynx.pth\n"
    run_script(
        """
        import sys; sys.modules["hypertuner"] = None
        import torch
        state = torch.load("calm-lynx.pth")
        assert type(state).__name__ == "OrderedDict" and state._metadata[""] == {"version": 1}, state
        torch.manual_seed(0)
        expected = torch.nn.Linear(4, 2)
        net = torch.nn.Linear(4, 2); net.load_state_dict(state)
        assert torch.equal(net.weight, expected.weight) and torch.equal(net.bias, expected.bias)
        """,
        name="check.py",
    )


def test_exported_safetensors_load_without_hypertuner_and_carry_the_config(cli, trained, run_script):
    cli("export", "calm-lynx@best", "--format", "safetensors", "--output", "out/w.safetensors")
    run_script(
        """
        import sys; sys.modules["hypertuner"] = None
        import json, torch, safetensors.torch
        with safetensors.safe_open("out/w.safetensors", "pt") as file:
            told = json.loads(file.metadata()["hypertuner"])
        assert told["config"] == {"lr": 0.1, "epochs": 2} and told["run"]["name"] == "calm-lynx", told
        assert told["metrics"]["val_acc"] == 0.6
        torch.manual_seed(0)
        expected = torch.nn.Linear(4, 2)
        state = safetensors.torch.load_file("out/w.safetensors")
        assert torch.equal(state["weight"], expected.weight) and torch.equal(state["bias"], expected.bias)
        """,
        name="check.py",
    )


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(5, 3)
        self.head = torch.nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("turned", torch.arange(6.0).reshape(2, 3).t())
        self.register_buffer("small", torch.arange(4).bfloat16())


def test_ties_are_written_once_and_what_is_not_contiguous_keeps_its_values(cli, storage):
    import safetensors.torch

    model = Tied()
    save(model)
    done = cli("export", "made", "--format", "safetensors")
    assert "tied, written once: head.weight = embed.weight" in done.stderr
    state = safetensors.torch.load_file("made.safetensors")
    assert set(state) == {"embed.weight", "turned", "small"}
    assert torch.equal(state["turned"], model.turned)
    assert torch.equal(state["small"], model.small)
    fresh = Tied()
    missing, unexpected = safetensors.torch.load_model(fresh, "made.safetensors")
    assert not missing and not unexpected
    assert torch.equal(fresh.head.weight, model.embed.weight)
    with safetensors.safe_open("made.safetensors", "pt") as file:
        assert json.loads(file.metadata()["hypertuner"])["ties"] == {"head.weight": "embed.weight"}


def test_what_safetensors_cannot_hold_is_an_error_that_names_it_and_leaves_no_file(cli, storage, tmp_path):
    save({"dense": torch.ones(2), "thin": torch.eye(3).to_sparse()})
    done = cli("export", "made", "--format", "safetensors", code=1)
    assert "'thin' is sparse" in done.stderr and "--format state_dict" in done.stderr
    assert not list(tmp_path.glob("*.safetensors")) and not list(tmp_path.glob(".draft*"))
    cli("export", "made", "--format", "state_dict")
    assert torch.equal(torch.load("made.pth")["thin"].to_dense(), torch.eye(3))


def test_a_file_that_is_there_is_replaced_only_when_forced(cli, trained, tmp_path):
    (tmp_path / "calm-lynx.pth").write_text("mine")
    assert "--force" in cli("export", "calm-lynx", "--format", "state_dict", code=1).stderr
    assert (tmp_path / "calm-lynx.pth").read_text() == "mine"
    cli("export", "calm-lynx", "--format", "state_dict", "--force")
    assert set(torch.load(tmp_path / "calm-lynx.pth")) == {"weight", "bias"}


def test_exporting_a_strangers_file_needs_no_trust_and_runs_no_code(cli, trained, tmp_path):
    cli("export", "calm-lynx", "--format", "state_dict", env={"HYPERTUNER_HOME": str(tmp_path / "other")})
    assert set(torch.load(tmp_path / "calm-lynx.pth")) == {"weight", "bias"}


def test_without_safetensors_the_error_says_how_to_install_it(cli, trained, tmp_path):
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "safetensors.py").write_text("raise ImportError('blocked')")
    path = os.pathsep.join([str(tmp_path / "blocked"), *sys.path])
    done = cli("export", "calm-lynx", "--format", "safetensors", code=1, env={"PYTHONPATH": path})
    assert "pip install 'hypertuner[safetensors]'" in done.stderr
