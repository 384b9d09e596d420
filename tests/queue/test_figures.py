"""What a run takes of the machine, sampled over real processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypertuner import files
from hypertuner.queue import figures
from hypertuner.queue.figures import Sampler, oom_kills, was_killed_for_memory
from hypertuner.store import cgroup
from hypertuner.store.figures import Figures, encode, read_figures
from hypertuner.store.gpus import GpuUse
from hypertuner.store.layout import AttemptLayout

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks what only Linux tells")


@pytest.fixture
def layout(tmp_path: Path) -> AttemptLayout:
    (tmp_path / "1").mkdir()
    return AttemptLayout(tmp_path / "1")


@contextlib.contextmanager
def running(source: str) -> Iterator[subprocess.Popen[str]]:
    """A script that has said that it is ready, and ends with what it started."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(source)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        os.killpg(process.pid, 9)
        process.communicate()


def last(layout: AttemptLayout) -> Figures:
    return list(read_figures(layout))[-1]


FORKS = """
    import os, time
    held = os.urandom(100 << 20)
    for _ in range(3):
        if os.fork() == 0:
            break
    else:
        print("ready", flush=True)
    time.sleep(100)
"""


@linux
def test_memory_that_workers_share_counts_once(layout):
    with running(FORKS) as script:
        sampler = Sampler(layout, script.pid)
        sampler.sample()
        first = last(layout)
        assert (first.processes, first.memory_kind) == (4, "pss")
        assert 100 << 20 < first.memory_bytes < 200 << 20
        for _ in range(5):
            sampler.sample()
        assert 90 << 20 < last(layout).memory_bytes < 220 << 20
        assert sampler.peak_memory_bytes == max(figures.memory_bytes for figures in read_figures(layout))
    sampler.sample()
    gone = last(layout)
    assert (gone.processes, gone.memory_bytes) == (0, 0)
    assert sampler.peak_memory_bytes > 100 << 20


@linux
def test_cpu_is_that_of_the_whole_tree_also_of_processes_that_have_ended(layout):
    with running("""
        import subprocess, sys, time
        print("ready", flush=True)
        input()
        burn = "import time\\nend = time.process_time() + 0.6\\nwhile time.process_time() < end: pass"
        for _ in range(2):
            subprocess.run([sys.executable, "-c", burn])
        print("done", flush=True)
        time.sleep(100)
    """) as script:
        sampler = Sampler(layout, script.pid)
        began = time.monotonic()
        assert script.stdin is not None and script.stdout is not None
        script.stdin.write("\n")
        script.stdin.flush()
        assert script.stdout.readline() == "done\n"
        sampler.sample()
        passed = time.monotonic() - began
        figures = last(layout)
        assert figures.processes == 1
        assert figures.cpu is not None and 1.2 <= figures.cpu * passed < 2.2
        assert figures.host_cpu is not None and 0 < figures.host_cpu <= 1
        time.sleep(0.1)
        sampler.sample()
        assert last(layout).cpu is not None and last(layout).cpu < 0.5


@linux
def test_the_supervisor_itself_is_left_out_of_what_descends_from_it(run_script, layout):
    run_script(f"""
        import os, subprocess, sys, time
        from pathlib import Path
        from hypertuner.queue.figures import Sampler
        from hypertuner.store.layout import AttemptLayout
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        sampler = Sampler(AttemptLayout(Path({str(layout.folder)!r})), os.getpid())
        sampler.sample()
        child.communicate(b"")
        sampler.sample()
    """)
    assert [figures.processes for figures in read_figures(layout)] == [1, 0]


@linux
def test_disk_bytes_are_those_since_the_sample_before(layout, tmp_path):
    with running(f"""
        import os, time
        print("ready", flush=True)
        input()
        with open({str(tmp_path / "written")!r}, "wb") as file:
            file.write(os.urandom(5_000_000))
            os.fsync(file.fileno())
        print("done", flush=True)
        time.sleep(100)
    """) as script:
        sampler = Sampler(layout, script.pid)
        assert script.stdin is not None and script.stdout is not None
        script.stdin.write("\n")
        script.stdin.flush()
        assert script.stdout.readline() == "done\n"
        sampler.sample()
        sampler.sample()
    first, second = read_figures(layout)
    assert first.disk_write_bytes is not None and first.disk_write_bytes >= 5_000_000
    assert second.disk_write_bytes == 0


def test_samples_are_taken_when_it_is_time(layout, monkeypatch):
    monkeypatch.setenv("HYPERTUNER_SYSTEM_EVERY_S", "0.3")
    sampler = Sampler(layout, os.getpid())
    began = time.monotonic()
    for _ in range(10):
        sampler.tick()
        time.sleep(0.1)
    taken = len(list(read_figures(layout)))
    assert 2 <= taken <= (time.monotonic() - began) / 0.3
    monkeypatch.setenv("HYPERTUNER_SYSTEM_EVERY_S", "0")
    never = Sampler(layout, os.getpid())
    never._before.at -= 1000
    never.tick()
    assert len(list(read_figures(layout))) == taken


def test_a_disk_that_refuses_loses_samples_and_nothing_else(layout, monkeypatch):
    def full(operation):
        raise OSError(28, "full", operation.path)

    sampler = Sampler(layout, os.getpid())
    monkeypatch.setattr(files, "fault_plan", full)
    sampler.sample()
    monkeypatch.setattr(files, "fault_plan", None)
    sampler.sample()
    sampler.close()
    assert len(list(read_figures(layout))) == 1


@linux
def test_a_sample_of_twenty_processes_costs_less_than_one_percent_of_a_core(layout):
    """At the interval of 10 s; the measured figure is some 4 ms a sample, and PSS takes 0.5 % at most."""
    with running(FORKS.replace("range(3)", "range(19)").replace("100 << 20", "30 << 20")) as script:
        sampler = Sampler(layout, script.pid)
        began = time.process_time()
        for _ in range(10):
            sampler.sample()
        assert (time.process_time() - began) / 10 < 0.1
    assert [figures.processes for figures in read_figures(layout)] == [20] * 10


# --- reading

NUMBERS = st.integers(0, 2**53)
SAMPLES = st.builds(
    Figures,
    time=st.floats(0, 1e10),
    cpu=st.none() | st.floats(0, 1000),
    memory_bytes=NUMBERS,
    memory_kind=st.sampled_from(["pss", "rss", "estimated"]),
    processes=NUMBERS,
    disk_read_bytes=st.none() | NUMBERS,
    disk_write_bytes=st.none() | NUMBERS,
    host_cpu=st.none() | st.floats(0, 1),
    host_memory_available_bytes=NUMBERS,
    gpus=st.lists(st.builds(GpuUse, st.text(max_size=9), st.none() | st.floats(0, 1), NUMBERS), max_size=2).map(tuple),
)


@given(st.lists(SAMPLES, max_size=5), st.integers(0, 50), st.binary(max_size=30))
def test_samples_read_back_whatever_else_is_in_the_file(tmp_path_factory, samples, torn, junk):
    folder = tmp_path_factory.mktemp("figures")
    lines = [encode(sample) for sample in samples]
    junk = junk.replace(b"\n", b"") + b"\n"
    end = lines[0][: min(torn, len(lines[0]) - 1)] if lines else b"{"
    (folder / "system.jsonl").write_bytes(junk.join([b"", *lines, end]))
    assert list(read_figures(AttemptLayout(folder))) == samples


def test_an_attempt_without_samples_has_none(layout):
    assert list(read_figures(layout)) == []


# --- control groups


def control_group(tmp_path, monkeypatch, version: int, **values: str) -> None:
    """A machine whose control groups say this of the process: a container in a pod."""
    proc, mount = tmp_path / "proc", tmp_path / "mount"
    for folder in (proc, mount / "pod" / "container"):
        folder.mkdir(parents=True)
    kind, options = ("cgroup2", "rw") if version == 2 else ("cgroup", "rw,memory")
    (proc / "cgroup").write_text("3:cpu:/elsewhere\n" + ("0::" if version == 2 else "4:memory:") + "/pod/container\n")
    (proc / "mountinfo").write_text(f"30 23 0:26 / {mount} rw,nosuid shared:4 - {kind} none {options}\n")
    (mount / "pod" / "container" / ("memory.stat" if version == 2 else "memory.limit_in_bytes")).write_text("")
    for name, text in values.items():
        place, _, file = name.partition("__")
        path = mount / "pod" / ("container" if place == "container" else "") / file.replace("__", ".")
        path.write_text(text)
    monkeypatch.setattr(cgroup, "_PROC", proc)


def test_the_tightest_limit_above_a_process_counts(tmp_path, monkeypatch):
    control_group(
        tmp_path,
        monkeypatch,
        2,
        container__memory__max="max\n",
        container__memory__events="low 0\noom 2\noom_kill 3\noom_group_kill 0\n",
        pod__memory__max="1000\n",
        pod__memory__current="990\n",
        pod__memory__stat="anon 800\ninactive_file 100\n",
    )
    assert cgroup.room() == cgroup.Room(1000, 110)
    assert oom_kills() == 3


def test_version_1_of_control_groups_tells_the_same(tmp_path, monkeypatch):
    control_group(
        tmp_path,
        monkeypatch,
        1,
        container__memory__limit_in_bytes="1000\n",
        container__memory__usage_in_bytes="990\n",
        container__memory__stat="total_inactive_file 10\n",
        container__memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
        pod__memory__limit_in_bytes="9223372036854771712\n",
        pod__memory__usage_in_bytes="990\n",
    )
    assert cgroup.room() == cgroup.Room(1000, 20)
    assert oom_kills() == 1


def test_a_process_in_a_container_that_is_nearly_full_is_short_of_memory(tmp_path, monkeypatch, layout):
    sampler = Sampler(layout, os.getpid())
    sampler.sample()
    assert not sampler.is_short_of_memory()
    control_group(tmp_path, monkeypatch, 2, container__memory__max="1000000", container__memory__current="960000")
    sampler.sample()
    assert sampler.is_short_of_memory()


def test_a_machine_without_control_groups_counts_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroup, "_PROC", tmp_path)
    assert (cgroup.room(), cgroup.oom_kills()) == (None, None)


@linux
@pytest.mark.root
def test_a_kill_for_want_of_memory_is_counted_and_one_by_hand_is_not(run_script):
    """The real thing: a control group of 100 MB, a process that takes more, another that is killed."""
    folder = _writable_group()
    group = folder / f"hypertuner-{os.getpid()}"
    group.mkdir()
    try:
        limit = group / ("memory.max" if (group / "memory.max").exists() else "memory.limit_in_bytes")
        limit.write_text(str(100 << 20))
        done = run_script(f"""
            import os, subprocess, sys
            from pathlib import Path
            Path({str(group / "cgroup.procs")!r}).write_text(str(os.getpid()))
            from hypertuner.queue.figures import oom_kills
            from hypertuner.store.cgroup import room
            before = oom_kills()
            by_hand = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
            by_hand.kill()
            by_hand.wait()
            between = oom_kills()
            greedy = subprocess.run([sys.executable, "-c", "held = b'x' * (200 << 20)"])
            print(greedy.returncode, between - before, oom_kills() - between, room().limit_bytes)
        """)
        assert done.stdout == f"-9 0 1 {100 << 20}\n"
    finally:
        group.rmdir()


def _writable_group() -> Path:
    folder = next((folder for folder, _ in cgroup._folders()), None)
    if folder is None or not os.access(folder, os.W_OK):
        pytest.skip("needs a memory control group that it may make others in")
    control = folder / "cgroup.subtree_control"
    if control.exists() and "memory" not in control.read_text():
        pytest.skip("this control group hands no memory limit on")
    return folder


def test_a_kill_for_memory_of_somebody_else_is_not_taken_for_ones_own(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroup, "_PROC", tmp_path)  # no group limits: the whole machine is counted
    monkeypatch.setattr(figures, "_oom_kills_of_host", lambda: 5)
    total = psutil.virtual_memory().total
    assert not was_killed_for_memory(5, total)
    assert was_killed_for_memory(4, total // 2)
    assert not was_killed_for_memory(4, total // 100)
