"""What people type after the script: `key=value`, `--key value`, `--key=value`, `--flag`; and what follows `--`."""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from hypertuner.errors import did_you_mean

_ASSIGNMENT = re.compile(r"[A-Za-z_][\w.\-/]*=")
_OPTION = re.compile(r"--?[A-Za-z_]")
_LARGEST = 2**64


class GivenError(Exception):
    """A word that is neither a setting nor an option."""


def split_at_dashes(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """(what comes before the first `--`, what comes after it)."""
    if "--" not in words:
        return list(words), []
    at = list(words).index("--")
    return list(words[:at]), list(words[at + 1 :])


def split_script(script: str | None, words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """(the script, what follows it): the first word is no script when it is a setting or an option."""
    if script is None:
        return None, list(words)
    is_setting = _OPTION.match(script) or (_ASSIGNMENT.match(script) and not Path(script).is_file())
    return (None, [script, *words]) if is_setting else (Path(script), list(words))


def read(words: Sequence[str], *, makes_args: bool, several: bool = False) -> tuple[dict[str, Any], list[str]]:
    """(config, arguments for the script).

    `key=value` is config. Options are config of a script that makes an Args, and there `-` and `_` in a key are alike;
    of another script they are its own arguments, handed on as they are. With `several`, `lr=0.1,0.01` is `Several`
    values. Raises: GivenError.
    """
    typed = _typed_several if several else _typed_one
    config: dict[str, Any] = {}
    arguments: list[str] = []
    waiting = deque(words)
    while waiting:
        word = waiting.popleft()
        if _ASSIGNMENT.match(word):
            key, _, text = word.partition("=")
            config[key.replace("-", "_") if makes_args else key] = typed(text)
        elif not makes_args and _OPTION.match(word):
            arguments.append(word)
            if "=" not in word and waiting and not _begins_another(waiting[0]):
                arguments.append(waiting.popleft())
        elif word.startswith("--") and _OPTION.match(word):
            name, equals, text = word[2:].partition("=")
            key = name.replace("-", "_")
            if equals:
                config[key] = typed(text)
            elif waiting and not _begins_another(waiting[0]):
                config[key] = typed(waiting.popleft())
            elif key.startswith("no_"):
                config[key.removeprefix("no_")] = False
            else:
                config[key] = True
        else:
            _refuse(word)
    return config, arguments


def _begins_another(word: str) -> bool:
    return bool(_OPTION.match(word) or _ASSIGNMENT.match(word))


def _refuse(word: str) -> NoReturn:
    hint = (
        did_you_mean(word, ["--name", "--from", "--fork", "--like", "--or-resume", "--storage"])
        if word.startswith("-")
        else ""
    )
    raise GivenError(
        f"{word!r} is neither key=value nor --key value.{hint}\n"
        f"  What the script itself is to get goes after --: hypertuner run train.py lr=0.1 -- {word}"
    )


@dataclass(frozen=True)
class Several:
    """Values of one key, of which each is to have its run."""

    values: tuple[Any, ...]


def _typed_one(text: str) -> Any:
    return typed(text)


def _typed_several(text: str) -> Any:
    """Several values where a comma stands between them: not in brackets or quotes, and with no space after it."""
    parts, depth, quoted, part = [], 0, False, ""
    for sign in text:
        if sign == '"':
            quoted = not quoted
        elif not quoted:
            depth += (sign in "[{") - (sign in "]}")
        if sign == "," and depth == 0 and not quoted:
            parts.append(part)
            part = ""
        else:
            part += sign
    parts.append(part)
    if len(parts) < 2 or any(not one or one[0].isspace() for one in parts):
        return typed(text)
    values = [typed(one) for one in parts]
    return Several(tuple(value for number, value in enumerate(values) if value not in values[:number]))


def typed(text: str) -> Any:
    """The value that a text spells in JSON (`0.1`, `true`, `null`, `[1,2]`, `"x"`); any other text is itself."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text
    return value if _fits(value) else text


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _fits(value: Any) -> bool:
    """Whether config.json can hold a value as it is: no number beyond 64 bits."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return -_LARGEST // 2 <= value < _LARGEST
    if isinstance(value, dict):
        return all(map(_fits, value.values()))
    return not isinstance(value, list) or all(map(_fits, value))
