"""The same output for any chunking, cut at every offset."""

from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.calls import Secret
from mcp_gateway.masking.detectors import DEFAULT
from mcp_gateway.masking.masker import CallMasker, masker_for
from mcp_gateway.masking.rules import MAX_KEY
from tests.masking.samples import CANARY, JWT, PEM, VALUES, texts

STYLES = {"secret.token": "hash", "secret.private_key": "hash", "pii.email": "hash", "payment.card": "last4"}
ENCODED = [
    CANARY,
    base64.b64encode(b"user:" + CANARY.encode()).decode(),
    "".join(f"%{byte:02x}" for byte in CANARY.encode()),
    CANARY[:9],
]


def masker() -> CallMasker:
    return masker_for(
        revealed=frozenset(),
        all_classes=frozenset(),
        styles=STYLES,
        detectors=DEFAULT,
        secrets=[Secret(CANARY)],
        hash_key=b"k" * 32,
    )


def streamed(chunks: list[bytes]) -> tuple[bytes, dict[str, int]]:
    one = masker()
    stream = one.stream()
    out = b"".join([*(stream.feed(chunk) for chunk in chunks), stream.finish()])
    return out, one.counts


def whole(data: bytes) -> tuple[bytes, dict[str, int]]:
    one = masker()
    return one.raw(data), one.counts


@pytest.mark.requirement("R19", "I5")
@pytest.mark.parametrize("value", [*ENCODED, *(values[0] for values in VALUES.values())])
def test_a_value_cut_at_any_offset_is_masked_all_the_same(value: str) -> None:
    data = ("x" * 30 + " " + value + " \n" + "y" * 2500 + " " + value).encode()
    expected = whole(data)

    for place in range(len(value.encode()) + 34):
        assert streamed([data[:place], data[place:]]) == expected
        assert streamed([data[:-place] if place else data, data[len(data) - place :]]) == expected


@settings(max_examples=120, deadline=None)
@given(
    text=st.lists(texts | st.sampled_from([*ENCODED, "z" * 1500, PEM]), max_size=8).map(" ".join),
    seed=st.integers(0, 1000),
)
def test_any_chunking_of_any_text_gives_what_the_whole_gives(text: str, seed: int) -> None:
    data = text.encode("utf-8", "surrogatepass")
    pick = random.Random(seed)
    chunks, place = [], 0
    while place < len(data):
        size = pick.choice([1, 2, 5, 60, 900, 4000])
        chunks.append(data[place : place + size])
        place += size

    assert streamed(chunks) == whole(data)


def test_bytes_that_are_no_text_pass_through_both_ways_alike() -> None:
    data = bytes(range(256)) * 30 + b"bob@example.com" + bytes(range(256)) * 30

    assert streamed([data[place : place + 97] for place in range(0, len(data), 97)]) == whole(data)


@pytest.mark.requirement("R19")
def test_what_has_no_end_needs_no_memory() -> None:
    one = masker()
    stream = one.stream()
    given_out = stream.feed(b"token: " + JWT.encode())
    for _ in range(400):
        given_out += stream.feed(b"Ab1_" * 1024)
        assert len(stream._scan._buffer) < 64 * 1024
    given_out += stream.finish()

    assert given_out.startswith(b"token: [secret.token#")
    assert len(given_out) < 60
    assert one.counts == {"secret.token": 1}


def test_a_key_whose_end_never_comes_is_over_after_its_limit_in_both() -> None:
    data = PEM.encode()[:60] + "ä".encode() * MAX_KEY + b" bob@example.com"

    assert streamed([data[place : place + 1000] for place in range(0, len(data), 1000)]) == whole(data)


@pytest.mark.requirement("R19")
def test_invisible_characters_without_end_do_not_fill_memory() -> None:
    stream = masker().stream()
    for _ in range(100):
        stream.feed("\u200b".encode() * 2000)

    assert len(stream._scan._buffer) < 2 * 1024 * 1024
