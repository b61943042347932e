"""Durations and sizes as an operator writes them: `50s`, `15m`, `1h`, `4MiB`. Pure.

A number never stands without its unit: `timeout = 30` could be seconds or milliseconds, so it is refused.
"""

from __future__ import annotations

import re
from datetime import timedelta

_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,9})(B|KiB|MiB|GiB)", re.ASCII)
_DURATION_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_SIZE_UNITS = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}


def parse_duration(text: str) -> timedelta:
    """Read `500ms`, `50s`, `15m`, `1h` or `2d`. Raises `ValueError` for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("expected a duration such as '50s', '15m' or '1h'")
    return int(match[1]) * _DURATION_UNITS[match[2]]


def format_duration(duration: timedelta) -> str:
    """Write a duration in the largest unit that divides it; `parse_duration` reads it back."""
    for unit, size in _DURATION_UNITS.items():
        if duration >= size and duration % size == timedelta(0):
            return f"{duration // size}{unit}"
    return "0s" if not duration else f"{duration.total_seconds():g}s"


def parse_size(text: str) -> int:
    """Read `512B`, `64KiB`, `4MiB` or `1GiB` as a number of bytes. Raises `ValueError` for anything else."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("expected a size such as '64KiB' or '4MiB'")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def format_size(size: int) -> str:
    """Write a number of bytes in the largest unit that divides it; `parse_size` reads it back."""
    for unit, factor in _SIZE_UNITS.items():
        if size >= factor and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"
