"""`python -I -m mcp_gateway`: the command without its script. Without `-I` the current directory comes first on the path."""

from mcp_gateway.cli.main import main

main()
