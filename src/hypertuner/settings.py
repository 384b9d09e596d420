"""Every default of hypertuner, in one table: name, value, unit, environment variable, reason.

Reading order: argument > `--flag` > environment > default. The environment is read when a setting is
asked for; a storage's relative path starts from the folder that hypertuner was imported in: a script may
change its working folder afterwards.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from hypertuner.errors import ConfigError

T = TypeVar("T", str, int, float, bool)


@dataclass(frozen=True)
class Setting(Generic[T]):
    """One default: its value, the variable that overrides it, and why it is what it is."""

    name: str
    default: T
    variable: str
    help: str

    def get(self) -> T:
        """The value in force: the environment's if the variable is set and not empty, else the default."""
        text = os.environ.get(self.variable, "")
        if not text:
            return self.default
        kind = type(self.default)
        try:
            if kind is bool:
                return kind(_BOOLEANS[text.lower()])
            return kind(text)
        except (KeyError, ValueError):
            raise ConfigError(
                f"{self.variable}={text!r} is not {_KINDS[kind]}.\n  It sets: {self.help}. Default: {self.default!r}.",
                key=self.variable,
            ) from None


_BOOLEANS = {"1": True, "true": True, "on": True, "yes": True, "0": False, "false": False, "off": False, "no": False}
_KINDS: dict[type, str] = {str: "text", int: "a whole number", float: "a number", bool: "on or off"}

STORAGE = Setting("storage", "storage", "HYPERTUNER_STORAGE", "folder that holds the runs")
MODE = Setting("mode", "on", "HYPERTUNER_MODE", "`off` makes Args, Logger and Saver write nothing")
QUIET = Setting("quiet", False, "HYPERTUNER_QUIET", "say nothing on the terminal but errors")
SOURCE_FILE_BYTES = Setting(
    "source_file_bytes", 1_000_000, "HYPERTUNER_SOURCE_FILE_BYTES", "largest source file kept with a run, in bytes"
)
SOURCE_TOTAL_BYTES = Setting(
    "source_total_bytes", 20_000_000, "HYPERTUNER_SOURCE_TOTAL_BYTES", "most source kept with a run, in bytes"
)
RECIPE_BYTES = Setting(
    "recipe_bytes", 256 * 1024, "HYPERTUNER_RECIPE_BYTES", "most source embedded in a model file, in bytes"
)
MATCH_FLOOR = Setting(
    "match_floor",
    0.5,
    "HYPERTUNER_MATCH_FLOOR",
    "share of a model's parameters below which weights of another run are refused",
)
TRAIL_BYTES = Setting(
    "trail_bytes",
    1_000_000_000,
    "HYPERTUNER_TRAIL_BYTES",
    "most that the weights-only checkpoints of an attempt's trail take together, in bytes",
)
READ = Setting(
    "read",
    "auto",
    "HYPERTUNER_READ",
    "how weights come out of a file: `map` (when looked at), `read` (into memory), `auto` (`read` on a network)",
)
DEBUG = Setting("debug", False, "HYPERTUNER_DEBUG", "the command line shows the traceback of an error as well")
RANKS_WAIT_S = Setting(
    "ranks_wait_s",
    600.0,
    "HYPERTUNER_RANKS_WAIT_S",
    "how long a rank waits for rank 0 to say which run or checkpoint it is, in seconds",
)
GRACE_S = Setting(
    "grace_s",
    30.0,
    "HYPERTUNER_GRACE_S",
    "how long a script that is stopped may take to save, in seconds; then it is killed with all it started",
)
OUTPUT_HEAD_BYTES = Setting(
    "output_head_bytes",
    16_000_000,  # 200,000 lines: more than anybody reads, and quick to open
    "HYPERTUNER_OUTPUT_HEAD_BYTES",
    "how much of the beginning of a run's output is kept, in bytes",
)
OUTPUT_PART_BYTES = Setting(
    "output_part_bytes",
    16_000_000,
    "HYPERTUNER_OUTPUT_PART_BYTES",
    "size of each part of a run's output after that, of which the newest two are kept, in bytes",
)
OUTPUT_PENDING_S = Setting(
    "output_pending_s",
    2.0,  # an hour of a progress bar then takes some 200 kB
    "HYPERTUNER_OUTPUT_PENDING_S",
    "how often, at most, the state of a line that is not over (a progress bar) is written down, in seconds",
)
PORT = Setting(
    "port",
    4977,  # HYPR on the keys of a phone
    "HYPERTUNER_PORT",
    "port of the GUI; the next free one is taken where it is in use",
)
SYSTEM_EVERY_S = Setting(
    "system_every_s",
    10.0,  # 20 processes then take 0.2 % of a core; an hour is 360 points
    "HYPERTUNER_SYSTEM_EVERY_S",
    "how often a run's use of CPU, memory, disk and GPUs is sampled, in seconds; 0: never",
)

ALL: tuple[Setting[str] | Setting[int] | Setting[float] | Setting[bool], ...] = (
    STORAGE,
    MODE,
    QUIET,
    DEBUG,
    SOURCE_FILE_BYTES,
    SOURCE_TOTAL_BYTES,
    RECIPE_BYTES,
    MATCH_FLOOR,
    TRAIL_BYTES,
    READ,
    RANKS_WAIT_S,
    GRACE_S,
    OUTPUT_HEAD_BYTES,
    OUTPUT_PART_BYTES,
    OUTPUT_PENDING_S,
    SYSTEM_EVERY_S,
    PORT,
)

_AT_IMPORT = Path.cwd()


def start_folder() -> Path:
    """The working folder when hypertuner was imported: where the person who started the script stood."""
    return _AT_IMPORT


def start_from(folder: Path) -> None:
    """Be as if hypertuner had been imported in `folder`: for a process that is a copy of one which had."""
    global _AT_IMPORT
    _AT_IMPORT = folder


def storage_path() -> Path:
    """Absolute path of the storage: HYPERTUNER_STORAGE, else `storage` in the folder hypertuner was imported in."""
    return _AT_IMPORT / STORAGE.get()


def is_off() -> bool:
    """Whether HYPERTUNER_MODE=off asks hypertuner to write nothing at all."""
    mode = MODE.get().lower()
    if mode not in ("on", "off"):
        raise ConfigError(f"HYPERTUNER_MODE={mode!r} is neither 'on' nor 'off'.", key="HYPERTUNER_MODE")
    return mode == "off"


HOME_VARIABLE = "HYPERTUNER_HOME"


def config_folder() -> Path:
    """The user's own folder for hypertuner's key: HYPERTUNER_HOME, else the platform's usual place."""
    if home := os.environ.get(HOME_VARIABLE):
        return Path(home)
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming") / "hypertuner"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "hypertuner"


def cache_folder() -> Path:
    """The user's folder for what can be made again: HYPERTUNER_CACHE, else the platform's usual place.

    Raises: RuntimeError where the user has no home folder.
    """
    if place := os.environ.get("HYPERTUNER_CACHE"):
        return Path(place)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "hypertuner" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hypertuner"
