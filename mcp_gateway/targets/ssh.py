"""The way to a host over SSH: one connection for each call, strict host keys, nothing of the user's configuration.

Host keys come from the target's own `known_hosts` file; the key from the target's credential source. No agent, no
`~/.ssh`, no password. What is run is the string it is given, as the agent's call had it; what it would do is
`facts.shell`'s to say.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import anyio

from mcp_gateway.calls import Secret
from mcp_gateway.credentials.used import UsedCredentials
from mcp_gateway.errors import OutcomeLost, TargetError, TargetTimeout, TargetUnavailable
from mcp_gateway.surroundings import no_programs
from mcp_gateway.targets.capture import Capture, Captured
from mcp_gateway.targets.ssh_keys import UnusableKeyError, host_keys, private_key, read_known_hosts
from mcp_gateway.targets.ssh_wire import Way

with no_programs():
    import asyncssh

CONNECT_SECONDS = 10.0
READ_BYTES = 64 * 1024
BROKEN = (OSError, asyncssh.Error, ValueError, LookupError)
"""How a connection ends that is lost, or whose other end does not keep to the protocol: asyncssh's packets raise the last
two as they are."""
LOST = "the connection was lost after the command was sent"
SAFE_CIPHERS = "^aes256-gcm@openssh.com,aes128-gcm@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr"
SAFE_MACS = "^hmac-sha2-256,hmac-sha2-512"
"""Before whatever else both sides know: from these nobody in between can cut the first messages (Terrapin,
CVE-2023-48795), whether or not the server knows the strict key exchange that stops it."""
MAX_STREAM_BYTES = 64 * 1024 * 1024
"""After so much output of one call the command is killed: nobody reads it, and the host would go on for nothing."""

KILL_SECONDS = 10.0
"""A host that has too much to do takes its time to begin a session, and is where a command has to be killed most of all."""
KILL_ANSWER_BYTES = 4 * 1024
"""A login that greets says more than the answer; no more than this is read."""
PARTING_SECONDS = 0.7
"""How long a call waits until its command is killed and the connection ended; a host that is silent is waited for in the
background."""
KILLED = b"killed"
KILL_COMMAND = (
    "exec /bin/sh -c '"
    "ps -A -o pid= -o ppid= | { while read -r pid parent; do "
    'if [ "$pid" = "$$" ]; then own=seen; elif [ "$parent" = "$PPID" ]; then '
    'kill -s KILL -- "-$pid" || kill -KILL "-$pid" || { kill -0 "$pid" && left=some; }; fi; done 2>/dev/null; '
    f'if [ "$own-$left" = seen- ]; then echo {KILLED.decode()}; fi; }}'
    "'"
)
"""Kills the process groups of the other sessions of this connection, which serves one call only: its command. Says so
once it has seen all of them, itself among them.

The protocol's own signal request comes first, but OpenSSH refuses it for root and for forced commands. The account's shell
may read none of this, as fish and csh, and the `kill` of some shells takes no `--` after `-KILL`, as that of dash."""


class SSHSettings(Protocol):
    """The part of a target's settings that is needed here."""

    @property
    def host(self) -> str:
        """Name or address."""

    @property
    def port(self) -> int:
        """TCP port."""

    @property
    def user(self) -> str:
        """Who to log in as."""

    @property
    def known_hosts(self) -> Path:
        """File of the host keys that are trusted."""

    @property
    def key(self) -> Any:
        """Source of the private key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ended."""

    exit_status: int | None
    signal: str | None
    stdout: Captured
    stderr: Captured


class SSHConnector:
    """Runs commands on one host."""

    def __init__(self, settings: SSHSettings, *, fetch: Callable[[Any], Awaitable[Secret]]) -> None:
        self._settings = settings
        self._fetch = fetch
        self._used = UsedCredentials()
        self._leaving: set[asyncio.Task[None]] = set()

    def secrets(self) -> Sequence[Secret]:
        """The private key of this call, and the last ones."""
        return self._used.all()

    async def aclose(self) -> None:
        """Wait for connections that are being ended, or drop them if this is cancelled; nothing else stays open between calls."""
        try:
            while self._leaving:
                await asyncio.wait(self._leaving)
        finally:
            for task in self._leaving:
                task.cancel()

    def host_keys(self) -> str:
        """SHA-256 over the fingerprints that this host may show: an approval is bound to them.

        Raises:
            TargetUnavailable: the known_hosts file cannot be read or does not name the host.
        """
        _, keys = self._known_hosts()
        prints = sorted(key.get_fingerprint() for key in keys)
        return hashlib.sha256("\n".join(prints).encode()).hexdigest()

    async def run(self, command: str, *, stdin: bytes, seconds: float, max_bytes: int) -> Ran:
        """Run one command and return what it gave, head and tail of each stream within `max_bytes`.

        A cancelled call and one that takes longer than `seconds` are killed at the other end.

        Raises:
            TargetUnavailable: nothing was run.
            TargetTimeout: the command was killed.
            OutcomeLost: the connection broke after the command was sent.
        """
        killed = asyncio.Event()
        with anyio.move_on_after(seconds) as scope:
            connection = await self._connect()
            return await self._run(connection, command, stdin=stdin, max_bytes=max_bytes, killed=killed)
        if scope.cancelled_caught:
            end = "was killed" if killed.is_set() else "is being killed, which the host has not confirmed"
            raise TargetTimeout(f"the command did not end within {seconds:g} s and {end}")
        raise OutcomeLost("the command gave no outcome")

    async def check(self) -> str:
        """Connect, say who answers, and hang up."""
        connection = await self._connect()
        try:
            return str(connection.get_extra_info("server_version", ""))
        finally:
            await self._leave(_hang_up(connection))

    @property
    def _place(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"

    def _known_hosts(self) -> tuple[asyncssh.SSHKnownHosts, Sequence[asyncssh.SSHKey]]:
        """What is known of hosts, and the keys that this one may show."""
        settings = self._settings
        try:
            known = read_known_hosts(settings.known_hosts)
            return known, host_keys(known, host=settings.host, port=settings.port)
        except UnusableKeyError as error:
            raise TargetUnavailable(
                f"the known_hosts file {str(settings.known_hosts)!r} cannot be used: {error}"
            ) from None

    async def _connect(self) -> asyncssh.SSHClientConnection:
        settings = self._settings
        known, _ = self._known_hosts()
        secret = await self._fetch(settings.key)
        self._used.add(secret)
        try:
            key = private_key(secret.reveal())
        except UnusableKeyError as error:
            raise TargetUnavailable(f"the key of this target cannot be used: {error}") from None
        way = Way()
        try:
            with anyio.fail_after(CONNECT_SECONDS):
                connection = await asyncssh.connect(
                    settings.host,
                    settings.port,
                    username=settings.user,
                    client_keys=[key],
                    known_hosts=known,
                    config=[],
                    agent_path=None,
                    agent_forwarding=False,
                    password=None,
                    preferred_auth="publickey",
                    host_based_auth=False,
                    kbdint_auth=False,
                    password_auth=False,
                    gss_auth=False,
                    gss_kex=False,
                    x509_trusted_certs=None,
                    x509_trusted_cert_paths=[],
                    encryption_algs=SAFE_CIPHERS,
                    mac_algs=SAFE_MACS,
                    compression_algs=["none"],
                    env=(),
                    send_env=(),
                    tunnel=way,
                    proxy_command=None,
                )
                if _can_be_cut(connection):
                    connection.abort()
                    raise TargetUnavailable(
                        f"{self._place} offers no cipher that is safe without a strict key exchange (CVE-2023-48795): "
                        "update its SSH server, or have it offer AES-GCM, or AES-CTR with hmac-sha2-256 or -512"
                    )
                way.logged_in()
                return connection
        except asyncssh.HostKeyNotVerifiable:
            raise TargetUnavailable(
                f"the host key of {self._place} is not the one in {str(settings.known_hosts)!r}: the host was "
                "reinstalled, or somebody stands in between; check it before you change the file"
            ) from None
        except asyncssh.PermissionDenied:
            raise TargetUnavailable(f"{self._place} refused the key of user {settings.user!r}") from None
        except TimeoutError:
            raise TargetUnavailable(f"{self._place} did not answer within {CONNECT_SECONDS:g} s") from None
        except BROKEN as error:
            why = "it floods before the log-in" if way.flooded else type(error).__name__
            raise TargetUnavailable(f"no SSH connection to {self._place}: {why}") from None

    async def _leave(self, end: Coroutine[Any, Any, None]) -> None:
        """Have a connection ended, and wait for it as long as a host takes that is there."""
        task = asyncio.create_task(end)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        with anyio.move_on_after(PARTING_SECONDS, shield=True):
            await asyncio.shield(task)

    async def _run(
        self,
        connection: asyncssh.SSHClientConnection,
        command: str,
        *,
        stdin: bytes,
        max_bytes: int,
        killed: asyncio.Event,
    ) -> Ran:
        try:
            process = await connection.create_process(command, encoding=None, stdin=asyncssh.PIPE, request_pty=False)
        except BROKEN as error:
            lost = connection.is_closed()
            await self._leave(_hang_up(connection))
            raise self._not_begun(error, lost=lost) from None
        except BaseException:
            # The host may have begun it, and not have said so yet.
            await self._leave(_kill_and_hang_up(connection, None, killed))
            raise
        captures = Capture(limit=max_bytes // 2), Capture(limit=max_bytes // 2)
        ended, enough = False, anyio.Event()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_kill_after, enough, connection, process)
                async with anyio.create_task_group() as streams:
                    streams.start_soon(_feed, process, stdin)
                    streams.start_soon(_drain, process.stdout, captures[0], enough)
                    streams.start_soon(_drain, process.stderr, captures[1], enough)
                group.cancel_scope.cancel()
            await process.wait_closed()
            ended = True
        except* BROKEN:
            raise OutcomeLost(LOST) from None
        finally:
            await self._leave(_hang_up(connection) if ended else _kill_and_hang_up(connection, process, killed))
        status = process.exit_status
        signal = process.exit_signal
        if status is None and signal is None:
            raise OutcomeLost(LOST)
        return Ran(
            exit_status=status if signal is None else None,
            signal=signal[0] if signal else None,
            stdout=captures[0].captured(),
            stderr=captures[1].captured(),
        )

    def _not_begun(self, error: Exception, *, lost: bool) -> TargetError:
        """What is known of a command that the host has not confirmed; the connection may be `lost`."""
        match error:
            case asyncssh.ChannelOpenError(code=code) if code != asyncssh.OPEN_REQUEST_SESSION_FAILED:
                return TargetUnavailable(f"{self._place} opens no channel: {error.reason}")
            case asyncssh.ChannelOpenError() if not lost:
                return TargetUnavailable(f"{self._place} does not take the command: {error.reason}")
            case _:
                return OutcomeLost(LOST)


def _can_be_cut(connection: asyncssh.SSHClientConnection) -> bool:
    """Whether somebody in between may have cut the first messages. Nothing of a call is sent by such a connection."""
    used = [str(connection.get_extra_info(name)) for name in ("send_cipher", "recv_cipher", "send_mac", "recv_mac")]
    strict: bool = connection._strict_kex  # noqa: SLF001 - nothing public tells
    return not strict and any("chacha20" in name or "-etm@" in name or "-cbc" in name for name in used)


async def _feed(process: asyncssh.SSHClientProcess[bytes], data: bytes) -> None:
    try:
        for start in range(0, len(data), READ_BYTES):
            process.stdin.write(data[start : start + READ_BYTES])
            await process.stdin.drain()
        process.stdin.write_eof()
    except (BrokenPipeError, ConnectionResetError):
        return  # The command ended without reading all of its input; its status says how.


async def _drain(stream: asyncssh.SSHReader[bytes], capture: Capture, enough: anyio.Event) -> None:
    """Read to the end, which comes soon once the command has been killed; what does not fit is dropped."""
    while chunk := await stream.read(READ_BYTES):
        capture.add(chunk)
        if capture.total > MAX_STREAM_BYTES:
            enough.set()


async def _kill_after(
    enough: anyio.Event, connection: asyncssh.SSHClientConnection, process: asyncssh.SSHClientProcess[bytes]
) -> None:
    await enough.wait()
    await _kill_there(connection, process)


async def _hang_up(connection: asyncssh.SSHClientConnection) -> None:
    """Say goodbye so that a kill that was asked for goes out first; not for long."""
    connection.close()
    with anyio.move_on_after(1.0, shield=True):
        await connection.wait_closed()
    connection.abort()


async def _kill_and_hang_up(
    connection: asyncssh.SSHClientConnection, process: asyncssh.SSHClientProcess[bytes] | None, killed: asyncio.Event
) -> None:
    try:
        if await _kill_there(connection, process):
            killed.set()
        await _hang_up(connection)
    finally:
        connection.abort()


async def _kill_there(
    connection: asyncssh.SSHClientConnection, process: asyncssh.SSHClientProcess[bytes] | None
) -> bool:
    """Kill the command at the host, by the protocol's signal (RFC 4254 section 6.9) and by a command beside it.

    `process` is None while the host has not confirmed that it runs. Gives whether the host says that it did so.
    """
    with anyio.move_on_after(KILL_SECONDS, shield=True):
        try:
            if process is not None:
                _kill(process)
            killing = await connection.create_process(
                KILL_COMMAND, encoding=None, stdin=asyncssh.DEVNULL, stderr=asyncssh.DEVNULL
            )
            said = b""
            while len(said) < KILL_ANSWER_BYTES and (chunk := await killing.stdout.read(KILL_ANSWER_BYTES)):
                said += chunk
        except BROKEN:
            return False  # The connection is gone: the host ends what it can tell is cut off, and the outcome says so.
        return KILLED in said.split()
    return False


def _kill(process: asyncssh.SSHClientProcess[bytes]) -> None:
    try:
        process.kill()
    except OSError:
        return  # The channel is closed already.
