"""What the child that makes a script's model may not do, how long it has, and how many of them there are."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import textwrap
import threading

import psutil
import pytest
from tests.conftest import script_environment
from tests.queue.conftest import until
from tests.server.acting.test_fitting import AT_TOP, check, fit

from hypertuner.errors import CheckpointError
from hypertuner.server.weights import child

ASKED = {"from_run": "small", "parent": "small@last", "how": "weights"}
READS_ONLY = "import sys; from hypertuner import syscalls; sys.exit(not syscalls.only_read())"
reads_only = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", READS_ONLY], env=script_environment({}), check=False).returncode != 0,
    reason="this system cannot keep a process from writing",
)


def sized_by(place, body: str) -> None:
    """A run, and then its script with a function that tells how many classes there are."""
    place.script(AT_TOP)
    place.command("run", "train.py", "--name", "small")
    function = f"def sized():\n{textwrap.indent(textwrap.dedent(body), '    ')}\n    return args.classes\n"
    place.script(AT_TOP.replace("net = Net(args.hidden", f"{function}args.classes = sized()\nnet = Net(args.hidden"))


def children_of(served) -> set[int]:
    """The processes that make a model for a server now."""
    found = set()
    for process in psutil.Process(served.process.pid).children(recursive=True):
        try:
            if "weights_child" in " ".join(process.cmdline()):
                found.add(process.pid)
        except psutil.Error:
            continue
    return found


def test_a_script_that_never_returns_is_ended_with_all_it_started_and_runs_can_be_launched_meanwhile(place, serve):
    sized_by(place, "import ctypes, time\nctypes.CDLL(None).fork()\nwhile True: time.sleep(1)")
    served = serve("train.py", "--no-drain")
    assert check(served, **ASKED, config={"classes": 3})["fit"]["is_pending"]
    until(lambda: len(children_of(served)) == 2)
    pids = children_of(served)
    answer = served.ask("POST", "/api/launch", {**ASKED, "config": {"classes": 3}, "action": "queue"})
    assert answer.status == 200, answer.body
    assert check(served, **ASKED, config={"classes": 3})["fit"]["is_pending"]
    told = fit(served, **ASKED, config={"classes": 3})
    assert told["fits"] == "unknown"
    assert told["message"].endswith("and the script does not tell: That took longer than 30 s and was ended.")
    until(lambda: not any(map(psutil.pid_exists, pids)))


def test_a_process_that_is_left_behind_by_the_child_is_ended_when_its_time_is_up(place):
    sized_by(place, "import ctypes, os, time\nif ctypes.CDLL(None).fork(): os._exit(0)\nwhile True: time.sleep(1)")
    asked = {"script": str(place.folder / "train.py"), "config": {}, "arguments": [], "folder": str(place.folder)}
    before = {process.pid for process in psutil.process_iter()}
    with pytest.raises(CheckpointError, match="longer than 5 s"):
        child.ask("shapes", 5.0, **asked)

    def is_left(process: psutil.Process) -> bool:
        try:
            return process.pid not in before and "weights_child" in " ".join(process.cmdline())
        except psutil.Error:
            return False

    until(lambda: not any(map(is_left, psutil.process_iter())))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("import socket; socket.socket().connect(('127.0.0.1', {port}))", "socket.connect"),
        ("import socket; socket.create_connection(('localhost', {port}))", "socket.getaddrinfo"),
        ("import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}')", "urllib.Request"),
        ("import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))", "socket.sendto"),
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
        ("import os; os.fork()", "os.fork"),
        ("bytearray(9 << 30)", "MemoryError"),
        ("torch.save({{}}, 'kept')", "sized()"),
    ],
    ids=["connects", "looks up", "downloads", "sends", "starts", "forks", "takes 9 GB", "saves"],
)
def test_what_goes_beyond_making_a_model_is_refused_and_named(place, serve, body, why):
    with socket.create_server(("127.0.0.1", 0)) as listens:
        listens.setblocking(False)
        sized_by(place, body.format(port=listens.getsockname()[1]))
        (place.folder / "kept").write_text("whole")
        told = fit(serve("train.py", "--no-drain"), **ASKED, config={"classes": 3})
        with pytest.raises(BlockingIOError):
            listens.accept()
    assert told["fits"] == "unknown"
    assert why in told["message"]
    assert (place.folder / "kept").read_text() == "whole"


@reads_only
def test_a_library_that_opens_files_by_itself_cannot_write_any(place, serve):
    """It asks the C library, not Python, which would tell."""
    sized_by(place, "import ctypes\nctypes.CDLL(None).fopen(b'kept', b'w')\nctypes.CDLL(None).remove(b'kept')")
    (place.folder / "kept").write_text("whole")
    told = fit(serve("train.py", "--no-drain"), **ASKED, config={"classes": 3})
    assert told["fits"] == "partly"
    assert (place.folder / "kept").read_text() == "whole"


@reads_only
def test_a_process_that_only_reads_writes_no_file_and_starts_none(tmp_path):
    (tmp_path / "there").write_text("whole")
    (tmp_path / "try.py").write_text(
        textwrap.dedent(
            """
            import os, subprocess
            from hypertuner import syscalls
            syscalls.only_read()
            attempts = {
                "read": lambda: open("there").read(),
                "nowhere": lambda: open(os.devnull, "w").write("x"),
                "write": lambda: open("there", "w"),
                "make": lambda: open("new", "x"),
                "folder": lambda: os.mkdir("folder"),
                "remove": lambda: os.remove("there"),
                "rename": lambda: os.rename("there", "elsewhere"),
                "link": lambda: os.symlink("there", "link"),
                "start": lambda: subprocess.run(["true"]),
            }
            for name, attempt in attempts.items():
                try:
                    attempt()
                    print(name)
                except PermissionError:
                    pass
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "try.py"], cwd=tmp_path, env=script_environment({}), stdout=subprocess.PIPE, check=True
    )
    assert done.stdout.split() == [b"read", b"nowhere"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there", "try.py"]


@contextlib.contextmanager
def seen_of(served):
    """The children of a server at each moment of the block, as far as it has come."""
    seen, is_over = [], threading.Event()

    def look() -> None:
        while not is_over.wait(0.02):
            seen.append(children_of(served))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        is_over.set()
        looking.join()


def test_a_page_that_asks_again_and_again_until_it_is_known_has_one_model_made(place, serve):
    sized_by(place, "import time; time.sleep(1)")
    served = serve("train.py", "--no-drain")
    with seen_of(served) as seen:
        for classes in (3, 4):
            assert fit(served, **ASKED, config={"classes": classes})["fits"] == "partly"
        until(lambda: not children_of(served))
    assert len(set.union(*seen)) == 2


def test_a_child_ends_with_the_server_that_asked_it(place, serve):
    sized_by(place, "import time\nwhile True: time.sleep(1)")
    served = serve("train.py", "--no-drain")
    assert check(served, **ASKED, config={"classes": 3})["fit"]["is_pending"]
    until(lambda: children_of(served))
    (pid,) = children_of(served)
    served.process.kill()
    until(lambda: not psutil.pid_exists(pid))


def test_typing_a_number_makes_one_child_at_a_time_and_none_for_what_was_typed_over(place, serve):
    sized_by(place, "import time; time.sleep(3)")
    served = serve("train.py", "--no-drain")
    with seen_of(served) as seen:
        for classes in range(3, 15):
            assert check(served, **ASKED, config={"classes": classes})["fit"]["is_pending"]
        assert fit(served, **ASKED, config={"classes": 14})["fits"] == "no"
    assert max(map(len, seen)) == 1
    assert check(served, **ASKED, config={"classes": 13})["fit"]["is_pending"]
