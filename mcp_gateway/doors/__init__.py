"""Ways in: MCP over stdio and HTTP."""
