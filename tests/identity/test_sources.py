"""A token comes from a file that is ours, read anew for each call, or from the local issuer."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from mcp_gateway.errors import IdentityError
from mcp_gateway.identity.claims import MAX_TOKEN_BYTES
from mcp_gateway.identity.local import LocalIssuer, open_local_issuer
from mcp_gateway.identity.sources import (
    TOKEN_FILE_VARIABLE,
    FileTokenSource,
    LocalTokenSource,
    NoTokenSource,
    token_source,
)
from tests.identity.clock import Clock
from tests.identity.forging import AUDIENCE, good, verifier

pytestmark = pytest.mark.anyio


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def written(content: bytes, *, mode: int = 0o600) -> Path:
        path = tmp_path / "token"
        path.write_bytes(content)
        path.chmod(mode)
        return path

    return written


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def issuer(tmp_path: Path, clock: Clock) -> LocalIssuer:
    tmp_path.chmod(0o700)
    numbers = count(1)
    return open_local_issuer(tmp_path, audience=AUDIENCE, clock=clock, new_id=lambda: f"id-{next(numbers)}")


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
async def test_a_token_file_gives_its_token(write: Callable[..., Path], end: bytes) -> None:
    source = FileTokenSource(write(good().encode() + end))

    assert (await verifier().verify(source.token())).subject == "dana"


def test_a_token_file_is_read_at_every_call(write: Callable[..., Path]) -> None:
    source = FileTokenSource(write(b"first"))
    assert source.token().reveal() == b"first"
    write(b"second")

    assert source.token().reveal() == b"second"


def test_a_token_of_the_greatest_length_fits(write: Callable[..., Path]) -> None:
    assert len(FileTokenSource(write(b"x" * MAX_TOKEN_BYTES + b"\r\n")).token().reveal()) == MAX_TOKEN_BYTES


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is empty"),
        (b"\n", "it is empty"),
        (b"x" * (MAX_TOKEN_BYTES + 3), "expected at most 16,386 bytes, got more"),
    ],
)
def test_a_file_that_holds_no_token_is_refused(write: Callable[..., Path], content: bytes, problem: str) -> None:
    path = write(content)

    with pytest.raises(IdentityError) as refused:
        FileTokenSource(path).token()

    assert str(refused.value) == f"token file {str(path)!r}: {problem}"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o666, 0o602])
def test_a_file_that_others_can_use_is_refused(write: Callable[..., Path], mode: int) -> None:
    with pytest.raises(IdentityError, match="so that others can"):
        FileTokenSource(write(b"token", mode=mode)).token()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_somebody_else_is_refused(write: Callable[..., Path]) -> None:
    path = write(b"token")
    os.chown(path, 65_534, -1)

    with pytest.raises(IdentityError, match="belongs to user 65534"):
        FileTokenSource(path).token()


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="there is no such file"):
        FileTokenSource(tmp_path / "absent").token()


def test_a_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)

    with pytest.raises(IdentityError, match="expected a regular file"):
        FileTokenSource(tmp_path).token()


def test_a_pipe_does_not_hold_a_call_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token", 0o600)

    with pytest.raises(IdentityError, match="expected a regular file"):
        FileTokenSource(tmp_path / "token").token()


def test_a_link_is_followed_as_projected_volumes_need_it(write: Callable[..., Path], tmp_path: Path) -> None:
    write(b"token")
    (tmp_path / "link").symlink_to("token")

    assert FileTokenSource(tmp_path / "link").token().reveal() == b"token"


@pytest.mark.parametrize("path", ["token", "./token", "../token", "~/token"])
def test_a_path_that_depends_on_where_we_run_is_refused(path: str) -> None:
    with pytest.raises(IdentityError, match="MCP_GATEWAY_TOKEN_FILE is no absolute path"):
        token_source({TOKEN_FILE_VARIABLE: path}, local=None)


@pytest.mark.requirement("I5")
def test_a_token_in_place_of_the_path_is_neither_used_nor_shown() -> None:
    token = good()

    with pytest.raises(IdentityError) as refused:
        token_source({TOKEN_FILE_VARIABLE: token}, local=None)

    assert token not in str(refused.value)


def test_no_other_variable_is_looked_at(issuer: LocalIssuer, clock: Clock) -> None:
    environment = {"MCP_GATEWAY_TOKEN": good(), "TOKEN": good(), "MCP_GATEWAY_TOKEN_FILE_": "/x"}

    with pytest.raises(IdentityError, match="no token: MCP_GATEWAY_TOKEN_FILE is not set"):
        token_source(environment, local=None).token()


async def test_a_token_file_goes_before_the_local_issuer(
    write: Callable[..., Path], issuer: LocalIssuer, clock: Clock
) -> None:
    local = LocalTokenSource(issuer, client_id="stdio", clock=clock)
    path = write(b"from the file")

    assert token_source({TOKEN_FILE_VARIABLE: str(path)}, local=local).token().reveal() == b"from the file"
    assert token_source({}, local=local) is local
    assert isinstance(token_source({}, local=None), NoTokenSource)


async def test_the_local_issuers_token_is_new_before_it_is_old(issuer: LocalIssuer, clock: Clock) -> None:
    source = LocalTokenSource(issuer, client_id="stdio", clock=clock)
    check = issuer.verifier(revoked=lambda _caller: None)
    first = source.token()
    assert source.token() is first
    clock.pass_by(seconds=149)
    assert source.token() is first
    clock.pass_by(seconds=1)
    second = source.token()

    assert second is not first
    assert (await check.verify(second)).actor == "stdio"


@pytest.mark.requirement("R16")
async def test_a_clock_that_steps_back_gets_a_new_token(issuer: LocalIssuer, clock: Clock) -> None:
    source = LocalTokenSource(issuer, client_id="stdio", clock=clock)
    source.token()
    clock.pass_by(hours=-1)

    assert (await issuer.verifier(revoked=lambda _caller: None).verify(source.token())).actor == "stdio"
