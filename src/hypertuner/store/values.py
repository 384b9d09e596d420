"""Values of a config: what may stand in `config.json`, and the two shapes of a config.

A config is recorded flat, nested names joined by dots: {"optimizer.lr": 0.1}. Whatever a script hands over becomes
JSON of the strict kind, which every reader of the world opens: infinity, NaN and whole numbers beyond 64 bits are
spelled as text ("inf"). What JSON cannot say is recorded as its repr(), with a warning that names the key.
Neither torch, NumPy nor OmegaConf is imported here: their values are known by their looks.
"""

from __future__ import annotations

import dataclasses
import datetime
import io
import math
import os
import sys
import types
import warnings
from collections.abc import Mapping
from enum import Enum
from typing import Any

from hypertuner.errors import ConfigError


def to_config(values: Mapping[Any, Any]) -> dict[str, Any]:
    """`values` as `config.json` holds them: flat dotted keys, JSON-able values."""
    return flatten({str(key): to_json(value, str(key)) for key, value in plain(values).items()})


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings as one level of dotted keys; their leaves as they are, in the same order.

    A leaf is what is no mapping, an empty mapping, or a mapping with a key that is not text. Text without dots and
    not empty as keys: `unflatten(flatten(x)) == x`. For every flat x: `flatten(unflatten(x)) == x`.

    Raises: ConfigError: two entries have the same dotted name.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        entries = {f"{key}.{k}": v for k, v in flatten(value).items()} if is_group(value) else {key: value}
        if twice := flat.keys() & entries.keys():
            name = min(twice)
            raise ConfigError(f"the config has two values for {name!r}.\n  Rename one of them.", key=name)
        flat.update(entries)
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested dicts. A key stays as it is where nesting cannot hold it: 'a.b' beside a value 'a'."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *groups, name = parts(key)
        if any(".".join(groups[: depth + 1]) in flat for depth in range(len(groups))):
            nested[key] = value
            continue
        inside = nested
        for group in groups:
            inside = inside.setdefault(group, {})
        inside[name] = value
    return nested


def parts(key: str) -> list[str]:
    """The names that a dotted key joins; a key such as '.a' or 'a..b' joins nothing and is one name."""
    names = key.split(".")
    return names if all(names) else [key]


def is_group(value: object) -> bool:
    """Whether `flatten` goes into `value`: a mapping with something in it, under text keys only."""
    return isinstance(value, Mapping) and bool(value) and all(isinstance(key, str) for key in value)


def is_namespace(value: object) -> bool:
    """Whether `value` is an argparse.Namespace or a SimpleNamespace. argparse is not imported to find out."""
    argparse = sys.modules.get("argparse")
    return isinstance(value, types.SimpleNamespace) or (argparse is not None and isinstance(value, argparse.Namespace))


def plain(value: Any) -> Any:
    """An OmegaConf (Hydra) config as plain dicts and lists, its references resolved; anything else as it is."""
    omegaconf = sys.modules.get("omegaconf")
    if omegaconf is None or not omegaconf.OmegaConf.is_config(value):
        return value
    try:
        return omegaconf.OmegaConf.to_container(value, resolve=True)
    except omegaconf.errors.OmegaConfBaseException:  # a reference to nothing: its text says more than a failed run
        return omegaconf.OmegaConf.to_container(value, resolve=False)


def to_json(value: Any, key: str | None = None) -> Any:
    """`value` as JSON can say it; `key` is the name that a warning gives (without one there is no warning).

    Enums: the value if that is text or the member is itself a number or text, else the name. Paths, torch and NumPy
    types, devices, classes and functions: their names. NumPy scalars and tensors of one number: the number. Sets:
    sorted where that is possible. Dates: ISO 8601. Decimals,
    fractions and UUIDs: their text. Open files: their path. Dataclasses and namespaces: dicts.
    """
    value = plain(value)
    if isinstance(value, Enum):
        speaks = isinstance(value, (int, float, str)) or isinstance(value.value, str)
        return to_json(value.value, key) if speaks else value.name
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        # 64 bits are what JSON readers agree on; a longer one would be rounded or refused.
        return int(value) if -(2**63) <= value < 2**64 else str(int(value))
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, str):
        # File names that are not UTF-8 come as lone surrogates, which no JSON writer takes.
        return str(value).encode(errors="backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_text(k): to_json(v, None if key is None else f"{key}.{_text(k)}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item, key) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((to_json(item, key) for item in value), key=lambda item: (str(type(item)), str(item)))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, key)
    if is_namespace(value):
        return to_json(vars(value), key)
    return _named(value, key)


def _text(key: object) -> str:
    return str(key.value if isinstance(key, Enum) else key)


def _named(value: Any, key: str | None) -> Any:
    if isinstance(value, os.PathLike):
        return to_json(os.fsdecode(value), key)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, io.IOBase) and isinstance(name := getattr(value, "name", None), str):
        return name
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        return f"{value.__module__}.{value.__qualname__}"
    family = type(value).__module__.partition(".")[0]
    if family in ("torch", "numpy") and type(value).__name__.endswith(_NAMED_TYPES):
        return str(value)
    if family in ("decimal", "fractions", "uuid"):
        return str(value)
    if hasattr(value, "dtype") and getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        item = value.item()
        if isinstance(item, (bool, int, float, str)):
            return to_json(item, key)
    if key is not None:
        warnings.warn(
            f"config key {key!r}: a {type(value).__qualname__} cannot be written as JSON; its repr() is recorded. "
            "Give numbers, text, lists or dicts.",
            UserWarning,
            stacklevel=2,
        )
    return to_json(repr(value), key)


# torch.dtype and its kin, numpy.dtype; since NumPy 1.25 each dtype has a class of its own (Float32DType).
_NAMED_TYPES = ("dtype", "device", "layout", "memory_format", "DType")
