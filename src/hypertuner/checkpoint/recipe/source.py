"""Where the source of this process's code is: files of modules, cells of notebooks, lines of the console.

A module's text is read once and kept: a save hours later records what the process imported, not what
somebody typed into the file since. Looking for a module here never imports it.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import inspect
import linecache
import re
import site
import sys
import sysconfig
import tokenize
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import FunctionType, ModuleType

from hypertuner.checkpoint.recipe.outline import Outline, Statement, outline_of

_MAINS = ("__main__", "__mp_main__")  # the second is what a spawned worker calls its parent's script
# IPython, Jupyter, the console of Python 3.13, Databricks, marimo.
_CELL = re.compile(r"ipython-input|ipykernel|<python-input|<cell|<command-|__marimo__|<stdin")
_texts: weakref.WeakKeyDictionary[ModuleType, tuple[object, str | None]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Found:
    """The source of a module: loaded, or lying where an import would find it."""

    text: str
    is_package: bool
    package: str


def recorded_name(module: str) -> str:
    """The name that a recipe uses for a module of this process."""
    return "__main__" if module in _MAINS else module


def is_local(module: ModuleType) -> bool:
    """Whether a module is the user's own code: not installed, not built in, not hypertuner's, with Python source."""
    name = module.__name__
    if recorded_name(name) == "__main__":
        return True
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and _is_local_file(name, file)


def text_of(module: ModuleType) -> str | None:
    """The source text that a loaded module was made from, or None when there is none."""
    spec = getattr(module, "__spec__", None)
    known = _texts.get(module)
    if known is None or known[0] is not spec:  # reload() gives a module a new spec
        known = _texts[module] = (spec, _read(getattr(module, "__file__", None), spec, module.__name__))
    return known[1]


def was_edited(module: ModuleType) -> bool:
    """Whether the text on disk is not what `module` was made from: a function of its is not at its line."""
    text, file = text_of(module), getattr(module, "__file__", None)
    if text is None:
        return False
    made = (value for value in list(vars(module).values()) if _is_made_in(value, module.__name__))
    codes = [function.__code__ for value in made for function in _functions(value)]
    lines = {(code.co_name, code.co_firstlineno) for code in codes if code.co_filename == file}
    return any(not name.startswith("<") for name, _ in lines - outline_of(text).function_lines)


def find(name: str) -> Found | None:
    """The local source of module `name`, loaded or not, or None; imports nothing, not even parents."""
    if name in sys.modules:
        module: object = sys.modules[name]
        text = text_of(module) if isinstance(module, ModuleType) and is_local(module) else None
        if text is None:
            return None
        is_package = hasattr(module, "__path__")
        package = getattr(module, "__package__", None) or (name if is_package else name.rpartition(".")[0])
        return Found(text, is_package, package)
    spec = _find_spec(name)
    if spec is None or spec.origin is None or not spec.has_location or not _is_local_file(name, spec.origin):
        return None
    text = _read(spec.origin, spec, name)
    return None if text is None else Found(text, spec.submodule_search_locations is not None, spec.parent or "")


def script() -> Found | None:
    """The source of the running script, or None in a notebook or a console."""
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    # A notebook has no file and no place to look for one; an archive (`python app.pyz`) has a loader instead.
    text = text_of(main) if isinstance(file, str) else None
    return None if text is None else Found(text, False, getattr(main, "__package__", None) or "")


def cells_text(roots: Mapping[str, object], is_given: Callable[[Outline, str], bool]) -> tuple[str, frozenset[str]]:
    """What the objects in `roots` (name → object) need of a notebook's cells, and the names that are given instead.

    A cell run again after a change has both texts in linecache: a class's own is the one its methods were
    compiled from; for everything else the latest counts. Definitions come out in an order that runs.
    """
    return _Gathering(roots, is_given).text()


def in_cells(name: str, value: object) -> bool:
    """Whether a cell defines `name`, as which `value` was made."""
    return bool(_Gathering({name: value}, lambda outline, name: False).lookup(name))


class _Gathering:
    """One walk over a notebook's cells."""

    def __init__(self, roots: Mapping[str, object], is_given: Callable[[Outline, str], bool]) -> None:
        self._roots = roots
        self._is_given = is_given
        self._cells = _cells()
        self._seen: set[str] = set()
        self._finished: set[str] = set()
        self._given: set[str] = set()
        self._later: list[str] = list(roots)
        self._entered: set[Statement] = set()
        self._emitted: dict[ast.stmt, str] = {}
        self._flags: set[str] = set()

    def text(self) -> tuple[str, frozenset[str]]:
        while self._later:
            self._visit(self._later.pop(0))
        return "\n".join([*sorted(self._flags), *self._emitted.values(), ""]), frozenset(self._given)

    def lookup(self, name: str) -> list[tuple[Outline, Statement]]:
        """The statements that bind `name`, each with the cell it is in."""
        live = self._roots[name] if name in self._roots else vars(sys.modules["__main__"]).get(name)
        cells = list(self._cells.values())
        file = _code_file(live) if _is_made_in(live, *_MAINS) else None
        if file is not None and (own := self._cells.get(file) or _parsed(_read(file, None, ""))):
            cells.append(own)
        for cell in reversed(cells):
            if found := cell.binding(name):
                return [(cell, statement) for statement in found]
        return []

    def _visit(self, name: str) -> None:
        if name in self._seen:
            return
        self._seen.add(name)
        found = self.lookup(name)
        if found and all(self._is_given(cell, name) for cell, _ in found):
            self._given.add(name)
            return
        if not found and name not in vars(sys.modules["builtins"]) and not name.startswith("__"):
            found = [(cell, one) for cell in self._cells.values() for one in cell.statements if one.is_star]
        for cell, statement in found:
            self._emit(cell, statement)

    def _emit(self, cell: Outline, statement: Statement) -> None:
        if statement in self._entered:
            return
        self._entered.add(statement)
        reads = cell.reads(statement)
        for name in sorted(reads.now | reads.soft):
            self._visit(name)
        # What is called while the cell runs must have all that its body reads.
        for name in sorted(reads.called):
            self._finish(name)
        # What it needs stands before it; now it may run.
        self._emitted.setdefault(statement.top, cell.segment(statement.top))
        if cell.flags:
            self._flags |= {cell.segment(node) for node in cell.tree.body if _is_future(node)}
        self._later += sorted(reads.later)

    def _finish(self, name: str) -> None:
        if name in self._finished:
            return
        self._finished.add(name)
        self._visit(name)
        for cell, statement in self.lookup(name):
            for other in sorted(cell.reads(statement).later):
                self._finish(other)


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _cells() -> dict[str, Outline]:
    """Notebook cells and console inputs, first to last, by the file name that their code carries."""
    cells = {}
    for name, entry in list(linecache.cache.items()):
        # An entry without a time of change is a text that is in no file.
        if len(entry) == 4 and entry[1] is None and _CELL.search(name) and (cell := _parsed("".join(entry[2]))):
            cells[name] = cell
    return cells


def _parsed(text: str | None) -> Outline | None:
    try:
        return None if text is None else outline_of(text)
    except SyntaxError:  # a cell that never ran either
        return None


def _code_file(value: object) -> str | None:
    """The file or cell that a function, or a method of a class, was compiled from."""
    qualname = getattr(value, "__qualname__", "")
    for function in _functions(value):
        # A method of another class, or one that was generated, says nothing about this one.
        if function.__qualname__.startswith(qualname) and not function.__code__.co_filename.startswith("<string"):
            return function.__code__.co_filename
    return None


def _is_made_in(value: object, *modules: str) -> bool:
    # By type and not isinstance: a module may hold objects that answer any question with an error.
    return issubclass(type(value), type | FunctionType) and getattr(value, "__module__", None) in modules


def _functions(value: object) -> Iterator[FunctionType]:
    """A function, or the functions that a class is made of, out of their decorators."""
    for candidate in (value, *(vars(value).values() if isinstance(value, type) else ())):
        function: object = candidate
        if isinstance(candidate, staticmethod | classmethod):
            function = candidate.__func__
        elif isinstance(candidate, property):
            function = candidate.fget
        if isinstance(function, FunctionType):
            function = inspect.unwrap(function)
        if isinstance(function, FunctionType):
            yield function


def _read(file: str | None, spec: object, name: str) -> str | None:
    if file is None:
        return None
    path = Path(file)
    try:
        if path.suffix != ".pyc" and path.is_file():
            with tokenize.open(file) as stream:  # the encoding that the file declares
                return stream.read()
        # In a zip archive: the loader has it.
        get_source = getattr(getattr(spec, "loader", None), "get_source", None)
        return get_source(name) if get_source is not None else None
    except (OSError, SyntaxError, UnicodeDecodeError, ImportError):
        return None


def _find_spec(name: str) -> importlib.machinery.ModuleSpec | None:
    # importlib.util.find_spec("a.b") imports a; this walks down without.
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ValueError, ImportError):  # ValueError: loaded, but without a spec
        return None
    for n in range(len(rest)):
        if spec is None or spec.submodule_search_locations is None:
            return None
        child = ".".join([top, *rest[: n + 1]])
        spec = importlib.machinery.PathFinder.find_spec(child, list(spec.submodule_search_locations))
    return spec


@lru_cache(maxsize=4096)
def _is_local_file(module: str, file: str) -> bool:
    if module.split(".")[0] in {"hypertuner", *sys.builtin_module_names}:
        return False
    if file.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)):
        return False
    path = Path(file).absolute()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(folder in path.parents or folder in path.resolve().parents for folder in _library_folders())


@lru_cache(maxsize=1)
def _library_folders() -> frozenset[Path]:
    paths = sysconfig.get_paths()
    folders = [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib") if key in paths]
    folders += [*site.getsitepackages(), site.getusersitepackages()]
    return frozenset(form for folder in folders for form in (Path(folder).absolute(), Path(folder).resolve()))
