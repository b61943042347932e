"""What the examples share: where the gateway is, whose token is used, and which call to make.

MCP_GATEWAY_URL         the gateway's MCP endpoint, such as https://gateway.example.com/mcp
MCP_GATEWAY_TOKEN_FILE  a file with an access token of the person whom the agent acts for

The token is read anew for each connection, so whoever refreshes the file keeps the agent signed in.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

WAIT_SECONDS = 60
"""A held call answers after 40 s with `approval_pending`; a client that gives up earlier never hears of it."""


def url() -> str:
    """The endpoint."""
    return os.environ["MCP_GATEWAY_URL"]


def headers() -> dict[str, str]:
    """The authorization that every request carries."""
    token = Path(os.environ["MCP_GATEWAY_TOKEN_FILE"]).read_text(encoding="utf-8").strip()
    return {"Authorization": f"Bearer {token}"}


def asked() -> tuple[str, dict[str, Any]]:
    """The tool and its arguments: from the command line, as a model would choose them."""
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} TOOL ARGUMENTS, such as list_targets '{{}}'")
    return sys.argv[1], json.loads(sys.argv[2])
