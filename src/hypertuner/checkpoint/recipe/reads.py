"""Which names of its module a statement reads: when it is executed, when its functions are called, or perhaps never."""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_COMPREHENSIONS = ("listcomp", "setcomp", "dictcomp", "genexpr")


@dataclass
class Reads:
    """Global names that a statement reads: when it is executed, when its functions are called, or perhaps never."""

    now: set[str] = field(default_factory=set)
    later: set[str] = field(default_factory=set)
    soft: set[str] = field(default_factory=set)  # annotations that are not evaluated
    called: set[str] = field(default_factory=set)  # those of `now` that are called, so that their bodies run too


def add_reads(reads: Reads, node: ast.stmt, postponed: bool) -> None:
    """Add what `node` reads; `postponed` annotations are never evaluated."""
    # The compiler's own symbol table: it alone knows every rule of scope in every version of Python.
    text = ast.unparse(node)
    head = "from __future__ import annotations\n" if postponed else ""
    _add_table(reads, symtable.symtable(head + text, "<statement>", "exec"), deferred=False)
    reads.called |= {root for call in calls_in(node) if (root := root_name(call.func))}
    for decorated in (node, *ast.iter_child_nodes(node)):
        for decorator in getattr(decorated, "decorator_list", ()):
            if root := root_name(decorator.func if isinstance(decorator, ast.Call) else decorator):
                reads.called.add(root)
    for annotation in _annotations(node):
        for part in ast.walk(annotation):
            if isinstance(part, ast.Name):
                reads.soft.add(part.id)
            elif isinstance(part, ast.Constant) and isinstance(part.value, str):
                try:
                    quoted = ast.parse(part.value, mode="eval")
                except SyntaxError:
                    continue
                reads.soft |= {name.id for name in ast.walk(quoted) if isinstance(name, ast.Name)}


def _add_table(reads: Reads, table: symtable.SymbolTable, *, deferred: bool) -> None:
    scope = str(table.get_type())
    for symbol in table.get_symbols():
        if not symbol.is_referenced():
            continue
        if scope.endswith("module") or symbol.is_global():
            (reads.later if deferred else reads.now).add(symbol.get_name())
        elif scope.endswith("class") and symbol.is_local():
            reads.soft.add(symbol.get_name())  # `class Config: lr = lr` reads the module's
    for child in table.get_children():
        is_function = str(child.get_type()).endswith("function") and child.get_name().strip("<>") not in _COMPREHENSIONS
        _add_table(reads, child, deferred=deferred or is_function)


def _annotations(node: ast.AST) -> Iterator[ast.expr]:
    for part in ast.walk(node):
        annotation = getattr(part, "annotation", None) or getattr(part, "returns", None)
        if isinstance(annotation, ast.expr):
            yield annotation


def calls_in(node: ast.AST) -> Iterator[ast.Call]:
    """The calls that executing `node` makes: not those in the bodies of functions and lambdas."""
    if isinstance(node, ast.Call):
        yield node
    now: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        now = [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
    elif isinstance(node, ast.Lambda):
        now = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
    for child in now:
        yield from calls_in(child)


def root_name(node: ast.expr) -> str | None:
    """`torch` for `torch.nn.Linear`, `cfgs[0].make` gives `cfgs`; None when it does not begin with a name."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None
