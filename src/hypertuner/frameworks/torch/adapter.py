"""TorchAdapter: PyTorch models in and out of checkpoint files."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from hypertuner import settings
from hypertuner.checkpoint.format.archive import Archive
from hypertuner.checkpoint.recipe.rebuild import Rebuilder
from hypertuner.checkpoint.recipe.recording import Recipe
from hypertuner.checkpoint.report import LoadReport, Mismatch
from hypertuner.checkpoint.selection import EVERYTHING, Selection
from hypertuner.errors import CheckpointError, CorruptFileError, MismatchError, UnsafeFileError
from hypertuner.frameworks.restored import Restored
from hypertuner.frameworks.torch import modules, objects, parent, reading, training
from hypertuner.frameworks.torch.saving import Capture
from hypertuner.frameworks.torch.staging import Staging
from hypertuner.frameworks.torch.state import State, set_versions, versions_of
from hypertuner.store import ranks
from hypertuner.store.active import ActiveRun
from hypertuner.store.said import say


class TorchAdapter:
    """The bridge to PyTorch."""

    name = "torch"

    def __init__(self) -> None:
        self._staging = Staging()

    def take(self, model: Any, scopes: Sequence[Mapping[str, Any]] = ()) -> modules.Model | None:
        """The model without its wrappers (`torch.compile`, DataParallel, DDP), or the one root module of the scopes."""
        return modules.find_model(scopes) if model is None else modules.check_model(model)

    def settings(self, training_parts: Mapping[str, Any]) -> dict[str, Any]:
        """How optimizers and schedulers are set up, before anything moves them."""
        return training.settings(training_parts)

    def capture(
        self,
        model: modules.Model,
        document: Mapping[str, Any],
        training_parts: Mapping[str, Any],
        first_settings: Mapping[str, Any],
        others: Sequence[bytes | None] = (),
        *,
        copy: bool = False,
    ) -> Capture:
        """Model, object and training state as they are now; with `copy`, whatever happens to them later."""
        stage = self._staging.stage()
        try:
            return Capture(model, document, training_parts, first_settings, others, stage, copy=copy)
        except BaseException:
            stage.release()
            raise

    def rank_state(self, training_parts: Mapping[str, Any]) -> bytes:
        """Random states and data position of this rank, as safe loading accepts them."""
        return training.rank_state(training_parts)

    def read(self, archive: Archive, *, trusted: bool, device: Any = None, weights: bool = False) -> Any:
        """The model object, or its tensors by name; of a foreign file, what is in it."""
        if device is not None:
            reading.check_device(device)
        if archive.kind != "hypertuner/1":
            return self._read_foreign(archive, trusted=trusted, device=device, weights=weights)
        tensors = reading.Tensors(archive, device)
        index = archive.index
        has_object = index.recipe is not None
        if weights or (not has_object and not index.extra.get("module_problem")):
            return self._with_odd(archive, tensors, trusted)
        if not has_object:
            raise CheckpointError(
                f"{archive.path} holds weights only: {_first_line(index.extra['module_problem'])}.\n"
                f"  Build the model, then: hypertuner.load({str(archive.path)!r}, into=model)."
            )
        if not trusted:
            raise _untrusted(archive)
        recipe = Recipe.from_json(index.recipe)
        rebuilder = Rebuilder(recipe, index.hyperparameters, str(archive.path))
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

    def _with_odd(self, archive: Archive, tensors: reading.Tensors, trusted: bool) -> OrderedDict[str, Any]:
        values = tensors.part("state_dict")
        if tensors.has_opaque and trusted:
            values.update(_opaque(archive)["state_dict"])
        return values

    def _read_foreign(self, archive: Archive, *, trusted: bool, device: Any, weights: bool) -> Any:
        if trusted and archive.kind != "safetensors":
            loaded: Any = reading.load_objects(archive, device)
        else:
            loaded = reading.load_safely(archive, device)
        return _weights_of(loaded, archive) if weights else loaded

    def fill(
        self, model: Any, archive: Archive, *, strict: bool, trusted: bool, selection: Selection = EVERYTHING
    ) -> LoadReport:
        """Put a file's weights into a model, by name; known wrapper prefixes are stripped on both sides."""
        target = modules.check_model(model)
        found = self.read(archive, trusted=trusted, weights=True)
        has = State.names_of(target)
        selection.check(has)
        chosen = selection.renamed(found)
        stripped, how = modules.strip_known_prefixes(dict.fromkeys(chosen.values()), has)
        if how:
            say(f"{archive.path.name}: {how} in the names of its tensors")
        values = {stripped[chosen[name]]: value for name, value in found.items()}
        values = {name: value for name, value in values.items() if selection.takes(name)}
        report = _compare(values, {name: value for name, value in has.items() if selection.takes(name)})
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
        _put(target, {name: values[name] for name in report.loaded}, versions_of(found))
        if selection.ignore_mismatched and report.mismatched:
            say(f"{archive.path.name}: {report}")
        return report

    def restore(
        self, model: Any, training_parts: Mapping[str, Any], archive: Archive, *, fork: bool, trusted: bool
    ) -> Restored:
        """Model, training state and random states of a checkpoint; a fork keeps fresh settings and may lose a part."""
        if archive.kind != "hypertuner/1":
            raise CheckpointError(
                f"{archive.path} was not saved by hypertuner: it has no training state to go on from.\n"
                "  Start from its weights instead: --from."
            )
        target = modules.check_model(model)
        tensors = reading.Tensors(archive)
        saved = tensors.document().get("training")
        if not saved:
            raise CheckpointError(
                f"{archive.path} holds the model only: it was saved without training state.\n"
                "  Give the Saver what it should keep (optimizer=…), or start from the weights: --from."
            )
        odd = _opaque(archive)["training"] if trusted and "opaque" in tensors.document() else None
        report = self.fill(model, archive, strict=not fork, trusted=trusted)
        reshaped = {mismatch.name for mismatch in report.mismatched}
        own = training.of_rank(saved, ranks.rank())
        done, left = training.restore(training_parts, target, own, odd, fork=fork, reshaped=reshaped)

        def randomness() -> list[str]:
            return training.restore_randomness(saved, *ranks.place())

        left += randomness()
        return Restored(report, tuple(done), tuple(left), parent.until_first_step(randomness))

    def guard(self, active: ActiveRun, filled: Any, report: LoadReport | None) -> None:
        """Watch the first optimizer step of a run that begins from a parent."""
        parent.watch()
        if active.parent_is_loaded:
            parent.say_loaded(active)
        if report is not None:
            target = modules.check_model(filled)
            names = set(report.loaded)
            parameters = {
                prefix + name: tensor
                for prefix, module in modules.parts_of(target)
                for name, tensor in module.named_parameters()
                if prefix + name in names
            }
            active.claims["parent fingerprint"] = parent.Fingerprint(parameters)


def _opaque(archive: Archive) -> dict[str, Any]:
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


def _advice(report: LoadReport) -> str:
    if (rename := report.likely_rename()) is not None:
        old, new = rename
        if not new and old.count(".") == 1 and not all(name.startswith(old) for name in report.unexpected):
            return f"\n  part={old[:-1]!r} may be what is meant: the file holds several parts."
        return f"\n  rename={{{rename[0]!r}: {rename[1]!r}}} may be what changed; strict=False keeps what fits."
    if not (report.missing or report.unexpected):
        return "\n  ignore_mismatched=True loads the others."
    return "\n  strict=False keeps what fits, only='part.*' loads a part."


def _first_line(problem: object) -> str:
    """What is wrong, without the advice under it: to be said inside another sentence."""
    return str(problem).partition("\n")[0].rstrip(".")


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
        return OrderedDict(loaded.state_dict())
    if isinstance(loaded, Mapping):
        for key in ("state_dict", "model_state_dict", "model", "module", "net"):
            inner = loaded.get(key)
            if isinstance(inner, nn.Module):
                return OrderedDict(inner.state_dict())
            if isinstance(inner, Mapping) and any(isinstance(value, torch.Tensor) for value in inner.values()):
                return OrderedDict(inner)
        if any(isinstance(value, torch.Tensor) for value in loaded.values()):
            return OrderedDict((name, value) for name, value in loaded.items() if isinstance(value, torch.Tensor))
    raise CheckpointError(
        f"{archive.path} holds {type(loaded).__name__}, in which no named tensors were found.\n"
        "  Load it as it is (without weights= or into=), and pick the weights out."
    )


def _compare(values: Mapping[str, Any], wanted: Mapping[str, Any]) -> LoadReport:
    loaded, mismatched = [], []
    for name, value in values.items():
        if name not in wanted:
            continue
        own = wanted[name]
        if isinstance(value, torch.Tensor) and isinstance(own, torch.Tensor) and value.shape != own.shape:
            mismatched.append(Mismatch(name, tuple(value.shape), tuple(own.shape)))
        else:
            loaded.append(name)

    def count(names: Any) -> int:
        return sum(wanted[name].numel() for name in names if isinstance(wanted[name], torch.Tensor))

    total = count(wanted)
    return LoadReport(
        loaded=tuple(loaded),
        missing=tuple(name for name in wanted if name not in values),
        unexpected=tuple(name for name in values if name not in wanted),
        mismatched=tuple(mismatched),
        share=count(loaded) / total if total else float(bool(loaded)),
    )


def _put(target: modules.Model, values: dict[str, Any], versions: Mapping[str, int]) -> None:
    if modules.is_named_tensors(target):
        with torch.no_grad():
            for name, value in values.items():
                target[name].copy_(value)
        return
    for prefix, module in modules.parts_of(target):
        renames = modules.clean_names(module)
        own = module.state_dict()
        part = OrderedDict(
            (name, values[prefix + clean])
            for name in own
            if (prefix + (clean := modules.clean_name(name, renames))) in values
        )
        paths = {
            path: (prefix + modules.clean_name(f"{path}.", renames)).rstrip(".") for path, _ in module.named_modules()
        }
        set_versions(part, {path: versions[clean] for path, clean in paths.items() if clean in versions})
        is_meta = any(tensor.is_meta for tensor in own.values() if isinstance(tensor, torch.Tensor))
        module.load_state_dict(part, strict=False, assign=is_meta)
