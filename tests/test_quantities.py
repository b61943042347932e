"""Durations and sizes carry their unit, and what is written can be read back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.quantities import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0s", timedelta(0)),
        ("500ms", timedelta(milliseconds=500)),
        ("50s", timedelta(seconds=50)),
        ("15m", timedelta(minutes=15)),
        ("1h", timedelta(hours=1)),
        ("2d", timedelta(days=2)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration
    assert format_duration(duration) == text


@pytest.mark.parametrize(
    "text", ["", "15", "m", "1.5h", "-1s", "+1s", " 1s", "1s ", "1 s", "1S", "1h30m", "1w", "\u0661s", "9999999999s"]
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a duration such as '50s', '15m' or '1h'$"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("0B", 0), ("512B", 512), ("64KiB", 65536), ("4MiB", 4 * 1024**2), ("1GiB", 1024**3)]
)
def test_a_size_is_a_number_and_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert format_size(size) == text


@pytest.mark.parametrize("text", ["", "4", "4MB", "4M", "4mib", "-1B", "1.5MiB", "4 MiB", "\u0664MiB"])
def test_anything_else_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a size such as '64KiB' or '4MiB'$"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=10**9 - 1))
def test_every_size_can_be_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.integers(min_value=0, max_value=10**9 - 1))
def test_every_duration_in_seconds_can_be_read_back(seconds: int) -> None:
    duration = timedelta(seconds=seconds)

    assert parse_duration(format_duration(duration)) == duration
