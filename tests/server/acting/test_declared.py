"""The settings of a script are read from its source, and nothing of it is executed."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from hypertuner.server.launching.declared import UNKNOWN, read


def declared(tmp_path: Path, source: str, **modules: str):
    for name, text in modules.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
    (tmp_path / "train.py").write_text(textwrap.dedent(source))
    return read(tmp_path / "train.py")


def told(found) -> dict[str, tuple]:
    return {one.key: (one.word, None if one.default is UNKNOWN else one.default) for one in found.settings}


def test_keywords_of_args_are_settings(tmp_path: Path):
    found = declared(
        tmp_path,
        """
        import hypertuner, os
        raise SystemExit("this must not run")
        args = hypertuner.Args(lr=1e-3, hidden=16, amp=False, name="x", layers=[1, 2], nothing=None,
                               opt=dict(name="sgd", betas=(0.9, 0.999)), user=os.environ["USER"], half=-1)
        """,
    )
    assert found.by == "Args"
    assert told(found) == {
        "lr": ("float", 0.001),
        "hidden": ("int", 16),
        "amp": ("bool", False),
        "name": ("str", "x"),
        "layers": ("list", [1, 2]),
        "nothing": ("unknown", None),
        "opt.name": ("str", "sgd"),
        "opt.betas": ("list", [0.9, 0.999]),
        "user": ("unknown", None),
        "half": ("int", -1),
    }


def test_fields_of_a_dataclass_are_settings_also_of_one_in_a_module_beside_it(tmp_path: Path):
    found = declared(
        tmp_path,
        """
        from hypertuner import Args
        from config import Config
        args = Args(Config)
        """,
        config="""
        from dataclasses import dataclass, field
        from typing import Literal, Optional
        @dataclass
        class Optimiser:
            name: Literal["sgd", "adam"] = "sgd"
            lr: float = 1
        @dataclass
        class Config:
            epochs: int
            layers: list[int] = field(default_factory=lambda: [8, 8])
            warmup: Optional[int] = None
            optimiser: Optimiser = field(default_factory=Optimiser)
            computed: int = field(init=False, default=3)
        """,
    )
    assert found.by == "dataclass"
    assert told(found) == {
        "epochs": ("int", None),
        "layers": ("list", [8, 8]),
        "warmup": ("int", None),
        "optimiser.name": ("str", "sgd"),
        "optimiser.lr": ("float", 1),
    }
    by_key = found.by_key
    assert by_key["epochs"].is_required
    assert by_key["optimiser.name"].kind.choices == ("sgd", "adam")
    assert by_key["warmup"].kind.optional


def test_arguments_of_argparse_are_settings(tmp_path: Path):
    found = declared(
        tmp_path,
        """
        import argparse
        parser = argparse.ArgumentParser()
        parser.add_argument("data", help="where")
        parser.add_argument("--batch-size", "-b", type=int, default=64, help="how many")
        parser.add_argument("--lr", type=float, required=True)
        parser.add_argument("--model", choices=["small", "large"], default="small")
        parser.add_argument("--amp", action="store_true")
        parser.add_argument("--no-cuda", dest="cuda", action="store_false")
        parser.add_argument("--milestones", type=int, nargs="+", default=[10, 20])
        parser.add_argument("--version", action="version", version="1")
        args = parser.parse_args()
        """,
    )
    assert (found.by, found.makes_args) == ("argparse", False)
    assert told(found) == {
        "data": ("str", None),
        "batch_size": ("int", 64),
        "lr": ("float", None),
        "model": ("str", "small"),
        "amp": ("bool", False),
        "cuda": ("bool", True),
        "milestones": ("list", [10, 20]),
    }
    assert [one.key for one in found.settings if one.is_required] == ["data", "lr"]
    assert found.by_key["batch_size"].help == "how many"


def test_a_parser_handed_to_args_is_read_as_a_parser(tmp_path: Path):
    found = declared(
        tmp_path,
        """
        import argparse, hypertuner
        parser = argparse.ArgumentParser()
        parser.add_argument("--lr", type=float, default=0.1)
        args = hypertuner.Args(parser)
        """,
    )
    assert (found.by, found.makes_args, told(found)) == ("argparse", True, {"lr": ("float", 0.1)})


@pytest.mark.parametrize(
    ("source", "problem"),
    [("def (:", "line 1"), ("import hypertuner\nhypertuner.Args()", None), ("\x00", "cannot be read"), ("", None)],
)
def test_a_script_that_says_nothing_has_no_settings(tmp_path: Path, source: str, problem: str | None):
    found = declared(tmp_path, source)
    assert found.settings == ()
    assert (found.problem is None) if problem is None else (problem in found.problem)
