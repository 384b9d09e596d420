"""Scripts that keep a model with its recipe and load it again, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"

# What Saver and load do, reduced to the recipe: a pickle whose classes are references.
KEEP = """
import base64, json, pathlib, pickle, types
from hypertuner.checkpoint.recipe.rebuild import Rebuilder
from hypertuner.checkpoint.recipe.recording import Recipe, Recording

def save(obj, path, limit=262144, **hyperparameters):
    import io
    recording = Recording(limit)
    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return recording.reference(value) if isinstance(value, (type, types.FunctionType)) else None
    buffer = io.BytesIO()
    Pickler(buffer, 2).dump(obj)
    content = {"module": base64.b64encode(buffer.getvalue()).decode(), "recipe": recording.recipe().to_json(),
               "hyperparameters": hyperparameters}
    pathlib.Path(path).write_text(json.dumps(content))
    return content["recipe"]

def load(path):
    import io
    content = json.loads(pathlib.Path(path).read_text())
    rebuilder = Rebuilder(Recipe.from_json(content["recipe"]), content["hyperparameters"], str(path))
    class Unpickler(pickle.Unpickler):
        def persistent_load(self, reference):
            return rebuilder.resolve(*reference)
    return Unpickler(io.BytesIO(base64.b64decode(content["module"]))).load()
"""


class Workplace:
    """A folder with a script and its modules, and another with nothing in it but what was moved there."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        self.elsewhere = folder / "elsewhere"
        self.library = folder / "site-packages"
        for one in (self.project, self.elsewhere, self.library):
            one.mkdir()
        (self.library / "keep.py").write_text(KEEP)

    def write(self, **files: str) -> None:
        """Write Python files into the project; `models__layers` is `models/layers.py`."""
        for name, text in files.items():
            path = self.project / (name.replace("__", "/") + ".py")
            if name.endswith("__init"):
                path = path.with_name("__init__.py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """Run Python in the project; what it printed. Fails when it fails."""
        environment = {**os.environ, "PYTHONPATH": f"{SRC}{os.pathsep}{self.library}", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-W", "error", *arguments]
        done = subprocess.run(
            command, cwd=cwd or self.project, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def load_elsewhere(self, code: str) -> str:
        """Move `model` alone to the empty folder, load it there as `net`, run `code`; what it printed."""
        (self.elsewhere / "model").write_bytes((self.project / "model").read_bytes())
        return self.run("-c", f"import keep\nnet = keep.load('model')\n{textwrap.dedent(code)}", cwd=self.elsewhere)


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)
