"""Credentials come from their source or not at all, and no text about one holds it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

from mcp_gateway.config_sources import (
    CommandSource,
    EnvSource,
    FileSource,
    KeyringEntry,
    KeyringSource,
)
from mcp_gateway.credentials.sources import MAX_CREDENTIAL_BYTES, Source, fetch
from mcp_gateway.errors import CredentialError
from tests.private import write_private

CANARY = "canary-9f27c1d0"


def fetched(source: Source) -> bytes:
    async def run() -> bytes:
        return (await fetch(source)).reveal()

    return anyio.run(run, backend_options={"use_uvloop": True})


def refusal(source: Source) -> str:
    with pytest.raises(CredentialError) as caught:
        fetched(source)
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value.args)
    return str(caught.value)


def shell(script: str) -> CommandSource:
    return CommandSource(command=("/bin/sh", "-c", script))


# The environment.


def test_a_variable_gives_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_PASSWORD", CANARY)

    assert fetched(EnvSource(env="ORDERS_PASSWORD")) == CANARY.encode()


def test_a_variable_that_is_not_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORDERS_PASSWORD", raising=False)

    assert refusal(EnvSource(env="ORDERS_PASSWORD")) == "the environment variable ORDERS_PASSWORD is not set"


def test_an_empty_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_PASSWORD", "")

    assert refusal(EnvSource(env="ORDERS_PASSWORD")) == "the environment variable ORDERS_PASSWORD is empty"


# Files.


@pytest.mark.parametrize(
    ("content", "credential"),
    [
        ("secret", b"secret"),
        ("secret\n", b"secret"),
        ("secret\r\n", b"secret"),
        ("secret\n\n", b"secret\n"),
        (" secret ", b" secret "),
        (b"\xff\xfe", b"\xff\xfe"),
    ],
)
def test_one_trailing_newline_is_not_part_of_a_credential(
    tmp_path: Path, content: str | bytes, credential: bytes
) -> None:
    assert fetched(FileSource(file=write_private(tmp_path / "password", content))) == credential


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o666])
def test_a_credential_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = write_private(tmp_path / "password", CANARY)
    path.chmod(mode)

    assert f"it has mode {mode:04o}, so that others can" in refusal(FileSource(file=path))


def test_a_credential_that_others_can_read_says_what_to_do(tmp_path: Path) -> None:
    path = write_private(tmp_path / "password", CANARY)
    path.chmod(0o644)

    assert refusal(FileSource(file=path)) == (
        f"the file {str(path)!r} cannot be used: it has mode 0644, so that others can read it; run chmod go= on it"
    )


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "password"

    assert refusal(FileSource(file=path)) == f"the file {str(path)!r} cannot be used: there is no such file"


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = write_private(tmp_path / "password", "\n")

    assert refusal(FileSource(file=path)) == f"the file {str(path)!r} is empty"


def test_a_file_that_is_far_too_large_is_refused(tmp_path: Path) -> None:
    path = write_private(tmp_path / "password", CANARY * MAX_CREDENTIAL_BYTES)

    assert refusal(FileSource(file=path)).endswith("expected at most 65,536 bytes, got more")


def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "password"
    os.mkfifo(path, 0o600)

    assert refusal(FileSource(file=path)).endswith("expected a regular file")


def test_a_credential_with_a_nul_is_refused(tmp_path: Path) -> None:
    path = write_private(tmp_path / "password", f"{CANARY}\0tail")

    assert refusal(FileSource(file=path)).endswith("holds a NUL, which no credential does")


# Programs.


def test_a_program_gives_what_it_prints() -> None:
    assert fetched(shell("echo secret")) == b"secret"


def test_a_program_runs_in_an_empty_environment_and_at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_GATEWAY_CANARY", CANARY)

    assert fetched(shell('echo "[$MCP_GATEWAY_CANARY][$HOME]$(pwd)"')) == b"[][]/"


def test_no_shell_reads_the_arguments() -> None:
    assert fetched(CommandSource(command=("/bin/echo", "$(id);", "*"))) == b"$(id); *"


def test_a_program_has_no_input() -> None:
    assert fetched(shell("cat; echo done")) == b"done"


def test_a_program_that_fails_is_refused_without_what_it_printed() -> None:
    source = shell(f"echo {CANARY}; echo {CANARY} >&2; exit 3")

    assert refusal(source) == "the command '/bin/sh' ended with status 3; run it by hand to see why"


def test_a_program_that_is_killed_is_refused() -> None:
    assert refusal(shell("kill -9 $$")) == "the command '/bin/sh' ended by signal 9; run it by hand to see why"


def test_a_program_that_prints_nothing_is_refused() -> None:
    assert refusal(shell("true")) == "the command '/bin/sh' is empty"


def test_a_program_that_prints_without_end_is_ended() -> None:
    assert refusal(CommandSource(command=("/usr/bin/yes", CANARY))) == (
        "the command '/usr/bin/yes' printed more than 65,536 bytes"
    )


def test_a_program_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    program = str(tmp_path / "no-such-program")

    assert refusal(CommandSource(command=(program,))) == (
        f"the command {program!r} cannot be started: No such file or directory"
    )


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """A FIFO that a child holds open: it reads as ended only when every such child is gone."""
    path = tmp_path / "alive"
    os.mkfifo(path)
    yield path


def lives_until_the_last_writer(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)


async def wait_for_end(descriptor: int) -> None:
    """Until the FIFO ends: every process that held it open for writing is gone."""
    with anyio.fail_after(20):
        while True:
            await anyio.wait_readable(descriptor)
            try:
                if not os.read(descriptor, 100):
                    return
            except BlockingIOError:
                continue


def test_a_program_that_hangs_is_ended_with_all_that_it_started(marker: Path) -> None:
    reading = lives_until_the_last_writer(marker)
    source = shell(f"exec 3>{marker}; echo up >&3; sleep 300 & sleep 300; echo {CANARY}")

    async def run() -> None:
        with pytest.raises(CredentialError, match=r"did not end within 0\.5 s"):
            await fetch(source, command_seconds=0.5)
        await wait_for_end(reading)

    anyio.run(run, backend_options={"use_uvloop": True})
    os.close(reading)


def test_a_program_may_leave_an_agent_running_that_says_nothing(marker: Path) -> None:
    reading = lives_until_the_last_writer(marker)
    source = shell(f"exec 3>{marker}; echo $$ >&3; (exec </dev/null >/dev/null; sleep 300) & echo {CANARY}")

    assert fetched(source) == CANARY.encode()

    group = int(os.read(reading, 100))
    os.killpg(group, signal.SIGKILL)
    os.close(reading)


def test_a_program_is_ended_when_the_call_is_cancelled(marker: Path) -> None:
    reading = lives_until_the_last_writer(marker)
    source = shell(f"exec 3>{marker}; echo up >&3; sleep 300 & sleep 300")

    async def run() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(fetch, source)
            with anyio.fail_after(20):
                await anyio.wait_readable(reading)
            assert os.read(reading, 3) == b"up\n"
            group.cancel_scope.cancel()
        await wait_for_end(reading)

    anyio.run(run, backend_options={"use_uvloop": True})
    os.close(reading)


# The keyring.

ENTRY = KeyringSource(keyring=KeyringEntry(service="mcp-gateway", username="orders"))


@pytest.fixture
def backend() -> Iterator[dict[tuple[str, str], str]]:
    """A real keyring whose backend lives in memory."""
    keyring: Any = pytest.importorskip("keyring")
    from keyring.backend import KeyringBackend
    from keyring.errors import KeyringLocked

    entries: dict[tuple[str, str], str] = {}

    class InMemory(KeyringBackend):  # type: ignore[misc,unused-ignore]
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            if username == "locked":
                raise KeyringLocked(CANARY)
            return entries.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            entries[service, username] = password

    before = keyring.get_keyring()
    keyring.set_keyring(InMemory())
    yield entries
    keyring.set_keyring(before)


def test_a_keyring_entry_gives_its_value(backend: dict[tuple[str, str], str]) -> None:
    backend["mcp-gateway", "orders"] = CANARY

    assert fetched(ENTRY) == CANARY.encode()


def test_a_keyring_entry_that_does_not_exist_is_refused(backend: dict[tuple[str, str], str]) -> None:
    assert refusal(ENTRY) == "the keyring entry of 'orders' for 'mcp-gateway' does not exist"


def test_a_locked_keyring_is_refused(backend: dict[tuple[str, str], str]) -> None:
    source = KeyringSource(keyring=KeyringEntry(service="mcp-gateway", username="locked"))

    assert refusal(source) == "the keyring entry of 'locked' for 'mcp-gateway' cannot be used: KeyringLocked"


def test_a_keyring_without_the_extra_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    absent: dict[str, ModuleType | None] = {"keyring": None, "keyring.errors": None}
    for name, module in absent.items():
        monkeypatch.setitem(sys.modules, name, module)

    assert refusal(ENTRY) == (
        "the keyring entry of 'orders' for 'mcp-gateway' cannot be used: the extra is not installed; "
        "run pip install 'mcp-infra-gateway[keyring]'"
    )


def test_a_user_without_a_keyring_is_told_what_to_do(backend: dict[tuple[str, str], str]) -> None:
    keyring: Any = pytest.importorskip("keyring")
    from keyring.backends.fail import Keyring

    keyring.set_keyring(Keyring())

    assert refusal(ENTRY) == (
        "the keyring entry of 'orders' for 'mcp-gateway' cannot be used: there is no keyring for this user here; "
        "name a file or a command in its place"
    )


def test_what_is_fetched_cannot_be_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_PASSWORD", CANARY)

    secret = anyio.run(fetch, EnvSource(env="ORDERS_PASSWORD"))

    assert f"{secret} {secret!r} {secret!s}" == "<secret> <secret> <secret>"
