"""What people do to runs: notes, actions, launching."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(prefix="/api")
