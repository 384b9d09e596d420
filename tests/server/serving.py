"""A real server in a process of its own, as people start it, and a client that says exactly what it is told to say."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import script_environment

WATCHED = Path(__file__).parent / "security" / "watched.py"


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


@dataclass
class Served:
    """A server that runs. `said` is what it printed before the first request could come."""

    process: subprocess.Popen[str]
    port: int
    token: str
    said: list[str]
    folder: Path
    log: Path | None = None
    _kept: http.client.HTTPConnection | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        """Its name and port."""
        return f"127.0.0.1:{self.port}"

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = "",
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        plain: bool = False,
    ) -> Answer:
        """Ask as a program with the token does; `plain`: nothing is sent but what is given. A `body` that is no bytes
        is sent as JSON."""
        given = list(headers.items() if isinstance(headers, Mapping) else headers)
        names = {name.lower() for name, _ in given}
        if not plain:
            usual = {"Host": self.host}
            if token is not None:
                usual["Authorization"] = f"Bearer {token or self.token}"
            if method not in ("GET", "HEAD"):
                usual |= {"X-Hypertuner": "1", "Content-Type": "application/json"}
            given = [*((name, value) for name, value in usual.items() if name.lower() not in names), *given]
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if self._kept is None:
            self._kept = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            return self._say(self._kept, method, path, given, data)
        except (http.client.HTTPException, ConnectionError, BrokenPipeError):
            self._kept.close()
            return self._say(self._kept, method, path, given, data)

    def _say(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        headers: list[tuple[str, str]],
        body: bytes,
    ) -> Answer:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if body or method not in ("GET", "HEAD"):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        response = connection.getresponse()
        return Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())

    def raw(self, data: bytes, *, head: bool = False) -> bytes:
        """All that is answered to these bytes until the server closes the connection; or the answer's head alone."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            said = b""
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
                while not (head and b"\r\n\r\n" in said) and (part := connection.recv(65536)):
                    said += part
            return said

    def close(self) -> None:
        """End the connection that `ask` keeps."""
        if self._kept is not None:
            self._kept.close()

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """(exit code, what it said on its stderr since)."""
        self.close()
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors

    def events(self) -> list[tuple[str, list[str]]]:
        """What the audit hook of a watched server has seen so far."""
        assert self.log is not None
        return [tuple(json.loads(line)) for line in self.log.read_text(encoding="utf-8").splitlines()]


@contextlib.contextmanager
def serving(
    folder: Path,
    *words: object,
    env: Mapping[str, str | None] = {},
    watched: bool = False,
    program: Path | None = None,
) -> Iterator[Served]:
    """`hypertuner … --no-browser --port 0` in a folder, its storage and home below it; ended with the block.

    `watched`: under an audit hook. `program`: a script that is started in place of the command line.
    """
    log = folder / "watched.jsonl" if watched else None
    start = [str(program)] if program else [str(WATCHED)] if watched else ["-m", "hypertuner"]
    given = [str(word) for word in words]
    if not any(word.startswith("--port") for word in given):
        given += ["--port", "0"]
    environment = script_environment(
        {
            "HYPERTUNER_STORAGE": str(folder / "storage"),
            "HYPERTUNER_HOME": str(folder / "home"),
            "HYPERTUNER_CACHE": str(folder / "cache"),
            "PYTHONUNBUFFERED": "1",
            "SSH_CONNECTION": None,
            **({"WATCHED_LOG": str(log)} if log else {}),
            **env,
        }
    )
    process = subprocess.Popen(
        [sys.executable, *start, *given, "--no-browser"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    served = None
    try:
        served = _ready(process, folder, log)
        yield served
    finally:
        if served is not None:
            served.close()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _ready(process: subprocess.Popen[str], folder: Path, log: Path | None) -> Served:
    assert process.stdout is not None
    said = []
    while line := process.stdout.readline():
        said.append(line.rstrip("\n"))
        if "Ctrl-C" in line:
            address = next(line.strip() for line in said if "#token=" in line)
            port = int(address.partition("://")[2].partition("/")[0].rpartition(":")[2])
            return Served(process, port, address.partition("#token=")[2], said, folder, log)
    _, errors = process.communicate()
    raise AssertionError(f"the server ended with {process.returncode}: {errors}")
