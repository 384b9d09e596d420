"""`make bench`: every benchmark there is, one JSON line a measurement."""

from __future__ import annotations

from benchmarks import list_runs

if __name__ == "__main__":
    list_runs.main()
