"""What people install: a wheel out of the sdist, with the page in it, on a machine that has no Node."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
BUILT = REPOSITORY / "src" / "hypertuner" / "web" / "index.html"


def build(kind: str, folder: Path, into: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(into)]
    return subprocess.run(
        command, cwd=folder, env={"PATH": "/nonexistent", **env}, capture_output=True, encoding="utf-8", check=False
    )


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of this source, unpacked."""
    if not BUILT.is_file():
        pytest.skip("the page is not built: make web")
    folder = tmp_path_factory.mktemp("packages")
    done = build("sdist", REPOSITORY, folder)
    assert done.returncode == 0, done.stderr
    (packed,) = folder.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    return folder / packed.name.removesuffix(".tar.gz")


def test_a_wheel_built_from_the_sdist_without_node_has_the_page_and_serves_it(sdist: Path, tmp_path: Path):
    done = build("wheel", sdist, tmp_path)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "installed")
    assert "hypertuner/web/index.html" in names
    assert not [name for name in names if "node_modules" in name or name.startswith("web/")]
    licences = (tmp_path / "installed" / "hypertuner" / "web" / "licences.txt").read_text(encoding="utf-8")
    for name in ("react", "react-dom", "scheduler", "uplot", "yaml"):
        assert f"\n{name} " in f"\n{licences}", "what the page bundles is there with its licence"
    code = """
        import sys; sys.path.insert(0, sys.argv[1])
        from hypertuner.server.page import FOLDER, Page
        assert str(FOLDER).startswith(sys.argv[1]), FOLDER
        print(Page().answer("index.html").body.decode())
    """
    lines = "\n".join(line.strip() for line in code.strip().splitlines())
    page = subprocess.run(
        [sys.executable, "-I", "-c", lines, str(tmp_path / "installed")],
        capture_output=True,
        encoding="utf-8",
        check=True,
        env={"PATH": "/nonexistent"},
        cwd=tmp_path,
    )
    assert "/assets/index-" in page.stdout


def test_a_wheel_names_no_folder_of_the_machine_that_built_it_and_holds_no_test(sdist: Path, tmp_path: Path):
    assert build("wheel", sdist, tmp_path).returncode == 0
    (wheel,) = tmp_path.glob("*.whl")
    folders = [str(sdist), str(REPOSITORY), str(Path.home()) + "/", sys.prefix]
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.startswith(("tests/", "/")) or "conftest" in name]
        for name in archive.namelist():
            data = archive.read(name)
            text = gzip.decompress(data) if name.endswith(".gz") else data
            assert not [folder for folder in folders if folder.encode() in text], name


def test_the_sdist_has_the_pages_source_and_none_of_what_it_is_built_with(sdist: Path):
    assert (sdist / "web" / "package-lock.json").is_file()
    assert not (sdist / "web" / "node_modules").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "src" / "hypertuner" / "web"), "is not built"),
        (lambda folder: (folder / "web" / "index.html").write_text("another"), "was built from another source"),
    ],
)
def test_a_package_without_its_page_is_not_built_unless_one_says_so(sdist: Path, tmp_path: Path, change, message: str):
    folder = tmp_path / "source"
    shutil.copytree(sdist, folder)
    change(folder)
    done = build("wheel", folder, tmp_path / "made")
    assert done.returncode != 0
    assert message in done.stderr
    assert "make web" in done.stderr
    assert build("wheel", folder, tmp_path / "made", HYPERTUNER_BUILD_WITHOUT_PAGE="1").returncode == 0


# What a name of a format looks like; nothing is ever asked of it. React's messages name their page.
NO_ADDRESSES = ("http://www.w3.org/", "https://react.dev/errors/", "https://react.dev/link/")


def test_the_page_asks_nothing_of_the_network():
    if not BUILT.is_file():
        pytest.skip("the page is not built: make web")
    seen = 0
    for path in BUILT.parent.rglob("*"):
        if not path.is_file() or path.suffix in (".png", ".woff2", ".ico", ".br"):
            continue
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8", "replace")
        found = re.findall(r"(?:https?|wss?):/{2}[\w.-]+[^\s\"'`]*", text)
        assert [one for one in found if not one.startswith(NO_ADDRESSES)] == [], path
        seen += 1
    assert seen
