"""Build the page: web/ becomes src/hypertuner/web/, which wheels have in them and the server serves.

What was built says of what, by the hash of all its sources: nothing is built twice, and no time of a file matters.

    python scripts/web.py            build it unless that is done; an error where Node or npm are missing
    python scripts/web.py --if-can   the same, but without Node it is only told
    python scripts/web.py --check    everything that tells whether the source is sound, then the same
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCE = REPOSITORY / "web"
BUILT = REPOSITORY / "src" / "hypertuner" / "web"
STAMP = "built-from"
_NOT_SOURCE = {"node_modules", "dist", "coverage", ".vite"}


def hash_of_source(source: Path = SOURCE) -> str:
    """What tells one source of the page from another."""
    total = hashlib.sha256()
    for path in sorted(source.rglob("*"), key=lambda path: path.relative_to(source).as_posix()):
        name = path.relative_to(source)
        if path.is_file() and not _NOT_SOURCE & set(name.parts):
            total.update(f"{name.as_posix()}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def built_from(built: Path = BUILT) -> str | None:
    """Of which source the page was built; None when it was not."""
    stamp = built / STAMP
    is_there = stamp.is_file() and (built / "index.html").is_file()
    return stamp.read_text(encoding="utf-8").strip() if is_there else None


def install() -> None:
    """Install what the page is built with, if that has changed."""
    lock = hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()
    installed = SOURCE / "node_modules" / ".installed-from"
    if not installed.is_file() or installed.read_text(encoding="utf-8") != lock:
        _npm("ci", "--no-audit", "--no-fund")
        installed.write_text(lock, encoding="utf-8")


def build() -> None:
    """Build it."""
    source = hash_of_source()
    (BUILT / STAMP).unlink(missing_ok=True)
    _npm("run", "build")
    (BUILT / STAMP).write_text(f"{source}\n", encoding="utf-8")


def _npm(*words: str) -> None:
    done = subprocess.run(["npm", *words], cwd=SOURCE, capture_output=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        sys.exit(f"npm {' '.join(words)} failed in web/:\n{done.stdout}{done.stderr}")


def main(words: list[str]) -> None:
    """Build it where it is not."""
    if built_from() == hash_of_source() and "--check" not in words:
        return
    missing = [command for command in ("node", "npm") if shutil.which(command) is None]
    if missing:
        said = f"The page of the GUI is not built: {' and '.join(missing)} cannot be found.\n"
        said += "  Install Node 20 or newer (Debian: apt install nodejs npm), then: make web"
        if "--if-can" in words:
            print(said, file=sys.stderr)
            return
        sys.exit(said)
    if "--check" in words:
        install()
        _npm("run", "check")
    print("building the page (the first time also what it is built with: a minute)")
    install()
    build()
    size = sum(path.stat().st_size for path in BUILT.rglob("*.br"))
    print(f"src/hypertuner/web is ready: {size / 1000:.0f} kB compressed")


if __name__ == "__main__":
    main(sys.argv[1:])
