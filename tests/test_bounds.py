from __future__ import annotations

from typing import Any

import pytest

from mcp_gateway.bounds import MAX_BYTES, MAX_DEPTH, MAX_VALUES, check
from mcp_gateway.errors import RequestError


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.requirement("R22")
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("x" * (MAX_BYTES + 1), "hold more than 524,288 bytes of text"),
        ("ä" * (MAX_BYTES // 2 + 1), "hold more than 524,288 bytes of text"),
        ({"\ud800" * MAX_BYTES: 1}, "hold more than 524,288 bytes of text"),
        (nested(100_000), "nested deeper than 64 levels"),
        ({str(number): None for number in range(100_000)}, "hold more than 20,000 values"),
        ([0] * MAX_VALUES, "hold more than 20,000 values"),
        ([[0] * 200] * 200, "hold more than 20,000 values"),
        (int("9" * 4000) ** 25, "an integer of more than 1024 bits"),
        (-(2**1025), "an integer of more than 1024 bits"),
        ([1.5, float("inf")], "a number beyond all that JSON can hold"),
        ({"a": float("nan")}, "a number beyond all that JSON can hold"),
    ],
    ids=["text", "bytes", "surrogates", "depth", "keys", "values", "tree", "digits", "negative", "infinity", "nan"],
)
def test_arguments_that_are_too_large_are_refused_by_name(value: Any, problem: str) -> None:
    with pytest.raises(RequestError, match=problem) as caught:
        check({"json": value})

    assert (caught.value.code, caught.value.next_step) == (
        "invalid_arguments",
        "send less, in several calls if need be; nothing has run",
    )


@pytest.mark.parametrize(
    "value",
    ["x" * (MAX_BYTES - 10), nested(MAX_DEPTH - 2), [0] * (MAX_VALUES - 3), 2**1023, True, None, "\ud800"],
    ids=lambda value: type(value).__name__,
)
def test_what_is_large_and_still_fits_passes(value: Any) -> None:
    check({"json": value})
