"""From a credential source to the credential: an environment variable, a file, the keyring, a program.

`fetch` is called when a connection is opened, so that a rotated credential is taken up without a restart. No text
that leaves here holds a credential: not what a program printed, on either stream, nor what a file contains. Which
source a target has is said in `config_sources`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import assert_never

import anyio
import anyio.to_thread

from mcp_gateway.calls import Secret
from mcp_gateway.config_sources import CommandSource, EnvSource, FileSource, KeyringEntry, KeyringSource
from mcp_gateway.errors import CredentialError
from mcp_gateway.trusted_files import UntrustedFileError, read_trusted

Source = EnvSource | FileSource | KeyringSource | CommandSource

MAX_CREDENTIAL_BYTES = 64 * 1024
COMMAND_SECONDS = 10.0
"""How long a program may take to say a credential."""


async def fetch(source: Source, *, command_seconds: float = COMMAND_SECONDS) -> Secret:
    """The credential that a source gives now; never an empty one.

    Raises:
        CredentialError: it gives none. The text names the source and why, never a value.
    """
    match source:
        case EnvSource():
            value = _from_environment(source, os.environ)
        case FileSource():
            value = await anyio.to_thread.run_sync(_from_file, source)
        case KeyringSource():
            value = await anyio.to_thread.run_sync(_from_keyring, source, abandon_on_cancel=True)
        case CommandSource():
            value = await _from_command(source, seconds=command_seconds)
        case _:
            assert_never(source)
    if not value:
        raise CredentialError(f"{source} is empty")
    if b"\0" in value:
        raise CredentialError(f"{source} holds a NUL, which no credential does")
    return Secret(value)


def _from_environment(source: EnvSource, environ: Mapping[str, str]) -> bytes:
    value = environ.get(source.env)
    if value is None:
        raise CredentialError(f"{source} is not set")
    return os.fsencode(value)


def _from_file(source: FileSource) -> bytes:
    try:
        content = read_trusted(Path(source.file), max_bytes=MAX_CREDENTIAL_BYTES, private=True)
    except UntrustedFileError as error:
        raise CredentialError(f"{source} cannot be used: {error}") from None
    return _without_newline(content)


def _from_keyring(source: KeyringSource) -> bytes:
    problem = keyring_problem()
    if problem is not None:
        raise CredentialError(f"{source} cannot be used: {problem}")
    import keyring
    import keyring.errors

    entry: KeyringEntry = source.keyring
    try:
        value = keyring.get_password(entry.service, entry.username)
    except (keyring.errors.KeyringError, OSError, RuntimeError) as error:
        raise CredentialError(f"{source} cannot be used: {type(error).__name__}") from None
    if value is None:
        raise CredentialError(f"{source} does not exist")
    return str(value).encode()


def keyring_problem() -> str | None:
    """Why no entry of a keyring can be read here, and what to do; None where there is a keyring."""
    try:
        import keyring
        from keyring.backends.fail import Keyring as NoKeyring
    except ImportError:
        return "the extra is not installed; run pip install 'mcp-infra-gateway[keyring]'"
    if isinstance(keyring.get_keyring(), NoKeyring):
        return "there is no keyring for this user here; name a file or a command in its place"
    return None


async def _from_command(source: CommandSource, *, seconds: float) -> bytes:
    """Run the program without a shell, input or environment, and take what it prints.

    It gets a process group of its own, so that what it starts ends with it. Its pipe is its own, too: started by uvloop, it
    would hand a copy on to whatever it starts, and an agent that it leaves running would hold its output open.
    """

    def start() -> Popen[bytes]:
        return Popen(  # noqa: S603 - the program of the configuration, without a shell
            source.command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, env={}, cwd="/", start_new_session=True
        )

    try:
        with anyio.fail_after(seconds):
            # A cancellation between the fork and the return would lose the process group, so it waits until then.
            with anyio.CancelScope(shield=True):
                process = await anyio.to_thread.run_sync(start)
            async with _ended(process):
                output = await _read_all(process, source=source)
                status = await anyio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
    except TimeoutError:
        raise CredentialError(f"{source} did not end within {seconds:g} s") from None
    except OSError as error:
        raise CredentialError(f"{source} cannot be started: {error.strerror}") from None
    if status != 0:
        how = f"with status {status}" if status > 0 else f"by signal {-status}"
        raise CredentialError(f"{source} ended {how}; run it by hand to see why")
    return _without_newline(output)


async def _read_all(process: Popen[bytes], *, source: CommandSource) -> bytes:
    assert process.stdout is not None  # noqa: S101 - PIPE makes one
    output, descriptor = bytearray(), process.stdout.fileno()
    while True:
        await anyio.wait_readable(descriptor)
        chunk = os.read(descriptor, MAX_CREDENTIAL_BYTES)
        if not chunk:
            return bytes(output)
        output += chunk
        if len(output) > MAX_CREDENTIAL_BYTES:
            raise CredentialError(f"{source} printed more than {MAX_CREDENTIAL_BYTES:,} bytes")


@asynccontextmanager
async def _ended(process: Popen[bytes]) -> AsyncIterator[None]:
    """See to it that a process is gone after the block, and after a block that failed all that it started."""
    try:
        yield
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        assert process.stdout is not None  # noqa: S101 - PIPE makes one
        process.stdout.close()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(process.wait)


def _without_newline(content: bytes) -> bytes:
    """Editors and `echo` end a file with a newline that is not part of the credential."""
    return content.removesuffix(b"\n").removesuffix(b"\r")
