"""What the nodes of a parsed query spell: names, values, and which name is asked about where."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

SPACES = ("config", "metric")


@dataclass(frozen=True)
class Asked:
    """A name in the query; `parts` are the names it divides where it is a division, `a/b`, instead."""

    name: str
    plain: str
    position: int
    may_be_text: bool = False
    parts: tuple[Asked, ...] = ()

    def all_names(self) -> Iterator[str]:
        """It, and the names it may divide."""
        yield self.name
        for part in self.parts:
            yield from part.all_names()

    def unknown(self, names: frozenset[str]) -> Asked | None:
        """The name at fault, if neither reading of this one is among `names`."""
        if self.name in names or self.plain in names:
            return None
        missing = [unknown for part in self.parts if (unknown := part.unknown(names))]
        if self.parts and not missing:
            return None
        # `lr/los` with a known `lr` is a division with a typing error; `trian/loss` is a name with one.
        return missing[0] if len(missing) < len(self.parts) else self


def dotted(node: ast.expr) -> str | None:
    """'optimizer.lr' of the node that spells it; None for any other node."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def space_of(node: ast.Subscript) -> tuple[str, str] | None:
    """('config', 'lr') of `config["lr"]`."""
    if not (isinstance(node.value, ast.Name) and node.value.id in SPACES):
        return None
    if not (isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)):
        return None
    return node.value.id, node.slice.value


def is_fixed(node: ast.expr) -> bool:
    """Whether it is the same of every row: a value, or a list of values."""
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return all(map(is_fixed, node.elts))
    return isinstance(node, ast.Constant)


def is_singleton(node: ast.expr) -> bool:
    """Whether it is None, True or False."""
    return isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool))
