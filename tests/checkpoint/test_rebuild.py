from __future__ import annotations

import functools
import inspect
import json
import linecache
import pickle
import sys
import traceback
import types

import pytest

from hypertuner.checkpoint.recipe.rebuild import Rebuilder, RecordedArgs
from hypertuner.checkpoint.recipe.recording import Recipe, Recording, Source
from hypertuner.errors import CheckpointError

# ---------------------------------------------------------------- a file moved to an empty folder, in a new process


def test_a_class_of_the_script_comes_back_elsewhere_and_the_script_does_not_run_again(workplace):
    workplace.write(
        train="""
        import pathlib
        import keep
        WIDTH = 3
        SHAPE = (2, [4, 5])
        pathlib.Path("trained").open("a").write("x")          # the work of the script
        class Block:
            def __call__(self, x):
                return scale(x)
        def scale(x):
            return x * WIDTH
        class Net(Block):
            shape = SHAPE
            def __init__(self):
                self.weight = 5
        net = Net()
        keep.save(net, "model")
        """
    )
    workplace.run("train.py")

    assert workplace.load_elsewhere("print(net(net.weight), net.shape, type(net).__name__)") == "15 (2, [4, 5]) Net"
    assert (workplace.project / "trained").read_text() == "x"
    assert sorted(path.name for path in workplace.elsewhere.iterdir()) == ["model"]


def test_loading_beside_the_script_does_not_run_it_either(workplace):
    workplace.write(
        train="""
        import keep
        print("training")
        class Net:
            pass
        keep.save(Net(), "model")
        """,
        use="""
        import keep
        print(type(keep.load("model")).__name__)
        """,
    )
    workplace.run("train.py")

    assert workplace.run("use.py") == "Net"


def test_a_torch_model_comes_back_and_computes_the_same(workplace):
    pytest.importorskip("torch")
    workplace.write(
        train="""
        import functools, logging
        import torch
        import torch.nn as nn
        from torch.nn import functional as F
        import keep
        act = nn.GELU
        device = torch.device("cpu")
        log = logging.getLogger("net")
        make_norm = functools.partial(nn.LayerNorm, eps=1e-3)
        T = torch.float32
        class Net(nn.Module):
            def __init__(self, hidden=8):
                super().__init__()
                self.layers = nn.Sequential(nn.Linear(4, hidden), act(), make_norm(hidden))
            @torch.no_grad()
            def forward(self, x):
                log.debug("forward")
                return F.relu(self.layers(x.to(device, T))).sum().item()
        if __name__ == "__main__":
            net = Net()
            x = torch.ones(1, 4)
            keep.save(net, "model")
            print(net(x))
        """
    )
    expected = workplace.run("train.py")

    assert workplace.load_elsewhere("import torch; print(net(torch.ones(1, 4)))") == expected


def test_local_modules_and_packages_come_along(workplace):
    workplace.write(
        models__init="from .net import Net\n",
        models__net="""
        from __future__ import annotations
        from dataclasses import dataclass
        import models.layers as L
        from . import layers
        from .layers import Block
        @dataclass
        class Net(Block):
            width: int = L.WIDTH
            def run(self):
                from models import late
                assert layers is L
                return late.answer(self.width)
        """,
        models__layers="WIDTH = 7\nclass Block:\n    pass\n",
        models__late="def answer(x):\n    return x + 1\n",
        train="""
        import keep
        from models import Net
        keep.save(Net(), "model")
        """,
    )
    workplace.run("train.py")

    assert workplace.load_elsewhere("print(net, net.run()); import sys; print('models' in sys.modules)") == (
        "Net(width=7) 8\nFalse"
    )


def test_a_folder_without_init_is_a_package_too(workplace):
    workplace.write(
        parts__blocks="class Block:\n    width = 4\n",
        train="""
        import keep
        import parts.blocks
        from parts import blocks
        class Net(parts.blocks.Block):
            def twice(self): return blocks.Block.width * 2
        keep.save(Net(), "model")
        """,
    )
    workplace.run("train.py")

    assert workplace.load_elsewhere("print(net.width, net.twice())") == "4 8"


def test_star_imports_are_kept_for_names_that_nothing_else_binds(workplace):
    workplace.write(
        layers="class Block:\n    width = 4\n",
        train="""
        import keep
        from layers import *
        class Net(Block):
            pass
        keep.save(Net(), "model")
        """,
    )
    workplace.run("train.py")

    assert workplace.load_elsewhere("print(net.width)") == "4"


def test_circular_and_renamed_imports_within_a_package_find_each_other(workplace):
    workplace.write(
        zoo__init="from .a import *\nfrom .b import B as Bee\n__all__ = ['A', 'Bee', 'sub']\nVERSION = len('abc')\n",
        zoo__a="import zoo.b\nfrom zoo import b as bb\n__all__ = ['A']\nclass A:\n    def f(self): return bb.B().g()\n",
        zoo__b="import zoo.a as za\nclass B:\n    def g(self): return za.A.__name__\n",
        zoo__sub="X = 5\n",
        train="""
        import keep
        from zoo import *
        import zoo.sub as zs
        class Net(A):
            def run(self): return self.f(), Bee.__name__, sub.X, zs.X
        keep.save(Net(), "model")
        """,
    )
    workplace.run("train.py")

    assert workplace.load_elsewhere("print(net.run())") == "('A', 'B', 5, 5)"


def test_a_registry_is_filled_by_the_definitions_and_a_recorded_list_is_not_filled_twice(workplace):
    workplace.write(
        train="""
        import enum, sys, typing
        from collections import namedtuple
        import keep
        REGISTRY = {}
        NAMES = []
        def register(name):
            def decorate(c):
                REGISTRY[name] = c
                NAMES.append(name)
                return c
            return decorate
        class Kind(enum.Enum):
            SMALL = 1
        Point = namedtuple("Point", "x y")
        class Options(typing.NamedTuple):
            a: int = 1
        ORIGIN, OPTIONS = Point(1, 2), Options()
        @register("linear")
        class Linear: pass
        @register("net")
        class Net:
            kinds = [k for k in Kind]
            def run(self):
                here = sys.modules[__name__]
                return REGISTRY["net"] is Net, getattr(here, "Linear").__name__, NAMES, ORIGIN, OPTIONS, self.kinds
        net = Net()
        net.kind, net.point = Kind.SMALL, Point(3, 4)
        print(net.run(), net.kind, net.point)
        keep.save(net, "model")
        """
    )
    expected = workplace.run("train.py")

    assert workplace.load_elsewhere("print(net.run(), net.kind, net.point)") == expected


def test_a_package_run_as_a_script_resolves_its_relative_imports(workplace):
    workplace.write(
        pack__init="",
        pack__layers="class Block:\n    width = 4\n",
        pack__train="""
        import keep
        from .layers import Block
        class Net(Block):
            pass
        keep.save(Net(), "model")
        """,
    )
    workplace.run("-m", "pack.train")

    assert workplace.load_elsewhere("print(net.width)") == "4"


def test_conditions_and_tried_imports_are_decided_again_where_the_file_is_loaded(workplace):
    workplace.write(
        train="""
        from __future__ import annotations
        from typing import TYPE_CHECKING
        import keep
        if TYPE_CHECKING:
            from nowhere import Thing
        try:
            import only_on_the_training_machine
            HAS_IT = True
        except ImportError:
            only_on_the_training_machine = None
            HAS_IT = False
        class Outer:
            class Inner:
                def has_it(self, thing: Thing | None = None) -> bool:
                    return HAS_IT
        keep.save(Outer.Inner(), "model")
        """,
    )
    (workplace.project / "only_on_the_training_machine.py").write_text("")
    workplace.run("train.py")
    (workplace.project / "only_on_the_training_machine.py").unlink()
    content = json.loads((workplace.project / "model").read_text())
    content["recipe"]["sources"].pop("only_on_the_training_machine")
    (workplace.project / "model").write_text(json.dumps(content))

    assert workplace.load_elsewhere("print(net.has_it())") == "False"


def test_definitions_under_the_main_guard_and_functions_are_found(workplace):
    workplace.write(
        train="""
        import keep
        if __name__ == "__main__":
            print("training")
            def act(x):
                return -x
            class Net:
                def __init__(self): self.act = act
            keep.save(Net(), "model")
        """,
    )
    workplace.run("train.py")

    assert workplace.load_elsewhere("print(net.act(3))") == "-3"


def test_values_of_the_script_are_those_of_the_moment_of_saving(workplace):
    workplace.write(
        settings="DEPTH = 2\nTABLE = dict(a=1)\n",
        train="""
        import random, keep, settings
        settings.DEPTH = 9
        settings.TABLE["b"] = 2
        seen = 0
        for step in range(5):
            seen += step
        with open("big", "w") as stream:
            size = stream.write("four")
        noise = random.random()
        def work():
            return [1, 2]
        table = work()
        class Net:
            def all(self):
                return seen, step, size, noise, table, settings.DEPTH, settings.TABLE
        net = Net()
        print(net.all())
        keep.save(net, "model")
        """,
    )
    expected = workplace.run("train.py")

    assert workplace.load_elsewhere("print(net.all())") == expected


def test_the_config_of_the_run_stands_where_the_script_parsed_it(workplace):
    workplace.write(
        train="""
        import argparse, keep
        parser = argparse.ArgumentParser()
        parser.add_argument("--hidden", type=int, default=3)
        args = parser.parse_args()
        class Net:
            hidden = args.hidden
            def lr(self):
                return args.optimizer.lr, args["optimizer.lr"], args.get("none"), "hidden" in args, vars(args)["hidden"]
        setattr(args, "object", object())
        keep.save(Net(), "model", **{"optimizer.lr": 0.5})
        """,
    )
    workplace.run("train.py", "--hidden", "6")

    assert workplace.load_elsewhere("print(net.hidden, net.lr())") == "6 (0.5, 0.5, None, True, 6)"


def test_attributes_that_the_script_set_on_its_objects_are_set_again(workplace):
    workplace.write(
        train="""
        import os, keep
        os.environ["TOUCHED"] = "yes"
        class Config:
            def __init__(self, depth): self.depth = depth
        CFG = Config(depth=2)
        CFG.width = 5
        class Net:
            def size(self): return CFG.depth * CFG.width, os.environ.get("TOUCHED")
        Net.kind = "wide"
        keep.save(Net(), "model")
        """,
    )
    workplace.run("train.py")

    assert workplace.load_elsewhere("print(net.size(), net.kind)") == "(10, None) wide"


def test_a_config_module_that_makes_a_run_is_not_asked_to_make_another(workplace):
    workplace.write(
        config="""
        import types
        import hypertuner
        hypertuner.Args = type("Args", (types.SimpleNamespace,), {"__module__": "hypertuner.args"})
        hypertuner.Saver = lambda *args: print("saver made")
        args = hypertuner.Args(hidden=4)
        saver = hypertuner.Saver()
        """,
        train="""
        import keep
        from config import args
        class Net:
            def hidden(self): return args.hidden
        keep.save(Net(), "model", hidden=4)
        """,
    )
    assert workplace.run("train.py") == "saver made"

    assert workplace.load_elsewhere("print(net.hidden())") == "4"


def test_what_the_machine_decides_is_decided_anew(workplace):
    library = "class cuda:\n    @staticmethod\n    def is_available(): return {}\n"
    (workplace.library / "fake_torch.py").write_text(library.format(True))
    workplace.write(
        train="""
        import keep
        from fake_torch import cuda
        device = "cuda" if cuda.is_available() else "cpu"
        if cuda.is_available():
            kind = "half"
        else:
            kind = "full"
        class Net:
            def where(self): return device, kind
        keep.save(Net(), "model")
        print(Net().where())
        """
    )
    assert workplace.run("train.py") == "('cuda', 'half')"
    (workplace.library / "fake_torch.py").write_text(library.format(False))

    assert workplace.load_elsewhere("print(net.where())") == "('cpu', 'full')"


def test_a_script_edited_while_it_runs_is_not_recorded_as_what_it_was(workplace):
    workplace.write(
        train="""
        import keep, pathlib
        from hypertuner.checkpoint.recipe.recording import UnrecordableError
        class Net:
            def f(self): return 1
        path = pathlib.Path("train.py")
        path.write_text("# new first line" + path.read_text())
        path.write_text("\\n" + path.read_text())
        try:
            keep.save(Net(), "model")
        except UnrecordableError as error:
            print("was edited" in str(error))
        """
    )

    assert workplace.run("train.py") == "True"


# ---------------------------------------------------------------- the real class, or the recorded one


def test_an_unchanged_module_is_imported_and_a_changed_one_is_rebuilt(workplace):
    workplace.write(
        models="""
        class Net:
            version = 1
        """,
        train="""
        import keep
        from models import Net
        keep.save(Net(), "model")
        """,
        use="""
        import keep
        net = keep.load("model")
        import models
        print(net.version, isinstance(net, models.Net))
        """,
    )
    workplace.run("train.py")
    assert workplace.run("use.py") == "1 True"

    workplace.write(models="class Net:\n    version = 2\n")
    assert workplace.run("use.py") == "1 False"


def test_a_class_is_rebuilt_when_only_a_module_that_it_imports_has_changed(workplace):
    workplace.write(
        layers="WIDTH = 1\n",
        models="import layers\nclass Net:\n    def width(self): return layers.WIDTH\n",
        train="import keep\nfrom models import Net\nkeep.save(Net(), 'model')\n",
        use="import keep\nprint(keep.load('model').width())\n",
    )
    workplace.run("train.py")
    workplace.write(layers="WIDTH = 2\n")

    assert workplace.run("use.py") == "1"


def test_the_running_script_gets_its_own_class_back(workplace):
    workplace.write(
        train="""
        import pathlib, keep
        early = keep.load("model") if pathlib.Path("model").exists() else None
        class Net:
            pass
        if early is None:
            keep.save(Net(), "model")
        else:
            print(type(early) is Net, type(keep.load("model")) is Net)
        """
    )
    workplace.run("train.py")

    # Before its class statement has run there is no real class to give.
    assert workplace.run("train.py") == "False True"


def test_a_script_that_was_imported_with_the_same_text_gives_the_class(workplace):
    workplace.write(
        train="""
        import keep
        class Net:
            pass
        if __name__ == "__main__":
            keep.save(Net(), "model")
        """,
        use="import keep, train\nprint(type(keep.load('model')) is train.Net)\n",
    )
    workplace.run("train.py")

    assert workplace.run("use.py") == "True"


def test_a_spawned_worker_records_its_parents_script(workplace):
    workplace.write(
        train="""
        import multiprocessing, keep
        class Net:
            width = 3
        def work():
            keep.save(Net(), "model")
        if __name__ == "__main__":
            process = multiprocessing.get_context("spawn").Process(target=work)
            process.start()
            process.join()
        """
    )
    workplace.run("train.py")

    assert workplace.load_elsewhere("print(net.width)") == "3"


# ---------------------------------------------------------------- saving again what was rebuilt


def test_a_rebuilt_model_can_be_saved_and_loaded_again(workplace):
    workplace.write(
        layers="class Block:\n    width = 4\n",
        train="""
        import argparse, keep
        from layers import Block
        args = argparse.Namespace(hidden=3)
        class Net(Block):
            def sizes(self): return self.width, args.hidden
        keep.save(Net(), "model")
        """,
    )
    workplace.run("train.py")
    first = json.loads((workplace.project / "model").read_text())["recipe"]["sources"]
    # The second run has another config, which is not what the model was made with.
    workplace.load_elsewhere("keep.save(net, 'again', hidden=99)")
    second = json.loads((workplace.elsewhere / "again").read_text())["recipe"]["sources"]

    assert {name: one["text"] for name, one in first.items()} == {name: one["text"] for name, one in second.items()}
    (workplace.project / "model").write_bytes((workplace.elsewhere / "again").read_bytes())
    assert workplace.load_elsewhere("print(net.sizes())") == "(4, 3)"


def test_a_new_script_can_build_upon_a_rebuilt_model(workplace):
    workplace.write(
        layers="WIDTH = 4\n",
        train="""
        import keep
        import layers
        class Net:
            def width(self): return layers.WIDTH
        keep.save(Net(), "model")
        """,
    )
    workplace.run("train.py")
    (workplace.elsewhere / "layers.py").write_text("WIDTH = 5\n")
    (workplace.elsewhere / "model").write_bytes((workplace.project / "model").read_bytes())
    (workplace.elsewhere / "tune.py").write_text(
        "import keep, layers\n"
        "class Head:\n"
        "    def widths(self): return self.body.width(), layers.WIDTH\n"
        "class Net:\n"
        "    pass\n"
        "head, net = Head(), Net()\n"
        "head.body = keep.load('model')\n"
        "for first, name in ((head, 'head'), (head.body, 'body')):\n"
        "    keep.save([first, head, net], name)\n"
    )
    workplace.run("tune.py", cwd=workplace.elsewhere)

    for name in ("head", "body"):
        (workplace.project / "model").write_bytes((workplace.elsewhere / name).read_bytes())
        (workplace.elsewhere / "layers.py").unlink(missing_ok=True)
        assert workplace.load_elsewhere("print(net[1].widths(), type(net[2]) is type(net[1].body))") == "(4, 5) False"


# ---------------------------------------------------------------- what is refused, and how it is said


def rebuilder(text: str, **more: object) -> Rebuilder:
    recipe = Recipe({"__main__": Source(text, "train.py", **more)})  # type: ignore[arg-type]
    return Rebuilder(recipe, {"lr": 0.1}, "storage/otter/model.pt")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            "def train(): raise SystemExit\ntable = train()\nclass Net:\n    def f(self): return table\n",
            "calls train()",
        ),
        ("for row in range(3):\n    pass\nclass Net:\n    def f(self): return row\n", "for row in range(3)"),
        ("with open('x') as s:\n    y = 1\nclass Net:\n    def f(self): return y\n", "needs y"),
        ("y = open('/tmp/x', 'w')\nclass Net:\n    def f(self): return y\n", "calls open()"),
        (
            "import hypertuner as ht\nsaver = ht.Saver(3)\nclass Net:\n    def f(self): return saver\n",
            "calls ht.Saver()",
        ),
        ("from hypertuner import Args\na = Args()\nclass Net:\n    def f(self): return a\n", "calls Args()"),
        (
            "class T:\n    def fit(self): raise SystemExit\nt = T()\nh = t.fit()\nclass Net:\n    x = h\n",
            "calls t.fit()",
        ),
        (
            "import functools\ndef go(): raise SystemExit\ng = functools.partial(go)\nh = g()\nclass Net:\n    x = h\n",
            "calls g()",
        ),
        ("def cuda(): raise SystemExit\nif cuda():\n    class Net: pass\n", "calls cuda()"),
        ("class Net(Missing): pass\n", "NameError"),
        ("x = 1\nimport no_such_package\nclass Net(no_such_package.Base): pass\n", "line 2: ModuleNotFoundError"),
        ("class Other: pass\n", "does not define Net"),
        ("class Net:\n  x = = 3\n", "line 2: SyntaxError"),
        ("if 0:\n    class Net: pass\n", "condition"),
    ],
)
def test_what_cannot_be_rebuilt_is_named_and_the_way_around_is_shown(text, named):
    with pytest.raises(CheckpointError) as caught:
        rebuilder(text).resolve("__main__", "Net")

    assert named in str(caught.value)
    assert "storage/otter/model.pt" in str(caught.value)
    assert "__main__ (train.py)" in str(caught.value)
    assert "hypertuner.load('storage/otter/model.pt', into=YourModel(...))" in str(caught.value)


def test_a_missing_package_is_the_cause_of_the_error():
    with pytest.raises(CheckpointError) as caught:
        rebuilder("import no_such_package as n\nclass Net(n.Base): pass\n").resolve("__main__", "Net")

    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_failed_rebuild_can_be_tried_again():
    text = "import arrives_later\nclass Net:\n    x = arrives_later.x\n"
    one = rebuilder(text)
    with pytest.raises(CheckpointError):
        one.resolve("__main__", "Net")
    sys.modules["arrives_later"] = types.SimpleNamespace(x=3)  # type: ignore[assignment]
    try:
        assert one.resolve("__main__", "Net").x == 3
    finally:
        del sys.modules["arrives_later"]


def test_a_script_that_did_not_fit_is_an_error_that_names_the_setting():
    one = Rebuilder(Recipe({}, ("__main__",)), {}, "model.pt")

    with pytest.raises(CheckpointError, match="HYPERTUNER_RECIPE_BYTES"):
        one.resolve("__main__", "Net")


def test_a_module_that_did_not_fit_is_imported_by_name():
    one = Rebuilder(Recipe({}, ("tests.checkpoint.conftest", "no_such_module")), {}, "model.pt")

    assert one.resolve("tests.checkpoint.conftest", "Workplace.run").__name__ == "run"
    with pytest.raises(CheckpointError, match="no_such_module"):
        one.resolve("no_such_module", "Net")


# ---------------------------------------------------------------- what a rebuilt class is like


def test_the_same_recipe_gives_the_same_class_and_another_text_another():
    first = rebuilder("class Net: pass\n").resolve("__main__", "Net")

    assert rebuilder("class Net: pass\n").resolve("__main__", "Net") is first
    assert rebuilder("class Net: pass \n").resolve("__main__", "Net") is not first


def test_runs_of_one_script_with_different_configs_do_not_share_them():
    text = "class Net:\n    def f(self): return args.lr\n"
    recipe = Recipe({"__main__": Source(text, "train.py", args=("args",))})
    low, high = (Rebuilder(recipe, {"lr": lr}, "model.pt").resolve("__main__", "Net")() for lr in (0.1, 0.9))

    assert (low.f(), high.f()) == (0.1, 0.9)


def test_python_can_show_and_pickle_and_annotate_a_rebuilt_class():
    text = (
        "from __future__ import annotations\n"
        "import dataclasses, typing\n"
        "T = typing.TypeVar('T')\n"
        "@dataclasses.dataclass\n"
        "class Part(typing.Generic[T]):\n"
        "    size: Size = 3\n"
        "    def fail(self):\n"
        "        raise ValueError('here')\n"
        "class Size(int): pass\n"
    )
    part = rebuilder(text).resolve("__main__", "Part")

    assert inspect.getsource(part.fail) == "    def fail(self):\n        raise ValueError('here')\n"
    assert inspect.getsource(part).startswith("@dataclasses.dataclass\nclass Part")
    assert pickle.loads(pickle.dumps(part(4))) == part(4)
    assert inspect.get_annotations(part)["size"] == "Size"
    with pytest.raises(ValueError, match="here") as caught:
        part().fail()
    shown = "".join(traceback.format_exception(caught.value))
    assert "<train.py in storage/otter/model.pt" in shown
    assert "raise ValueError('here')" in shown


def test_names_asked_for_one_after_the_other_share_what_they_need():
    one = rebuilder(
        "class Base: pass\nclass A(Base): pass\nclass B(Base): pass\nNAMES = ['x']\ndef f(): return NAMES\n"
    )
    b, a, f = (one.resolve("__main__", name) for name in ("B", "A", "f"))

    assert a.__base__ is b.__base__
    f().append("y")
    one.resolve("__main__", "Base")
    assert f() == ["x", "y"]


def test_recorded_args_behave_like_a_namespace_and_like_a_mapping():
    args = RecordedArgs({"lr": 0.1, "optimizer.name": "sgd", "optimizer.beta": 2, "lr.warmup": 3})

    assert (args.lr, args["lr"], args.optimizer.name, args["optimizer.name"], args.get("x", 7)) == (
        0.1,
        0.1,
        "sgd",
        "sgd",
        7,
    )
    assert "optimizer.beta" in args
    assert "beta" not in args
    assert args["lr.warmup"] == 3
    assert dict(**args)["lr"] == 0.1
    assert getattr(args, "amp", False) is False
    with pytest.raises(AttributeError):
        args.amp
    with pytest.raises(KeyError):
        args["optimizer.amp"]
    assert pickle.loads(pickle.dumps(args)) == args


# ---------------------------------------------------------------- notebooks


class Notebook:
    """Cells executed in a fresh `__main__`, as IPython does it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.main = types.ModuleType("__main__")
        monkeypatch.setitem(sys.modules, "__main__", self.main)
        self.count = 0

    def cell(self, text: str, name: str | None = None) -> None:
        self.count += 1
        filename = name or f"<cell-{id(self)}-{self.count}>"
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
        exec(compile(text, filename, "exec", dont_inherit=True), vars(self.main))

    def record(self, *names: str) -> Recipe:
        recording = Recording(100_000)
        for name in names:
            assert recording.reference(getattr(self.main, name)) == ("__main__", name)
        return recording.recipe()


@pytest.fixture
def notebook(monkeypatch):
    kept = dict(linecache.cache)
    yield Notebook(monkeypatch)
    linecache.cache.clear()
    linecache.cache.update(kept)


def elsewhere(monkeypatch: pytest.MonkeyPatch, recipe: Recipe) -> Rebuilder:
    """A process that never saw the notebook."""
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    return Rebuilder(Recipe.from_json(json.loads(json.dumps(recipe.to_json()))), {}, "model.pt")


def test_a_class_of_a_notebook_comes_back_without_the_work_of_its_cells(notebook, monkeypatch):
    notebook.cell("import functools\nfrom collections import OrderedDict\n")
    notebook.cell("calls = []\nWIDTH = 3\ncalls.append('work')\n")
    notebook.cell("def scale(x):\n    return x * WIDTH\n")
    notebook.cell("class Empty:\n    kind = 'empty'\n")
    notebook.cell("class Net(OrderedDict, Empty):\n    def f(self):\n        return functools.partial(scale, 2)()\n")
    recipe = notebook.record("Net")

    assert "calls" not in recipe.sources["__main__"].text
    net = elsewhere(monkeypatch, recipe).resolve("__main__", "Net")
    assert (net().f(), net.kind) == (6, "empty")


def test_cells_run_again_and_out_of_order_still_make_a_source_that_runs(notebook, monkeypatch):
    notebook.cell("def register(c):\n    return mark(c)\n")
    notebook.cell("class Block:\n    kind = 'old'\n")
    net = "@register\nclass Net(Block):\n    def f(self):\n        return self.kind\n"
    notebook.cell("def mark(c):\n    c.marked = True\n    return c\n")
    notebook.cell(net, "<cell-net>")
    notebook.cell("class Block:\n    kind = 'new'\n    def g(self): return Net\n")
    notebook.cell(net, "<cell-net>")
    recipe = notebook.record("Net")

    made = elsewhere(monkeypatch, recipe).resolve("__main__", "Net")
    assert (made().f(), made.marked, made().g()) == ("new", True, made)


def test_a_notebook_gets_its_own_class_back_until_the_class_changes(notebook):
    notebook.cell("WIDTH = 2\nclass Net:\n    def f(self): return WIDTH\n")
    recipe = notebook.record("Net")
    assert Rebuilder(recipe, {}, "model.pt").resolve("__main__", "Net") is notebook.main.Net

    notebook.cell("class Net:\n    def f(self): return WIDTH + 1\n")
    rebuilt = Rebuilder(recipe, {}, "model.pt").resolve("__main__", "Net")
    assert rebuilt is not notebook.main.Net
    assert rebuilt().f() == 2


def test_future_annotations_of_a_cell_and_statements_on_one_line_are_kept(notebook, monkeypatch):
    notebook.cell("from __future__ import annotations\na = object; b = 2\nclass Net(a):\n    x: Nothing = b\n")
    recipe = notebook.record("Net")

    assert elsewhere(monkeypatch, recipe).resolve("__main__", "Net").x == 2


# ---------------------------------------------------------------- frameworks look into code


def test_torch_can_script_and_trace_a_rebuilt_module():
    torch = pytest.importorskip("torch")
    text = (
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = torch.nn.Linear(2, 2)\n"
        "    def forward(self, x):\n"
        "        return torch.relu(self.layer(x)) + 1\n"
    )
    net = rebuilder(text).resolve("__main__", "Net")()
    x = torch.ones(1, 2)

    assert torch.equal(torch.fx.symbolic_trace(net)(x), net(x))
    assert functools.reduce(lambda a, b: a and b, (torch.compile(net, backend="eager")(x) == net(x)).flatten().tolist())
