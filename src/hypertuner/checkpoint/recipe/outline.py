"""The top-level statements of one source text: what each binds, what each reads, which of them a name needs.

Nothing is executed here. `if` and `try` are looked into, so that a class or an import inside them is found;
`if __name__ == "__main__":` counts as top level, since that is where a script ran it. `for`, `with`, `while`
and `match` are opaque: they bind names, but they are work, and work is never repeated.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import copy
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, TypeGuard

from hypertuner.checkpoint.recipe.reads import Reads, add_reads, calls_in

Kind = Literal["import", "definition", "assignment", "opaque"]

# The names in hypertuner whose call makes, or takes part in, a run.
RUN_MAKERS = frozenset({"Args", "Logger", "Saver", "new_run"})
# What every module has without binding it.
_IMPLICIT = frozenset(dir(builtins)) | {
    *("__name__", "__file__", "__doc__", "__package__", "__spec__", "__loader__", "__builtins__", "__annotations__")
}
_MACHINE = frozenset({"is_available", "is_bf16_supported", "device_count", "cpu_count"})
_TRIES: tuple[type[Any], ...] = (ast.Try, getattr(ast, "TryStar", ast.Try))  # `except*` came with Python 3.11


@dataclass(frozen=True, eq=False)
class Statement:
    """One statement outside `if` and `try`; `guards` are the ones around it, `top` the outermost statement."""

    node: ast.stmt
    kind: Kind
    binds: frozenset[str]
    alters: frozenset[str]  # names whose object it changes: `CFG.depth = 3`
    guards: tuple[ast.stmt, ...]
    top: ast.stmt

    @property
    def is_star(self) -> bool:
        """Whether it is `from x import *`."""
        return isinstance(self.node, ast.ImportFrom) and self.node.names[0].name == "*"

    @property
    def is_literal(self) -> bool:
        """Whether it assigns a literal."""
        return isinstance(self.node, ast.Assign | ast.AnnAssign) and isinstance(self.node.value, ast.Constant)


@dataclass(frozen=True)
class Closure:
    """What some names need: statements in the order of the text, and names whose values are given from outside."""

    statements: tuple[Statement, ...]
    given: frozenset[str]


class Outline:
    """The top level of one source text, or of a tree made of it. Raises SyntaxError when it is not Python."""

    def __init__(self, text: str, tree: ast.Module | None = None) -> None:
        self.text = text
        self.tree = ast.parse(text) if tree is None else tree
        self.statements = tuple(_statements(self.tree.body))
        self.flags = 0
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                for alias in node.names:
                    self.flags |= getattr(__future__, alias.name).compiler_flag
        self._binding: dict[str, list[Statement]] = {}
        for statement in self.statements:
            for name in statement.binds:
                self._binding.setdefault(name, []).append(statement)
        self._altering: dict[str, list[Statement]] = {}
        for statement in self.statements:
            for name in statement.alters:
                self._altering.setdefault(name, []).append(statement)
        self._reads: dict[Statement, Reads] = {}

    def binding(self, name: str) -> list[Statement]:
        """Every statement that binds `name`, and those that change what was bound (not what was imported)."""
        bound = self._binding.get(name, [])
        if not bound or all(statement.kind == "import" for statement in bound):
            return bound
        return [*bound, *(s for s in self._altering.get(name, []) if s not in bound)]

    def is_assigned(self, name: str) -> bool:
        """Whether `name` is a value of the script's: bound by assignments, by no import, def or class.

        What says something about the machine is none, and is found out anew: `HAS_X = True` beside `import x` in a
        `try`, `device = "cuda" if torch.cuda.is_available() else "cpu"`.
        """
        bound = self._binding.get(name, [])
        if not bound or any(statement.kind in ("import", "definition") for statement in bound):
            return False
        is_flag = any(_tries_import(statement) for statement in bound) and all(s.is_literal for s in bound)
        return not is_flag and not any(_asks_machine(statement) for statement in bound)

    def assigned_names(self) -> list[str]:
        """The names for which `is_assigned` holds."""
        return [name for name in self._binding if self.is_assigned(name)]

    @cached_property
    def function_lines(self) -> frozenset[tuple[str, int]]:
        """(name, first line, decorators included) of every function in the text."""
        return frozenset(
            (node.name, min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]))
            for node in ast.walk(self.tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        )

    @cached_property
    def run_makers(self) -> frozenset[str]:
        """The calls, as the text spells them, that make a run: `hypertuner.Saver`, `ht.Args`, an imported `Logger`."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                names = [alias.asname or alias.name for alias in node.names if alias.name == "hypertuner"]
                found |= {f"{name}.{maker}" for name in names for maker in RUN_MAKERS}
            elif isinstance(node, ast.ImportFrom) and node.module == "hypertuner":
                found |= {alias.asname or alias.name for alias in node.names if alias.name in RUN_MAKERS}
        return frozenset(found)

    def reads(self, statement: Statement) -> Reads:
        """The global names that `statement`, and the conditions around it, read."""
        known = self._reads.get(statement)
        if known is None:
            known = Reads()
            postponed = bool(self.flags & __future__.annotations.compiler_flag)
            add_reads(known, statement.node, postponed)
            for guard in statement.guards:
                for condition in _conditions(guard):
                    add_reads(known, ast.Expr(condition), postponed)
            self._reads[statement] = known
        return known

    def closure(self, names: Iterable[str], is_given: Callable[[str], bool]) -> Closure:
        """What `names` need, transitively, function bodies included; a given name needs nothing."""
        kept: set[Statement] = set()
        given: set[str] = set()
        seen: set[str] = set()
        soft: set[str] = set()
        work = list(names)
        while work:
            while work:
                name = work.pop()
                if name in seen:
                    continue
                seen.add(name)
                if is_given(name):
                    given.add(name)
                    continue
                found = self.binding(name)
                if not found and name not in _IMPLICIT:
                    # Only a star import can have brought it.
                    found = [statement for statement in self.statements if statement.is_star]
                for statement in [*found, *(beside for one in found for beside in self._tried_with(one))]:
                    if statement not in kept:
                        kept.add(statement)
                        reads = self.reads(statement)
                        work += [*reads.now, *reads.later]
                        soft |= reads.soft
            work = [name for name in soft - seen if is_given(name) or self._is_harmless(name)]
        return Closure(tuple(s for s in self.statements if s in kept), frozenset(given))

    def _is_harmless(self, name: str) -> bool:
        found = self.binding(name)
        return bool(found) and all(statement.kind in ("import", "definition") for statement in found)

    def _tried_with(self, statement: Statement) -> list[Statement]:
        """The imports that decide whether `statement`, in the same `try`, is reached."""
        if not _tries_import(statement):
            return []
        return [s for s in self.statements if s.kind == "import" and set(s.guards) & set(statement.guards)]

    def program(self, statements: Collection[Statement]) -> list[ast.stmt]:
        """The text's statements, with nothing left in them but `statements`."""
        kept = {statement.node for statement in statements}
        return [ast.fix_missing_locations(node) for node in _only(self.tree.body, kept)]

    def segment(self, node: ast.stmt) -> str:
        """The text of a top-level statement, decorators and comments inside it included."""
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
        last = node.end_lineno or first
        shares_a_line = any(
            other is not node and other.lineno <= last and first <= (other.end_lineno or 0) for other in self.tree.body
        )
        return ast.unparse(node) if shares_a_line else "\n".join(self.text.split("\n")[first - 1 : last])


@lru_cache(maxsize=256)
def outline_of(text: str) -> Outline:
    """The outline of `text`, parsed once in a process: every save asks for the same ones."""
    return Outline(text)


def imported_modules(nodes: Iterable[ast.AST], package: str) -> list[str]:
    """Absolute names of all modules that the import statements in `nodes` may load, parents before children.

    `from a import b` names `a` and `a.b`, which may or may not be a module.
    """
    names: dict[str, None] = {}
    for root in nodes:
        for node in ast.walk(root):
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = absolute_name(node.module or "", package, node.level)
                found = [base, *(f"{base}.{alias.name}" for alias in node.names if base and alias.name != "*")]
            else:
                continue
            for name in found:
                parts = name.split(".")
                names.update(dict.fromkeys(".".join(parts[: n + 1]) for n in range(len(parts)) if name))
    return list(names)


def absolute_name(name: str, package: str, level: int) -> str:
    """What `from <level dots><name>` in `package` means; '' when it points above the top."""
    if level == 0:
        return name
    parts = package.split(".") if package else []
    if level - 1 >= len(parts):
        return ""
    base = ".".join(parts[: len(parts) - (level - 1)])
    return f"{base}.{name}" if name else base


def stored_names(node: ast.AST) -> Iterator[str]:
    """The names that executing `node` binds in its own scope, comprehension variables included."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    if isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            if alias.name != "*":
                yield alias.asname or (alias.name.split(".")[0] if isinstance(node, ast.Import) else alias.name)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name
    if not isinstance(node, ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from stored_names(child)


def _is_main_guard(node: ast.stmt) -> TypeGuard[ast.If]:
    """Whether `node` is `if __name__ == "__main__":`."""
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Compare)
        and len(node.test.ops) == 1
        and isinstance(node.test.ops[0], ast.Eq)
        and {"__name__", "'__main__'"} == {ast.unparse(node.test.left), ast.unparse(node.test.comparators[0])}
    )


def _blocks(node: Any) -> list[list[ast.stmt]]:
    """The statement lists inside an `if` or a `try`; none for anything else."""
    if isinstance(node, ast.If):
        return [node.body, node.orelse]
    if isinstance(node, _TRIES):
        return [node.body, *(handler.body for handler in node.handlers), node.orelse, node.finalbody]
    return []


def _conditions(guard: ast.stmt) -> list[ast.expr]:
    if isinstance(guard, ast.If):
        return [guard.test]
    return [handler.type for handler in getattr(guard, "handlers", ()) if handler.type is not None]


def _statements(
    body: list[ast.stmt], guards: tuple[ast.stmt, ...] = (), top: ast.stmt | None = None
) -> Iterator[Statement]:
    for node in body:
        outermost = top or node
        if _is_main_guard(node):
            yield from _statements(node.body, guards, outermost)
        elif blocks := _blocks(node):
            for block in blocks:
                yield from _statements(block, (*guards, node), outermost)
        elif not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            yield _statement(node, guards, outermost)


def _statement(node: ast.stmt, guards: tuple[ast.stmt, ...], top: ast.stmt) -> Statement:
    kind: Kind
    alters: set[str] = set()
    binds = set(stored_names(node))
    if isinstance(node, ast.Import | ast.ImportFrom):
        kind = "import"
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        kind = "definition"
    elif isinstance(node, ast.For | ast.AsyncFor | ast.While | ast.With | ast.AsyncWith | ast.Match):
        kind = "opaque"
    else:
        kind = "assignment"
        if isinstance(node, ast.AnnAssign) and node.value is None:
            binds = set()
        # Comprehension variables are their own; `:=` inside one is too rare to tell apart.
        binds -= {n for c in ast.walk(node) if isinstance(c, ast.comprehension) for n in stored_names(c.target)}
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        alters = {root for target in targets if (root := _altered(target))}
    return Statement(node, kind, frozenset(binds), frozenset(alters), guards, top)


def _altered(target: ast.AST | None) -> str | None:
    """`CFG` for the targets `CFG.depth` and `CFG["depth"]`; None for a plain name."""
    node = target
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) and node is not target else None


def _tries_import(statement: Statement) -> bool:
    """Whether `statement` stands in a `try` that imports."""
    return any(
        isinstance(node, ast.Import | ast.ImportFrom)
        for guard in statement.guards
        if isinstance(guard, _TRIES)
        for block in _blocks(guard)
        for node in block
    )


def _asks_machine(statement: Statement) -> bool:
    """Whether what `statement` assigns depends on the machine."""
    asked = [statement.node, *(condition for guard in statement.guards for condition in _conditions(guard))]
    return statement.kind == "assignment" and any(
        isinstance(call.func, ast.Attribute) and call.func.attr in _MACHINE for node in asked for call in calls_in(node)
    )


def _only(body: list[ast.stmt], kept: set[ast.stmt]) -> list[ast.stmt]:
    nodes: list[ast.stmt] = []
    for node in body:
        if _is_main_guard(node):
            nodes += _only(node.body, kept)
        elif blocks := _blocks(node):
            parts = [_only(block, kept) for block in blocks]
            if any(parts):
                nodes.append(_with_blocks(node, parts))
        elif node in kept:
            nodes.append(node)
    return nodes


def _with_blocks(node: Any, parts: list[list[ast.stmt]]) -> Any:
    """A copy of an `if` or a `try` with other statements inside it."""
    new = copy.copy(node)
    if isinstance(new, ast.If):
        new.body, new.orelse = parts[0] or [ast.Pass()], parts[1]
        return new
    handlers = [copy.copy(handler) for handler in new.handlers]
    for handler, block in zip(handlers, parts[1:-2], strict=True):
        handler.body = block or [ast.Pass()]
    new.body, new.handlers, new.orelse, new.finalbody = parts[0] or [ast.Pass()], handlers, parts[-2], parts[-1]
    return new
