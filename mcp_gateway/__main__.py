"""`python -I -m mcp_gateway`: what the script `mcp-gateway` starts."""

import sys

# Without `-I` the current directory comes first on the path, and MCP hosts start servers in the agent's workspace: a
# file asyncpg.py there would run inside the gateway. Nor would PYTHON* variables be without effect.
if not sys.flags.isolated:
    sys.stderr.write("mcp-gateway: run the script mcp-gateway, or python -I -m mcp_gateway\n")
    sys.exit(2)

from mcp_gateway.surroundings import forget_surroundings

forget_surroundings()  # before anything is imported that looks at them

from mcp_gateway.cli.main import main  # noqa: E402

main()
