"""Many runs: the table, its columns and groups, curves, completion."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(prefix="/api")
