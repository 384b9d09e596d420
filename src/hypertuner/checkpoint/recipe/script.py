"""Executes recorded source: of a script only what a name needs, of a module everything but what would make a run.

A script is work with definitions in between. `ScriptModule` executes the definitions, the imports and the plain
values, one name at a time, when it is asked for the name; it refuses to call what the script itself defines.
"""

from __future__ import annotations

import ast
import builtins
import copy
import functools
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from threading import RLock
from types import FunctionType, MethodType, ModuleType
from typing import Any

from hypertuner.checkpoint.recipe import source
from hypertuner.checkpoint.recipe.outline import (
    RUN_MAKERS,
    Closure,
    Outline,
    Statement,
    stored_names,
)
from hypertuner.checkpoint.recipe.reads import calls_in, root_name

PREFIX = "hypertuner_rebuilt_"  # of the names of all rebuilt modules
_NEVER_CALLED = frozenset({"open", "input", "exec", "eval", "compile", "breakpoint", "exit", "quit", "__import__"})
LOCK = RLock()


class RefusedError(Exception):
    """Something that a class needs would have to be executed and must not be."""


class ScriptModule(ModuleType):
    """A script, or a notebook, of which only what is asked for, and what that needs, is executed.

    `values` makes the values that the recipe gives to its names. `allows` says of a call, in the module's namespace,
    that it is made although it may be the script's work.
    """

    def __init__(
        self,
        name: str,
        outline: Outline,
        filename: str,
        values: Callable[[], dict[str, Any]],
        allows: Callable[[ast.Call, Mapping[str, Any]], bool] = lambda call, namespace: False,
    ) -> None:
        super().__init__(name)
        self.__hypertuner__ = (outline, filename, values, set[Statement](), allows)

    def __getattr__(self, name: str) -> Any:
        outline, filename, values, done, allows = vars(self)["__hypertuner__"]
        if (name.startswith("__") and name.endswith("__")) or not (outline.binding(name) or name in values()):
            raise AttributeError(f"the recorded source does not define {name}")
        with LOCK:
            closure = outline.closure([name], values().__contains__)
            given = values()
            vars(self).update({key: given[key] for key in closure.given - set(vars(self))})
            new = [statement for statement in closure.statements if statement not in done]
            done.update(new)
            try:
                _check_work(new, closure, outline, name, lambda call: allows(call, vars(self)))
                with values_kept(vars(self), closure.given):
                    for node in outline.program(new):
                        self._check(node, closure, outline, name)
                        execute(self, [node], outline, filename)
            except BaseException:  # code of the user's: what is half done is taken back, and the error goes on
                done.difference_update(new)
                vars(self).pop(name, None)
                raise
        try:
            return vars(self)[name]
        except KeyError:
            raise AttributeError(f"the recorded source defines {name} under a condition that is false here") from None

    def _check(self, node: ast.stmt, closure: Closure, outline: Outline, asked: str) -> None:
        """Raise RefusedError if executing `node` would call what the script defines."""
        inside, allows = set(ast.walk(node)), vars(self)["__hypertuner__"][-1]
        for statement in closure.statements:
            for part in _evaluated(statement) if statement.node in inside else ():
                own = set(stored_names(part))
                for call in calls_in(part):
                    if not (_may_call(vars(self), call, own, outline) or allows(call, vars(self))):
                        raise _refused(statement, closure, outline, asked, call)


@contextmanager
def values_kept(namespace: dict[str, Any], names: Collection[str]) -> Iterator[None]:
    """Give `names` their values back after definitions were executed: same objects, same content.

    The recipe holds what they were in the end. A statement that binds two names may bind one of them, a decorator
    may append to one, as they did before it was recorded.
    """
    held = {name: (namespace[name], copy.deepcopy(namespace[name])) for name in names}
    yield
    for name, (value, content) in held.items():
        if isinstance(value, list):
            value[:] = content
        elif isinstance(value, dict):
            value.clear()
            value.update(content)
        namespace[name] = value


def execute(module: ModuleType, nodes: list[ast.stmt], outline: Outline, filename: str) -> None:
    """Execute statements of `outline` in `module`, under the future imports of their text."""
    code = compile(ast.Module(nodes, []), filename, "exec", flags=outline.flags, dont_inherit=True)
    exec(code, vars(module))  # noqa: S102  (recorded source, for a file that the caller trusts)


def module_program(outline: Outline, given: Collection[str]) -> list[ast.stmt]:
    """A module's statements without those that bind only what the recipe gives, and those that would make a run."""
    return [node for node in outline.tree.body if not _is_skipped(node, outline, given)]


def _is_skipped(node: ast.stmt, outline: Outline, given: Collection[str]) -> bool:
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        return True  # the compiler is told by a flag
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        names = set(stored_names(node))
        if names and names <= set(given):
            return True
    return any(ast.unparse(call.func) in outline.run_makers for call in calls_in(node))


def _evaluated(statement: Statement) -> Iterator[ast.AST]:
    """What executing a statement evaluates beyond definitions: conditions around it, and what it assigns."""
    for guard in statement.guards:
        if isinstance(guard, ast.If):
            yield guard.test
    if statement.kind == "assignment":
        yield statement.node


def _check_work(
    statements: list[Statement], closure: Closure, outline: Outline, asked: str, allows: Callable[[ast.Call], bool]
) -> None:
    """Raise RefusedError for what is seen to be work before anything is executed."""
    for statement in statements:
        if statement.kind == "opaque":
            raise _refused(statement, closure, outline, asked)
        for part in _evaluated(statement):
            for call in calls_in(part):
                if ast.unparse(call.func) in outline.run_makers and not allows(call):
                    raise _refused(statement, closure, outline, asked, call)


def _refused(
    statement: Statement, closure: Closure, outline: Outline, asked: str, call: ast.Call | None = None
) -> RefusedError:
    reads = [outline.reads(one) for one in closure.statements]
    wanted = {asked}.union(*(one.now | one.later for one in reads))
    names = sorted(statement.binds & wanted) or sorted(statement.alters)
    if call is None:
        how = f"line {statement.node.lineno} makes it in `{ast.unparse(statement.node).splitlines()[0]}`"
    else:
        how = f"line {call.lineno} calls {ast.unparse(call.func)}()"
    return RefusedError(f"it needs {', '.join(names)}, and {how}, which is the script's work and is not done again")


def _may_call(namespace: Mapping[str, Any], call: ast.Call, own: Collection[str], outline: Outline) -> bool:
    """Whether a call while a value is made is not work: of a library, a builtin or a class."""
    root = root_name(call.func)
    if root is None or root in own:
        return True  # a method of a literal, of what another call gave, or of a comprehension's variable
    if root not in namespace:
        if found := outline.binding(root):
            return all(statement.kind == "import" for statement in found)  # in the same `try` or `if`
        return hasattr(builtins, root) and root not in _NEVER_CALLED
    value: Any = namespace[root]
    for part in _attributes(call.func):
        if not isinstance(value, ModuleType | type):
            break
        value = getattr(value, part, None)
    while isinstance(value, functools.partial):
        value = value.func
    if value is None or isinstance(value, type):
        return not _is_run_maker(value)
    if isinstance(value, MethodType) and isinstance(value.__self__, type):
        return True
    if isinstance(value, FunctionType | MethodType):
        return not _is_users(value.__module__) and not _is_run_maker(value)
    # An object: the methods of one of the script's own may be its work.
    return not _is_users(type(value).__module__)


def _attributes(node: ast.expr) -> list[str]:
    """`["nn", "ReLU"]` for `torch.nn.ReLU`."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return names if isinstance(node, ast.Name) else []


def _is_run_maker(value: object) -> bool:
    module = getattr(value, "__module__", None) or ""
    return module.split(".")[0] == "hypertuner" and getattr(value, "__name__", "") in RUN_MAKERS


def _is_users(module: str | None) -> bool:
    """Whether the module of that name is the user's own, rebuilt or real."""
    if module is None or module.startswith(PREFIX):
        return True
    live = sys.modules.get(module)
    return isinstance(live, ModuleType) and source.is_local(live)
