"""`hypertuner train.py`: the GUI, served until Ctrl-C."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from hypertuner import settings
from hypertuner.cli.terminal import count_text, is_terminal, say, show_line
from hypertuner.errors import ConfigError
from hypertuner.queue.turn import drained_by
from hypertuner.queue.waiting import Queue
from hypertuner.server.guard import Door
from hypertuner.server.page import Page
from hypertuner.server.serving import Serving
from hypertuner.server.state import State
from hypertuner.store import Storage

_PATIENCE_S = 1.0


def gui(
    storage: Storage,
    launchable: Path | None,
    *,
    host: str,
    port: int | None,
    names: Sequence[str] = (),
    behind_tls: bool = False,
    browser: bool = True,
    slots: int | None = None,
    drains: bool = True,
    is_demo: bool = False,
) -> int:
    """Serve the GUI until Ctrl-C. Raises: ConfigError for what cannot be served, or where."""
    state = State(storage, _checked(launchable) if launchable else None, slots=slots, drains=drains, is_demo=is_demo)
    wanted = settings.PORT.get() if port is None else port
    serving = Serving(state, host, wanted, others_too=port is None, names=names, behind_tls=behind_tls)
    queue = Queue(storage)
    other = drained_by(queue) if drains else None
    if port is None and serving.port != wanted:
        say(f"Port {wanted} is in use; this server has {serving.port}.")
    if other is not None:
        say(
            f"Process {other.identity.pid} on {other.identity.host} drains this storage: it starts what is queued here."
        )

    def ready() -> None:
        _say_where(serving, is_loopback=host in ("127.0.0.1", "::1", "localhost"))
        if browser and _has_display():
            # A browser may take seconds to start, and answer only when it is closed.
            code = serving.door.launch_code()
            threading.Thread(target=webbrowser.open, args=(serving.url(code),), daemon=True).start()

    with contextlib.suppress(KeyboardInterrupt):
        serving.run(ready)
    _say_what_goes_on(queue)
    return 0


def share(storage: Storage, *, edit: bool, host: str, port: int | None) -> None:
    """Print the address that lets others look, or also change notes and tags."""
    token = Door(storage.path).token("edit" if edit else "view")
    number = settings.PORT.get() if port is None else port
    show_line(f"http://{host}:{number}/#token={token}")
    may = "look, and change notes and tags; they cannot start, stop, queue or delete anything" if edit else "look"
    say(f"Whoever opens it may {may}. It holds for the runs in {storage.path}, until the file")
    say(f"  {settings.config_folder() / 'token'} is deleted, which makes all addresses of yours void.")
    if not _is_answered(host, number):
        say(f"Nothing answers at port {number} now. Start hypertuner, or name the port of the one that runs: --port N")


def _is_answered(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), _PATIENCE_S).close()
    except OSError:
        return False
    return True


def _checked(launchable: Path) -> Path:
    path = launchable.absolute()
    if not path.exists():
        raise ConfigError(f"There is no {launchable}.\n  Name a script, or a folder of scripts.", path=path)
    if path.is_file() and path.suffix != ".py":
        raise ConfigError(f"{launchable} is no Python script.\n  Name a script, or a folder of scripts.", path=path)
    return path


def _say_where(serving: Serving, *, is_loopback: bool) -> None:
    if not Page().is_built:
        say("This source has no built page: make web builds it.")
    show_line(f"hypertuner shows {serving.state.storage.path}", "bold")
    show_line(f"  {serving.url_for('run')}")
    show_line("  The address holds the token that lets you in: it is for you alone. Ctrl-C ends; what runs goes on.")
    if is_loopback and (connection := os.environ.get("SSH_CONNECTION", "").split()):
        where, ssh_port = (*connection, "", "")[2:4]
        there = f"{getpass.getuser()}@{where or 'this-machine'}" + (
            f" -p {ssh_port}" if ssh_port not in ("", "22") else ""
        )
        show_line("  On your own machine, then open the address there:")
        show_line(f"    ssh -N -L {serving.port}:127.0.0.1:{serving.port} {there}")
    if not is_loopback:
        show_line("  Not only this machine can reach it, and nothing is encrypted: an ssh tunnel is safer.", "yellow")
    sys.stdout.flush()


def _say_what_goes_on(queue: Queue) -> None:
    entries = queue.entries()
    waiting = sum(entry.is_waiting for entry in entries)
    running = len(entries) - waiting
    say(
        f"Stopped serving. {count_text(running, 'run')} of the queue {'goes' if running == 1 else 'go'} on, "
        f"{count_text(waiting, 'run')} {'waits' if waiting == 1 else 'wait'}."
    )
    if waiting and drained_by(queue) is None:
        say("  hypertuner queue   starts what waits, without the GUI")


def _has_display() -> bool:
    if not is_terminal() or os.environ.get("SSH_CONNECTION"):
        return False
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
