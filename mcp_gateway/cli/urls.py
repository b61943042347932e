"""The URL of a running gateway, as somebody gives it on the command line."""

from __future__ import annotations

from urllib.parse import urlsplit

from mcp_gateway.config_places import parse_gateway_url
from mcp_gateway.errors import ConfigError, Problem

ENDPOINTS = ("/mcp", "/sse")
"""Where agents come in. `serve` prints the first, so it is what people have at hand."""


def gateway_url(given: str) -> str:
    """The URL without its last slash and without an endpoint. Raises `ConfigError`: tokens go to no other URL than these."""
    try:
        url = parse_gateway_url(given)
    except ValueError as error:
        raise ConfigError([Problem(path="--url", message=str(error))]) from None
    path = urlsplit(url).path
    endpoint = next((one for one in ENDPOINTS if path.endswith(one)), "")
    return url.removesuffix(endpoint).rstrip("/")
