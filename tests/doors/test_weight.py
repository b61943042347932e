from __future__ import annotations

from typing import Any

import orjson
import pytest

from mcp_gateway.doors.weight import weight, weight_of

pytestmark = pytest.mark.requirement("R22", "R23")

VALUES = [
    ("x" * 1000, 1000),
    ("x" * 1000 + "\U0001f600", 4000),
    ([[]] * 1000, 56_000),
    ([{}] * 1000, 64_000),
    ({"x" * 1000: 1}, 1000),
    ({str(number): [number] for number in range(1000)}, 64_000),
]


@pytest.mark.parametrize(("value", "least"), VALUES)
def test_a_value_weighs_what_it_takes_in_memory(value: Any, least: int) -> None:
    assert least <= weight(value) <= 4 * least + 1000
    assert weight_of(orjson.dumps(value)) >= least


@pytest.mark.parametrize(("value", "_"), VALUES)
def test_what_only_others_can_read_weighs_no_less(value: Any, _: int) -> None:
    text = b"[NaN," + orjson.dumps(value) + b"]"
    assert weight_of(text) >= weight_of(text.replace(b"NaN", b"1"))
