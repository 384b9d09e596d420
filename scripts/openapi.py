"""Write web/openapi.json: what the server and the page say to each other, out of which the page's types are made.

Besides the routes it has every model of the contract, also those that only the WebSocket or a binary answer says.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import tempfile
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from hypertuner.server import contract
from hypertuner.server.app import make_app
from hypertuner.server.state import State
from hypertuner.store import Storage

TARGET = Path(__file__).parent.parent / "web" / "openapi.json"
SAID_BY_THE_PAGE = ("Asked", "Change", "Subscribe", "Cursor")
"""How the names of models end whose optional fields may be left out; the server always says all fields of its own."""
_ADDED = "/contract/"


def document() -> dict[str, Any]:
    """The OpenAPI document of the server as it is now."""
    with tempfile.TemporaryDirectory() as folder:
        app = make_app(State(Storage(Path(folder))))
    for model in _models():
        _mention(app, model)
    said = app.openapi()
    for name, schema in said["components"]["schemas"].items():
        if not name.endswith(SAID_BY_THE_PAGE) and "properties" in schema:
            schema["required"] = list(schema["properties"])
    said["paths"] = {path: says for path, says in said["paths"].items() if not path.startswith(_ADDED)}
    return said


def text() -> str:
    """The document as it stands in the file."""
    return json.dumps(document(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _models() -> list[type[BaseModel]]:
    names = [found.name for found in pkgutil.iter_modules(contract.__path__)]
    modules = [importlib.import_module(f"{contract.__name__}.{name}") for name in names]
    return [
        model
        for module in modules
        for model in vars(module).values()
        if isinstance(model, type) and issubclass(model, BaseModel) and model.__module__ == module.__name__
    ]


def _mention(app: FastAPI, model: type[BaseModel]) -> None:
    """A route that has this model, so that it gets a component; the route itself is left out of the document."""

    def asks(asked: Any) -> None:
        pass

    def answers() -> None:
        pass

    path = f"{_ADDED}{model.__name__}"
    if model.__name__.endswith(SAID_BY_THE_PAGE):
        asks.__annotations__["asked"] = model
        app.add_api_route(path, asks, methods=["POST"])
    else:
        app.add_api_route(path, answers, response_model=model)


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(text(), encoding="utf-8")
    print("wrote web/openapi.json")
