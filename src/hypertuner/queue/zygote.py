"""A zygote: a process that has imported torch, and nothing of the user's, and forks processes that begin at once.

The drainer of a queue starts one (`Zygote.start`) and asks it for processes (`spawn`); each runs one function of
hypertuner in a session of its own, and may become a script by embark.py. The zygote only imports: it never computes,
never touches the CUDA runtime, and refuses to fork once it has more than one thread, for a fork copies only one. It
dies with the drainer; what it forked does not.

Linux only. Whatever goes wrong is a QueueError: then a script is started plainly, which takes seconds longer.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import importlib.util
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from hypertuner.errors import QueueError
from hypertuner.queue import embark, origin

PRELOADS = ("numpy", "torch", "torch.optim", "torch.utils.data", "torch._dynamo", "orjson", "xxhash")
"""What is imported, where it is installed. The first optimizer imports torch._dynamo, which takes as long as torch."""

_STARTS_WITHIN_S = 120.0
_ANSWERS_WITHIN_S = 20.0
_LENGTH = struct.Struct("!I")
_BEGIN = "import sys; bare = list(sys.modules); from hypertuner.queue import zygote; zygote.serve(bare)"
# A script's command line is shown in place of this one, and no longer than it.
_ROOM = " " * 2000


class Zygote:
    """A running zygote, as the process that started it sees it."""

    def __init__(
        self, process: subprocess.Popen[bytes], channel: socket.socket, words: int, environment: Mapping[str, str]
    ) -> None:
        self._process = process
        self._channel = channel
        self._words = words
        self._environment = dict(environment)
        self._began = time.monotonic()
        self._hello: dict[str, Any] | None = None

    @classmethod
    def start(cls, interpreter: Path | str, environment: Mapping[str, str]) -> Zygote:
        """Start one, and return at once: it imports for some seconds. Scripts with this interpreter and with an
        environment that differs only where no import looks can be forked from it.

        Raises: QueueError where there can be none.
        """
        if sys.platform != "linux":
            raise QueueError("A zygote needs Linux: elsewhere libraries do not survive a fork. Scripts start plainly.")
        ours, theirs = socket.socketpair()
        words = os.memfd_create("zygote")
        try:
            process = subprocess.Popen(
                [str(interpreter), "-c", _BEGIN, str(theirs.fileno()), _ROOM],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            os.close(words)
            raise QueueError(
                f"No zygote: {interpreter} cannot be started ({error.strerror}). Scripts start plainly."
            ) from error
        finally:
            theirs.close()
        return cls(process, ours, words, environment)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def is_ready(self, timeout_s: float = 0.0) -> bool:
        """Whether it has imported all and forks; waits for it up to `timeout_s`.

        Raises: QueueError when it never will: it died, or refuses, or took more than two minutes.
        """
        if self._words < 0:
            raise QueueError("No zygote: it was closed.\n  Start another one, or the script plainly.")
        if self._hello is None and select.select([self._channel], [], [], timeout_s)[0]:
            hello = self._receive()
            if hello["version"] != _version():
                raise self._failed(f"its Python has hypertuner {hello['version']}, this one {_version()}")
            self._hello = hello
        if self._hello is None and time.monotonic() - self._began > _STARTS_WITHIN_S:
            raise self._failed(f"it was not ready after {_STARTS_WITHIN_S:.0f} s")
        return self._hello is not None

    def serves(self, interpreter: Path | str, environment: Mapping[str, str]) -> bool:
        """Whether a script of this interpreter and environment may come from it: what it has imported would be the
        same, and the files are as they were.
        """
        if self._process.poll() is not None or str(interpreter) != str(self._process.args[0]):  # type: ignore[index]
            return False
        read = self._hello["read"] if self._hello else ()
        if origin.early(environment, read) != origin.early(self._environment, read):
            return False
        return not _is_elsewhere(environment) and (self._hello is None or _is_unchanged(self._hello["files"]))

    def spawn(
        self,
        entry: str,
        argument: Mapping[str, Any],
        *,
        environment: Mapping[str, str],
        folder: Path,
        output: int,
    ) -> int:
        """Fork a process that calls `entry` ('package.module:function') with `argument`, and return its pid.

        It leads a session of its own, stands in `folder`, has `environment`; its standard input is empty and its
        streams are `output`. What the function returns is its exit code (None: 0). Nobody has to wait for it.

        Waits until the zygote is ready. Raises: QueueError when it could not; nothing was started then, unless the
        error says that this is unknown.
        """
        while not self.is_ready(timeout_s=1.0):
            continue
        request = {"entry": entry, "argument": argument, "environment": dict(environment), "folder": str(folder)}
        self._channel.settimeout(_ANSWERS_WITHIN_S)
        try:
            send(self._channel, request, [output])
        except OSError as error:
            raise self._failed(f"it cannot be asked any more ({error})") from error
        answer = self._receive()
        return int(answer["pid"])

    def close(self) -> None:
        """End it; the processes that it forked go on."""
        self._channel.close()
        self._process.kill()
        self._process.wait()
        if self._words >= 0:
            os.close(self._words)
            self._words = -1

    def _receive(self) -> dict[str, Any]:
        self._channel.settimeout(_ANSWERS_WITHIN_S)
        try:
            received = receive(self._channel)
        except OSError as error:
            raise self._failed(f"it did not answer ({error}); it may have started the process or not") from error
        if received is None:
            raise self._failed("it has died" + self._last_words())
        answer = received[0]
        if "refused" in answer:
            raise self._failed(str(answer["refused"]))
        return answer

    def _last_words(self) -> str:
        if self._words < 0:
            return ""
        said = os.pread(self._words, 4000, 0).decode(errors="replace").strip()
        return f":\n    {said.splitlines()[-1]}" if said else ""

    def _failed(self, why: str) -> QueueError:
        self.close()
        return QueueError(f"No zygote: {why}.\n  Scripts start plainly; --no-zygote does so from the beginning.")


def _version() -> str:
    return str(vars(sys.modules["hypertuner"])["__version__"])


def _is_elsewhere(environment: Mapping[str, str]) -> bool:
    """Whether modules are looked for below the working folder, or Python is asked for what a fork does not do."""
    paths = environment.get("PYTHONPATH", "")
    if paths and not all(Path(path).is_absolute() for path in paths.split(os.pathsep)):
        return True
    return any(environment.get(f"PYTHON{name}") for name in ("INSPECT", "VERBOSE", "PROFILEIMPORTTIME", "TRACEMALLOC"))


def _is_unchanged(files: Mapping[str, int]) -> bool:
    return all(_changed_at(path) == at for path, at in files.items())


def _changed_at(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116  # a hundred of them, before each run
    except OSError:
        return -1


# --- the zygote itself


class _WatchedEnvironment(type(os.environ)):  # type: ignore[misc]  # the class has no public name
    """os.environ while modules are imported: it notes which variables somebody asks for by name."""

    asked: set[str] = set()  # noqa: RUF012  # one a process
    passed_by: str | None = None
    """The variable that comes now, of all: nobody asked for it."""

    def __getitem__(self, name: str) -> str:
        if name != self.passed_by:
            self.asked.add(name)
        return str(super().__getitem__(name))

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return bool(super().__contains__(name))

    def __iter__(self) -> Any:
        for name in super().__iter__():
            type(self).passed_by = name
            yield name
        type(self).passed_by = None


def serve(bare: Iterable[str]) -> None:
    """Be a zygote, in a process that has imported the modules `bare` and this one; returns when the drainer is gone."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(channel.fileno(), False)
    origin.note(bare, embark.spare)
    embark.show_as("hypertuner: a zygote, for runs that begin at once")
    try:
        send(channel, _prepare(channel.fileno()))
        while (received := receive(channel)) is not None:
            request, descriptors = received
            send(channel, _answer(channel, request, descriptors))
    except (BrokenPipeError, ConnectionResetError):
        pass
    except Exception:  # a module that cannot be imported, or anything: the drainer says so
        with contextlib.suppress(OSError):
            send(channel, {"refused": traceback.format_exc(limit=-3)})
    os._exit(0)


def _prepare(private: int) -> dict[str, Any]:
    plain = type(os.environ)
    os.environ.__class__ = _WatchedEnvironment
    try:
        for name in PRELOADS:
            if name in sys.modules or importlib.util.find_spec(name.partition(".")[0]) is not None:
                importlib.import_module(name)
    finally:
        os.environ.__class__ = plain
    # numpy's OpenBLAS has threads until the first fork, which ends them.
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    origin.set_aside(_WatchedEnvironment.asked, [private])
    if why := _why_not():
        return {"refused": why}
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # what it forks is never a zombie
    gc.collect()
    gc.freeze()
    gc.disable()
    return {"read": sorted(_WatchedEnvironment.asked), "files": _files(), "version": _version()}


def _files() -> dict[str, int]:
    """Files and folders that change when another version is installed, and when they changed."""
    paths = [
        module.__file__
        for name, module in list(sys.modules.items())
        if (name in PRELOADS or name.partition(".")[0] == "hypertuner") and getattr(module, "__file__", None)
    ]
    paths += [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    return {str(path): _changed_at(str(path)) for path in paths}


def _why_not() -> str:
    """Why a child of this process could hang or miscompute, or ''."""
    threads = int(Path("/proc/self/status").read_text().partition("Threads:")[2].split()[0])
    if threads > 1:
        return f"what it imported runs {threads} threads, of which a fork would copy one"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "what it imported has begun to use the GPU, which no fork survives"
    return ""


def _answer(channel: socket.socket, request: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
    module, _, name = request["entry"].partition(":")
    if module not in sys.modules:  # here, so that it is imported once
        importlib.import_module(module)
        origin.note_imports([channel.fileno(), *descriptors])
        gc.freeze()
    entry: Callable[[Any], Any] = getattr(sys.modules[module], name)
    if why := _why_not():
        return {"refused": why}
    pid = os.fork()
    if pid == 0:
        channel.close()
        _begin(entry, request, descriptors[0])
    for descriptor in descriptors:
        os.close(descriptor)
    return {"pid": pid}


def _begin(entry: Callable[[Any], Any], request: dict[str, Any], output: int) -> NoReturn:
    """In the child: call `entry`, and end the process without taking down what is the zygote's."""
    code = 1
    try:
        os.setsid()
        for number in (1, 2):
            os.dup2(output, number)
        os.close(output)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        embark.renew_streams()
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        gc.enable()
        returned = entry(request["argument"])
        code = 0 if returned is None else int(returned)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # the edge of a process
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


# --- what the two say to each other: a length, JSON of it, and descriptors


def send(channel: socket.socket, message: Mapping[str, Any], descriptors: Iterable[int] = ()) -> None:
    """Send a message, with descriptors of this process."""
    data = json.dumps(message).encode()  # surrogates of an odd file name included
    passed = array.array("i", descriptors)
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)] if passed else []
    channel.sendmsg([_LENGTH.pack(len(data))], control)
    channel.sendall(data)


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next message and its descriptors, which are the receiver's now; None when there is nobody to send one."""
    head, descriptors, _, _ = socket.recv_fds(channel, _LENGTH.size, 4)
    if not head:
        return None
    head += _exactly(channel, _LENGTH.size - len(head))
    message = json.loads(_exactly(channel, _LENGTH.unpack(head)[0]))
    return message, descriptors


def _exactly(channel: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = channel.recv(size)
        if not part:
            raise ConnectionResetError("the other side is gone in the middle of a message")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
