"""A stdio door in a process of its own: `python -m tests.doors.stdio_program FOLDER TYPE,...`.

Its token stands in the file `token` of the folder, its issuer's keys in `keys`; its issuer is that of `tests.identity.forging`, and its time is that of those tokens.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import anyio

from mcp_gateway.calls import Secret
from mcp_gateway.doors.stdio import StdioParts, serve_stdio
from mcp_gateway.identity.jwks import read_keys
from mcp_gateway.identity.keys import StaticKeys
from mcp_gateway.identity.rules import IdentityPolicy
from mcp_gateway.identity.sources import FileTokenSource
from tests.doors.token_doors import EVERYBODY
from tests.identity.forging import AUDIENCE, ISSUER, NOW, verifier
from tests.roads import laid


async def main() -> None:
    folder, types = Path(sys.argv[1]), sys.argv[2]
    policy = IdentityPolicy(issuer=ISSUER, audience=AUDIENCE, token_types=tuple(types.split(",")))
    async with laid(folder, policies=EVERYBODY) as bench:
        bench.clock.now = NOW
        await serve_stdio(
            StdioParts(
                road=bench.road,
                registry=bench.registry,
                name="test",
                verifier=verifier(policy, keys=StaticKeys(read_keys((folder / "keys").read_bytes()))),
                tokens=lambda: FileTokenSource(folder / "token"),
                state_key=Secret(bytes(32)),
                answer_within=timedelta(seconds=50),
                clock=lambda: NOW,
            )
        )


if __name__ == "__main__":
    anyio.run(main, backend_options={"use_uvloop": True})
