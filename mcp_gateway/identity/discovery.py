"""Where an issuer publishes its keys: which URLs are accepted, where the metadata lies, what it must say. Pure.

OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3. `keys` does the fetching. Only the metadata of the
configured issuer is ever read; no URL from a token is.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from mcp_gateway.identity.encoding import Malformed, parse_object

_URL = re.compile(r"[A-Za-z0-9\-._~:/?\[\]!$&'()*+,;=%]{1,2048}")
"""RFC 3986 without userinfo's `@` and without a fragment: two readers of a URL disagree about little else."""


def check_issuer_url(url: str) -> None:
    """An issuer is `https`, or `http` on loopback, and has neither query nor fragment (Discovery section 3).

    Raises:
        ValueError: it is not.
    """
    _check_url(url)
    if "?" in url:
        raise ValueError(f"issuer {url!r} has a query")


def metadata_urls(issuer: str) -> tuple[str, str]:
    """Where the metadata may lie: OpenID Connect appends its path to the issuer, RFC 8414 puts it before the path."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    origin = f"{parts.scheme}://{parts.netloc}"
    return (
        f"{origin}{path}/.well-known/openid-configuration",
        f"{origin}/.well-known/oauth-authorization-server{path}",
    )


def read_metadata(document: bytes, *, issuer: str) -> str:
    """Read the metadata: the URL of the issuer's keys.

    1. It names exactly the issuer that was asked (Discovery section 4.3): nobody answers for another.
    2. The keys lie behind `https`; for an issuer on loopback, loopback will do.

    Raises:
        Malformed: it is not so.
    """
    metadata = parse_object(document)
    # 1.
    if metadata.get("issuer") != issuer:
        raise Malformed(f"is of another issuer, expected {issuer!r}")
    # 2.
    url = metadata.get("jwks_uri")
    if not isinstance(url, str):
        raise Malformed("has no 'jwks_uri'")
    try:
        _check_url(url)
    except ValueError:
        raise Malformed("has a 'jwks_uri' that is neither https nor http on loopback") from None
    if issuer.startswith("https:") and not url.startswith("https:"):
        raise Malformed("has a 'jwks_uri' that is not https")
    return url


def _check_url(url: str) -> None:
    parts = urlsplit(url) if _URL.fullmatch(url) else None
    if parts is None or not parts.hostname:
        raise ValueError(f"{url!r} is no URL of an issuer")
    if not url.startswith(("https://", "http://")) or (parts.scheme == "http" and not _is_loopback(parts.hostname)):
        raise ValueError(f"{url!r} is neither https nor http on loopback")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
