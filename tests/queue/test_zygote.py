"""A script that comes from a zygote says and does what it says and does as `python script.py`, and begins at once."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import REPOSITORY, script_environment
from tests.queue.zoo import ZOO, Animal

import hypertuner
from hypertuner.errors import QueueError
from hypertuner.queue.zygote import Zygote
from hypertuner.store import Storage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a zygote needs Linux")
pytest.importorskip("torch")

SUPERVISE = "tests.queue.a_supervisor:supervise"


def environment(changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
    found = script_environment(changes or {})
    # numpy asks for it, and sets it: a script that was started by another has it.
    found.pop("NVPL_BLAS_DEBUG_CPU_TYPE", None)
    return {**found, "PYTHONPATH": os.pathsep.join((str(REPOSITORY / "src"), str(REPOSITORY)))}


@pytest.fixture(scope="module")
def zygotes() -> Iterator[list[Zygote]]:
    """One for each environment that a test asks for."""
    found: list[Zygote] = []
    yield found
    for zygote in found:
        zygote.close()


def fitting(zygotes: list[Zygote], wanted: Mapping[str, str]) -> Zygote:
    for zygote in zygotes:
        if zygote.serves(sys.executable, wanted):
            return zygote
    zygotes.append(Zygote.start(sys.executable, wanted))
    assert zygotes[-1].is_ready(timeout_s=120)
    return zygotes[-1]


@dataclass
class Ended:
    code: int
    stdout: str
    stderr: str


def plain(folder: Path, script: str, *arguments: str, env: Mapping[str, str], merged: bool = False) -> Ended:
    folder.mkdir(exist_ok=True)
    out, err = folder / "stdout", folder / ("stdout" if merged else "stderr")
    with out.open("ab", buffering=0) as stdout, err.open("ab", buffering=0) as stderr:
        code = subprocess.call(
            [sys.executable, script, *arguments],
            cwd=folder,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            timeout=200,
            start_new_session=True,
        )
    return Ended(code, *(path.read_bytes().decode("utf-8", "backslashreplace") for path in (out, err)))


def forked(
    zygote: Zygote,
    folder: Path,
    script: str,
    *arguments: str,
    env: Mapping[str, str],
    merged: bool = False,
    forks: bool = True,
) -> Ended:
    folder.mkdir(exist_ok=True)
    out, err = folder / "stdout", folder / ("stdout" if merged else "stderr")
    ended = folder.parent / f"{folder.name}.ended"
    secret = folder.parent / "secret"
    secret.touch()
    with (folder.parent / "supervisor.log").open("wb") as log:
        pid = zygote.spawn(
            SUPERVISE,
            {
                "script": script,
                "arguments": arguments,
                "folder": str(folder),
                "environment": dict(env),
                "stdout": str(out),
                "stderr": str(err),
                "ended": str(ended),
                "secret": str(secret),
                "forks": forks,
            },
            environment={**env, "SUPERVISORS": "own"},
            folder=folder.parent,
            output=log.fileno(),
        )
    wait_for(pid)
    said = json.loads(ended.read_text()) if ended.exists() else {}
    assert said.get("session"), (folder.parent / "supervisor.log").read_text()
    return Ended(said["code"], *(path.read_bytes().decode("utf-8", "backslashreplace") for path in (out, err)))


def wait_for(pid: int, timeout_s: float = 200) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], timeout_s)[0], f"{pid} still runs"
    finally:
        os.close(descriptor)


def in_folder(tmp_path: Path, animal: Animal) -> None:
    (tmp_path / "code").mkdir(exist_ok=True)
    encoding = "latin-1" if "coding: latin-1" in animal.source else "utf-8"
    (tmp_path / "code" / "train.py").write_text(textwrap.dedent(animal.source), encoding=encoding)
    for name, text in animal.files.items():
        path = tmp_path / "code" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def same(text: str) -> str:
    """Without what no two processes have in common."""
    text = re.sub(r"0x[0-9a-f]{6,}", "0x…", text)
    text = re.sub(r"/(plain|forked)\b", "/folder", text)
    text = re.sub(r"pid=\d+|parent=\d+|/proc/\d+/|Thread-\d+|pipe:\[\d+\]|<\d+>", "…", text)
    # Python names the frame that it was called from when it cannot flush at the very end: there is one, here.
    text = re.sub(r'Traceback \(most recent call last\):\n  File "[^"]*embark\.py", line \d+, in _run\n.*\n', "", text)
    return re.sub(r"\b(started) \d+", r"\1 …", text)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if animal.is_slow else ()) for name, animal in ZOO.items()],
)
def test_a_script_of_the_zoo_is_the_same_both_ways(name, zygotes, tmp_path):
    animal = ZOO[name]
    if "torch.compile" in name and not any(map(shutil.which, ("g++", "c++", "clang++"))):
        pytest.skip("torch.compile needs a C++ compiler")
    in_folder(tmp_path, animal)
    env = environment(animal.environment)
    script = str(tmp_path / "code" / "train.py")
    ours = forked(fitting(zygotes, env), tmp_path / "forked", script, *animal.arguments, env=env, merged=animal.merged)
    theirs = plain(tmp_path / "plain", script, *animal.arguments, env=env, merged=animal.merged)
    assert same(ours.stderr) == same(theirs.stderr)
    assert same(ours.stdout) == same(theirs.stdout)
    assert ours.code == theirs.code
    left = [sorted(path.name for path in (tmp_path / way).iterdir()) for way in ("plain", "forked")]
    assert left[0] == left[1]
    for name in set(left[0]) - {"stdout", "stderr"}:
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "forked" / name).read_bytes()


def run_twice(zygotes, tmp_path, source: str, env: Mapping[str, str]) -> list[str]:
    in_folder(tmp_path, Animal(source))
    script = str(tmp_path / "code" / "train.py")
    zygote = fitting(zygotes, env)
    ended = [forked(zygote, tmp_path / f"{n}", script, env=env) for n in range(2)]
    assert [one.code for one in ended] == [0, 0], ended
    return [one.stdout for one in ended]


def test_two_scripts_draw_different_random_numbers(zygotes, tmp_path):
    source = """
        import random, numpy, torch, uuid
        for one in (torch.rand(2), torch.initial_seed(), numpy.random.rand(2), random.random(), uuid.uuid4()):
            print(one)
        """
    one, other = run_twice(zygotes, tmp_path, source, environment())
    assert all(a != b for a, b in zip(one.splitlines(), other.splitlines(), strict=True))


def test_a_script_finds_torch_loaded_and_hypertuner_as_new(zygotes, tmp_path):
    source = """
        import sys, time
        begun = time.process_time()
        import torch, torch._dynamo
        print(time.process_time() - begun < 0.2)
        import hypertuner
        from hypertuner import settings
        print(settings.start_folder(), "hypertuner.queue" in sys.modules, "tests.queue.a_supervisor" in sys.modules)
        """
    first, second = run_twice(zygotes, tmp_path, source, environment())
    assert first.splitlines() == ["True", f"{tmp_path / '0'} False True"]
    assert second.splitlines() == ["True", f"{tmp_path / '1'} False True"]


def test_a_script_folder_with_a_module_of_a_loaded_name_gets_a_python_of_its_own(zygotes, tmp_path):
    in_folder(
        tmp_path,
        Animal(
            "import queue, sympy\nprint(queue.WHO, sympy.WHO)",
            files={"queue.py": "WHO = 'mine'", "sympy/__init__.py": "WHO = 1"},
        ),
    )
    env = environment()
    script = str(tmp_path / "code" / "train.py")
    ours = forked(fitting(zygotes, env), tmp_path / "forked", script, env=env, forks=False)
    assert (ours.code, ours.stdout) == (plain(tmp_path / "plain", script, env=env).code, "mine 1\n")


@pytest.mark.parametrize("what", ["missing.py", "a folder"])
def test_a_script_that_is_none_is_refused_as_python_does(what, zygotes, tmp_path):
    env = environment()
    (tmp_path / "a folder").mkdir()
    script = str(tmp_path / what)
    ours = forked(fitting(zygotes, env), tmp_path / "forked", script, env=env, forks=False)
    theirs = plain(tmp_path / "plain", script, env=env)
    assert (ours.code, ours.stderr) == (theirs.code, theirs.stderr)


# --- hypertuner's own scripts


LOG = "import hypertuner\nhypertuner.Logger().log({'loss': 1.0}, 0)\n"


@pytest.mark.parametrize(
    "ending",
    [
        "pass",
        "import sys; sys.exit()",
        "import sys; sys.exit(3)",
        "import sys; sys.exit('no data')",
        "raise SystemExit(0)",
        "exit(3)",
        "raise RuntimeError('diverged')",
        "raise KeyboardInterrupt",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM); input()",
        "import sys\ntry:\n    sys.exit(2)\nexcept SystemExit:\n    pass",
        "import sys\nsys.excepthook = print\nraise ValueError('x')",
        "def main():\n    try: exit(2)\n    except SystemExit: return 1\nif __name__ == '__main__': main()",
        "import os; os._exit(0)",
    ],
)
def test_a_run_says_how_it_ended(ending, zygotes, tmp_path):
    in_folder(tmp_path, Animal(LOG + ending + "\n"))
    script = str(tmp_path / "code" / "train.py")
    said = []
    for way in ("plain", "forked"):
        storage = tmp_path / f"storage-{way}"
        env = environment({"HYPERTUNER_STORAGE": str(storage), "HYPERTUNER_QUIET": "1"})
        if way == "plain":
            done = plain(tmp_path / way, script, env=env)
        else:
            done = forked(fitting(zygotes, env), tmp_path / way, script, env=env)
        (run,) = Storage(storage).list()
        ended = run.newest_attempt().exit()
        told = (ended.state, ended.code, ended.signal, ended.reason, ended.traceback) if ended else None
        said.append((done.code, told, same(done.stderr)))
    assert said[0] == said[1]


def test_a_model_of_a_class_in_the_script_is_saved_with_its_recipe_and_loads(zygotes, tmp_path):
    in_folder(
        tmp_path,
        Animal(
            """
            import torch, hypertuner
            from width import WIDTH
            args = hypertuner.Args(hidden=3)
            class Net(torch.nn.Module):
                def __init__(self, hidden):
                    super().__init__()
                    self.layer = torch.nn.Linear(WIDTH, hidden)
                def forward(self, x): return self.layer(x)
            torch.manual_seed(0)
            net = Net(args.hidden)
            saver = hypertuner.Saver()
            for step in range(3):
                hypertuner.Logger().log({"loss": 1.0 / (step + 1)}, step)
            saver.save()
            """,
            files={"width.py": "WIDTH = 2"},
        ),
    )
    script = str(tmp_path / "code" / "train.py")
    found = []
    for way in ("plain", "forked"):
        env = environment({"HYPERTUNER_STORAGE": str(tmp_path / way / "storage"), "HYPERTUNER_RUN": "r"})
        if way == "plain":
            done = plain(tmp_path / way, script, env=env)
        else:
            done = forked(fitting(zygotes, env), tmp_path / way, script, env=env)
        assert done.code == 0, done.stderr
        folder = tmp_path / way / "storage" / "r"
        about = hypertuner.inspect(folder / "model.pt")
        source = sorted(path.relative_to(folder).as_posix() for path in (folder / "source").rglob("*"))
        found.append((about.recipe, about.hyperparameters, about.metrics, source))
        model = hypertuner.load(folder / "model.pt")
        assert model.layer.weight.shape == (3, 2)
    assert found[0] == found[1]


# --- the zygote itself


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a torch and a numpy that are imported at once, for what does not depend on the real ones."""
    folder = tmp_path_factory.mktemp("stubs")
    for name in ("torch/optim", "torch/utils/data", "torch/_dynamo", "torch/cuda", "numpy"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").touch()
    (folder / "torch" / "utils" / "__init__.py").touch()
    (folder / "torch" / "__init__.py").write_text("from torch import cuda\nimport os\nos.environ.get('ASKED_FOR')\n")
    (folder / "torch" / "cuda" / "__init__.py").write_text(
        "import os\ndef is_initialized(): return os.environ.get('GPU_IN_USE') == '1'\n"
    )
    return folder


@pytest.fixture
def quick(stubs: Path) -> Iterator[Any]:
    """A function that starts a zygote with the stubs."""
    started = []

    def start(**variables: str) -> Zygote:
        started.append(Zygote.start(sys.executable, quick_environment(stubs, **variables)))
        return started[-1]

    yield start
    for zygote in started:
        zygote.close()


def quick_environment(stubs: Path, **variables: str) -> dict[str, str]:
    env = environment({**variables})
    return {**env, "PYTHONPATH": f"{stubs}{os.pathsep}{env['PYTHONPATH']}"}


def test_what_it_forks_has_a_session_an_environment_and_no_way_to_the_zygote(quick, stubs, tmp_path):
    zygote = quick()
    env = {**quick_environment(stubs), "A_VARIABLE": "\udcff ü"}
    with (tmp_path / "log").open("wb") as log:
        pid = zygote.spawn(
            "tests.queue.a_supervisor:describe",
            {"into": str(tmp_path / "about")},
            environment=env,
            folder=tmp_path,
            output=log.fileno(),
        )
    wait_for(pid)
    about = json.loads((tmp_path / "about").read_text())
    assert (about["parent"], about["session"], about["folder"]) == (zygote.pid, pid, str(tmp_path))
    assert about["variable"] == "\udcff ü"
    assert not [name for name in about["descriptors"] if name.startswith("socket:")]
    assert not Path(f"/proc/{pid}").exists(), "it was left as a zombie"


def test_what_fails_in_a_fork_is_said_in_its_output(quick, stubs, tmp_path):
    zygote = quick()
    with (tmp_path / "log").open("wb") as log:
        pid = zygote.spawn(
            "tests.queue.a_supervisor:fail",
            {"why": "by hand"},
            environment=quick_environment(stubs),
            folder=tmp_path,
            output=log.fileno(),
        )
    wait_for(pid)
    assert "ValueError: by hand" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    "variables", [{"OMP_NUM_THREADS": "3"}, {"PYTHONHASHSEED": "1"}, {"LANG": "de"}, {"ASKED_FOR": "1"}]
)
def test_an_environment_that_imports_would_have_read_is_not_served(variables, quick, stubs):
    zygote = quick()
    assert zygote.is_ready(timeout_s=60)
    assert zygote.serves(sys.executable, quick_environment(stubs))
    assert zygote.serves(
        sys.executable, quick_environment(stubs, CUDA_VISIBLE_DEVICES="1", HYPERTUNER_RUN="x", MINE="1")
    )
    assert not zygote.serves(sys.executable, quick_environment(stubs, **variables))
    assert not zygote.serves("/usr/bin/python3", quick_environment(stubs))


def test_a_package_that_changed_since_is_not_served(quick, stubs):
    zygote = quick()
    assert zygote.is_ready(timeout_s=60)
    os.utime(stubs / "torch" / "__init__.py", ns=(1, time.time_ns()))
    assert not zygote.serves(sys.executable, quick_environment(stubs))


def test_it_refuses_when_an_import_started_a_thread(quick, stubs, tmp_path):
    zygote = quick()
    with pytest.raises(QueueError, match="2 threads"), (tmp_path / "log").open("wb") as log:
        zygote.spawn(
            "tests.queue.a_thread:run", {}, environment=quick_environment(stubs), folder=tmp_path, output=log.fileno()
        )


def test_it_refuses_when_the_gpu_is_in_use(quick):
    with pytest.raises(QueueError, match="GPU"):
        quick(GPU_IN_USE="1").is_ready(timeout_s=60)


def test_an_interpreter_that_cannot_is_named(tmp_path):
    with pytest.raises(QueueError, match="cannot be started"):
        Zygote.start(tmp_path / "no-python", {})
    # An interpreter without site-packages has no hypertuner.
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(QueueError, match="No module named 'hypertuner'"):
        Zygote.start(bare, {}).is_ready(timeout_s=60)


def test_a_zygote_that_was_killed_is_an_error_and_serves_nobody(quick, stubs, tmp_path):
    zygote = quick()
    assert zygote.is_ready(timeout_s=60)
    os.kill(zygote.pid, signal.SIGKILL)
    with pytest.raises(QueueError, match="No zygote"), (tmp_path / "log").open("wb") as log:
        zygote.spawn(
            "tests.queue.a_supervisor:fail",
            {},
            environment=quick_environment(stubs),
            folder=tmp_path,
            output=log.fileno(),
        )
    assert not zygote.serves(sys.executable, quick_environment(stubs))


def test_it_dies_with_its_drainer_and_what_it_forked_does_not(stubs, tmp_path):
    drainer = tmp_path / "drainer.py"
    drainer.write_text(
        textwrap.dedent(
            """
            import os, sys, time
            from pathlib import Path
            from hypertuner.queue.zygote import Zygote
            zygote = Zygote.start(sys.executable, os.environ)
            log = os.open("log", os.O_WRONLY | os.O_CREAT)
            child = zygote.spawn("tests.queue.a_supervisor:sleep", {"into": "there", "seconds": 60},
                                 environment=os.environ, folder=Path.cwd(), output=log)
            print(zygote.pid, child, flush=True)
            time.sleep(60)
            """
        )
    )
    process = subprocess.Popen(
        [sys.executable, str(drainer)], env=quick_environment(stubs), stdout=subprocess.PIPE, cwd=tmp_path
    )
    assert process.stdout is not None
    zygote, child = map(int, process.stdout.readline().split())
    try:
        process.kill()
        process.wait()
        wait_for(zygote, timeout_s=60)
        assert Path(f"/proc/{child}").exists()
    finally:
        process.stdout.close()
        os.kill(child, signal.SIGKILL)
