"""The script's command line: `lr=0.1`, `--lr 0.1`, `--lr=0.1`, `--flag`, `--no-flag`; and `--help`.

Of `--config`, only what names a run or a JSON file is ours; of a notebook's command line, nothing is the script's.
Nothing here changes sys.argv.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from hypertuner.args.declared import COMMAND_LINE, REQUIRED, Declaration, unknown
from hypertuner.args.kinds import BOOLEANS
from hypertuner.errors import ConfigError
from hypertuner.store import current
from hypertuner.store.active import ActiveRun
from hypertuner.store.values import to_json

Unknown = Literal["error", "keep", "take"]


def arguments(run: ActiveRun, *, own_config: bool) -> tuple[list[str], Mapping[str, Any]]:
    """The script's arguments without ours, and the config that the run was given.

    A script with a `--config` of its own (`own_config`) keeps it, file and all, unless it names a run.
    """
    argv = without_kernel(sys.argv)
    value, rest = current.own_arguments(argv)
    if value is not None and own_config and not current.names_run(value):
        is_given = _same_file(run.given_from, value)
        return argv, {} if is_given else run.given
    return rest, run.given


def without_kernel(argv: list[str]) -> list[str]:
    """`argv` after the program's name, without what Jupyter, Colab or VS Code start a notebook's kernel with."""
    program, *rest = argv or [""]
    if "kernel_launcher" in Path(program).name:
        return []
    for at, argument in enumerate(rest):
        if argument == "-f" and at + 1 < len(rest) and _KERNEL_FILE.search(rest[at + 1]):
            return rest[:at] + rest[at + 2 :]
        if argument.startswith(("-f=", "--f=")) and _KERNEL_FILE.search(argument):
            return rest[:at] + rest[at + 1 :]
    return rest


def read(argv: list[str], declared: Declaration, *, others: Unknown) -> dict[str, str]:
    """The texts that the command line gives to declared names, flat.

    Other arguments are an error, are left alone ("keep"), or are left alone but for `name=value` ("take").
    """
    given: dict[str, str] = {}
    tokens = deque(argv)
    while tokens:
        token = tokens.popleft()
        dashed = token.startswith("--")
        name, equals, text = token.removeprefix("--").partition("=")
        key = _declared_name(name, declared) if dashed or equals else None
        if key is not None and equals:
            given[key] = text
        elif key is not None:
            given[key] = _value_after(token, key, tokens, declared)
        elif dashed and not equals and (flag := _negated(name, declared)) is not None:
            given[flag] = "false"
        elif others == "take" and equals and not dashed and _NAME.fullmatch(name):
            given[name.replace("-", "_")] = text
        elif others == "error":
            raise unknown(token, declared.keys, COMMAND_LINE, _hint(token, name, text or next(iter(tokens), "")))
    return given


def asks_for_help(argv: list[str], declared: Declaration) -> bool:
    """Whether the command line asks what the script takes."""
    return ("--help" in argv and declared.find("help") is None) or ("-h" in argv and declared.find("h") is None)


def help_text(declared: Declaration, given: Mapping[str, Any], given_from: str) -> str:
    """What a script takes: names, types, defaults, and the values of this run's config."""
    values: dict[str, Any] = {}
    declared.apply(values, given, given_from, text=False)
    rows = []
    for name, key in declared.keys.items():
        default = "required" if key.default is REQUIRED else _shown(to_json(key.default))
        now = f"now {_shown(to_json(values[name]))}" if name in values else ""
        rows.append([name, str(key.kind), default, now, key.help])
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(5)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    script = Path(sys.argv[0]).name
    return "\n".join(
        [
            f"usage: {script} [name=value ...]",
            "",
            *(f"  {line}" for line in lines or ["This script takes no keys."]),
            "",
            "  --name value and --name=value do the same; --flag and --no-flag for true and false.",
            "  --config=storage/<run>/config.json takes that run's config, --config=<file>.json makes a new run of it.",
            *([f"  'now': the values from {given_from}."] if values and given_from else []),
        ]
    )


def command_for_new_run(run: ActiveRun, changes: Mapping[str, Any]) -> str:
    """The command that starts a new run with the config of `run` but for `changes`."""
    texts = [f"{key}={value if isinstance(value, str) else _shown(value)}" for key, value in changes.items()]
    return shlex.join(["hypertuner", "run", sys.argv[0], "--like", str(run.name), *texts])


def _declared_name(name: str, declared: Declaration) -> str | None:
    return declared.find(name) or (name if declared.group(name) else None)


def _value_after(token: str, key: str, tokens: deque[str], declared: Declaration) -> str:
    """The value of `--key`, taken off `tokens`: the next one, all up to the next name for a list, none for a flag."""
    kind = declared.keys[key].kind.of if key in declared.keys else object
    if kind is bool:
        return tokens.popleft() if tokens and tokens[0].lower() in BOOLEANS else "true"
    if not tokens or tokens[0].startswith("--"):
        if kind is object and key in declared.keys:
            return "true"
        expected = declared.keys[key].kind if key in declared.keys else "a dict"
        raise ConfigError(f"{token} has no value.\n  {COMMAND_LINE} gives it; expected {expected}.", key=key)
    value = tokens.popleft()
    if kind in (list, tuple, set, frozenset) and not value.startswith(("[", "(")):
        while tokens and not tokens[0].startswith("--") and "=" not in tokens[0]:
            value += f",{tokens.popleft()}"
    return value


def _negated(name: str, declared: Declaration) -> str | None:
    """The flag that `--no-<flag>` takes back."""
    key = declared.find(name[3:]) if name.startswith(("no-", "no_")) else None
    return key if key in declared.keys and declared.keys[key].kind.of in (bool, object) else None


def _hint(token: str, name: str, value: str) -> str:
    if name == "config":
        return f"\n  {value or '(nothing)'!r} names neither a run nor an existing JSON file."
    if not token.startswith("--") and "=" not in token:
        return "\n  Values are given as name=value or --name value."
    return "\n  Args(..., extra='keep') leaves other arguments to the script."


def _same_file(given_from: str, value: str) -> bool:
    return Path(given_from.removeprefix("--config=")).absolute() == Path(value).absolute()


def _shown(value: Any) -> str:
    """JSON on one line, as it can be typed again."""
    return json.dumps(value, ensure_ascii=False)


_NAME = re.compile(r"[A-Za-z_][\w.-]*")
_KERNEL_FILE = re.compile(r"kernel[^/\\]*\.json$")
