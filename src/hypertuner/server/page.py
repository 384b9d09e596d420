"""The built page, read once when the server starts: what is asked for later is looked up by name and opens no file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from starlette.responses import Response

from hypertuner.server.guard import policy

FOLDER = Path(__file__).parent.parent / "web"
"""Where `make web` puts it, and a wheel has it."""

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".map": "application/json",
    ".json": "application/json",
}
_ENCODINGS = {"br": ".br", "gzip": ".gz"}
_FOR_EVER = "public, max-age=31536000, immutable"
_WITHIN = tuple(re.compile(rb"<%b>(.*?)</%b>" % (tag, tag), re.DOTALL) for tag in (b"script", b"style"))
_HASHED = re.compile(r"assets/.+-[A-Za-z0-9_-]{8,}\.[a-z0-9]+")
_NOT_BUILT = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>hypertuner</title>
<h1>The page is not built</h1>
<p>The server runs, but this source has no built page. In its folder:</p>
<pre>make web</pre>
<p>then load this again.</p>
</html>
"""


@dataclass(frozen=True)
class _File:
    content: bytes
    encoded: dict[str, bytes]
    """The same in fewer bytes, by the name of the encoding; the smallest first."""
    kind: str


class Page:
    """The files of the built page."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files: dict[str, _File] = {}
        self._policy: str | None = None
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            kind = _TYPES.get(path.suffix)
            if kind is not None and path.is_file() and not path.is_symlink():
                beside = {name: path.with_name(path.name + suffix) for name, suffix in _ENCODINGS.items()}
                encoded = {name: file.read_bytes() for name, file in beside.items() if file.is_file()}
                self._files[path.relative_to(folder).as_posix()] = _File(path.read_bytes(), encoded, kind)
        # What the document has in it is its own script and its own styles, and no other inline one is.
        if self.is_built:
            document = self._files["index.html"].content
            self._policy = policy(*(found and found[1] for found in (tag.search(document) for tag in _WITHIN))).decode()

    @property
    def is_built(self) -> bool:
        """Whether there is a page."""
        return "index.html" in self._files

    def answer(self, name: str, takes: str = "") -> Response | None:
        """The file of this name; for the document of a source that was not built, how to build it; else None.

        `takes`: what the asker's Accept-Encoding says.
        """
        found = self._files.get(name)
        if found is None:
            if name != "index.html":
                return None
            return Response(_NOT_BUILT, media_type="text/html", headers={"Cache-Control": "no-store"})
        headers = {"Vary": "Accept-Encoding"}
        # Where the name has a hash of the content in it, another content has another name.
        headers["Cache-Control"] = _FOR_EVER if _HASHED.fullmatch(name) else "no-store"
        content = found.content
        taken = {word.strip() for word in takes.split(",")}
        if encoding := next((name for name in found.encoded if name in taken), None):
            content = found.encoded[encoding]
            headers["Content-Encoding"] = encoding
        if name == "index.html" and self._policy is not None:
            headers["Content-Security-Policy"] = self._policy
        return Response(content, headers={**headers, "Content-Type": found.kind})
