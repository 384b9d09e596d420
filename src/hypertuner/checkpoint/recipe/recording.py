"""The recipe of a model: the source of its classes, and the values of the script that they read.

A file with its recipe can be loaded where the script is not. Recorded is only what is the user's own code;
what is installed is imported by name. Nothing here executes anything: `rebuild` does.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePath
from types import FunctionType, ModuleType
from typing import Any, Final

from hypertuner.checkpoint.recipe import source
from hypertuner.checkpoint.recipe.outline import Outline, imported_modules, outline_of
from hypertuner.errors import CheckpointError, CorruptFileError

_LIVE: Final = "live"
_LARGEST_INT: Final = 2**63  # what every JSON reader keeps exact


class UnrecordableError(CheckpointError):
    """A class or a function is the user's own, but no source gives it back by its name."""


@dataclass(frozen=True)
class Source:
    """One module's text, as it was imported.

    `file` is for tracebacks and never a path to open. `constants` are values of module-level names, in the form of
    `encode`; `args` names hold a config, filled from the file's hyperparameters. `package` is what relative
    imports of a script start from.
    """

    text: str
    file: str
    is_package: bool = False
    constants: Mapping[str, Any] = field(default_factory=dict)
    args: tuple[str, ...] = ()
    package: str = ""

    @property
    def size_bytes(self) -> int:
        """What it takes of the limit: the text; constants are added while they fit."""
        return len(self.text.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True)
class Recipe:
    """Sources by recorded module name ('__main__', 'models.layers'), and the modules that did not fit.

    Where code of two origins meets in one model (a new head on a model that was itself rebuilt from a file), the
    second origin's names begin with its label and a slash, and its imports stay within it.
    """

    sources: Mapping[str, Source]
    left_out: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON-able value that `from_json` reads."""
        return {
            "sources": {
                name: {
                    "text": one.text,
                    "file": one.file,
                    "is_package": one.is_package,
                    "constants": dict(one.constants),
                    "args": list(one.args),
                    "package": one.package,
                }
                for name, one in self.sources.items()
            },
            "left_out": list(self.left_out),
        }

    @classmethod
    def from_json(cls, value: object) -> Recipe:
        """The recipe that `to_json` wrote; unknown keys are ignored. Raises CorruptFileError when it is none."""
        sources = _typed(value, "sources", dict)
        left_out = _typed(value, "left_out", list)
        return cls(
            {
                _is(name, str, "sources"): Source(
                    text=_typed(one, "text", str),
                    file=_typed(one, "file", str),
                    is_package=_typed(one, "is_package", bool),
                    constants=_constants(_typed(one, "constants", dict)),
                    args=tuple(_is(name, str, "args") for name in _typed(one, "args", list)),
                    package=_typed(one, "package", str),
                )
                for name, one in sources.items()
            },
            tuple(_is(name, str, "left_out") for name in left_out),
        )


# Modules made by `rebuild`: private name → (digest of the recipe, the recipe with its configs filled in, name there).
REBUILT: dict[str, tuple[str, Recipe, str]] = {}


class Recording:
    """Collects the recipe of one model while it is being pickled."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._owner: str | None = None  # the origin whose names are recorded without a label
        self._live: dict[str, dict[str, object]] = {}  # module → root name → object, of what was asked for
        self._rebuilt: dict[str, Recipe] = {}

    def reference(self, obj: type | FunctionType) -> tuple[str, str] | None:
        """(recorded module name, qualified name) of local code, which is recorded; None for library code.

        Raises UnrecordableError when the code is local and cannot be found again by its name.
        """
        module_name: object = obj.__module__  # None for some that C made
        qualname = obj.__qualname__
        if not isinstance(module_name, str):
            return None
        if module_name in REBUILT:
            digest, recipe, recorded = REBUILT[module_name]
            _check_name(obj, sys.modules.get(module_name))
            self._rebuilt[digest] = recipe
            return self._named(digest, recorded), qualname
        module = sys.modules.get(module_name)
        if not isinstance(module, ModuleType) or not source.is_local(module):
            return None
        name = source.recorded_name(module_name)
        root = qualname.split(".")[0]
        script = source.script() if name == "__main__" else source.find(name)
        if script is None and name == "__main__":
            _check_name(obj, None)
            if not source.in_cells(root, obj):
                raise UnrecordableError(_why(obj, "no cell of this notebook or console defines it"))
        elif script is None:
            raise UnrecordableError(_why(obj, f"module {name} has no Python source"))
        else:
            _check_name(obj, module)
            if not outline_of(script.text).binding(root):
                raise UnrecordableError(_why(obj, f"the source of {name} does not define {root} at its top level"))
            if source.was_edited(module):
                raise UnrecordableError(_why(obj, f"{module.__file__} was edited after this process had imported it"))
        self._live.setdefault(name, {})[root] = obj
        return self._named(_LIVE, name), qualname

    def recipe(self) -> Recipe:
        """All that was referenced, and what that imports, as far as the limit goes: what was referenced comes first."""
        sources: dict[str, Source] = {}
        work: list[str] = []
        for name, roots in self._live.items():
            sources[name], needed = _script_source(roots) if name == "__main__" else _module_source(name)
            work += needed
        while work:
            name = work.pop(0)
            if name not in sources:
                sources[name], needed = _module_source(name)
                work += needed
        known = {self._named(_LIVE, name): one for name, one in sources.items()}
        left_out: list[str] = []
        for digest, recipe in self._rebuilt.items():
            known |= {self._named(digest, name): one for name, one in recipe.sources.items()}
            left_out += [self._named(digest, name) for name in recipe.left_out]
        return _fitted(known, left_out, self._limit_bytes)

    def _named(self, origin: str, name: str) -> str:
        if self._owner is None:
            self._owner = origin
        return name if origin == self._owner else f"{origin[:12]}/{name}"


def encode(value: object, depth: int = 32) -> Any:
    """`value` in JSON that `decode` gives back as it was, tuples included. Raises TypeError when there is no form."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is int and isinstance(value, int) and -_LARGEST_INT <= value < _LARGEST_INT:
        return value
    if kind is float and isinstance(value, float) and math.isfinite(value):
        return value
    if kind is str and isinstance(value, str) and _is_utf8(value):
        return value
    if depth:
        if kind is list and isinstance(value, list):
            return [encode(item, depth - 1) for item in value]
        if kind is tuple and isinstance(value, tuple):
            return {"tuple": [encode(item, depth - 1) for item in value]}
        if kind is dict and isinstance(value, dict) and all(type(key) is str and _is_utf8(key) for key in value):
            return {"dict": {key: encode(item, depth - 1) for key, item in value.items()}}
    raise TypeError(f"{kind.__name__} has no JSON form")


def decode(form: Any) -> Any:
    """The value that `encode` wrote; a new one each time. Raises CorruptFileError for any other form."""
    if isinstance(form, list):
        return [decode(item) for item in form]
    if not isinstance(form, dict):
        return form
    match form:
        case {"tuple": list(items)} if len(form) == 1:
            return tuple(decode(item) for item in items)
        case {"dict": dict(items)} if len(form) == 1:
            return {key: decode(item) for key, item in items.items()}
    raise CorruptFileError(
        "A constant of the recipe is in no known form.\n  The file is damaged; load another checkpoint."
    )


def needed_modules(name: str, one: Source) -> tuple[str, ...]:
    """Names of all modules that a source may import, and of its own parents."""
    return _needed_modules(name, one.text, one.package or (name if one.is_package else name.rpartition(".")[0]))


@lru_cache(maxsize=256)
def _needed_modules(name: str, text: str, package: str) -> tuple[str, ...]:
    parents = [name.rsplit(".", n)[0] for n in range(name.count("."), 0, -1)]
    names = imported_modules([outline_of(text).tree], package)
    return tuple(dict.fromkeys([*parents, *(other for other in names if other != name)]))


def _module_source(name: str) -> tuple[Source, list[str]]:
    """A local module's source, and the local modules that it imports."""
    found = source.find(name)
    assert found is not None
    outline = outline_of(found.text)
    module = sys.modules.get(name)
    namespace = vars(module) if module is not None else {}
    names = [name for name in outline.assigned_names() if not _is_plain(outline, name, namespace)]
    constants, args = _values(namespace, names)
    file = name.replace(".", "/") + ("/__init__.py" if found.is_package else ".py")
    one = Source(found.text, file, found.is_package, constants, args)
    return one, _local(needed_modules(name, one))


def _script_source(roots: Mapping[str, object]) -> tuple[Source, list[str]]:
    """The script's source, or the notebook's, and the local modules that `roots` import."""
    main = sys.modules["__main__"]
    namespace = vars(main)

    def is_given(outline: Outline, name: str) -> bool:
        return outline.is_assigned(name) and name in namespace and is_recordable(namespace[name])

    found = source.script()
    if found is not None:
        outline = outline_of(found.text)
        closure = outline.closure(roots, lambda name: is_given(outline, name))
        nodes, given = [statement.node for statement in closure.statements], closure.given
        file = PurePath(main.__file__ or "script.py").name
        text, package = found.text, found.package
    else:
        text, given = source.cells_text(roots, is_given)
        nodes, file, package = list(outline_of(text).tree.body), "notebook", ""
    constants, args = _values(namespace, given)
    one = Source(text, file, False, constants, args, package)
    return one, _local(imported_modules(nodes, package))


def _local(names: Iterable[str]) -> list[str]:
    # `from torch import nn` asks for `torch.nn`: what lies in a package that is not local is not looked for.
    found: dict[str, None] = {}
    for name in names:
        parent = name.rpartition(".")[0]
        is_reachable = not parent or parent in found or _is_folder(parent) or source.find(parent) is not None
        if is_reachable and source.find(name) is not None:
            found[name] = None
    return list(found)


def _is_folder(name: str) -> bool:
    """Whether a loaded package is a folder without `__init__.py`."""
    module = sys.modules.get(name)
    return module is not None and getattr(module, "__file__", None) is None and hasattr(module, "__path__")


def _is_plain(outline: Outline, name: str, namespace: Mapping[str, object]) -> bool:
    """Whether executing the module gives `name` its value on any machine: a dunder, or a literal still in force."""
    node = found[0].node if len(found := outline.binding(name)) == 1 else None
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    is_unchanged = isinstance(value, ast.Constant) and repr(value.value) == repr(namespace.get(name))
    return name.startswith("__") or is_unchanged


def _is_args(value: object) -> bool:
    kind = type(value)
    return issubclass(kind, argparse.Namespace) or (
        kind.__module__.startswith("hypertuner") and kind.__name__ == "Args"
    )


def is_recordable(value: object) -> bool:
    """Whether the recipe can hold a value: it is a config, or `encode` has a form for it."""
    try:
        return _is_args(value) or encode(value) is not Ellipsis
    except TypeError:
        return False


def _values(namespace: Mapping[str, object], names: Iterable[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    constants: dict[str, Any] = {}
    args: list[str] = []
    for name in sorted(names):
        value = namespace.get(name, Ellipsis)
        if _is_args(value):
            args.append(name)
            if not isinstance(value, argparse.Namespace):
                continue
            # Nobody promises that the hyperparameters hold what a parser of the script's own made.
            value = {key: item for key, item in vars(value).items() if is_recordable(item) and not _is_args(item)}
        if is_recordable(value):
            constants[name] = encode(value)
    return constants, tuple(args)


def _fitted(sources: Mapping[str, Source], left_out: Iterable[str], limit_bytes: int) -> Recipe:
    room = limit_bytes
    kept: dict[str, Source] = {}
    missing = dict.fromkeys(left_out)
    for name, one in sources.items():
        if one.size_bytes > room:
            missing[name] = None
            continue
        room -= one.size_bytes
        kept[name] = one
    for name, one in kept.items():
        constants = {}
        for key, form in one.constants.items():
            size = len(json.dumps(form))
            if size <= room:
                room -= size
                constants[key] = form
        kept[name] = Source(one.text, one.file, one.is_package, constants, one.args, one.package)
    return Recipe(kept, tuple(missing))


def _check_name(obj: type | FunctionType, module: ModuleType | None) -> None:
    """Raise UnrecordableError unless `obj` has a name at the top of its module and is what that name means there."""
    if "<lambda>" in obj.__qualname__:
        raise UnrecordableError(_why(obj, "a lambda has no name to find it by (<lambda>): use def"))
    if "<locals>" in obj.__qualname__:
        raise UnrecordableError(_why(obj, "it is made inside a function (<locals>): move it to the top of its module"))
    if module is None:
        return
    found: object = module
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is not obj:
        raise UnrecordableError(_why(obj, "that name now means another object: it was decorated or defined again"))


def _why(obj: type | FunctionType, reason: str) -> str:
    return (
        f"The source of {obj.__module__}.{obj.__qualname__} cannot be kept with the model: {reason}.\n"
        "  Its weights can: hypertuner.load(..., into=YourModel(...)) puts them into a model that you make."
    )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _constants(value: dict[object, object]) -> dict[str, Any]:
    for form in value.values():
        decode(form)
    return {_is(key, str, "constants"): form for key, form in value.items()}


def _typed(value: object, key: str, kind: type) -> Any:
    if not isinstance(value, dict) or key not in value:
        raise CorruptFileError(
            f"The recipe of the model has no {key!r}.\n  The file is damaged; load another checkpoint."
        )
    return _is(value[key], kind, key)


def _is(value: object, kind: type, what: str) -> Any:
    if not isinstance(value, kind):
        raise CorruptFileError(
            f"{what!r} in the recipe of the model holds {type(value).__name__}, not {kind.__name__}.\n"
            "  The file is damaged; load another checkpoint."
        )
    return value
