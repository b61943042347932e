"""A server that stands where a gateway should: it gives everybody the same answer."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Peer(ThreadingHTTPServer):
    """Answers everything with one status and body, and remembers what was asked."""

    note = ""

    def __init__(self, status: int, body: bytes, link: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = status
        self.body = body
        self.link = link
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        scheme = "https" if isinstance(self.socket, ssl.SSLSocket) else "http"
        return f"{scheme}://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        peer = self.server
        assert isinstance(peer, Peer)
        peer.paths.append(self.path)
        self.send_response(peer.status)
        self.send_header("content-length", str(len(peer.body)))
        if peer.link:
            self.send_header("link", peer.link)
        if peer.note:
            self.send_header("mcp-gateway-note", peer.note)
        self.end_headers()
        self.wfile.write(peer.body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def peer(status: int, body: bytes, link: str = "", tls: ssl.SSLContext | None = None) -> Iterator[Peer]:
    server = Peer(status, body, link)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
