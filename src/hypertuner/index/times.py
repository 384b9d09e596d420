"""What text means where a query compares it with a time: "12h" with an age, "2026-03-01" with a date."""

from __future__ import annotations

import re
from datetime import datetime

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def duration_s(text: str) -> float | None:
    """Seconds of "12h", "1.5d" or "1h30m"."""
    parts = re.findall(r"([0-9]{1,12}(?:\.[0-9]{1,12})?) ?([smhdw])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text.replace(" ", ""):
        return None
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)


def moment(text: str) -> float | None:
    """Seconds since 1970 of an ISO date, local time unless it says otherwise."""
    try:
        return datetime.fromisoformat(re.sub("Z$", "+00:00", text.strip())).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
