"""The queue and the machine."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(prefix="/api")
