"""The house keeps its own rules: floors, one writer, no code run from files, a public surface that is on purpose."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import script_environment

import hypertuner
from hypertuner import errors, settings

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCE = REPOSITORY / "src" / "hypertuner"
MODULES = sorted(SOURCE.rglob("*.py"))
REFERENCE = REPOSITORY / "docs" / "reference.md"

PUBLIC = [
    "Args",
    "Checkpoint",
    "CheckpointError",
    "CheckpointNotFoundError",
    "ConfigError",
    "CorruptFileError",
    "Histogram",
    "HypertunerError",
    "Image",
    "LoadReport",
    "Logger",
    "MismatchError",
    "MissingExtraError",
    "QueryError",
    "QueueError",
    "RunExistsError",
    "RunNotFoundError",
    "Saver",
    "StorageError",
    "StorageFullError",
    "Text",
    "UnsafeFileError",
    "__version__",
    "inspect",
    "load",
    "new_run",
    "runs",
]

# Who may do what no one else may, and why. (File below src/hypertuner, what it does): reason.
WRITERS: dict[tuple[str, str], str] = {
    ("store/board.py", "tempfile"): "asks where the temporary folder is; files.py writes there",
    ("store/board.py", "tempfile.gettempdir"): "asks where the temporary folder is; files.py writes there",
    ("server/panel/folder.py", "zipfile.ZipFile"): "an archive in memory, handed on piece by piece to who asks for it",
    ("server/panel/folder.py", "archive.open"): "the same",
}
WRITERS |= {
    ("server/panel/folder.py", name): "a zip of a run, made into memory while it is sent"
    for name in ("zipfile.ZipFile", "archive.open")
}
RUNNERS: dict[tuple[str, str], str] = {
    ("checkpoint/recipe/script.py", "exec"): "rebuilds a model's class from the source in a file that is trusted",
    ("checkpoint/format/fresh.py", "pickle.Unpickler"): "imports nothing, and reads no file but what was just made",
    ("frameworks/torch/objects.py", "pickle.Unpickler"): "reads the model object of a file that is trusted",
    ("frameworks/torch/filling.py", "pickle.loads"): "reads odd state of a file that is trusted",
    ("frameworks/torch/reading.py", "pickle.load"): "reads a bare pickle when told trust=True",
    ("frameworks/torch/reading.py", "weights_only=False"): "reads another program's pickle when told trust=True",
}


def within(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


# --- structure


def test_imports_point_down_only() -> None:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    result = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=REPOSITORY,
        env=script_environment({}),  # this source, whatever is installed
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {within(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}


def test_no_module_is_named_by_what_it_is_not() -> None:
    vague = {"utils", "util", "helpers", "common", "misc", "core", "base", "manager", "handler", "processor", "impl"}
    assert [within(path) for path in MODULES if vague & set(within(path).removesuffix(".py").split("/"))] == []


def test_whatever_catches_everything_raises_it_again_or_says_why() -> None:
    found = [
        f"{within(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(_parse(path))
        if isinstance(node, ast.ExceptHandler) and _catches_everything(node) and not _goes_on(node)
        if "  # " not in path.read_text(encoding="utf-8").splitlines()[node.lineno - 1]
    ]
    assert found == []


@pytest.mark.parametrize(
    ("handler", "is_broad", "goes_on"),
    [
        ("except:\n  pass", True, False),
        ("except Exception:\n  pass", True, False),
        ("except (OSError, BaseException) as e:\n  kept = e", True, False),
        ("except builtins.Exception:\n  if x: raise", True, False),
        ("except BaseException:\n  undo()\n  raise", True, True),
        ("except (OSError, KeyError):\n  pass", False, False),
    ],
)
def test_an_except_for_everything_is_seen(handler: str, is_broad: bool, goes_on: bool) -> None:
    (node,) = [node for node in ast.walk(ast.parse(f"try: pass\n{handler}")) if isinstance(node, ast.ExceptHandler)]
    assert (_catches_everything(node), _goes_on(node)) == (is_broad, goes_on)


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = {getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(handler.type)}
    return bool(names & {"Exception", "BaseException"})


def _goes_on(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_importing_hypertuner_imports_nothing_heavy(run_script) -> None:
    result = run_script("""
        import sys
        import hypertuner
        heavy = {"torch", "numpy", "pandas", "polars", "typer", "rich", "asyncio", "multiprocessing", "sqlite3"}
        heavy |= {"fastapi", "starlette", "uvicorn", "pydantic", "websockets"}
        print(sorted(heavy & set(sys.modules)))
    """)
    assert result.stdout.strip() == "[]"


def test_a_script_that_trains_imports_nothing_of_the_server_and_of_the_command_line(run_script) -> None:
    result = run_script("""
        import sys
        import hypertuner, torch
        torchs = set(sys.modules)
        args = hypertuner.Args(lr=0.1)
        net = torch.nn.Linear(2, 2)
        saver, logger = hypertuner.Saver(net), hypertuner.Logger()
        logger.log({"loss": args.lr}, 0)
        saver.save()
        hypertuner.load(saver.save(step=1).path)
        foreign = {"fastapi", "starlette", "uvicorn", "pydantic", "websockets", "typer", "rich", "sqlite3"}
        ours = {name for name in sys.modules if name.startswith(("hypertuner.server", "hypertuner.cli"))}
        print(sorted((foreign & set(sys.modules)) - torchs | ours))
    """)
    assert result.stdout.splitlines()[-1] == "[]"


# --- the public surface


def test_the_public_names_are_exactly_these() -> None:
    assert sorted(hypertuner.__all__) == PUBLIC
    assert [name for name in PUBLIC if not hasattr(hypertuner, name)] == []


def test_every_public_name_is_documented() -> None:
    documented = {line.rpartition(".")[2] for line in _reference_entries()}
    assert sorted(set(PUBLIC) - documented - {"__version__"}) == []


def test_every_error_class_is_public_and_documented() -> None:
    tree = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.HypertunerError)
    }
    assert tree <= set(PUBLIC)
    assert {f"hypertuner.errors.{name}" for name in tree} <= set(_reference_entries())


def test_every_setting_is_documented_with_its_default() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    rows = {row[0]: row[1] for row in re.findall(r"^\| `(HYPERTUNER_\w+)` \| `?([^|`]*)`? \|", text, re.MULTILINE)}
    assert {s.variable: rows.get(s.variable) for s in settings.ALL} == {
        s.variable: str(s.default) for s in settings.ALL
    }


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "site" / "format" / "index.html").is_file()


def test_the_reader_in_the_format_page_reads_a_saved_model(run_script, storage: Path) -> None:
    run_script("""
        import hypertuner, torch
        with hypertuner.new_run(name="seen"):
            model = torch.nn.Linear(3, 2)
            model.weight.data = torch.arange(6.0).reshape(3, 2).t()  # a stride that is not the reading order
            hypertuner.Saver(model).save(step=1)
    """)
    page = (REPOSITORY / "docs" / "format.md").read_text(encoding="utf-8")
    (reader,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(reader, namespace)
    weight = namespace["read_tensor"](storage / "seen" / "model.pt", "weight")
    assert weight.tolist() == [[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]


def _reference_entries() -> list[str]:
    """The dotted names that docs/reference.md asks the documentation of."""
    return re.findall(r"^::: ([\w.]+)$", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)


# --- one writer


def test_only_files_py_writes() -> None:
    found = {(within(path), act) for path in MODULES if within(path) != "files.py" for act in writes(_parse(path))}
    assert found - set(WRITERS) == set(), "files.py is the only module that writes; call it"
    assert set(WRITERS) - found == set(), "an allowance that nothing uses any more"


@pytest.mark.parametrize(
    "code",
    [
        "open(path, 'w')",
        "open(path, mode=mode)",
        "Path(path).open('ab')",
        "path.open(mode='r+b')",
        "io.open(path, 'x')",
        "gzip.open(path, 'wb')",
        "zipfile.ZipFile(path, 'w')",
        "flags = os.O_RDWR | os.O_CREAT; os.open(path, flags)",
        "os.fdopen(descriptor, 'wb')",
        "os.replace(a, b)",
        "import os as system; system.unlink(path)",
        "from os import rename",
        "path.write_text('')",
        "path.replace(other)",
        "path.unlink(missing_ok=True)",
        "path.mkdir(parents=True)",
        "import shutil; shutil.rmtree(path)",
        "from shutil import copyfile",
        "import tempfile",
    ],
)
def test_a_write_is_seen(code: str) -> None:
    assert list(writes(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "open(path)",
        "open(path, 'rb')",
        "path.open('rb')",
        "archive.open('data.pkl')",
        "zipfile.ZipFile(path)",
        "os.open(path, os.O_RDONLY | os.O_CLOEXEC)",
        "os.fdopen(descriptor, 'rb', buffering=0)",
        "text.replace('a', 'b')",
        "dataclasses.replace(row, name='x')",
        "moment.replace(tzinfo=None)",
        "files.replace(path, content)",
        "self.files.unlink(path)",
        "import shutil; shutil.get_terminal_size()",
        "sys.stderr.write(text)",
    ],
)
def test_reading_is_no_write(code: str) -> None:
    assert list(writes(ast.parse(code))) == []


_OS_WRITES = {
    *("chmod", "chown", "copy_file_range", "fdatasync", "fsync", "ftruncate", "link", "makedirs", "mkdir", "mkfifo"),
    *("mknod", "posix_fallocate", "pwrite", "pwritev", "remove", "removedirs", "rename", "renames", "replace", "rmdir"),
    *("sendfile", "symlink", "truncate", "unlink", "utime", "write", "writev"),
    *("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND", "O_EXCL", "O_TMPFILE"),  # os.open itself may read
}
_PATH_WRITES = {
    *("chmod", "hardlink_to", "mkdir", "rename", "rmdir", "symlink_to", "touch", "unlink", "write_bytes", "write_text"),
}
_HARMLESS_SHUTIL = {"disk_usage", "get_terminal_size", "which"}


def writes(tree: ast.AST) -> Iterator[str]:
    """What in `tree` opens for writing, or creates, renames or deletes files, other than through `files`."""
    aliases = _aliases(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (name for name in _imported(node) if _is_write(name))
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name == "tempfile")
        elif isinstance(node, ast.Attribute) and _is_write(_dotted(node, aliases)):
            yield _dotted(node, aliases)
        elif isinstance(node, ast.Call):
            yield from _writing_call(node, aliases)


def _is_write(name: str) -> bool:
    module, _, last = name.rpartition(".")
    if module == "os":
        return last in _OS_WRITES
    return (module == "shutil" and last not in _HARMLESS_SHUTIL) or module == "tempfile"


def _writing_call(node: ast.Call, aliases: dict[str, str]) -> Iterator[str]:
    name = _dotted(node.func, aliases)
    owner, _, last = name.rpartition(".")
    if owner.rpartition(".")[2] in ("files", "_files"):  # the one door, whatever its verbs are called
        return
    if last in ("open", "fdopen", "ZipFile", "TarFile"):
        if _may_write(node):
            yield name
        return
    # Path.replace takes one argument; str.replace takes two, those of dataclasses and datetime take keywords.
    is_path_write = last in _PATH_WRITES or (last == "replace" and len(node.args) == 1 and not node.keywords)
    if isinstance(node.func, ast.Attribute) and owner != "os" and is_path_write:
        yield f"Path.{last}"


def _may_write(node: ast.Call) -> bool:
    """Whether the mode of an `open` is, or may be, one that writes."""
    mode = next((keyword.value for keyword in node.keywords if keyword.arg == "mode"), None)
    if mode is not None:
        return not (isinstance(mode, ast.Constant) and not set(str(mode.value)) & set("wax+"))
    texts = [a.value for a in node.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return any(re.fullmatch(r"[rwaxbt+]{1,3}", text) and set(text) & set("wax+") for text in texts)


# --- no code out of files


def test_nothing_runs_code_out_of_a_file_unless_it_may() -> None:
    found = {(within(path), act) for path in MODULES for act in runs_code(_parse(path))}
    assert found - set(RUNNERS) == set(), "reading must never run code; see Trust in docs/format.md"
    assert set(RUNNERS) - found == set(), "an allowance that nothing uses any more"


@pytest.mark.parametrize(
    "code",
    [
        "import pickle; pickle.load(f)",
        "import pickle as p; p.loads(b)",
        "from pickle import Unpickler",
        "import pickle\nclass Reader(pickle.Unpickler): ...",
        "import marshal; marshal.loads(b)",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "torch.load(f, weights_only=trust)",
        "eval(text)",
        "exec(compile(text, name, 'exec'), namespace)",
        "subprocess.run(command, shell=True)",
        "import os; os.system(command)",
        "import yaml; yaml.load(text)",
        "archive.extractall(folder)",
        "numpy.load(path, allow_pickle=True)",
        "from tempfile import mktemp",
        "import cloudpickle",
    ],
)
def test_running_code_is_seen(code: str) -> None:
    assert list(runs_code(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "import pickle; pickle.dumps(x)",
        "import json; json.loads(text)",
        "model.eval()",
        "re.compile(text)",
        "torch.load(f, weights_only=True)",
        "subprocess.run(command)",
        "subprocess.run(command, shell=False)",
        "import yaml; yaml.safe_load(text)",
        "numpy.load(path, allow_pickle=False)",
    ],
)
def test_what_runs_no_code_is_let_through(code: str) -> None:
    assert list(runs_code(ast.parse(code))) == []


_CODE_RUNNERS = {
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "runpy.run_path"),
    *("yaml.load", "yaml.full_load", "yaml.unsafe_load", "shutil.unpack_archive", "tempfile.mktemp"),
}
_CODE_MODULES = {"cloudpickle", "dill", "joblib", "shelve"}


def runs_code(tree: ast.AST) -> Iterator[str]:
    """What in `tree` runs, or may run, code that it read: unpickling, eval, exec, a shell."""
    aliases = _aliases(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (name for name in _imported(node) if name in _CODE_RUNNERS or node.module in _CODE_MODULES)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in _CODE_MODULES)
        elif isinstance(node, ast.Attribute) and _dotted(node, aliases) in _CODE_RUNNERS:
            yield _dotted(node, aliases)
        elif isinstance(node, ast.Call):
            yield from _running_call(node, aliases)


def _running_call(node: ast.Call, aliases: dict[str, str]) -> Iterator[str]:
    name = _dotted(node.func, aliases)
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    if name in ("eval", "exec", "builtins.eval", "builtins.exec"):
        yield name.removeprefix("builtins.")
    if "weights_only" in keywords or name == "torch.load":
        value = keywords.get("weights_only")
        if not (isinstance(value, ast.Constant) and value.value is True):
            yield "weights_only=False"
    if name.rpartition(".")[2] == "extractall":
        yield "extractall"
    allowed = keywords.get("allow_pickle")
    if allowed is not None and not (isinstance(allowed, ast.Constant) and allowed.value is False):
        yield "allow_pickle=True"
    if "shell" in keywords and not (isinstance(keywords["shell"], ast.Constant) and keywords["shell"].value is False):
        yield "shell=True"


# --- reading source


def _parse(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _aliases(tree: ast.AST) -> dict[str, str]:
    """Local name → dotted name, for every import in `tree`."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update({name.asname: name.name for name in node.names if name.asname})
        elif isinstance(node, ast.ImportFrom):
            found.update({name.asname or name.name: f"{node.module}.{name.name}" for name in node.names})
    return found


def _imported(node: ast.ImportFrom) -> list[str]:
    return [f"{node.module}.{name.name}" for name in node.names]


def _dotted(node: ast.AST, aliases: dict[str, str]) -> str:
    """`a.b.c` of an expression, imports resolved; what is not a name is '?'."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, aliases)}.{node.attr}"
    return "?"
