from __future__ import annotations

import collections
import importlib
import json
import math
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hypertuner.errors
from hypertuner.checkpoint.recipe.recording import Recipe, Recording, Source, UnrecordableError, decode, encode
from hypertuner.errors import CorruptFileError

scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
texts = st.text(st.characters(codec="utf-8"))
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(texts, inner),
    max_leaves=20,
)
sources = st.builds(
    Source, texts, texts, st.booleans(), st.dictionaries(texts, values.map(encode)), st.lists(texts).map(tuple), texts
)
recipes = st.builds(Recipe, st.dictionaries(texts, sources), st.lists(texts).map(tuple))


@given(recipes)
def test_a_recipe_survives_json(recipe):
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@given(values)
def test_a_constant_comes_back_as_it_was_tuples_included(value):
    again = decode(json.loads(json.dumps(encode(value))))

    assert repr(again) == repr(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), {1: 2}, {"a": {2}}, 2**63, "\ud800", b"x", type])
def test_what_json_would_change_is_no_constant(value):
    with pytest.raises(TypeError):
        encode(value)


def test_a_list_within_itself_is_no_constant():
    endless: list[object] = []
    endless.append(endless)

    with pytest.raises(TypeError):
        encode(endless)


def without(path: str) -> object:
    value = Recipe({"m": Source("x = 1", "m.py")}).to_json()
    inner = value
    *parents, last = path.split("/")
    for key in parents:
        inner = inner[key]
    del inner[last]
    return value


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"sources": [], "left_out": []},
        {"sources": {"m": "text"}, "left_out": []},
        {"sources": {}, "left_out": [3]},
        without("left_out"),
        without("sources/m/text"),
        without("sources/m/is_package"),
    ],
)
def test_a_damaged_recipe_is_a_corrupt_file(value):
    with pytest.raises(CorruptFileError):
        Recipe.from_json(value)


def test_a_constant_of_an_unknown_form_is_a_corrupt_file():
    value = Recipe({"m": Source("", "m.py", constants={"x": {"set": []}})}).to_json()

    with pytest.raises(CorruptFileError):
        Recipe.from_json(value)


# ---------------------------------------------------------------- what is local


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder on the path; modules imported from it are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def module(folder: Path, name: str, text: str):
    path = folder / (name.replace(".", "/") + ".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    importlib.invalidate_caches()
    return importlib.import_module(name)


@pytest.mark.parametrize(
    "library",
    [
        dict,
        collections.OrderedDict,
        collections.namedtuple,
        math.hypot,
        json.JSONEncoder,
        hypertuner.errors.ConfigError,
    ],
)
def test_library_code_is_imported_by_name(library):
    recording = Recording(1000)

    assert recording.reference(library) is None
    assert recording.recipe() == Recipe({})


def test_installed_packages_are_library_code():
    torch = pytest.importorskip("torch")

    assert Recording(1000).reference(torch.nn.Linear) is None
    assert Recording(1000).reference(torch.nn.functional.gelu) is None


def test_a_class_is_recorded_with_its_module_and_what_that_imports(project):
    module(project, "deep.inner", "DEEP = 3\n")
    module(project, "layers", "from deep import inner\nimport json\n")
    module(project, "unrelated", "")
    models = module(project, "models", "import layers\nclass Net:\n    class Part:\n        pass\n")
    recording = Recording(10_000)

    assert recording.reference(models.Net.Part) == ("models", "Net.Part")
    recipe = recording.recipe()
    assert list(recipe.sources) == ["models", "layers", "deep.inner"]
    assert recipe.sources["models"].text == (project / "models.py").read_text()
    assert recipe.sources["deep.inner"].file == "deep/inner.py"
    assert recipe.left_out == ()


def test_a_library_in_a_virtual_environment_inside_the_project_is_not_local(project, monkeypatch):
    packages = project / ".venv" / "lib" / "site-packages"
    packages.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(packages))
    installed = module(packages, "installed_here", "class Thing: pass\n")

    assert Recording(1000).reference(installed.Thing) is None


def test_windows_line_ends_and_declared_encodings_are_read_as_python_reads_them(project):
    (project / "latin.py").write_bytes("# coding: latin-1\r\nNAME = 'é'\r\nclass Net: pass\r\n".encode("latin-1"))
    latin = importlib.import_module("latin")
    recording = Recording(1000)
    recording.reference(latin.Net)

    assert recording.recipe().sources["latin"].text == "# coding: latin-1\nNAME = 'é'\nclass Net: pass\n"


def test_the_source_is_what_was_imported_even_if_the_file_has_changed_since(project):
    models = module(project, "models", "class Net:\n    def f(self): return 1\n")
    Recording(1000).reference(models.Net)
    (project / "models.py").write_text("\n\n\nclass Net:\n    def f(self): return 2\n")
    recording = Recording(1000)
    recording.reference(models.Net)

    assert "return 1" in recording.recipe().sources["models"].text


def test_a_file_edited_between_import_and_the_first_save_is_refused(project):
    models = module(project, "models", "class Net:\n    def f(self): return 1\n")
    (project / "models.py").write_text("\n\n\nclass Net:\n    def f(self): return 2\n")

    with pytest.raises(UnrecordableError, match="was edited"):
        Recording(1000).reference(models.Net)


def test_a_reloaded_module_is_read_again(project):
    models = module(project, "models", "class Net:\n    def f(self): return 1\n")
    Recording(1000).reference(models.Net)
    (project / "models.py").write_text("class Net:\n    size = 20\n    def f(self): return 2\n")
    importlib.reload(models)
    recording = Recording(1000)
    recording.reference(models.Net)

    assert "return 2" in recording.recipe().sources["models"].text


# ---------------------------------------------------------------- what cannot be found again


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("thing = lambda x: x\n", "<lambda>"),
        ("def make():\n    class Net: pass\n    return Net\nthing = make()\n", "<locals>"),
        ("def f(): pass\nthing = f\ndef f(): pass\n", "another object"),
        ("thing = type('Net', (), {})\nNet = thing\nglobals().update(Net=thing)\n", None),
        ("globals()['thing'] = type('thing', (), {'__module__': __name__})\n", "does not define thing"),
    ],
)
def test_code_that_no_name_finds_again_is_refused_with_the_reason(project, text, why):
    thing = module(project, "odd", text).thing
    if why is None:
        assert Recording(1000).reference(thing) == ("odd", "Net")
        return

    with pytest.raises(UnrecordableError, match=why) as caught:
        Recording(1000).reference(thing)
    assert "hypertuner.load(..., into=YourModel(...))" in str(caught.value)


# ---------------------------------------------------------------- the limit


def test_what_does_not_fit_is_left_out_and_the_class_itself_comes_first(project):
    module(project, "big", "# " + "x" * 5000 + "\n")
    module(project, "small", "# small\n")
    models = module(project, "models", "import big, small\nclass Net: pass\n")
    recording = Recording(200)
    recording.reference(models.Net)
    recipe = recording.recipe()

    assert list(recipe.sources) == ["models", "small"]
    assert recipe.left_out == ("big",)
    tiny = Recording(10)
    tiny.reference(models.Net)
    assert tiny.recipe() == Recipe({"small": recipe.sources["small"]}, ("models", "big"))


def test_constants_that_do_not_fit_are_not_recorded(project):
    models = module(project, "models", "WORDS = ['word'] * 1000\nWIDTH = int('3')\nclass Net: pass\n")
    recording = Recording(200)
    recording.reference(models.Net)

    assert recording.recipe().sources["models"].constants == {"WIDTH": 3}
