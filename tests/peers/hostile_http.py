"""HTTP answers that no honest API gives, as raw bytes; `tests.peers.api` sends them."""

from __future__ import annotations

import gzip
from dataclasses import dataclass

SMUGGLED = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostile:
    """One, and how a GET that gets it may end."""

    first: bytes
    endless: bytes = b""
    codes: frozenset[str] = frozenset({"failed"})


OK = frozenset({"ok"})
EITHER = frozenset({"ok", "failed"})
HOSTILE: dict[str, Hostile] = {
    "nothing": Hostile(first=b""),
    "no HTTP": Hostile(first=b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "a status that is none": Hostile(first=b"HTTP/1.1 9999 Odd\r\n\r\n"),
    "HTTP/0.9": Hostile(first=b"<html>hello</html>\r\n\r\n"),
    "a flood of headers": Hostile(first=b"HTTP/1.1 200 OK\r\n", endless=b"x-more: 1\r\n" * 4096),
    "1xx without end": Hostile(first=b"", endless=b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 1024),
    "an upgrade that nobody asked for": Hostile(
        first=b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n" + SMUGGLED, codes=EITHER
    ),
    "two lengths": Hostile(
        first=b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 50\r\n\r\nok" + SMUGGLED, codes=EITHER
    ),
    "a length and chunks": Hostile(
        first=b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + SMUGGLED,
        codes=EITHER,
    ),
    "a negative length": Hostile(first=b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nok"),
    "a length beyond every machine": Hostile(first=b"HTTP/1.1 200 OK\r\ncontent-length: 1" + b"0" * 40 + b"\r\n\r\nok"),
    "a body that ends early": Hostile(first=b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nok"),
    "a chunk that is none": Hostile(first=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nok\r\n"),
    "a chunk of a negative size": Hostile(first=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nok\r\n"),
    "trailers without end": Hostile(
        first=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", endless=b"x-more: 1\r\n" * 4096,
        codes=EITHER,
    ),
    "chunk extensions without end": Hostile(
        first=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;", endless=b"x=" * 4096
    ),
    "an encoding that was not asked for": Hostile(
        first=b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 2\r\n\r\nok"
    ),
    "broken gzip": Hostile(first=b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nok"),
    "more behind the end of gzip": Hostile(
        first=b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + gzip.compress(b"ok"), endless=b"x" * 65536
    ),
    "gzip of nothing without end": Hostile(
        first=b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n", endless=gzip.compress(b"") * 2048
    ),
    "a header with NUL": Hostile(first=b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\nok"),
    "a redirect to the metadata service": Hostile(
        first=b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest\r\ncontent-length: 0\r\n\r\n", codes=OK
    ),
    "a redirect to itself": Hostile(
        first=b"HTTP/1.1 307 Temporary\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", codes=OK
    ),
    "more than it said": Hostile(first=b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" + SMUGGLED, codes=OK),
    "two answers": Hostile(first=SMUGGLED * 2, codes=OK),
}  # fmt: skip
