"""Which modules make up a model: unwrapping, and finding the one that a script trains."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import torch
from torch import nn

from hypertuner.errors import CheckpointError

Model = nn.Module | dict[str, Any]
"""One module, several named ones (a GAN is one model of two parts), or named tensors."""

_PREFIXES = ("_orig_mod.", "module.")
_COPY = re.compile(r"(^|_)(ema|swa|averaged?|avg|shadow)(_|\d|$)|EMA|Ema|Averaged|SWA")


def unwrap(module: Any) -> Any:
    """The module inside `torch.compile`, DataParallel and DistributedDataParallel; anything else as it is."""
    while isinstance(module, nn.Module):
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            module = module.module
        elif "_orig_mod" in module._modules:  # torch._dynamo.OptimizedModule, without importing torch._dynamo
            module = module._modules["_orig_mod"]
        else:
            return module
    return module


def check_model(model: Any) -> Model:
    """`model` without its wrappers. TypeError for what is no model; CheckpointError for a name that cannot be."""
    if isinstance(model, Mapping):
        parts = {name: unwrap(part) for name, part in model.items()}
        if not parts:
            raise TypeError("Saver got an empty dict. Give it the parts of the model: Saver({'G': g, 'D': d}).")
        for name in parts:
            if not isinstance(name, str):
                raise TypeError(f"The parts of a model are named by text, got {name!r}.")
        kinds = {isinstance(part, nn.Module) for part in parts.values()}
        if kinds == {True} or all(isinstance(part, torch.Tensor) for part in parts.values()):
            return parts
        wrong = next(
            name for name, part in parts.items() if not isinstance(part, (nn.Module, torch.Tensor)) or len(kinds) > 1
        )
        raise TypeError(
            f"Saver got a dict whose {wrong!r} is {type(parts[wrong]).__name__}: a model is a module, a dict of "
            "modules, or a dict of tensors."
        )
    model = unwrap(model)
    if isinstance(model, nn.Module):
        return model
    raise TypeError(
        f"Saver got {type(model).__name__}, which is no model: give it a torch.nn.Module, a dict of modules "
        "or a dict of tensors."
    )


def is_named_tensors(model: Model) -> TypeGuard[dict[str, torch.Tensor]]:
    """Whether it is a dict of tensors, not of modules."""
    return isinstance(model, dict) and not any(True for _ in parts_of(model))


def parts_of(model: Model) -> Iterator[tuple[str, nn.Module]]:
    """(prefix, module) of each part: ('', module) for one, ('G.', g), ('D.', d) for several; none for tensors."""
    if isinstance(model, nn.Module):
        yield "", model
        return
    for name, part in model.items():
        if isinstance(part, nn.Module):
            yield f"{name}.", part


def clean_names(module: nn.Module) -> dict[str, str]:
    """Prefixes, inside a module's state, of wrapped submodules → the prefixes without the wrapper."""
    renames = {}
    for path, child in module.named_modules(remove_duplicate=False):
        if (inner := unwrap(child)) is not child and inner is not None:
            wrapper = "_orig_mod." if "_orig_mod" in child._modules else "module."
            renames[f"{path}.{wrapper}" if path else wrapper] = f"{path}." if path else ""
    return renames


def clean_name(name: str, renames: Mapping[str, str]) -> str:
    """A name of a module's state without the prefixes of its wrappers."""
    if not renames:  # as nearly all are; asked for every tensor of every save
        return name
    for prefix in sorted(renames, key=len, reverse=True):
        if name.startswith(prefix):
            name = renames[prefix] + name[len(prefix) :]
    return name


def strip_known_prefixes(names: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[dict[str, str], str]:
    """(name in the file → name in the model, the prefix that was stripped or added), when that makes them fit."""
    best: tuple[int, dict[str, str], str] = (len(names.keys() & wanted.keys()), {name: name for name in names}, "")
    for prefix in (*_PREFIXES, "".join(_PREFIXES), "".join(reversed(_PREFIXES))):
        without = {name: name.removeprefix(prefix) for name in names}
        with_it = {name: prefix + name for name in names}
        for renamed, what in ((without, f"stripped '{prefix}'"), (with_it, f"added '{prefix}'")):
            fit = len(set(renamed.values()) & wanted.keys())
            if fit > best[0]:
                best = (fit, renamed, what)
    return best[1], best[2]


def find_model(scopes: Sequence[Mapping[str, Any]]) -> nn.Module | None:
    """The one root module that a script trains, from the first scope that has any; None when none has.

    Not counted: modules without state (losses), wrappers of the same parameters, parts of another module
    in the scope, and copies kept as an average (EMA, SWA).

    Raises: CheckpointError naming the candidates when there are several.
    """
    for scope in scopes:
        found: dict[int, tuple[str, nn.Module]] = {}
        copies: list[tuple[str, nn.Module]] = []
        for name, value in list(scope.items()):
            if not isinstance(value, nn.Module) or isinstance(value, type):
                continue
            module = unwrap(value)
            if not _has_state(module):
                continue
            if _COPY.search(name) or _COPY.search(type(module).__name__):
                copies.append((name, module))
            else:
                found.setdefault(id(module), (name, module))
        roots = _roots(list(found.values())) or _roots(copies)
        if len(roots) == 1:
            return roots[0][1]
        if roots:
            names = ", ".join(f"{name} ({type(module).__name__})" for name, module in roots)
            parts = ", ".join(f"{name!r}: {name}" for name, _ in roots)
            raise CheckpointError(
                f"hypertuner.Saver() was given no model, and finds {len(roots)}: {names}.\n"
                f"  Say which: hypertuner.Saver({roots[0][0]}), or all as one: hypertuner.Saver({{{parts}}})."
            )
    return None


def _has_state(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None or next(module.buffers(), None) is not None


def _roots(candidates: list[tuple[str, nn.Module]]) -> list[tuple[str, nn.Module]]:
    tensors = {id(module): {id(p) for p in (*module.parameters(), *module.buffers())} for _, module in candidates}
    children = {id(module): {id(child) for child in module.modules()} - {id(module)} for _, module in candidates}
    roots = []
    for name, module in candidates:
        others = [other for _, other in candidates if other is not module]
        mine = tensors[id(module)]
        # A wrapper adds no state to what it wraps: the module inside counts. A part of a larger one does not.
        wraps = any(id(other) in children[id(module)] and tensors[id(other)] == mine for other in others)
        is_part = any(id(module) in children[id(other)] and tensors[id(other)] != mine for other in others)
        if not wraps and not is_part:
            roots.append((name, module))
    return roots
