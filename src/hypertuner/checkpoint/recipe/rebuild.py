"""Gives classes and functions back from a recipe: imported where their source is unchanged, else rebuilt.

Rebuilt code lives in modules of its own (`hypertuner_rebuilt_<digest>.<module>`), which never shadow the user's.
Of a script or a notebook only definitions, imports and the values that they need are executed; what the script
computed is taken from the recipe, and a config from the file. A script's work is never repeated. Other local
modules are executed whole, as importing them would, but for the calls that would make a run.

The caller vouches for the file: this is no sandbox.
"""

from __future__ import annotations

import ast
import builtins
import functools
import hashlib
import importlib
import importlib.machinery
import json
import linecache
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

from hypertuner.checkpoint.recipe import source
from hypertuner.checkpoint.recipe.outline import absolute_name, outline_of
from hypertuner.checkpoint.recipe.recording import (
    REBUILT,
    Recipe,
    Source,
    decode,
    encode,
    is_recordable,
    needed_modules,
)
from hypertuner.checkpoint.recipe.script import (
    LOCK,
    PREFIX,
    RefusedError,
    ScriptModule,
    execute,
    module_program,
    values_kept,
)
from hypertuner.errors import CheckpointError

_spaces: dict[str, _Space] = {}


class RecordedArgs:
    """The config of the run that saved the file: `args.lr`, `args["lr"]`, `args.get("lr")`, `args.optimizer.lr`.

    Stands where the script had its `hypertuner.Args` or its `argparse.Namespace`.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        for key in sorted(values, key=lambda key: key.count(".")):
            group, own = vars(self), key
            while "." in own:
                head, _, rest = own.partition(".")
                inner = group.setdefault(head, RecordedArgs({}))
                if not isinstance(inner, RecordedArgs):
                    break
                group, own = vars(inner), rest
            group[own] = values[key]

    def __getitem__(self, key: str) -> Any:
        value: Any = self
        if key in vars(self):
            return vars(self)[key]
        for part in key.split("."):
            if not isinstance(value, RecordedArgs) or part not in vars(value):
                raise KeyError(key)
            value = vars(value)[part]
        return value

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key, Ellipsis) is not Ellipsis

    def __iter__(self) -> Iterator[str]:
        return iter(vars(self))

    def __len__(self) -> int:
        return len(vars(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordedArgs) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # as for every mapping that can change

    def __repr__(self) -> str:
        return f"RecordedArgs({', '.join(f'{key}={value!r}' for key, value in vars(self).items())})"

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, dotted or not, or `default`."""
        try:
            return self[key]
        except KeyError:
            return default

    def keys(self) -> Iterator[str]:
        """The names, so that `**args` works."""
        return iter(vars(self))

    def items(self) -> Iterator[tuple[str, Any]]:
        """Names and values."""
        return iter(vars(self).items())


class Rebuilder:
    """Resolves the references that a `Recording` gave. `label` names the file in messages and tracebacks."""

    def __init__(self, recipe: Recipe, hyperparameters: Mapping[str, Any], label: str) -> None:
        self._recipe = recipe
        self._label = label
        self._current = _current_modules(recipe)
        with LOCK:
            self._space = _space_of(recipe, hyperparameters, label, self._current)

    def resolve(self, module: str, qualname: str) -> Any:
        """The class or function: the real one if its source here is the recorded one, else the rebuilt one.

        The same recipe gives the same object for as long as the process lives.
        Raises CheckpointError, which shows `load(into=…)`, when the source cannot be executed or was left out.
        """
        bare = module.rpartition("/")[2]
        try:
            if module not in self._recipe.sources:
                return self._resolve_by_name(module, qualname)
            if bare == "__main__":
                found = _live(self._recipe.sources[module], qualname)
                return _walk(self._space.load(module), qualname) if found is None else found
            return _walk(self._space.load(module), qualname)
        except RefusedError as error:
            raise self._error(module, qualname, str(error)) from None
        except Exception as error:  # the edge to code of the user's, which may raise anything
            raise self._error(module, qualname, f"{_place(error)}{type(error).__name__}: {error}") from error

    def _resolve_by_name(self, module: str, qualname: str) -> Any:
        bare = module.rpartition("/")[2]
        if bare == "__main__":
            was_left_out = module in self._recipe.left_out
            raise RefusedError(
                "the source of its script did not fit into the file (HYPERTUNER_RECIPE_BYTES sets how much does)"
                if was_left_out
                else "the file does not hold the source of its script"
            )
        return _walk(importlib.import_module(bare), qualname)

    def _error(self, module: str, qualname: str, why: str) -> CheckpointError:
        one = self._recipe.sources.get(module)
        where = module if one is None else f"{module} ({one.file})"
        return CheckpointError(
            f"{qualname} cannot be rebuilt from the source in {self._label}: {why}.\n"
            f"  It was defined in {where}.\n"
            f"  Make the model yourself and put the weights in: hypertuner.load({self._label!r}, into=YourModel(...))"
        )


class _Space:
    """The private modules of one recipe, one for each source; they import each other and never shadow real ones."""

    def __init__(
        self, digest: str, recipe: Recipe, hyperparameters: Mapping[str, Any], label: str, current: frozenset[str]
    ) -> None:
        self.recipe = recipe
        self.label = label
        self.name = f"{PREFIX}{digest[:12]}"
        self._digest = digest
        self._current = current
        self._hyperparameters = hyperparameters
        self._modules: dict[str, ModuleType] = {}
        # With its configs filled in, so that a model saved again needs nothing of the first file.
        self._filled = _filled(recipe, hyperparameters)

    def load(self, name: str) -> ModuleType:
        """The module for a recorded name: the real one where it is current, else the private one, executed."""
        with LOCK:
            if name in self._modules:
                return self._modules[name]
            recorded = [one for one in self.recipe.sources if one == name or one.startswith(f"{name}.")]
            if recorded and self._current.issuperset(recorded):
                return importlib.import_module(name.rpartition("/")[2])
            parent = name.rpartition(".")[0]
            if parent:
                self.load(parent)
                if name in self._modules:  # its parent has imported it
                    return self._modules[name]
            module = self._make(name)
            if parent:
                setattr(self.load(parent), name.rpartition(".")[2], module)
            return module

    def namespace(self, name: str) -> dict[str, Any]:
        """The values that the recipe gives a module's names: its config and its constants, made anew."""
        one = self.recipe.sources[name]
        values: dict[str, Any] = {key: decode(form) for key, form in one.constants.items()}
        values |= {key: RecordedArgs({**self._hyperparameters, **values.get(key, {})}) for key in one.args}
        return values

    def knows(self, name: str) -> bool:
        """Whether `name`, or something inside it, was recorded."""
        return name in self.recipe.sources or any(other.startswith(f"{name}.") for other in self.recipe.sources)

    def _make(self, name: str) -> ModuleType:
        one = self.recipe.sources.get(name, Source("", name, is_package=True))  # a folder without __init__.py
        private = f"{self.name}.{name.replace('/', '.')}"
        filename = f"<{one.file} in {self.label}, {self._digest[:8]}>"
        outline = outline_of(one.text)
        is_script = name.rpartition("/")[2] == "__main__"
        values = functools.partial(self.namespace, name)
        module = ScriptModule(private, outline, filename, values) if is_script else ModuleType(private)
        module.__spec__ = importlib.machinery.ModuleSpec(private, None, is_package=one.is_package)
        module.__package__ = private if one.is_package else private.rpartition(".")[0]
        module.__file__ = filename
        if one.is_package:
            module.__path__ = []
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": functools.partial(self._import, name)}
        # Tracebacks and inspect.getsource show the recorded text.
        lines = [f"{line}\n" for line in one.text.split("\n")]
        linecache.cache[filename] = (len(one.text), None, lines, filename)
        self._modules[name] = sys.modules[private] = module
        if name in self.recipe.sources:
            REBUILT[private] = (self._digest, self._filled, name)
            if not is_script:
                self._execute(name, module, private)
        return module

    def _execute(self, name: str, module: ModuleType, private: str) -> None:
        outline, given = outline_of(self.recipe.sources[name].text), self.namespace(name)
        vars(module).update(given)
        try:
            with values_kept(vars(module), given):
                execute(module, module_program(outline, given), outline, str(module.__file__))
        except BaseException:  # code of the user's: a module that is half made is taken back, and the error goes on
            del self._modules[name], sys.modules[private], REBUILT[private]
            raise

    def _import(
        self,
        importing: str,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: tuple[str, ...] | None = (),
        level: int = 0,
    ) -> Any:
        """`__import__` for rebuilt code: recorded modules are found in this space, all others in the process."""
        one = self.recipe.sources[importing]
        label, slash, bare = importing.rpartition("/")
        package = one.package or (bare if one.is_package else bare.rpartition(".")[0])
        absolute = absolute_name(name, package, level)
        if level and not absolute:
            raise ImportError("attempted relative import beyond the top-level package")
        space = label + slash
        top = absolute.split(".")[0]
        if not self.knows(space + absolute):
            return builtins.__import__(absolute, None, None, fromlist or (), 0)
        module = self.load(space + absolute)
        if not fromlist:
            return self.load(space + top)
        for item in getattr(module, "__all__", ()) if "*" in fromlist else fromlist:
            if self.knows(f"{space}{absolute}.{item}") and not hasattr(module, item):
                self.load(f"{space}{absolute}.{item}")
        return module


def _walk(module: Any, qualname: str) -> Any:
    value = module
    for part in qualname.split("."):
        value = getattr(value, part)
    return value


def _live(recorded: Source, qualname: str) -> Any | None:
    """The object of the running script or notebook, or of a loaded module with the script's text; None if changed."""
    main = sys.modules["__main__"]
    script = source.script()
    for module in (main if script is not None else None, sys.modules.get(recorded.file.removesuffix(".py"))):
        if isinstance(module, ModuleType) and source.is_local(module) and _has_text(module, recorded.text):
            return _find(module, qualname)  # None where it is not defined yet
    if script is None and (live := _find(main, qualname)) is not None:
        given = {*recorded.constants, *recorded.args}
        root = qualname.split(".")[0]
        text, _ = source.cells_text({root: vars(main)[root]}, lambda outline, name: name in given)
        if _needs(text, root, given) == _needs(recorded.text, root, given):
            return live
    return None


def _has_text(module: ModuleType, text: str) -> bool:
    return source.text_of(module) == text and not source.was_edited(module)


def _needs(text: str, name: str, given: set[str]) -> set[str]:
    """What a notebook's name needs, in a form that compares."""
    return {ast.dump(statement.node) for statement in outline_of(text).closure([name], given.__contains__).statements}


def _find(module: ModuleType, qualname: str) -> Any | None:
    try:
        return _walk(module, qualname)
    except AttributeError:
        return None


def _current_modules(recipe: Recipe) -> frozenset[str]:
    """The recorded modules of which an import here gives the recorded source, for all that they import as well."""
    current = set()
    for name, one in recipe.sources.items():
        bare = name.rpartition("/")[2]
        if bare != "__main__" and (found := source.find(bare)) is not None and found.text == one.text:
            loaded = sys.modules.get(bare)
            if loaded is None or not source.was_edited(loaded):
                current.add(name)
    while True:  # a package is imported as a whole or not at all: its modules share their parents
        packages = {name.split(".")[0] for name in recipe.sources if name not in current}
        gone = {name for name in current if name.split(".")[0] in packages or _imports_changed(name, recipe, current)}
        if not gone:
            return frozenset(current)
        current -= gone


def _imports_changed(name: str, recipe: Recipe, current: set[str]) -> bool:
    label, slash, bare = name.rpartition("/")
    needed = (label + slash + other for other in needed_modules(bare, recipe.sources[name]))
    return any(other in recipe.sources and other not in current for other in needed)


def _filled(recipe: Recipe, hyperparameters: Mapping[str, Any]) -> Recipe:
    sources = {}
    for name, one in recipe.sources.items():
        known = {key: decode(one.constants[key]) if key in one.constants else {} for key in one.args}
        merged = {key: {**hyperparameters, **values} for key, values in known.items()}
        filled = {
            key: encode({name: value for name, value in values.items() if is_recordable(value)})
            for key, values in merged.items()
        }
        sources[name] = replace(one, constants={**one.constants, **filled})
    return replace(recipe, sources=sources)


def _space_of(recipe: Recipe, hyperparameters: Mapping[str, Any], label: str, current: frozenset[str]) -> _Space:
    has_args = any(one.args for one in recipe.sources.values())
    content = [recipe.to_json(), dict(hyperparameters) if has_args else {}, sorted(current)]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=repr).encode()).hexdigest()
    if digest not in _spaces:
        space = _spaces[digest] = _Space(digest, recipe, hyperparameters, label, current)
        # pickle and importlib want the package of a dotted name.
        root = sys.modules[space.name] = ModuleType(space.name)
        root.__path__ = []
    return _spaces[digest]


def _place(error: BaseException) -> str:
    """`line 3: ` of the rebuilt source that raised, if one did."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").startswith(PREFIX):
            line = trace.tb_lineno
        trace = trace.tb_next
    return "" if line is None else f"line {line}: "
