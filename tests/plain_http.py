"""HTTP clients of servers on this machine, without TLS and without a look at the environment.

A client that may have to do with TLS reads the system's certificates when it is made, which takes longer than most calls.
"""

from __future__ import annotations

import ssl
from typing import Any

import httpx2

TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def plain_client(**more: Any) -> httpx2.AsyncClient:
    """A client; `more` as `httpx2.AsyncClient` has it."""
    return httpx2.AsyncClient(verify=TRUSTS_NOBODY, trust_env=False, **more)
