"""What an attempt ran on: git, GPUs, environment, packages, and the source it ran.

Recorded by allow-list: an environment variable that is not named here is never written, and what looks like
a secret in arguments or in a diff is replaced before it is written.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypertuner import files, settings
from hypertuner.errors import StorageError

if TYPE_CHECKING:
    import ast

_ENVIRONMENT = re.compile(
    r"CUDA_\w+|NVIDIA_VISIBLE_DEVICES|OMP_\w+|MKL_NUM_THREADS|OPENBLAS_NUM_THREADS|NCCL_\w+|TORCH_\w+|PYTORCH_\w+"
    r"|PYTHONHASHSEED|CONDA_DEFAULT_ENV|VIRTUAL_ENV|SLURM_(JOB|ARRAY|NODE|PROC|LOCAL|STEP)\w*|RANK|LOCAL_RANK|WORLD_SIZE"
    r"|MASTER_ADDR|MASTER_PORT|HYPERTUNER_(STORAGE|RUN|MODE|CONFIG)"
)
_SECRET_NAME = re.compile(
    r"(^|[_.-])(api[_-]?key|secret|password|passwd|credentials?|(access|auth|api|hf|bearer)[_-]?token)($|[_.-])", re.I
)
_SECRET_TEXT = re.compile(
    r"AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{30,}|hf_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9_-]{20,}|xox[abp]-[A-Za-z0-9-]{10,}"
    r"|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
# `password = "…"`, `"auth_token": "…"`, `aws_secret_access_key: …` in code and configs.
_SECRET_VALUE = re.compile(
    r"((?:api[_-]?key|secret|password|passwd|credentials?|(?:access|auth|api|hf|bearer)[_-]?token)(?:[_.-][\w.-]*)?"
    r"[\"']?\s*[:=]\s*[\"']?)[^\s\"',;})]+",
    re.I,
)
# Files whose whole content is secret.
_SECRET_FILES = tuple(
    f":(exclude,glob)**/{name}"
    for name in (
        ".env*",
        "*.env",
        ".netrc",
        "*.pem",
        "*.key",
        "id_rsa*",
        "id_ed25519*",
        "id_ecdsa*",
        ".npmrc",
        ".pypirc",
    )
)
HIDDEN = "<hidden>"
"""What stands in a record where a secret stood."""
_DIFF_BYTES = 256 * 1024


def is_secret(name: str) -> bool:
    """Whether a key's name says that its value is a secret ('api_key', not 'max_tokens')."""
    return bool(_SECRET_NAME.search(name))


def hide_secrets(text: str) -> str:
    """A text with what looks like a secret in it replaced."""
    return _SECRET_VALUE.sub(rf"\1{HIDDEN}", _SECRET_TEXT.sub(HIDDEN, text))


def without_secrets(arguments: Sequence[str]) -> tuple[str, ...]:
    """A command line as it may be recorded: values of options that name a secret are replaced."""
    kept: list[str] = []
    hide_next = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if hide_next:
            argument = HIDDEN
        elif equals and is_secret(name):
            argument = f"{name}={HIDDEN}"
        hide_next = not equals and argument.startswith("-") and is_secret(argument)
        kept.append(_SECRET_TEXT.sub(HIDDEN, argument))
    return tuple(kept)


def environment() -> dict[str, str]:
    """The environment variables that say how training runs; all others are left out."""
    return {
        name: hide_secrets(value)
        for name, value in sorted(os.environ.items())
        if _ENVIRONMENT.fullmatch(name) and not is_secret(name)
    }


def user() -> str:
    """The login name, or ''."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


def gpus() -> tuple[str, ...]:
    """Model and UUID of each NVIDIA GPU of this host, from its driver; () elsewhere. Starts no context."""
    found = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        text = path.read_text(errors="replace")
        values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        found.append(f"{values.get('Model', '?').strip()} {values.get('GPU UUID', '').strip()}".strip())
    return tuple(found)


def git(folder: Path) -> dict[str, Any] | None:
    """Commit, branch and uncommitted changes of the work tree that `folder` lies in, or None outside one."""
    import subprocess

    def ask(*arguments: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, timeout=5, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return answer.stdout.decode(errors="replace") if answer.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    if commit is None:
        return None
    diff = hide_secrets(ask("diff", "HEAD", "--no-color", "--no-ext-diff", "--", ".", *_SECRET_FILES) or "")
    cut = len(diff) > _DIFF_BYTES
    return {
        "commit": commit.strip(),
        "branch": (ask("rev-parse", "--abbrev-ref", "HEAD") or "").strip(),
        "diff": diff[:_DIFF_BYTES],
        "diff_is_cut": cut,
        "untracked": (ask("ls-files", "--others", "--exclude-standard") or "").splitlines()[:100],
    }


def packages() -> dict[str, str]:
    """Versions of the packages that this process has imported, by import name."""
    return dict(_versions(frozenset(list(sys.modules))))


@functools.lru_cache(maxsize=1)  # asked at every save, and seldom another answer
def _versions(modules: frozenset[str]) -> dict[str, str]:
    from importlib import metadata

    found = {}
    for name in sorted({module.partition(".")[0] for module in modules}):
        module = sys.modules.get(name)
        if name.startswith("_") or name in sys.stdlib_module_names or module is None or is_local_module(module):
            continue
        version = vars(module).get("__version__")  # not getattr: a module may warn or import when asked
        if not isinstance(version, str):
            try:
                version = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        found[name] = version
    return found


def script() -> Path | None:
    """The file that Python was started with; None in a notebook, a console or `python -c`."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    return Path(file).absolute() if file and Path(file).is_file() else None


@functools.cache
def _libraries() -> tuple[str, ...]:
    """The folders of what is installed."""
    import sysconfig

    paths = (*map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")), sys.base_prefix + "/lib")
    return tuple({os.path.realpath(path) + os.sep for path in paths if path})


def is_local_module(module: object) -> bool:
    """Whether a module is the user's own code: a file outside the standard library and site-packages."""
    file = getattr(module, "__file__", None)
    name = getattr(module, "__name__", "")
    return file is not None and name.partition(".")[0] != "hypertuner" and is_local_file(Path(file))


def is_local_file(path: Path) -> bool:
    """Whether a file is the user's own code."""
    real = os.path.realpath(path)
    return not real.startswith(_libraries()) and "site-packages" not in real and "dist-packages" not in real


def local_sources(start: Path) -> list[Path]:
    """`start` and the local Python files it imports, found by reading, never by importing."""
    return list(local_trees(start))


def local_trees(start: Path) -> dict[Path, ast.Module | None]:
    """`start` and the local Python files it imports, with the source of each; None of one that cannot be read."""
    import ast

    root = start.parent
    found: dict[Path, ast.Module | None] = {}
    waiting = [start]
    while waiting:
        path = waiting.pop(0)
        if path in found or not path.is_file():
            continue
        found[path] = None
        try:
            found[path] = tree = ast.parse(path.read_bytes(), str(path))
        except (SyntaxError, ValueError, RecursionError, OSError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
                folder = root
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                folder = path.parents[node.level - 1] if 0 < node.level <= len(path.parents) else root
                names = [module, *(f"{module}.{alias.name}".lstrip(".") for alias in node.names)]
            else:
                continue
            for name in filter(None, names):
                waiting.extend(_files_of(folder, name.split(".")))
    return found


def _files_of(folder: Path, parts: Sequence[str]) -> list[Path]:
    found = []
    for part in parts:
        if (folder / part / "__init__.py").is_file():
            found.append(folder / part / "__init__.py")
        elif (folder / f"{part}.py").is_file():
            return [*found, folder / f"{part}.py"]
        folder = folder / part
    return found


def _with_whole_packages(sources: Sequence[Path]) -> list[Path]:
    """These files, and all of a package of which one is among them: a module of it may be named by a string only."""
    packages = dict.fromkeys(path.parent for path in sources if (path.parent / "__init__.py").is_file())
    return list(dict.fromkeys([*sources, *(path for package in packages for path in sorted(package.glob("*.py")))]))


def keep_source(start: Path, target: Path) -> None:
    """Copy `start` and the local files it uses into `target`, keeping their places; too large ones are left out.

    `target` appears with all that it is to hold, or not at all.
    """
    room = settings.SOURCE_TOTAL_BYTES.get()
    draft = files.draft_folder(target)
    try:
        for path in _with_whole_packages(local_sources(start)):
            size = path.stat().st_size
            if size > settings.SOURCE_FILE_BYTES.get() or size > room:
                continue
            try:
                place = path.relative_to(start.parent)
            except ValueError:
                continue
            room -= size
            files.copy_into(path, draft / place)
        with contextlib.suppress(FileExistsError):  # another attempt that began at the same moment was first
            files.move(draft, target)
            return
        files.remove_folder(draft)
    except (OSError, StorageError):
        with contextlib.suppress(OSError):
            files.remove_folder(draft)
        raise


def gather(folder: Path) -> Mapping[str, Any]:
    """All that started.json says about where an attempt runs, except the process."""
    return {
        "python": sys.version.split()[0],
        "platform": sys.platform,
        "user": user(),
        "argv": without_secrets(sys.argv),
        "gpus": gpus(),
        "environment": environment(),
        "git": git(folder),
    }
