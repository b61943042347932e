"""A tool may demand a scope."""

from __future__ import annotations

import pytest

from mcp_gateway.errors import IdentityError
from mcp_gateway.identity.rules import IdentityPolicy, check_scope
from tests.identity.forging import AUDIENCE, ISSUER, good, verifier

POLICY = IdentityPolicy(issuer=ISSUER, audience=AUDIENCE, scopes={"query_database": "db", "call_api": "api"})

pytestmark = pytest.mark.anyio


def test_a_tool_demands_the_configured_scope() -> None:
    assert POLICY.required_scope("query_database") == "db"
    assert POLICY.required_scope("run_ssh_command") is None


async def test_a_token_with_the_scope_may_use_the_tool() -> None:
    caller = await verifier(POLICY).verify(good())

    check_scope(caller, tool="query_database", policy=POLICY)
    check_scope(caller, tool="run_ssh_command", policy=POLICY)


async def test_a_token_without_the_scope_may_not() -> None:
    caller = await verifier(POLICY).verify(good(scope="db apis API"))

    with pytest.raises(IdentityError) as refused:
        check_scope(caller, tool="call_api", policy=POLICY)

    assert (refused.value.code, refused.value.scope) == ("insufficient_scope", "api")
    assert str(refused.value) == "the tool 'call_api' demands the scope 'api'"
