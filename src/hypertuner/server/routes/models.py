"""Checkpoints, their weights, lineage, room on the disk."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(prefix="/api")
