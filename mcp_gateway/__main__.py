"""`python -I -m mcp_gateway`: the command without its script."""

import sys

# Without `-I` the current directory comes first on the path, and MCP hosts start servers in the agent's workspace: a
# file asyncpg.py there would run inside the gateway.
if not sys.flags.safe_path:
    sys.stderr.write("mcp-gateway: run the script mcp-gateway, or python -I -m mcp_gateway\n")
    sys.exit(2)

from mcp_gateway.cli.main import main

main()
