"""One run: its panel, output, files, media."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(prefix="/api")
