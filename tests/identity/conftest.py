"""An issuer, its keys and a clock; tests of other issuers have their own of the same names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mcp_gateway.identity.keys import IssuerKeys
from tests.identity.clock import Clock
from tests.peers.issuer import FakeIssuer


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    with FakeIssuer(path="/realms/corp") as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(issuer: FakeIssuer, clock: Clock) -> IssuerKeys:
    return IssuerKeys(issuer.url, clock=clock)
