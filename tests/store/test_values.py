"""What a config records: JSON that every reader opens, in one flat shape."""

import argparse
import dataclasses
import datetime
import enum
import json
import math
import subprocess
import sys
import types
import warnings
from pathlib import Path, PurePosixPath

import numpy as np
import orjson
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from hypertuner.errors import ConfigError
from hypertuner.store.values import flatten, to_config, to_json, unflatten

SOURCE = Path(__file__).parents[2] / "src"
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="."), min_size=1, max_size=4)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
NESTED = st.dictionaries(
    NAMES, st.recursive(LEAVES, lambda below: st.dictionaries(NAMES, below, max_size=3)), max_size=4
)
DOTTED = st.text("ab.", max_size=6)


class Optimizer(enum.Enum):
    SGD = "sgd"
    ADAM = 2


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Head:
    width: int = 8
    out: Path = Path("runs")


@given(NESTED)
def test_flatten_and_unflatten_give_back_every_nested_config(config):
    assert unflatten(flatten(config)) == config


@given(st.dictionaries(DOTTED, st.integers(), max_size=6))
def test_unflatten_and_flatten_give_back_every_flat_config_however_odd_its_keys(flat):
    assert flatten(unflatten(flat)) == flat


def test_a_value_and_a_group_of_the_same_name_are_both_kept():
    assert unflatten({"a": 1, "a.b": 2}) == {"a": 1, "a.b": 2}


def test_two_values_of_one_dotted_name_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"'a\.b'") as caught:
        flatten({"a": {"b": 1}, "a.b": 2})
    assert caught.value.key == "a.b"


@given(st.dictionaries(st.text(max_size=4), st.recursive(
    LEAVES | st.floats() | st.binary(max_size=3) | st.integers(-(2**70), 2**70) | st.text(st.characters(), max_size=3),
    lambda below: st.lists(below, max_size=3) | st.tuples(below) | st.dictionaries(st.integers(), below, max_size=2),
), max_size=4))  # fmt: skip
def test_whatever_is_recorded_survives_both_json_readers(config):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bytes are no JSON
        try:
            recorded = to_config(config)
        except ConfigError:  # two keys of one dotted name
            return
    assert orjson.loads(orjson.dumps(recorded)) == recorded
    assert json.loads(json.dumps(recorded, allow_nan=False)) == recorded


@pytest.mark.parametrize(
    ("value", "recorded"),
    [
        (Optimizer.SGD, "sgd"),
        (Optimizer.ADAM, "ADAM"),
        (Level.HIGH, 3),
        (Path("a/b"), "a/b"),
        (PurePosixPath("/x"), "/x"),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.array(2.0), 2.0),
        (np.dtype("float32"), "float32"),
        (np.float32, "numpy.float32"),
        (torch.tensor(3), 3),
        (torch.float16, "torch.float16"),
        (torch.device("cuda:1"), "cuda:1"),
        (torch.channels_last, "torch.channels_last"),
        (torch.nn.ReLU, "torch.nn.modules.activation.ReLU"),
        ((1, (2, 3)), [1, [2, 3]]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.datetime(2026, 1, 2, 3, 4), "2026-01-02T03:04:00"),
        (Head(), {"width": 8, "out": "runs"}),
        (argparse.Namespace(a=Path("x")), {"a": "x"}),
        (types.SimpleNamespace(a=1), {"a": 1}),
        ({1: "one", Optimizer.SGD: 2}, {"1": "one", "sgd": 2}),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
        (2**64, "18446744073709551616"),
        ("\udcff", "\\udcff"),
        (len, "builtins.len"),
    ],
)
def test_the_values_of_the_field_are_recorded_by_what_they_say(value, recorded):
    result = to_json(value)
    assert result == recorded
    assert type(result) is type(recorded)


def test_a_value_that_is_no_json_is_recorded_as_its_repr_with_one_warning_that_names_the_key():
    with pytest.warns(UserWarning) as warned:
        recorded = to_config({"net": {"head": complex(1, 2)}, "lr": 0.1})
    assert recorded == {"net.head": "(1+2j)", "lr": 0.1}
    assert len(warned) == 1
    assert "'net.head'" in str(warned[0].message)


def test_a_hydra_config_is_recorded_with_its_references_resolved():
    config = OmegaConf.create({"lr": 0.1, "opt": {"lr": "${lr}", "betas": [0.9, 0.99]}, "must": "???"})
    assert to_config(config) == {"lr": 0.1, "opt.lr": 0.1, "opt.betas": [0.9, 0.99], "must": "???"}
    assert to_config({"sub": config.opt}) == {"sub.lr": 0.1, "sub.betas": [0.9, 0.99]}


def test_a_hydra_config_with_a_reference_to_nothing_is_recorded_as_written():
    assert to_config(OmegaConf.create({"a": "${nowhere}"})) == {"a": "${nowhere}"}


def test_recording_imports_no_library_of_the_field():
    code = (
        "import sys; from hypertuner.store.values import to_config; to_config({'a': {'b': 1.0}});"
        "sys.exit(bool({'torch', 'numpy', 'omegaconf', 'argparse'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}).returncode == 0
