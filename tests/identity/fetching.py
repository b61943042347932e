"""What comes of keys that cannot be had."""

from __future__ import annotations

import anyio
import pytest

from mcp_gateway.errors import IdentityError
from mcp_gateway.identity.keys import IssuerKeys


async def refused(keys: IssuerKeys) -> str:
    with pytest.raises(IdentityError) as error, anyio.fail_after(10):
        await keys.current()
    assert not keys.status().ready
    return str(error.value).removeprefix("the issuer's keys cannot be had: ")
