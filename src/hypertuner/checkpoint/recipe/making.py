"""The model that a script would give to its Saver, made apart from the script's work.

Found by reading: the call of `Saver`, what it is given, and what that needs. Executed is that alone: imports,
definitions, the config, values, and functions of the script's that neither train nor log nor save. A loop or a `with`
is work and is not done. Where the Saver is made inside a function, that function's statements count as the script's.

This executes code of the script: it is for a process of its own, and for a script that may be started.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from hypertuner.checkpoint.recipe import source
from hypertuner.checkpoint.recipe.outline import Outline, outline_of
from hypertuner.checkpoint.recipe.reads import root_name
from hypertuner.checkpoint.recipe.script import PREFIX, RefusedError, ScriptModule

_MODEL = "hypertuner_model"
_WORK = frozenset({"backward", "fit", "save", "save_file", "save_pretrained"})
_DEEPEST = 5
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def model_of(script: Path, is_model: Callable[[object], bool], base: type) -> Any:
    """The model, made now: what `Saver` is given, else the one of the script's names that holds one.

    Args:
        is_model: whether a value is a model with weights.
        base: the class of models.

    Raises: RefusedError, in words that end "…: why"; SyntaxError; whatever the script's own code raises.
    """
    text = script.read_bytes().decode("utf-8", "replace")
    outline = outline_of(text)
    given, tree = _given(outline)
    made = Outline(text, tree)
    module = ScriptModule(f"{PREFIX}made", made, str(script), dict, _Allows(made, base))
    module.__file__ = str(script)
    if given:
        return getattr(module, _MODEL)
    found = {name: value for name in _candidates(made, module, base) if is_model(value := getattr(module, name))}
    if len({id(value) for value in found.values()}) != 1:
        names = ", ".join(found) or "none"
        raise RefusedError(f"Saver() looks for its model by itself, and which one it finds is not seen here ({names})")
    return next(iter(found.values()))


def _given(outline: Outline) -> tuple[bool, ast.Module]:
    """(whether Saver is given a model, the script with the statements of the functions around its Saver at its end)."""
    makers = {name for name in outline.run_makers if name.rpartition(".")[2] == "Saver"}
    calls = [(inside, call) for inside, call in _calls(outline.tree) if ast.unparse(call.func) in makers]
    if not calls:
        raise RefusedError("it makes no Saver that is seen in it")
    models = {ast.dump(model) if (model := _model(call)) is not None else "" for _, call in calls}
    if len(models) > 1:
        raise RefusedError("it makes several Savers, of different models")
    inside, call = calls[0]
    body = [*outline.tree.body, *(_inlined(outline.tree, inside) if inside else [])]
    if (model := _model(call)) is not None:
        body.append(_assignment(_MODEL, model))
    return model is not None, ast.fix_missing_locations(ast.Module(body, []))


def _model(call: ast.Call) -> ast.expr | None:
    named = next((one.value for one in call.keywords if one.arg == "model"), None)
    return call.args[0] if call.args else named


def _calls(node: ast.AST, inside: tuple[_Function, ...] = ()) -> Iterator[tuple[tuple[_Function, ...], ast.Call]]:
    """The calls in a tree, with the functions and classes around each."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call):
            yield inside, child
        yield from _calls(child, (*inside, child) if isinstance(child, _Function) else inside)


def _inlined(tree: ast.Module, inside: tuple[_Function, ...], depth: int = 0) -> list[ast.stmt]:
    """The statements of a function, after those that give its parameters what its one call gives them."""
    function = inside[0]
    if len(inside) > 1 or isinstance(function, ast.ClassDef) or depth == _DEEPEST:
        raise RefusedError(f"its Saver is made inside {'.'.join(one.name for one in inside)}")
    calls = [(around, call) for around, call in _calls(tree) if getattr(call.func, "id", "") == function.name]
    if len(calls) != 1:
        raise RefusedError(f"its Saver is made in {function.name}(), which is called in {len(calls)} places")
    around, call = calls[0]
    before = _inlined(tree, around, depth + 1) if around else []
    return [*before, *_parameters(function, call), *copy.deepcopy(function.body)]


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef, call: ast.Call) -> list[ast.stmt]:
    places = [*function.args.posonlyargs, *function.args.args]
    late = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    values: dict[str, ast.expr] = {one.arg: value for one, value in late if value is not None}
    defaults = function.args.defaults
    values |= {one.arg: value for one, value in zip(places[len(places) - len(defaults) :], defaults, strict=True)}
    values |= {one.arg: value for one, value in zip(places, call.args, strict=False)}
    values |= {one.arg: one.value for one in call.keywords if one.arg}
    return [_assignment(name, value) for name, value in values.items()]


def _assignment(name: str, value: ast.expr) -> ast.stmt:
    made = ast.Assign([ast.copy_location(ast.Name(name, ast.Store()), value)], copy.deepcopy(value))
    return ast.copy_location(made, value)


def _candidates(outline: Outline, module: ModuleType, base: type) -> Iterator[str]:
    """The names to which the script assigns what a class of models makes."""
    for name in outline.assigned_names():
        for statement in outline.binding(name):
            value = getattr(statement.node, "value", None)
            while isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
                if not isinstance(value.func.value, ast.Call):
                    break
                value = value.func.value  # `Net(…).to(device)`
            if isinstance(value, ast.Call) and _is_class(value.func, module, base):
                yield name
                break


def _is_class(node: ast.expr, module: ModuleType, base: type) -> bool:
    try:
        found = _named(node, module)
    except Exception:  # code of the script's, which may raise anything: then it is not known to be one
        return False
    return isinstance(found, type) and issubclass(found, base)


def _named(node: ast.expr, module: ModuleType) -> object:
    """What a dotted name means in the script; None of another expression, or where there is none."""
    if isinstance(node, ast.Name):
        return getattr(module, node.id, None)
    if isinstance(node, ast.Attribute):
        return getattr(_named(node.value, module), node.attr, None)
    return None


class _Allows:
    """Which calls of the script's own are no work: its config, functions that make something, what models inherit."""

    def __init__(self, outline: Outline, base: type) -> None:
        self._outline = outline
        self._base = base

    def __call__(self, call: ast.Call, namespace: Mapping[str, Any]) -> bool:
        """Whether `call` is made."""
        if ast.unparse(call.func) in self._outline.run_makers:
            return ast.unparse(call.func).rpartition(".")[2] == "Args"
        root = root_name(call.func)
        value = namespace.get(root or "")
        if isinstance(value, self._base) and isinstance(call.func, ast.Attribute):
            return hasattr(self._base, call.func.attr)
        if isinstance(value, ModuleType) and isinstance(call.func, ast.Attribute):
            value = getattr(value, call.func.attr, None)
        if not isinstance(value, FunctionType):
            return False
        if value.__module__ == f"{PREFIX}made":
            return not _works(self._outline, value.__name__)
        found = source.find(value.__module__)
        return found is not None and not _works(outline_of(found.text), value.__name__)


def _works(outline: Outline, name: str) -> bool:
    """Whether a function, or one that it calls, trains, logs or saves."""
    for statement in outline.closure([name], lambda _: False).statements:
        for node in ast.walk(statement.node):
            if not isinstance(node, ast.Call):
                continue
            func = ast.unparse(node.func)
            if func in outline.run_makers and func.rpartition(".")[2] != "Args":
                return True
            if isinstance(node.func, ast.Attribute) and node.func.attr in _WORK:
                return True
    return False
