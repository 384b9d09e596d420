"""Values of runs as tables, pictures and JSON spell them."""

from __future__ import annotations

import json
import math
from typing import Any


def is_number(value: Any) -> bool:
    """Whether it is a number, which neither True nor False is."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_nonfinite(value: Any) -> bool:
    """Whether it is NaN or infinite, which JSON cannot hold."""
    return isinstance(value, float) and not math.isfinite(value)


def text_of(value: Any) -> str:
    """A value in a cell or a sort key: text as it is, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
