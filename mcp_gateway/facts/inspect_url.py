"""The `inspect url` object: what `facts.http` makes of one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.addresses import allowed
from mcp_gateway.facts.http import RequestRefusedError, resolve


def inspect_url(
    *,
    base_url: str,
    path: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    addresses: Sequence[str] | None = None,
) -> JSONObject:
    """`allowed`, `url`, `reason`. `addresses` are those that the host would resolve to; each has to be allowed."""
    try:
        resolved = resolve(base_url, path, method=method, headers=headers)
    except RequestRefusedError as error:
        return {"allowed": False, "url": None, "reason": str(error)}
    for address in _addresses(resolved.host) if addresses is None else addresses:
        if not allowed(address):
            return {"allowed": False, "url": resolved.url, "reason": f"the address {address!r} is not a public one"}
    return {"allowed": True, "url": resolved.url, "reason": ""}


def _addresses(host: str) -> Sequence[str]:
    """What is known of a host without asking anybody."""
    if host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost"):
        return ["127.0.0.1"]
    return [host] if ":" in host or host.replace(".", "").isdigit() else []
