from __future__ import annotations

import hashlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.audit.recordings import RecordingError, pack, unpack


@settings(max_examples=50, deadline=None)
@given(result=st.binary(max_size=2000))
def test_a_result_comes_back_as_it_was(result: bytes) -> None:
    recording = pack(result)

    assert unpack(recording.data, size=recording.size) == result
    assert recording.digest == hashlib.sha256(result).hexdigest()


def test_a_recording_takes_less_room_than_its_result() -> None:
    assert len(pack(b'{"rows":[["a","b"]]}' * 1000).data) < 500


@pytest.mark.requirement("R7")
@pytest.mark.parametrize(
    "doctored",
    [
        b"",
        b"not zstandard at all",
        pack(b"x" * 100).data[:-3],
        pack(b"x" * 100).data + b"more",
        pack(b"x" * 100).data + pack(b"y").data,
        pack(b"x" * 99).data,
        zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 100),
    ],
)
def test_a_doctored_recording_is_refused(doctored: bytes) -> None:
    with pytest.raises(RecordingError):
        unpack(doctored, size=100)


@pytest.mark.requirement("R7")
def test_a_recording_that_unpacks_to_gigabytes_allocates_nothing() -> None:
    small = pack(b"x" * 100).data
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 26))

    with pytest.raises(RecordingError, match="its size is not the recorded one"):
        unpack(bomb, size=100)
    assert unpack(small, size=100) == b"x" * 100
