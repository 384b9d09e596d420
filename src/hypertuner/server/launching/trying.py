"""The shapes of the model that a script would make with a config, asked of a child process in the background.

One at a time, and of those that wait the newest alone: who types a number asks for each of its digits.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypertuner.errors import CheckpointError, HypertunerError, first_line
from hypertuner.queue import options
from hypertuner.server.weights import child
from hypertuner.store import capture

Shapes = Mapping[str, tuple[int, ...]]
_WITHIN_S = 30.0
_KEPT = 64


@dataclass(frozen=True)
class Trial:
    """A script, and what it would be started with."""

    script: Path
    config: Mapping[str, Any]
    arguments: Sequence[str]
    folder: Path

    def key(self, shaping: Mapping[str, Any]) -> object:
        """The same while the source and the settings that may give a layer its shape are."""
        told = json.dumps(dict(shaping), sort_keys=True, default=str)
        return self.script, self.folder, tuple(self.arguments), told, _stamps(self.script)


class Trials:
    """The shapes that were found out. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[object, Shapes | str] = OrderedDict()
        self._wanted: tuple[object, Trial] | None = None
        self._doing: object = None

    def shapes(self, trial: Trial, shaping: Mapping[str, Any]) -> Shapes | str | None:
        """The shapes by name; why they cannot be known; None while they are being found out."""
        key = trial.key(shaping)
        with self._lock:
            if key in self._known:
                return self._known[key]
            self._wanted = None if key == self._doing else (key, trial)  # a page asks for the same until it knows
            if self._doing is None:
                self._doing = key
                threading.Thread(target=self._work, name="hypertuner shapes", daemon=True).start()
        return None

    def _work(self) -> None:
        while True:
            with self._lock:
                if self._wanted is None:
                    self._doing = None
                    return
                (self._doing, trial), self._wanted = self._wanted, None
                key = self._doing
            found = _asked(trial)
            with self._lock:
                self._known[key] = found
                while len(self._known) > _KEPT:
                    self._known.popitem(last=False)


def _asked(trial: Trial) -> Shapes | str:
    try:
        words = options.words(trial.script, trial.config)
        answer = child.ask(
            "shapes",
            _WITHIN_S,
            script=str(trial.script),
            config=dict(trial.config),
            arguments=[*words, *trial.arguments],
            folder=str(trial.folder),
        )
    except CheckpointError as error:
        return first_line(error).removesuffix(".")
    except (HypertunerError, OSError, ValueError) as error:
        return f"its model could not be made ({first_line(error)})"
    return {name: tuple(shape) for name, shape in answer["shapes"].items()}


def _stamps(script: Path) -> tuple[object, ...]:
    stamps: list[object] = []
    for path in capture.local_sources(script):
        try:
            status = path.stat()
        except OSError:
            continue
        stamps.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(stamps)
