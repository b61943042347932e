"""Recorded results: a masked result to a compressed one and back, with the hash that ties it to its event. Pure.

`Finished.result_hash` is the hash of the uncompressed bytes, and the chain covers `Finished`: so it covers the result.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass

import zstandard

LEVEL = 3


class _Contexts(threading.local):
    """Contexts of zstandard, which cost more to make than to use, and serve one thread at a time."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_OWN = _Contexts()


class RecordingError(ValueError):
    """A recording that is not what was recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One result, ready to be kept."""

    digest: str
    """SHA-256 of the result, in hexadecimal."""
    size: int
    """Bytes of the result."""
    data: bytes
    """The result, compressed."""


def pack(result: bytes) -> Recording:
    """Compress a masked result. A big one is better packed before the transaction than in it."""
    return Recording(
        digest=hashlib.sha256(result).hexdigest(),
        size=len(result),
        data=_OWN.compressor.compress(result),
    )


def unpack(data: bytes, *, size: int) -> bytes:
    """Decompress a recording of a known size; never allocates more than that for a doctored one."""
    try:
        if zstandard.get_frame_parameters(data).content_size != size:
            raise RecordingError("its size is not the recorded one")
        found = _OWN.decompressor.decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise RecordingError(f"it cannot be decompressed: {error}") from None
    if len(found) != size:
        raise RecordingError("its size is not the recorded one")
    return found
