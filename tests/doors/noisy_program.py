"""A stdio door with a tool that prints wherever it can: `python -m tests.doors.noisy_program FOLDER`."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import anyio
from mcp_gateway_tools.call_api import CallAPI

from mcp_gateway.calls import Secret
from mcp_gateway.clock import new_id, utc_now
from mcp_gateway.doors.stdio import StdioParts, serve_stdio
from mcp_gateway.identity.local import LocalPerson, open_local_issuer
from mcp_gateway.identity.sources import LocalTokenSource
from tests.roads import laid

NOISE = "noise"
POLICY = '@id("all") permit (principal, action in [Action::"call_api", Action::"call_noisily"], resource);'
ME = {"me": LocalPerson(groups=frozenset({"dev"}))}


class Noisy(CallAPI):
    """The tool for APIs, as a careless library would have it."""

    name: ClassVar[str] = "call_noisily"

    async def execute(self, *arguments: Any, **more: Any) -> Any:
        """Print in every way that there is."""
        print(NOISE, flush=True)
        sys.stdout.write(f"{NOISE}\n")
        sys.stdout.buffer.write(f"{NOISE}\n".encode())
        sys.stdout.flush()
        os.write(1, f"{NOISE}\n".encode())
        warnings.warn(NOISE, stacklevel=1)
        logging.getLogger("noisy").error(NOISE)
        logging.basicConfig(stream=sys.stdout, force=True)
        logging.getLogger("noisy").error(NOISE)
        sys.__stdout__.write(f"{NOISE}\n")  # type: ignore[union-attr]  # it is there
        subprocess.run(["/bin/sh", "-c", f"echo {NOISE}; echo {NOISE} >&2; cat"], check=True)
        return await super().execute(*arguments, **more)


async def main() -> None:
    folder = Path(sys.argv[1])
    async with laid(folder, policies=POLICY, tools=[Noisy()]) as bench:
        issuer = open_local_issuer(folder / "data", audience="x", clock=utc_now, new_id=new_id, people=ME)
        source = LocalTokenSource(issuer, client_id="agent", clock=utc_now)
        await serve_stdio(
            StdioParts(
                road=bench.road,
                registry=bench.registry,
                name="test",
                verifier=issuer.verifier(revoked=lambda _: None),
                tokens=lambda: source,
                state_key=Secret(bytes(32)),
                answer_within=timedelta(seconds=50),
                clock=utc_now,
            )
        )


if __name__ == "__main__":
    anyio.run(main, backend_options={"use_uvloop": True})
