"""What the build of a wheel or an sdist makes sure of: that the page of the GUI is in it, built from this source."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WITHOUT = "HYPERTUNER_BUILD_WITHOUT_PAGE"


class PageHook(BuildHookInterface[Any]):
    """Refuses to build a wheel without a page, or with that of another source."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before anything is packed. An editable installation has the page when somebody builds it."""
        if version == "editable" or os.environ.get(WITHOUT) == "1":
            return
        web = _script(Path(self.root))
        built = web.built_from()
        if built is None:
            raise RuntimeError(
                "The page of the GUI is not built: src/hypertuner/web is missing.\n"
                f"  make web builds it (Node 20 or newer). A package without it: {WITHOUT}=1"
            )
        if built != web.hash_of_source():
            raise RuntimeError(
                "The page in src/hypertuner/web was built from another source than web/.\n"
                f"  make web builds it anew. The package as it is: {WITHOUT}=1"
            )


def _script(root: Path) -> Any:
    found = importlib.util.spec_from_file_location("hypertuner_web", root / "scripts" / "web.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
