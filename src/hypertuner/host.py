"""The name of this machine, without the import of sockets."""

from __future__ import annotations

import os


def host_name() -> str:
    """What `socket.gethostname()` gives."""
    if hasattr(os, "uname"):
        return os.uname().nodename
    import socket

    return socket.gethostname()
