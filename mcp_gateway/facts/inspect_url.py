"""The `inspect url` object: what `facts.http` makes of one request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mcp_gateway.calls import HTTPFacts, JSONObject
from mcp_gateway.facts.addresses import allowed
from mcp_gateway.facts.http import RequestRefusedError, resolve
from mcp_gateway.facts.http_bodies import check_body, encode_body
from mcp_gateway.facts.requests import PLAIN, Interface, examine_request

NO_FACTS = dict.fromkeys(HTTPFacts(method="", host="", path="").to_json())
"""Of what is no request."""


def inspect_url(
    *,
    base_url: str,
    path: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    addresses: Sequence[str] | None = None,
    json_value: Any = None,
    body: str | None = None,
    interface: Interface = PLAIN,
) -> JSONObject:
    """`allowed`, `url`, `reason` and, as soon as there is a request, its facts. `addresses` are those that the host would resolve to; each has to be allowed.

    A query or fragment of `base_url` is no part of what a reference is resolved against (RFC 3986 section 5.2.2) and is
    left out; in the configuration there can be none.
    """
    try:
        whole, sent = encode_body(headers or {}, json_value=json_value, text=body)
        resolved = resolve(re.split("[?#]", base_url, maxsplit=1)[0], path, method=method, headers=whole)
        if sent is not None:
            check_body(sent, content_type=resolved.content_type)
    except RequestRefusedError as error:
        return {"allowed": False, "url": None, "reason": str(error)} | NO_FACTS
    facts = examine_request(resolved, sent, interface=interface).to_json()
    for address in _addresses(resolved.host) if addresses is None else addresses:
        if not allowed(address):
            return {
                "allowed": False,
                "url": resolved.url,
                "reason": f"the address {address!r} is not a public one",
            } | facts
    return {"allowed": True, "url": resolved.url, "reason": ""} | facts


def _addresses(host: str) -> Sequence[str]:
    """What is known of a host without asking anybody."""
    if host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost"):
        return ["127.0.0.1"]
    return [host] if ":" in host or host.replace(".", "").isdigit() else []
