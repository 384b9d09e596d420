"""Args: the config of a run inside the script, whatever form the script likes."""

import argparse
import copy
import dataclasses
import enum
import json
import os
import pickle
import subprocess
import sys
import textwrap
import types
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from hypertuner.args import Args, new_run
from hypertuner.args.kinds import kind_of
from hypertuner.errors import ConfigError
from hypertuner.store import current
from hypertuner.store.values import to_json

SOURCE = Path(__file__).parents[1] / "src"


class Rule(enum.Enum):
    SGD = "sgd"
    ADAM = "adam"


@dataclasses.dataclass
class Optimizer:
    lr: float = 0.1
    betas: tuple[float, ...] = (0.9, 0.99)

    def halved(self) -> float:
        return self.lr / 2


@dataclasses.dataclass
class Settings:
    hidden: int
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    rule: Rule = Rule.SGD
    limit: int | None = None
    loss: Literal["mse", "l1"] = "mse"
    out: Path = Path("runs")
    width: int = dataclasses.field(init=False)

    KIND = "mlp"

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise ValueError("hidden must be positive")
        self.width = self.hidden * 2

    @property
    def area(self) -> int:
        return self.hidden * self.width


@pytest.fixture
def start(tmp_path, monkeypatch):
    """`with start("lr=1", given={...}):` as in a script started with these arguments and this config."""
    monkeypatch.setenv("HYPERTUNER_STORAGE", str(tmp_path / "storage"))

    @contextmanager
    def started(*argv, given=None):
        monkeypatch.setattr(sys, "argv", ["train.py", *argv])
        with current.new_run(None, given or {}):
            yield

    return started


@pytest.fixture
def script(tmp_path):
    """Run a script in a folder of its own: `script(code, "lr=1", given={...})` → (exit code, output, errors)."""

    def run(code, *argv, given=None, **environment):
        (tmp_path / "train.py").write_text(textwrap.dedent(code))
        variables = {"PYTHONPATH": str(SOURCE), "PATH": os.environ["PATH"], "HYPERTUNER_HOME": str(tmp_path / "home")}
        if given is not None:
            (tmp_path / "given.json").write_text(json.dumps(given))
            variables["HYPERTUNER_CONFIG"] = str(tmp_path / "given.json")
        done = subprocess.run(
            [sys.executable, "train.py", *argv],
            cwd=tmp_path,
            env={**variables, **environment},
            capture_output=True,
            text=True,
        )
        return types.SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)

    return run


def parser_of_a_usual_script():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--out", type=Path, default="runs")
    parser.add_argument("--layers", nargs="+", type=int, default=[64])
    parser.add_argument("--opt", choices=["sgd", "adam"], default="sgd")
    parser.add_argument("--amp", action="store_true")
    parser.add_argument("--no-bias", dest="bias", action="store_false")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--tag", action="append")
    parser.add_argument("-v", "--verbose", action="count", default=0)
    device = parser.add_mutually_exclusive_group(required=True)
    device.add_argument("--cpu", action="store_true")
    device.add_argument("--gpu", type=int)
    return parser


ALL_OF_IT = {
    "data": "digits", "lr": 1, "epochs": 3, "out": "o", "layers": [8, 4], "opt": "adam", "amp": True, "bias": False,
    "compile": False, "tag": ["a"], "verbose": 2, "cpu": True, "gpu": None,
}  # fmt: skip


# -- precedence ------------------------------------------------------------------------------------------------------


def test_the_command_line_wins_over_the_config_which_wins_over_the_defaults(start):
    with start("lr=0.3", given={"lr": 0.2, "epochs": 5}):
        args = Args(lr=0.1, epochs=10, hidden=64)
    assert dict(args) == {"lr": 0.3, "epochs": 5, "hidden": 64}


@pytest.mark.parametrize("argv", [["warm_up=3"], ["--warm-up", "3"], ["--warm_up=3"], ["--warm-up=3"], ["warm-up=3"]])
def test_every_way_that_people_type_a_value_is_understood(start, argv):
    with start(*argv):
        assert Args(warm_up=1).warm_up == 3


@pytest.mark.parametrize(
    ("argv", "flag"),
    [
        (["--flag"], True), (["--no-flag"], False), (["flag=true"], True), (["flag=0"], False), (["--flag=off"], False),
        (["--flag", "no"], False), (["--flag", "lr=1"], True), ([], True), (["--flag", "YES"], True),
    ],
)  # fmt: skip
def test_flags(start, argv, flag):
    with start(*argv):
        assert Args(flag=True, lr=0.1).flag is flag


def test_a_negative_number_is_a_value(start):
    with start("--lr", "-1e-3", "--shift", "-4"):
        args = Args(lr=0.1, shift=0)
    assert (args.lr, args.shift) == (-0.001, -4)


def test_values_chosen_in_the_code_of_new_run_stand_above_the_command_line(start):
    with start("lr=0.5", "epochs=2"), new_run(lr=0.01):
        args = Args(lr=0.1, epochs=10)
    assert dict(args) == {"lr": 0.01, "epochs": 2}


# -- types -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("default", "text", "value"),
    [
        (10, "20", 20), (10, "1e3", 1000), (10, "0.01", 0.01), (10, "10.0", 10), (10, "inf", float("inf")),
        (0.1, "1", 1.0), (0.1, "1e-4", 1e-4), (0.1, "inf", float("inf")),
        ("x", "1", "1"), ("x", "true", "true"), ("x", "", ""), ("x", "a=b", "a=b"),
        ([1], "[1, 2]", [1, 2]), ([1], "1,2", [1, 2]), ([1], "3", [3]), ([1], "", []), ([1], "0.5", [0.5]),
        ((0.9, 0.99), "(1,0.5)", (1.0, 0.5)), (["a"], "1,2", ["1", "2"]), (["a"], "[x, y]", ["x", "y"]),
        ([], "1,a,true", [1, "a", True]), ({1, 2}, "3", {3}), ([1, 0.5], "2", [2.0]),
        (None, "5", 5), (None, "0.5", 0.5), (None, "true", True), (None, "None", None), (None, "a b", "a b"),
        (None, "[1, 'a']", [1, "a"]), (None, "(1, 2)", (1, 2)), (None, '"5"', "5"), (None, "1_000", "1_000"),
        (Path("a"), "b/c", Path("b/c")), (Rule.SGD, "adam", Rule.ADAM), (Rule.SGD, "ADAM", Rule.ADAM),
        (torch.float32, "torch.float16", torch.float16), (torch.float32, "bfloat16", torch.bfloat16),
        (torch.device("cpu"), "cuda:0", torch.device("cuda:0")),
        ({0: 0.1, 10: 0.01}, '{"0": 1, "5": 0.5}', {0: 1.0, 5: 0.5}),
    ],
)  # fmt: skip
def test_text_takes_the_type_of_the_default(start, default, text, value):
    with start(f"--key={text}"):
        got = Args(key=default)["key"]
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("default", "value", "expected"),
    [
        (10, 0.01, 0.01), (10, 10.0, 10), (10, "7", 7), (0.1, 1, 1.0), (0.1, "nan", None), (0.1, "inf", float("inf")),
        (True, 0, False), (True, "off", False), ("x", 1, "1"), ("x", True, "true"), ((1, 2), [3], (3,)), ([1], 3, [3]),
        (None, "5", "5"), (None, [1], [1]), (Rule.SGD, "adam", Rule.ADAM), (Path("a"), "b", Path("b")),
    ],
)  # fmt: skip
def test_json_takes_the_type_of_the_default(start, default, value, expected):
    with start(given={"key": value}):
        got = Args(key=default).key
    assert got != got if expected is None else (got == expected and type(got) is type(expected))


@given(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.integers(), min_size=1)
    | st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)) | st.sampled_from(Rule)
    | st.dictionaries(st.integers(), st.floats(allow_nan=False), min_size=1)
)  # fmt: skip
def test_every_recorded_default_reads_back_as_itself(default):
    recorded = json.loads(json.dumps(to_json(default)))
    again = kind_of(default).read_json(recorded)
    assert again == default
    assert type(again) is type(default)


@given(st.integers(), st.floats(allow_nan=False))
def test_no_number_is_ever_truncated(whole, number):
    assert kind_of(whole).read_text(str(number)) == number
    assert kind_of(whole).read_json(number) == number


@pytest.mark.parametrize(
    ("default", "text"),
    [(10, "abc"), (10, "true"), (0.1, "fast"), (True, "maybe"), (True, "2"), ([1], "a"), (Rule.SGD, "sdg"),
     (Fraction(1, 2), "x"), (torch.float32, "float99"), (torch.device("cpu"), "warp:1")],
)  # fmt: skip
def test_a_wrong_type_names_the_command_line_the_key_what_came_and_what_was_expected(start, default, text):
    with start(f"key={text}"), pytest.raises(ConfigError) as caught:
        Args(key=default)
    assert caught.value.key == "key"
    for said in ("command line", "key=", repr(text), "expected "):
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("default", "value"),
    [(10, True), (10, None), (10, [1]), (0.1, False), (0.1, {"a": 1}), ("x", None), ("x", [1]), (True, 2), (True, 1.0),
     ([1], True), ([1], None), (Path("a"), True), ({0: 1}, 5)],
)  # fmt: skip
def test_a_wrong_type_in_a_config_is_an_error(start, default, value):
    with start(given={"key": value}), pytest.raises(ConfigError, match="key="):
        Args(key=default)


def test_a_wrong_type_in_a_file_names_the_file(script, tmp_path):
    done = script("from hypertuner.args import Args; Args(epochs=10)", given={"epochs": "many"})
    assert done.code == 1
    for said in ("ConfigError", "epochs='many'", "given.json", "expected a whole number", "10"):
        assert said in done.err


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [["learning_rat=1"], ["--learning-rat", "1"], ["--learning_rat=1"]])
def test_an_unknown_name_is_an_error_with_near_matches(start, argv):
    with start(*argv), pytest.raises(ConfigError, match="Did you mean 'learning_rate'") as caught:
        Args(learning_rate=0.1, epochs=3)
    assert "epochs" in str(caught.value)


@pytest.mark.parametrize("argv", [["stray"], ["-x"], ["--lr"], ["--", "lr=1"], ["--no-lr"]])
def test_what_is_no_value_is_an_error(start, argv):
    with start(*argv), pytest.raises(ConfigError, match="command line"):
        Args(lr=0.1)


def test_extra_keep_leaves_other_arguments_to_the_script(start):
    with start("stray", "--other", "5", "lr=1", "--no-such", "x=3"):
        args = Args(lr=0.1, extra="keep")
        assert dict(args) == {"lr": 1.0}
        assert sys.argv[1:] == ["stray", "--other", "5", "lr=1", "--no-such", "x=3"]


def test_a_missing_config_file_is_said(start):
    with start("--config=nowhere.json"), pytest.raises(ConfigError, match=r"nowhere\.json"):
        Args(lr=0.1)


def test_a_key_of_the_config_that_the_script_does_not_declare_is_kept_and_said_once(script):
    code = """
        from hypertuner.args import Args
        print(Args(dropout=0.1).dropuot, Args(dropout=0.1)["dropuot"])
    """
    done = script(code, given={"dropuot": 0.5})
    assert done.out == "0.5 0.5\n"
    assert done.err.count("'dropuot'") == 1
    assert "given.json" in done.err
    assert done.err.endswith("kept: 'dropuot' (did you mean 'dropout'?)\n")
    assert "dropuot" not in script(code, given={"dropuot": 0.5}, HYPERTUNER_QUIET="1").err


@pytest.mark.parametrize(
    "argv",
    [
        ["ipykernel_launcher.py", "-f", "/run/kernel-1.json"],
        ["ipykernel_launcher.py", "--f=/run/kernel-1.json", "--ip=127.0.0.1"],
        ["colab_kernel_launcher.py", "-f", "/root/kernel-2.json"],
        ["train.py", "-f", "/run/kernel-v3abc.json"],
    ],
)
def test_a_notebook_has_no_command_line(start, monkeypatch, argv):
    with start():
        monkeypatch.setattr(sys, "argv", argv)
        assert dict(Args(lr=0.1)) == {"lr": 0.1}
    with start():
        monkeypatch.setattr(sys, "argv", argv)
        parser = argparse.ArgumentParser()
        parser.add_argument("--lr", default=0.1)
        assert Args(parser).lr == 0.1


# -- the bare form, and 1.0.4 ----------------------------------------------------------------------------------------


def test_a_bare_args_has_the_config_and_leaves_all_that_it_does_not_take(start):
    with start("stray", "--lr", "1", "--their", "5", "new=[1]", "-x", given={"lr": 0.1, "opt.name": "sgd"}):
        args = Args()
    assert args == {"lr": 1.0, "opt": {"name": "sgd"}, "new": [1]}


def test_a_bare_args_without_a_config_says_how_to_give_one(start):
    with start(), pytest.raises(ConfigError, match=r"--config=storage/<run>/config\.json"):
        Args().lr


def test_a_script_written_for_hypertuner_1_0_4_runs_unchanged(script, tmp_path):
    (tmp_path / "storage" / "foo").mkdir(parents=True)
    config = {"learning_rate": 0.1, "net": {"hidden": [8, 4], "act": "relu"}, "name": "foo"}
    (tmp_path / "storage" / "foo" / "config.json").write_text(json.dumps(config))
    code = """
        import json
        import hypertuner.args
        args = hypertuner.args.Args()
        print(args.learning_rate, args.name, args.net["hidden"], isinstance(args.net, dict))
        print(json.dumps(args.conf))
        print(json.dumps(args.net), {**args.net} == args.net)
    """
    done = script(code, "--config=storage/foo/config.json")
    assert done.code == 0, done.err
    first, second, third = done.out.splitlines()
    assert first == "0.1 foo [8, 4] True"
    assert json.loads(second) == config
    assert third == json.dumps(config["net"]) + " True"


# -- groups and dataclasses ------------------------------------------------------------------------------------------


def test_dotted_and_nested_names_are_the_same_value_to_read_and_to_write(start):
    with start("--opt.lr", "1", given={"opt.name": "adam"}):
        args = Args(opt={"lr": 0.1, "name": "sgd", "deep": {"er": 1}})
    assert args.opt.lr == args["opt.lr"] == args["opt"]["lr"] == 1.0
    assert (args.opt.name, args.opt.deep.er, args["opt.deep.er"]) == ("adam", 1, 1)
    args["opt.lr"] = 2
    args.opt.deep.er = 3
    args["new.group"] = 4
    assert (args.opt.lr, args["opt.deep.er"], args.new.group) == (2, 3, 4)
    assert "opt.lr" in args
    assert "opt.rl" not in args
    assert dict(args.opt) == {"lr": 2, "name": "adam", "deep": {"er": 3}}
    del args["opt.deep.er"]
    assert "opt.deep.er" not in args


def test_a_group_given_as_json_sets_the_keys_in_it(start):
    with start('opt={"lr": 1}'):
        assert Args(opt={"lr": 0.1, "name": "sgd"}).conf == {"opt": {"lr": 1.0, "name": "sgd"}}


def test_a_dict_left_open_takes_any_key(start):
    with start("kw.depth=3", given={"kw.act": "relu", "other.a": 1}):
        assert Args(kw={}, other=None).conf == {"kw": {"act": "relu", "depth": 3}, "other": {"a": 1}}


@pytest.mark.parametrize("given", [{"opt": 5}, {"lr.x": 1}, {"opt.lr": {"a": 1}}])
def test_a_group_where_a_value_belongs_is_an_error_and_the_other_way_round(start, given):
    with start(given=given), pytest.raises(ConfigError, match="expected"):
        Args(lr=0.1, opt={"lr": 0.1})


def test_a_dataclass_is_made_of_the_given_values_and_answers_like_itself(start):
    with start("--optimizer.lr", "1", "hidden=4", "rule=ADAM", "limit=7", given={"loss": "l1", "width": 99}):
        args = Args(Settings)
    assert (args.optimizer.lr, args["optimizer.lr"], args.optimizer.betas) == (1.0, 1.0, (0.9, 0.99))
    assert (args.hidden, args.rule, args.limit, args.loss, args.out) == (4, Rule.ADAM, 7, "l1", Path("runs"))
    assert (args.width, args.area, args.KIND, args.optimizer.halved()) == (8, 32, "mlp", 0.5)
    args.hidden = 5
    assert args.area == 40


def test_an_instance_of_a_dataclass_gives_its_values_as_defaults(start):
    with start("optimizer.lr=3"):
        args = Args(Settings(hidden=2, optimizer=Optimizer(lr=9, betas=(0.5,))))
    assert (args.hidden, args.optimizer.lr, args.optimizer.betas, args.width) == (2, 3.0, (0.5,), 4)


def test_a_dataclass_checks_itself(start):
    with start("hidden=-1"), pytest.raises(ValueError, match="hidden must be positive"):
        Args(Settings)


def test_a_field_without_default_must_be_given(start):
    with start(), pytest.raises(ConfigError, match="hidden=…"):
        Args(Settings)


@pytest.mark.parametrize(
    "argv", [["loss=l3"], ["limit=x"], ["rule=9"], ["optimizer.betas=a"], ["optimizer=3"], ["width=3"]]
)
def test_a_dataclass_refuses_what_its_annotations_refuse(start, argv):
    with start("hidden=1", *argv), pytest.raises(ConfigError):
        Args(Settings)


# -- argparse --------------------------------------------------------------------------------------------------------


def test_a_parser_reads_the_command_line_as_it_always_did(start):
    argv = ["digits", "--epochs", "3", "--cpu", "--layers", "1", "2", "--tag", "a", "--tag", "b", "-vv", "--no-compile"]
    with start(*argv):
        args = Args(parser_of_a_usual_script())
    namespace = parser_of_a_usual_script().parse_args(argv)
    assert args == namespace
    assert vars(args) == vars(namespace)
    assert isinstance(args, argparse.Namespace)
    assert args.data == Path("digits")


def test_a_config_stands_where_the_defaults_of_a_parser_would_and_satisfies_what_it_requires(start):
    with start(given=ALL_OF_IT):
        args = Args(parser_of_a_usual_script())
    assert vars(args) == {**ALL_OF_IT, "data": Path("digits"), "out": Path("o"), "lr": 1.0}
    assert isinstance(args.lr, float)


def test_the_command_line_of_a_parser_wins_over_the_config(start):
    with start("mnist", "--lr", "0.5", "--tag", "z", "-v", "--compile", "--gpu", "1", given=ALL_OF_IT):
        args = Args(parser_of_a_usual_script())
    assert (args.data, args.lr, args.tag, args.verbose, args.compile) == (Path("mnist"), 0.5, ["z"], 1, True)
    assert (args.gpu, args.cpu) == (1, False)  # they exclude each other


def test_what_a_parser_made_reads_back_as_the_same(start):
    argv = ["digits", "--epochs", "3", "--gpu", "0", "--layers", "1", "2", "--tag", "a", "-v", "--lr", "5", "--amp"]
    with start(*argv):
        first = Args(parser_of_a_usual_script())
    recorded = json.loads(json.dumps({key: to_json(value) for key, value in vars(first).items()}))
    for replayed in ([], argv):
        with start(*replayed, given=recorded):
            assert Args(parser_of_a_usual_script()) == first


@pytest.mark.parametrize("argv", [[], ["mnist", "--gpu", "1"], ["--lr", "x"], ["--help"], ["a", "b"]])
def test_the_parser_is_afterwards_as_it_was(start, argv, capsys):
    parser = parser_of_a_usual_script()
    before = parser.format_help(), [dict(vars(action)) for action in parser._actions], dict(parser._defaults)
    try:
        with start(*argv, given=ALL_OF_IT):
            Args(parser)
    except SystemExit:
        pass
    assert before == (parser.format_help(), [dict(vars(a)) for a in parser._actions], dict(parser._defaults))


@pytest.mark.parametrize(
    "wrong",
    [{"lr": "fast"}, {"lr": True}, {"epochs": 2.5}, {"epochs": None}, {"opt": "adamm"}, {"layers": ["a"]}, {"amp": "x"},
     {"verbose": "x"}, {"layers": {"a": 1}}, {"out": 5}, {"compile": 7}],
)  # fmt: skip
def test_a_config_that_the_parser_would_not_have_taken_is_an_error_that_names_the_key(start, wrong):
    with start(given={**ALL_OF_IT, **wrong}), pytest.raises(ConfigError) as caught:
        Args(parser_of_a_usual_script())
    assert caught.value.key == next(iter(wrong))
    assert repr(next(iter(wrong.values()))) in str(caught.value)


def test_a_wrong_value_that_the_command_line_replaces_does_no_harm(start):
    with start("--lr", "1", given={**ALL_OF_IT, "lr": "fast"}):
        assert Args(parser_of_a_usual_script()).lr == 1.0


@pytest.mark.parametrize(("argv", "code"), [(["--help"], 0), (["--nope"], 2), (["d", "--epochs", "x"], 2), ([], 2)])
def test_a_parser_exits_as_argparse_does_and_leaves_no_folder(start, argv, code, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught, start(*argv):
        Args(parser_of_a_usual_script())
    assert caught.value.code == code
    assert "usage:" in "".join(capsys.readouterr())


def test_a_parser_may_leave_other_arguments(start):
    with start("d", "--epochs", "1", "--cpu", "--theirs", "x"):
        assert Args(parser_of_a_usual_script(), extra="keep").epochs == 1


def test_options_with_a_type_of_the_scripts_own(start):
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=lambda text: [int(size) for size in text.split(",")], default=[1])
    parser.add_argument("--rule", type=Rule, choices=list(Rule), default=Rule.SGD)
    parser.add_argument("--bool", type=lambda text: text.lower() == "true", default=False)
    parser.add_argument("--trap", type=bool, default=False)
    parser.add_argument("--opts", type=json.loads, default={"a": 1})
    parser.add_argument("--free", default=0.5)
    given = {"sizes": [2, 3], "rule": "adam", "bool": True, "trap": "false", "opts.b": 2, "free": 1}
    with start(given=given):
        args = Args(parser)
    assert (args.sizes, args.rule, args.bool, args.trap) == ([2, 3], Rule.ADAM, True, False)
    assert (args.opts, args.free) == ({"b": 2}, 1.0)


def test_a_parser_of_the_scripts_own_keeps_what_it_noted_while_parsing(start):
    class Noting(argparse.ArgumentParser):
        def parse_args(self, args=None, namespace=None):
            self.seen = args
            return super().parse_args(args, namespace)

    parser = Noting()
    parser.add_argument("--lr", type=float, default=0.1)
    with start("--lr", "1", given={"lr": 2}):
        Args(parser)
    assert parser.seen == ["--lr", "1"]


def test_options_with_dotted_names(start):
    parser = argparse.ArgumentParser()
    parser.add_argument("--opt.lr", type=float, default=0.1)
    parser.add_argument("--opt.name", default="sgd")
    with start("--opt.name", "adam", given={"opt.lr": 1}):
        args = Args(parser)
    assert (args.opt.lr, args["opt.lr"], getattr(args, "opt.lr"), args.opt.name) == (1.0, 1.0, 1.0, "adam")


def test_an_action_of_the_scripts_own_sees_the_value_of_the_config(start):
    class Pairs(argparse.Action):
        def __call__(self, parser, namespace, values, option_string=None):
            key, _, value = values.partition(":")
            setattr(namespace, self.dest, {**(getattr(namespace, self.dest) or {}), key: value})

    parser = argparse.ArgumentParser()
    parser.add_argument("--pair", action=Pairs, default={})
    with start("--pair", "b:2", given={"pair.a": "1"}):
        assert Args(parser).pair == {"a": "1", "b": "2"}


def test_subcommands(start):
    def parser():
        root = argparse.ArgumentParser()
        root.add_argument("--lr", type=float, default=0.1)
        commands = root.add_subparsers(dest="command", required=True)
        commands.add_parser("train").add_argument("--epochs", type=int, required=True)
        commands.add_parser("eval").add_argument("--split", default="val")
        return root

    with start("--lr", "2", "train", "--epochs", "3"):
        assert vars(Args(parser())) == {"lr": 2.0, "command": "train", "epochs": 3}
    for argv in ([], ["train"]):
        with start(*argv, given={"command": "train", "epochs": "7"}):
            assert vars(Args(parser())) == {"lr": 0.1, "command": "train", "epochs": 7}


A_LONG_SCRIPT = """
    import argparse
    from pathlib import Path
    import hypertuner.args

    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("data", type=Path, help="folder")
    parser.add_argument("--config", default="base.yaml")
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--fp16", action="store_true")
    parser.add_argument("--sizes", nargs="+", type=int, default=[224])
    parser.add_argument("--model", choices=["vit", "resnet"], default="vit")
    parser.add_argument("--seed", type=int, required=True)
    args = hypertuner.args.Args(parser)
    args.lr *= 8
    args.log_dir = args.data / "logs"
    if getattr(args, "amp", False) or not hasattr(args, "fp16"):
        raise SystemExit("amp")
    print(args.config, args.data.name, args.lr, args.sizes, args.model, args.seed, args.fp16, **{})
    print("\\n".join(f"{k}: {v}" for k, v in sorted(vars(args).items())))
"""


def test_a_long_script_keeps_its_own_config_flag(script, tmp_path):
    (tmp_path / "own.json").write_text('{"lr": 5, "theirs": 1}')
    for theirs in ("own.yaml", "own.json"):
        done = script(A_LONG_SCRIPT, "d", "--seed", "1", "--config", theirs, "--sizes", "1", "2", "--fp16")
        assert done.code == 0, done.err
        assert done.out.splitlines()[0] == f"{theirs} d 0.8 [1, 2] vit 1 True"
        assert "log_dir: d/logs" in done.out


def test_a_long_script_takes_the_config_of_a_run(script, tmp_path):
    folder = tmp_path / "storage" / "foo"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"data": "e", "seed": 4, "model": "resnet", "lr": 1}')
    done = script(A_LONG_SCRIPT, "--config=storage/foo/config.json", "--sizes", "7")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "base.yaml e 8.0 [7] resnet 4 False"


def test_another_json_file_is_a_template_for_a_parser_without_a_config_flag(script, tmp_path):
    (tmp_path / "base.json").write_text('{"lr": 5}')
    code = """
        import argparse
        from hypertuner.args import Args
        parser = argparse.ArgumentParser()
        parser.add_argument("--lr", type=float, default=0.1)
        print(Args(parser).lr)
    """
    assert script(code, "--config", "base.json").out == "5.0\n"
    assert script(code, "--config", "base.yaml").code == 2


# -- records ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [dict, lambda values: argparse.Namespace(**values), OmegaConf.create])
def test_a_dict_a_namespace_or_a_hydra_config_is_recorded_as_it_is(start, make):
    with start("lr=5", "--whatever", "+x=1"):
        args = Args(make({"lr": 0.1, "opt": {"name": "sgd"}}))
    assert (args.lr, args.opt.name, args["opt.name"]) == (0.1, "sgd", "sgd")


def test_a_record_that_differs_from_the_given_config_says_so(script):
    done = script("from hypertuner.args import Args; print(Args({'lr': 0.1}).lr)", given={"lr": 0.5})
    assert done.out == "0.1\n"
    assert "lr=0.5" in done.err
    assert "only records" in done.err


@pytest.mark.parametrize("source", [5, "x", [1], object])
def test_what_is_no_form_of_args_is_a_type_error(start, source):
    with start(), pytest.raises(TypeError, match="Args takes"):
        Args(source)


def test_a_source_and_defaults_together_are_a_type_error(start):
    with start(), pytest.raises(TypeError, match="lr"):
        Args({"a": 1}, lr=0.1)


# -- the object ------------------------------------------------------------------------------------------------------


def test_args_are_a_mapping_and_an_object(start):
    with start():
        args = Args(lr=0.1, epochs=10)
    assert (len(args), list(args), list(args.keys()), list(args.values())) == (
        2,
        ["lr", "epochs"],
        ["lr", "epochs"],
        [0.1, 10],
    )
    assert dict(args.items()) == dict(**args) == vars(args) == args.conf == {"lr": 0.1, "epochs": 10}
    assert (args.get("lr"), args.get("nope"), args.get("nope", 3)) == (0.1, None, 3)
    assert repr(args) == "Args(lr=0.1, epochs=10)"
    assert args == {"lr": 0.1, "epochs": 10}
    assert args != {"lr": 0.1}
    assert type(args.conf) is dict


def test_a_missing_name_is_every_error_that_one_expects_with_near_matches(start):
    with start():
        args = Args(learning_rate=0.1, opt={"lr": 1})
    assert getattr(args, "amp", False) is False
    assert not hasattr(args, "amp")
    for error in (ConfigError, AttributeError, KeyError):
        with pytest.raises(error, match="Did you mean 'learning_rate'"):
            args.learning_rat
        with pytest.raises(error, match="Did you mean 'learning_rate'"):
            args["learning_rat"]
    with pytest.raises(AttributeError, match=r"args\.opt has no 'rl'"):
        args.opt.rl


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda args: pickle.loads(pickle.dumps(args))])
def test_a_copy_is_equal_and_apart(start, how):
    with start("hidden=3"):
        args = Args(Settings)
    again = how(args)
    assert again == args
    again.optimizer.lr = 7
    again.hidden = 4
    assert (args.optimizer.lr, args.hidden, again.area, again.optimizer.halved()) == (0.1, 3, 24, 3.5)


def test_a_copy_of_a_parsers_args_is_a_namespace_too(start):
    with start(given=ALL_OF_IT):
        args = Args(parser_of_a_usual_script())
    for again in (copy.copy(args), copy.deepcopy(args), pickle.loads(pickle.dumps(args))):
        assert again == args
        assert isinstance(again, argparse.Namespace)
        assert vars(again) == vars(args)


def test_a_key_called_like_a_method_is_reached_by_its_item_and_harms_nothing(script):
    code = """
        from hypertuner.args import Args
        args = Args(items=3, conf=4, _root=5, lr=0.1)
        print(args["items"], args["conf"], args["_root"], dict(args.items()), dict(**args), args.get("items"))
    """
    done = script(code)
    values = {"items": 3, "conf": 4, "_root": 5, "lr": 0.1}
    assert done.out == f"3 4 5 {values} {values} 3\n"
    assert "args['items']" in done.err


def test_vars_is_live(start):
    with start():
        args = Args(lr=0.1)
    vars(args).update(lr=0.2, new=3)
    args.other = 4
    assert (args.lr, args.new, vars(args)["other"]) == (0.2, 3, 4)
    del args.other
    assert "other" not in args


# -- what was read ---------------------------------------------------------------------------------------------------


def test_it_knows_which_values_the_script_never_reads(start):
    with start(given={"extra_key": 1}):
        args = Args(lr=0.1, dropout=0.5, opt={"name": "sgd", "betas": 1}, amp=False)
    str(args), args == args, "lr" in args, len(args), list(args)
    args._effective()
    assert args.unread() == ["lr", "dropout", "opt.name", "opt.betas", "amp", "extra_key"]
    args.lr, args["amp"], args.opt.name, args.get("extra_key"), args.opt
    assert args.unread() == ["dropout", "opt.betas"]
    dict(**args.opt)
    args.dropout = 3
    assert args.unread() == ["dropout"]


@pytest.mark.parametrize(
    "read",
    [vars, lambda args: args.conf, lambda args: dict(**args), lambda args: json.dumps(vars(args)), copy.deepcopy,
     lambda args: list(args.items()), lambda args: [*args.values()]],
)  # fmt: skip
def test_who_takes_all_at_once_has_read_all(start, read):
    with start():
        args = Args(lr=0.1, epochs=3)
    read(args)
    assert args.unread() == []


def test_a_group_handed_on_as_keywords_counts_what_is_in_it(start):
    with start():
        args = Args(opt={"lr": 0.1, "deep": {"er": 1}}, other=1)
    json.dumps(args.opt)
    assert args.unread() == ["other"]


# -- the run ---------------------------------------------------------------------------------------------------------


class _Declared:
    """A run that tells what was declared to it."""

    name = "brave-otter"
    given_from = "storage/brave-otter/config.json"
    has_config = True

    def __init__(self, given, started_before=False):
        self.given = given
        self.started_before = started_before
        self.asked = set()
        self.effective = None

    def declare(self, args, effective):
        self.effective = effective


@pytest.fixture
def run_with(monkeypatch):
    """The current run is one with this config, and the script was started with these arguments."""

    def make(given, *argv, started_before=False):
        run = _Declared(given, started_before)
        monkeypatch.setattr(sys, "argv", ["train.py", *argv])
        monkeypatch.setattr(current, "run", lambda: run)
        return run

    return make


def test_checkpoints_see_the_values_as_they_are_now_flat_and_in_json(run_with):
    run = run_with({})
    args = Args(lr=0.1, out=Path("o"), opt={"betas": (0.9, 0.99)})
    assert run.effective() == {"lr": 0.1, "out": "o", "opt.betas": [0.9, 0.99]}
    args.lr *= 4
    args.added = 1
    assert run.effective() == {"lr": 0.4, "out": "o", "opt.betas": [0.9, 0.99], "added": 1}
    assert args.unread() == ["out", "opt.betas", "added"]


def _declares_defaults():
    return Args(lr=0.1, note="x")


def _declares_a_parser():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--note", default="x")
    return Args(parser)


@pytest.mark.parametrize("declare", [_declares_defaults, _declares_a_parser, Args])
def test_the_config_of_a_run_that_has_started_does_not_change(run_with, declare):
    run_with({"lr": 0.5, "note": "y"}, "--lr", "0.7", "--note", "a b", started_before=True)
    with pytest.raises(ConfigError) as caught:
        declare()
    assert "hypertuner run train.py --like brave-otter lr=0.7 'note=a b'" in str(caught.value)


@pytest.mark.parametrize("declare", [_declares_defaults, _declares_a_parser, Args])
def test_the_same_values_again_are_no_change(run_with, declare):
    run_with({"lr": 0.5, "note": "y"}, "--lr", "5e-1", started_before=True)
    assert declare().lr == 0.5


def test_a_record_that_changes_a_run_that_has_started_is_an_error(run_with):
    run_with({"lr": 0.5}, started_before=True)
    with pytest.raises(ConfigError, match=r"lr=0\.7"):
        Args({"lr": 0.7})


def test_a_second_different_args_in_one_run_is_an_error(start):
    with start():
        Args(lr=0.1)
        Args(lr=0.1)
        with pytest.raises(ConfigError):
            Args(lr=0.2)


def test_new_run_gives_args_and_takes_a_function_that_declares_its_own(start):
    def train():
        return Args(lr=0.1, epochs=10)

    with start():
        for lr in (0.01, 0.02):
            with new_run(lr=lr, opt={"name": "sgd"}) as args:
                assert (args.lr, args.opt.name, args["opt.name"]) == (lr, "sgd", "sgd")
                assert train().lr == lr


def test_a_value_changed_in_new_run_is_told_to_the_run_with_the_config_as_it_was(start, monkeypatch):
    with start(), new_run(lr=0.5) as args:
        told = []
        monkeypatch.setattr(
            type(current.run()), "declare", lambda run, args, effective: told.append((effective(), effective))
        )
        args.lr *= 2
        args.more = 1
        assert [first for first, _ in told] == [{"lr": 0.5}]
        assert told[0][1]() == {"lr": 1.0, "more": 1}


# -- help ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_shows_keys_types_defaults_and_the_values_of_this_run_and_writes_nothing(script, tmp_path, flag):
    code = "from hypertuner.args import Args\nArgs(lr=0.1, layers=[1], opt={'name': 'sgd'})\nprint('trained')"
    done = script(code, flag, "lr=3", given={"opt.name": "adam"})
    assert done.code == 0, done.err
    for said in ("lr", "a number", "0.1", "a list of whole numbers", "opt.name", '"sgd"', 'now "adam"', "given.json"):
        assert said in done.out
    assert "trained" not in done.out
    assert not (tmp_path / "storage").exists()


def test_help_of_a_dataclass_shows_what_is_required(start, capsys):
    with start("--help"), pytest.raises(SystemExit) as caught:
        Args(Settings)
    assert caught.value.code == 0
    said = capsys.readouterr().out
    for word in ("hidden", "required", "one of 'mse', 'l1'", "a whole number or none", "a path"):
        assert word in said


def test_a_bare_args_leaves_help_to_the_script(script):
    assert script("from hypertuner.args import Args; Args(); print('mine')", "--help").out == "mine\n"


def test_with_mode_off_args_work_and_nothing_is_written(script, tmp_path):
    done = script("from hypertuner.args import Args; print(Args(lr=0.1).lr)", "lr=3", HYPERTUNER_MODE="off")
    assert done.out == "3.0\n"
    assert not (tmp_path / "storage").exists()


def test_args_import_no_library_of_the_field_and_no_argparse():
    code = (
        "import sys, hypertuner.args as a; sys.argv = ['x', 'lr=1']; a.Args(lr=0.1);"
        "print({'torch', 'numpy', 'omegaconf', 'argparse'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
