"""Weights out of a file: as a model object, by name, or into a model that is there.

What is not asked for is not read. A model built on the meta device takes the file's own memory, without a copy; one
that has memory is filled by one copy, straight from the file's.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from hypertuner import settings
from hypertuner.checkpoint.format.archive import Archive, Verify
from hypertuner.checkpoint.format.table import FORMAT
from hypertuner.checkpoint.recipe.rebuild import Rebuilder
from hypertuner.checkpoint.recipe.recording import Recipe
from hypertuner.checkpoint.report import LoadReport, Mismatch
from hypertuner.checkpoint.selection import EVERYTHING, Selection
from hypertuner.errors import CheckpointError, CorruptFileError, MismatchError, UnsafeFileError, first_line
from hypertuner.frameworks.torch import meta, modules, objects, reading
from hypertuner.frameworks.torch.state import State, set_versions, versions_of
from hypertuner.store.said import say


class Weights:
    """The named weights in an open file: how they look, and, once they are asked for, they themselves."""

    def __init__(
        self,
        archive: Archive,
        *,
        trusted: bool,
        verify: Verify = "index",
        selection: Selection = EVERYTHING,
        device: Any = None,
        pin_memory: bool = False,
    ) -> None:
        own = archive.kind == FORMAT
        if verify == "full" and (not selection.only or not own):
            archive.check_whole()
            verify = "index"
        self.tensors = reading.Tensors(archive, device, hashed=verify == "full", pin_memory=pin_memory)
        self._others: dict[str, Any] = {}
        """Those that do not come by the index."""
        if not own and archive.kind != "safetensors":
            loaded = reading.load_objects(archive, device) if trusted else reading.load_safely(archive, device)
            found = _weights_of(loaded, archive)
            self._others, self.versions = dict(found), versions_of(found)
            self.looks: Mapping[str, Any] = self._others
            return
        self.looks = self.tensors.looks("state_dict")
        told = archive.index.extra.get("state_versions")
        self.versions = dict(told) if isinstance(told, dict) else {}
        if self.tensors.has_opaque and trusted:
            self._others = dict(opaque(archive)["state_dict"])
            self.looks = {**self.looks, **self._others}

    def take(self, names: Iterable[str]) -> OrderedDict[str, Any]:
        """These, in the file's order."""
        wanted = set(names)
        if not self._others:
            return self.tensors.part("state_dict", [name for name in self.looks if name in wanted])
        inside = [name for name in self.looks if name in wanted and name not in self._others]
        found = {**self.tensors.part("state_dict", inside), **self._others}
        taken = OrderedDict((name, found[name]) for name in self.looks if name in wanted)
        set_versions(taken, self.versions)
        return taken


def read_object(
    archive: Archive, *, trusted: bool, device: Any = None, verify: Verify = "index", pin_memory: bool = False
) -> Any:
    """The model object; of a file that has none, its weights by name; of a foreign file, what is in it."""
    if verify == "full":
        archive.check_whole()
    if archive.kind != FORMAT:
        if trusted and archive.kind != "safetensors":
            return reading.load_objects(archive, device)
        return reading.load_safely(archive, device)
    index = archive.index
    if index.recipe is None:
        if problem := index.extra.get("module_problem"):
            raise CheckpointError(
                f"{archive.path} holds weights only: {first_line(problem)}.\n"
                f"  Build the model, then: hypertuner.load({str(archive.path)!r}, into=model)."
            )
        return read_weights(archive, trusted=trusted, device=device, pin_memory=pin_memory)
    if not trusted:
        raise _untrusted(archive)
    rebuilder = Rebuilder(Recipe.from_json(index.recipe), index.hyperparameters, str(archive.path))
    tensors = reading.Tensors(archive, device, pin_memory=pin_memory)
    tensors.fetch("state_dict")
    tensors.fetch("module_tensors")
    try:
        model = objects.load(_code(archive, "module"), tensors.tensor, rebuilder)
    except (KeyError, pickle.UnpicklingError, EOFError) as error:
        raise CorruptFileError(
            f"{archive.path}: its model object cannot be read: {error}", path=archive.path
        ) from error
    except (ImportError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"{archive.path}: its model object cannot be rebuilt here: {type(error).__name__}: {error}.\n"
            f"  Build the model, then: hypertuner.load({str(archive.path)!r}, into=model)."
        ) from error
    return model if device is None or not hasattr(model, "to") else model.to(device)


def read_weights(
    archive: Archive,
    *,
    trusted: bool,
    device: Any = None,
    verify: Verify = "index",
    selection: Selection = EVERYTHING,
    pin_memory: bool = False,
) -> OrderedDict[str, Any]:
    """The weights by name, or those selected by their names in the file."""
    weights = Weights(
        archive, trusted=trusted, verify=verify, selection=selection, device=device, pin_memory=pin_memory
    )
    selection.check(weights.looks, "file")
    return weights.take(filter(selection.takes, weights.looks) if selection.only else weights.looks)


def fill(
    model: Any,
    archive: Archive,
    *,
    strict: bool,
    trusted: bool,
    selection: Selection = EVERYTHING,
    verify: Verify = "index",
    device: Any = None,
) -> LoadReport:
    """Put a file's weights into a model, by name; known wrapper prefixes are stripped on both sides."""
    target = modules.check_model(model)
    has = State.names_of(target)
    meta.check_device(has, device)
    weights = Weights(archive, trusted=trusted, verify=verify, selection=selection, device=device)
    selection.check(has)
    chosen = selection.renamed(weights.looks)
    stripped, how = modules.strip_known_prefixes(dict.fromkeys(chosen.values()), has)
    if how:
        say(f"{archive.path.name}: {how} in the names of its tensors")
    source = {new: name for name in weights.looks if selection.takes(new := stripped[chosen[name]])}
    looks = {new: weights.looks[name] for new, name in source.items()}
    report = _compare(looks, {name: value for name, value in has.items() if selection.takes(name)})
    fits = not (report.missing or report.unexpected) if selection.ignore_mismatched else report.is_complete
    if strict and not fits:
        raise MismatchError(
            f"The weights of {archive.path} do not fit the model: {report}{_advice(report)}", report=report
        )
    if report.share < settings.MATCH_FLOOR.get():
        raise MismatchError(
            f"The weights of {archive.path} hardly fit the model: {report}\n"
            f"  Below {100 * settings.MATCH_FLOOR.get():.0f} % nothing is loaded. "
            "HYPERTUNER_MATCH_FLOOR=0 takes whatever fits.",
            report=report,
        )
    rest = meta.Rest(target, report.loaded, selection, weights.tensors)
    if strict:
        rest.refuse(archive.path)
    taken = weights.take(source[name] for name in report.loaded)
    rest.fill()
    _put(target, {name: taken[source[name]] for name in report.loaded}, weights.versions)
    rest.tell(archive.path)
    if selection.ignore_mismatched and report.mismatched:
        say(f"{archive.path.name}: {report}")
    return report


def _put(target: modules.Model, values: dict[str, Any], versions: Mapping[str, int]) -> None:
    if modules.is_named_tensors(target):
        with torch.no_grad():
            for name, value in values.items():
                target[name].copy_(value)
        return
    for prefix, module in modules.parts_of(target):
        renames = modules.clean_names(module)
        own = module.state_dict(keep_vars=True)
        part = {
            name: values[prefix + clean]
            for name in own
            if (prefix + (clean := modules.clean_name(name, renames))) in values
        }
        paths = {
            path: (prefix + modules.clean_name(f"{path}.", renames)).rstrip(".") for path, _ in module.named_modules()
        }
        known = {path: versions[clean] for path, clean in paths.items() if clean in versions}
        built = {name for name in part if isinstance(own[name], torch.Tensor) and own[name].is_meta}
        given = meta.ready({name: part[name] for name in part if name in built}, own)
        for names, is_meta in ((given, True), ({name: part[name] for name in part if name not in built}, False)):
            if names or not (is_meta or built):
                state = OrderedDict(names)
                set_versions(state, known)
                module.load_state_dict(state, strict=False, assign=is_meta)


def _compare(looks: Mapping[str, Any], wanted: Mapping[str, Any]) -> LoadReport:
    loaded, mismatched = [], []
    for name, look in looks.items():
        if name not in wanted:
            continue
        own = wanted[name]
        shape = getattr(look, "shape", None)  # of a tensor, or of its row in the index
        if shape is not None and isinstance(own, torch.Tensor) and tuple(shape) != tuple(own.shape):
            mismatched.append(Mismatch(name, tuple(shape), tuple(own.shape)))
        else:
            loaded.append(name)

    def count(names: Any) -> int:
        return sum(wanted[name].numel() for name in names if isinstance(wanted[name], torch.Tensor))

    total = count(wanted)
    return LoadReport(
        loaded=tuple(loaded),
        missing=tuple(name for name in wanted if name not in looks),
        unexpected=tuple(name for name in looks if name not in wanted),
        mismatched=tuple(mismatched),
        share=count(loaded) / total if total else float(bool(loaded)),
    )


def _advice(report: LoadReport) -> str:
    if (rename := report.likely_rename()) is not None:
        old, new = rename
        if not new and old.count(".") == 1 and not all(name.startswith(old) for name in report.unexpected):
            return f"\n  part={old[:-1]!r} may be what is meant: the file holds several parts."
        return f"\n  rename={{{rename[0]!r}: {rename[1]!r}}} may be what changed; strict=False keeps what fits."
    if not (report.missing or report.unexpected):
        return "\n  ignore_mismatched=True loads the others."
    return "\n  strict=False keeps what fits, only='part.*' loads a part."


def opaque(archive: Archive) -> dict[str, Any]:
    """What safe loading refuses, of the user's own file or one they vouched for."""
    found: dict[str, Any] = pickle.loads(_code(archive, "opaque"))  # noqa: S301  # trusted, as the caller asked
    return found


def _code(archive: Archive, member: str) -> bytes:
    """The bytes of 'module' or 'opaque': those that the mark was checked over, also when the file changed since."""
    root = archive.pickle().root
    data = root.get(member) if isinstance(root, dict) else None
    if not isinstance(data, bytes):
        raise CorruptFileError(f"{archive.path} is damaged: it has no {member!r}.", path=archive.path)
    return data


def _untrusted(archive: Archive) -> UnsafeFileError:
    index = archive.index
    made = index.environment
    who = f"made by {made.get('user') or 'somebody'} on {made.get('host') or 'another host'}"
    why = "its mark is not yours" if archive.mark else "it carries no mark"
    return UnsafeFileError(
        f"{archive.path} was {who}, and {why}: rebuilding the model object would run the code in it.\n"
        f"  Weights alone need no trust: hypertuner.load({str(archive.path)!r}, into=model), or weights=True.\n"
        f"  If you know who made it: hypertuner.load({str(archive.path)!r}, trust=True), or `hypertuner trust "
        f"{archive.path}` once.",
        path=archive.path,
        globals=archive.pickle().globals,
    )


def _weights_of(loaded: Any, archive: Archive) -> OrderedDict[str, Any]:
    """The named tensors in what a foreign file held: a module, a state_dict, or a dict around one."""
    if isinstance(loaded, nn.Module):
        return _plain_dict(loaded.state_dict())
    if isinstance(loaded, Mapping):
        for key in ("state_dict", "model_state_dict", "model", "module", "net"):
            inner = loaded.get(key)
            if isinstance(inner, nn.Module):
                return _plain_dict(inner.state_dict())
            if isinstance(inner, Mapping) and any(isinstance(value, torch.Tensor) for value in inner.values()):
                return _plain_dict(inner)
        if any(isinstance(value, torch.Tensor) for value in loaded.values()):
            return _plain_dict(loaded, torch.Tensor)
    raise CheckpointError(
        f"{archive.path} holds {type(loaded).__name__}, in which no named tensors were found.\n"
        "  Load it as it is (without weights= or into=), and pick the weights out."
    )


def _plain_dict(values: Mapping[str, Any], kind: type = object) -> OrderedDict[str, Any]:
    """The values of a kind, with the versions of the modules, where the file has them."""
    made = OrderedDict((name, value) for name, value in values.items() if isinstance(value, kind))
    set_versions(made, versions_of(values))
    return made
