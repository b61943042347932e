from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.targets.capture import MARGIN_BYTES, Capture


@given(st.integers(0, 40_000), st.integers(1, 9_000), st.integers(2, 8_000))
def test_any_chunking_keeps_the_same_head_and_tail(size: int, chunk: int, limit: int) -> None:
    data = bytes(index * 7 % 251 for index in range(size))
    whole, pieces = Capture(limit=limit), Capture(limit=limit)
    whole.add(data)
    for start in range(0, size, chunk):
        pieces.add(data[start : start + chunk])

    kept = pieces.captured()

    assert kept == whole.captured()
    if size <= limit:
        assert (kept.head, kept.tail, kept.dropped) == (data, b"", 0)
    else:
        assert data.startswith(kept.head)
        assert data.endswith(kept.tail)
        assert len(kept.head) == len(kept.tail) == min(size, kept.keep + MARGIN_BYTES)
        assert kept.dropped + 2 * kept.keep == max(size, 2 * kept.keep)
