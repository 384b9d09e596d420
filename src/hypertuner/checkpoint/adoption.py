"""Finds the checkpoints in a heap of model files, and which of them belong to one training, by their names and places.

Nothing is opened but the small JSON files that list the parts of a large model. What lies in a run already, in a
storage, in a hidden folder or in a virtual environment is left alone; links to folders are not followed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypertuner.store import Run

ENDINGS = (".pt", ".pth", ".ckpt", ".safetensors", ".bin", ".pth.tar", ".pt.tar", ".ckpt.tar")
# What trainers write beside a model: read with it, and no model of its own.
_BESIDE = re.compile(r"(optimizer|scheduler|scaler|rng_state|random_states|training_args|sampler)\b.*", re.IGNORECASE)
_WHOLE = re.compile(r"(model|pytorch_model|adapter_model|diffusion_pytorch_model)\.(safetensors|bin)")
_SHARD = re.compile(r"(model|pytorch_model)-\d+-of-\d+\.(safetensors|bin)")
_INDEX = re.compile(r"(model|pytorch_model)\.(safetensors|bin)\.index\.json")
_NUMBERED_FOLDER = re.compile(r"(?:checkpoint|ckpt|step|global_step|epoch)[-_=]?(\d+)", re.IGNORECASE)
# `epoch=2-step=300-val_loss=0.25` (Lightning), and what others put into the names of a training's checkpoints.
_PAIR = re.compile(r"([A-Za-z][\w/.]*?)=(-?\d+(?:\.\d+)?(?:e-?\d+)?)(?=[-_.,]|$)")
_COUNT = re.compile(
    r"(?:^|[-_. ])(epoch|ep|e|step|steps|global_step|iter|iteration|it)[-_]?(\d+)(?=[-_. ]|$)", re.IGNORECASE
)
_WORD = re.compile(r"(?:^|[-_. ])(checkpoint|ckpt|last|latest|best|final|v\d+)(?:[-_]?\d+)?(?=[-_. ]|$)", re.IGNORECASE)
_PLAIN_NAMES = frozenset(("", "model", "weights", "net", "network", "state", "pytorch_model", "adapter_model"))
_PLAIN_FOLDERS = frozenset(("checkpoints", "checkpoint", "ckpt", "ckpts", "weights", "models", "model", "saved"))


@dataclass(frozen=True)
class Found:
    """One checkpoint as it lies there: a file, or the parts of a large one, with the folder that tells about it."""

    files: tuple[Path, ...]
    """The files with the weights, in order."""
    training: tuple[Path, str]
    """The folder and the name that checkpoints of one training share."""
    name: str
    """What a run of it is called."""
    folder: Path | None = None
    """A folder as Hugging Face writes them: config.json, trainer_state.json and the optimizer are in it."""
    step: int | None = None
    epoch: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """What it is called by: the folder, or the file."""
        return self.folder or self.files[0]


@dataclass(frozen=True)
class Skipped:
    """A file or folder that was not adopted, and why."""

    path: Path
    why: str


def find(paths: Sequence[Path], storage: Path) -> tuple[list[Found], list[Skipped]]:
    """The checkpoints at `paths`, in the order of their places, and what is left out."""
    found: list[Found] = []
    skipped: list[Skipped] = []
    for path in dict.fromkeys(path.absolute() for path in paths):
        if not path.exists():
            skipped.append(Skipped(path, "there is no such file or folder"))
        elif path.is_dir():
            before = len(found) + len(skipped)
            for folder, names in _folders(path, storage, skipped):
                found += _in_folder(folder, names)
            if len(found) + len(skipped) == before:
                skipped.append(Skipped(path, f"no file in it ends in {', '.join(ENDINGS[:5])}"))
        else:
            found.append(_in_file(path))
    once = {one.files: one for one in found}
    return list(once.values()), skipped


def _folders(root: Path, storage: Path, skipped: list[Skipped]) -> Iterator[tuple[Path, list[str]]]:
    for place, folders, names in os.walk(root):
        folder = Path(place)
        if folder == storage or Run(folder).layout.record.exists():
            skipped.append(Skipped(folder, "is hypertuner's already"))
            folders.clear()
            continue
        if "pyvenv.cfg" in names:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield folder, sorted(names)


def _in_folder(folder: Path, names: list[str]) -> list[Found]:
    if parts := _parts(folder, names):
        return [_in_hugging_face(folder, parts)]
    return [_in_file(folder / name) for name in names if name.lower().endswith(ENDINGS) and not _BESIDE.fullmatch(name)]


def _parts(folder: Path, names: list[str]) -> tuple[Path, ...]:
    """The weights of a folder as Hugging Face writes them; () for any other folder."""
    if not {"config.json", "adapter_config.json", "trainer_state.json"}.intersection(names):
        return ()
    # safetensors before pickles: the same model, in a file that holds no code.
    for ending in ("safetensors", "bin"):
        if whole := [name for name in names if (match := _WHOLE.fullmatch(name)) and match[2] == ending]:
            return (folder / whole[0],)
        for index in names:
            if (match := _INDEX.fullmatch(index)) and match[2] == ending:
                return tuple(folder / name for name in _shards(folder / index) if name in names)
    return ()


def _shards(index: Path) -> list[str]:
    try:
        listed = json.loads(index.read_bytes())["weight_map"].values()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return sorted({name for name in listed if isinstance(name, str) and _SHARD.fullmatch(name)})


def _in_hugging_face(folder: Path, parts: tuple[Path, ...]) -> Found:
    numbered = _NUMBERED_FOLDER.fullmatch(folder.name)
    training = folder.parent if numbered else folder
    is_epoch = bool(numbered) and folder.name.lower().startswith("epoch")
    number = int(numbered[1]) if numbered else None
    return Found(
        files=parts,
        training=(training, ""),
        name=_telling_name(training),
        folder=folder,
        step=None if is_epoch else number,
        epoch=number if is_epoch else None,
    )


def _in_file(path: Path) -> Found:
    stem = path.name
    for ending in sorted(ENDINGS, key=len, reverse=True):
        if stem.lower().endswith(ending):
            stem = stem[: -len(ending)]
            break
    pairs = {name.strip("-_. "): float(value) for name, value in _PAIR.findall(stem)}
    rest = _PAIR.sub("", stem)
    counts = {name.lower()[0]: int(number) for name, number in _COUNT.findall(rest)}
    rest = _COUNT.sub("", rest)
    rest = _WORD.sub("", rest)
    step = _whole(pairs.pop("step", None))
    epoch = _whole(pairs.pop("epoch", None))
    if step is None:
        step = next((counts[sign] for sign in "sgi" if sign in counts), None)
    rest = rest.strip("-_. ")
    if rest.isdecimal():
        step, rest = (int(rest) if step is None else step), ""
    if rest.lower() in _PLAIN_NAMES:
        rest = ""
    bare_number = re.fullmatch(r"(?:checkpoint|ckpt|model)[-_]?(\d+)", stem, re.IGNORECASE)
    if step is None and bare_number:
        step, rest = int(bare_number[1]), ""
    return Found(
        files=(path,),
        training=(path.parent, rest),
        name=rest or _telling_name(path.parent),
        step=step,
        epoch=counts.get("e") if epoch is None else epoch,
        metrics=pairs,
    )


def _whole(number: float | None) -> int | None:
    return int(number) if number is not None and number == int(number) and number >= 0 else None


def _telling_name(folder: Path) -> str:
    """The nearest folder whose name says something: 'version_0' of version_0/checkpoints."""
    for place in (folder, *folder.parents):
        if place.name and place.name.lower() not in _PLAIN_FOLDERS:
            return place.name
    return "adopted"
