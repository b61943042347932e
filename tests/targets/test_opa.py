"""The external decision point is asked within a time, and whatever is odd about its answer denies."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import orjson
import pytest

from mcp_gateway.authorities import trusting_system
from mcp_gateway.calls import Secret
from mcp_gateway.errors import CredentialError
from mcp_gateway.policy.external import Opinion, OpinionError
from mcp_gateway.targets.opa import MAX_ANSWER_BYTES, DecisionPoint
from tests.peers.api import API, answer, running_api

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("I7", "R28")]
DENIES = b'{"result": {"allow": false, "reason": "no"}}'


@asynccontextmanager
async def asked(api: API, **changes: object) -> AsyncIterator[DecisionPoint]:
    options = {"within": timedelta(seconds=5)} | changes
    point = DecisionPoint(f"{api.url}/v1/data/gateway", tls=trusting_system(), **options)  # type: ignore[arg-type]
    try:
        yield point
    finally:
        await point.aclose()


async def test_it_is_sent_the_document_and_its_opinion_taken() -> None:
    async with running_api() as api, asked(api) as point:
        api.answers = [answer(DENIES)]
        assert await point.ask({"call": {"tool": "x"}}) == Opinion(said="deny", reason="no")
    head, _, body = api.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/data/gateway HTTP/1.1")
    assert b"authorization" not in head.lower()
    assert orjson.loads(body) == {"input": {"call": {"tool": "x"}}}


async def test_its_token_is_sent() -> None:
    async def token() -> Secret:
        return Secret(b"of-opa")

    async with running_api() as api, asked(api, token=token) as point:
        api.answers = [answer(DENIES)]
        await point.ask({})
    assert b"authorization: bearer of-opa" in api.requests[0].lower()


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (answer(b'{"result": true}', status="403 Forbidden"), "answered with 403"),
        (answer(b"", status="302 Found", headers="Location: http://127.0.0.1:1/"), "answered with 302"),
        (answer(b"true"), "has no result"),
        (answer(b"{}"), "has no result"),
        (answer(b"<html>"), "is no JSON"),
        (answer(b" " * MAX_ANSWER_BYTES + DENIES), "longer than"),
        (answer(zlib.compress(DENIES), headers="Content-Encoding: deflate"), "is compressed"),
        (answer(b'{"result": true', length=1000), "cannot be asked"),
        (b"nonsense\r\n\r\n", "cannot be asked"),
    ],
)
async def test_an_odd_answer_is_none(reply: bytes, said: str) -> None:
    async with running_api() as api, asked(api) as point:
        api.answers = [reply]
        with pytest.raises(OpinionError, match=said):
            await point.ask({})


async def test_one_that_does_not_answer_is_not_waited_for() -> None:
    async with running_api() as api, asked(api, within=timedelta(milliseconds=200)) as point:
        api.stall = True
        with anyio.fail_after(4), pytest.raises(OpinionError, match=r"did not answer within 0\.2 s"):
            await point.ask({})
        api.stall = False
        api.answers = [answer(DENIES)]
        assert (await point.ask({})).said == "deny"


async def test_one_that_is_away_denies() -> None:
    async with running_api() as api:
        pass
    async with asked(api) as point:
        with pytest.raises(OpinionError, match="cannot be asked: ConnectError"):
            await point.ask({})


async def test_without_its_credential_it_is_not_asked() -> None:
    async def token() -> Secret:
        raise CredentialError("no such file")

    async with running_api() as api, asked(api, token=token) as point:
        with pytest.raises(OpinionError, match="cannot be asked: CredentialError"):
            await point.ask({})
    assert api.requests == []
