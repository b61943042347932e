"""How the configuration says where something is: hosts, addresses to listen on, networks and URLs. Pure.

Of the readers of `config_values`, and by their rules: what was got is said only where that cannot be a secret.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import SplitResult, urlsplit

from mcp_gateway.config_values import parse_absolute_path, shortened, string_of

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252})", re.ASCII)
_NUMERIC_HOST = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?", re.ASCII)
_DOT_SEGMENT = re.compile(r"(?:\.|%2e){1,2}", re.IGNORECASE)
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HIDDEN_SEPARATOR = re.compile(r"%2f|%5c|%00", re.IGNORECASE)

LINK_LOCAL = tuple(ipaddress.ip_network(text) for text in ("169.254.0.0/16", "fe80::/10"))
METADATA = tuple(
    ipaddress.ip_network(text)
    for text in ("169.254.169.254/32", "100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32", "fd00:ec2::/32")
)
"""Where clouds serve credentials to whoever asks from inside; the last is Amazon's, inside a private range."""


def parse_host(value: Any) -> str:
    """A host name or an address."""
    name = string_of(value)
    if not _is_host(name):
        raise ValueError(f"expected a host name or an address, without scheme, port or path{_got(name)}")
    return name


def parse_host_or_socket(value: Any) -> str:
    """A host name, an address, or the absolute path of the folder with a server's socket."""
    if isinstance(value, str) and value.startswith("/"):
        return str(parse_absolute_path(value))
    return parse_host(value)


def parse_listen(value: Any) -> str:
    """`address:port`, where the address is an IP address or `localhost`; port 0 lets the system choose."""
    given = string_of(value)
    name, colon, port = given.rpartition(":")
    bare = name.removeprefix("[").removesuffix("]") if name.startswith("[") else name
    known = bare == "localhost" or (_address(bare) is not None and (":" in bare) == name.startswith("["))
    if not colon or not known or not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or int(port) > 65535:
        example = "'127.0.0.1:8765', '[::1]:8765' or '0.0.0.0:8765'"
        raise ValueError(f"expected address:port, such as {example}{_got(given)}")
    return f"{name}:{int(port)}"


def split_listen(value: str) -> tuple[str, int]:
    """The address, without brackets, and the port of what `parse_listen` has read."""
    name, _, port = value.rpartition(":")
    return name.removeprefix("[").removesuffix("]"), int(port)


def parse_gateway_url(value: Any) -> str:
    """The URL of a running gateway, without its last slash: tokens go there, so it is https or on this machine."""
    parts = _split_url(string_of(value))
    if parts is None or parts.query:
        example = "'https://gateway.example.com'"
        raise ValueError(f"expected a URL such as {example}, without user, query or fragment{_got(value)}")
    _check_secure(parts, "a gateway's URL")
    return parts.geturl().rstrip("/")


def is_loopback(name: str) -> bool:
    """Whether a host is this machine for certain: `localhost` or a loopback address."""
    address = _address(name)
    return name.lower() == "localhost" if address is None else address.is_loopback


def parse_issuer(value: Any) -> str:
    """`local`, or an issuer's URL exactly as its tokens have it."""
    name = string_of(value)
    if name != "local":
        parts = _split_url(name)
        if parts is None or parts.query:
            raise ValueError(f"expected 'local' or the https URL of an OpenID provider, without query{_got(name)}")
        _check_secure(parts, "an issuer's URL")
    return name


def parse_decision_url(value: Any) -> str:
    """The URL of a decision in an external decision point."""
    name = string_of(value)
    parts = _split_url(name)
    if parts is None or parts.path in {"", "/"}:
        raise ValueError("expected the URL of a decision, such as 'https://opa.internal/v1/data/gateway/decision'")
    _check_secure(parts, "a decision point's URL")
    return name


def parse_origin(value: Any) -> str:
    """An origin as browsers send it (RFC 6454 section 7): scheme, host, port."""
    name = string_of(value)
    parts = _split_url(name)
    if parts is None or parts.path or parts.query or name != name.lower():
        example = "'https://console.example.com'"
        raise ValueError(f"expected an origin such as {example}, in lower case, without path{_got(name)}")
    _check_secure(parts, "an origin")
    return name


def parse_public_url(value: Any) -> str:
    """The URL under which clients reach the gateway, without a path."""
    name = string_of(value)
    parts = _split_url(name)
    if parts is None or parts.path not in {"", "/"} or parts.query:
        raise ValueError(f"expected a URL such as 'https://gateway.example.com', without path or query{_got(name)}")
    _check_secure(parts, "public_url")
    return name.removesuffix("/")


def parse_base_url(value: Any) -> str:
    """The URL below which all requests to a target stay. Whether `http` is allowed depends on `networks`."""
    name = string_of(value)
    parts = _split_url(name)
    if parts is None or parts.query or "?" in name:
        raise ValueError("expected a URL such as 'https://billing.internal/v1', without user, query or fragment")
    segments = parts.path.split("/")
    if any(_DOT_SEGMENT.fullmatch(segment) for segment in segments) or "" in segments[1:-1]:
        raise ValueError("expected a path without '.', '..' and empty segments")
    if _BROKEN_ESCAPE.search(parts.path) or _HIDDEN_SEPARATOR.search(parts.path):
        raise ValueError("expected a path without encoded slashes, backslashes, NULs and broken escapes")
    return name.rstrip("/")


def parse_path_below(value: Any) -> str:
    """A path below a base URL, in the one form in which it is sent."""
    from mcp_gateway.facts.http import RequestRefusedError, resolve

    path = string_of(value)
    try:
        normal = resolve("https://host", path).path
    except RequestRefusedError as error:
        raise ValueError(f"expected a path such as '/graphql': {error}") from None
    if not path.startswith("/") or path != normal or path == "/":
        raise ValueError(f"expected a path such as '/graphql', in its normal form and not '/', got {shortened(path)}")
    return path


def url_host(url: str) -> str:
    """The host of a URL that one of these readers has read, without brackets."""
    return urlsplit(url).hostname or ""


def parse_network(value: Any) -> Network:
    """A range of addresses that a target's name may resolve to, beside public ones."""
    if isinstance(value, Network):
        found = value
    else:
        try:
            found = ipaddress.ip_network(string_of(value))
        except ValueError:
            raise ValueError(
                f"expected a range such as '10.0.0.0/8', without host bits, got {shortened(value)}"
            ) from None
    if any(found.version == taboo.version and found.overlaps(taboo) for taboo in LINK_LOCAL):
        raise ValueError(f"the range {str(found)!r} holds link-local addresses, which are never allowed")
    if any(found.version == taboo.version and found.subnet_of(taboo) for taboo in METADATA):  # type: ignore[arg-type]
        raise ValueError(f"the range {str(found)!r} belongs to a cloud's metadata service, which is never allowed")
    if found.is_multicast or found.prefixlen == 0:
        raise ValueError(f"the range {str(found)!r} is not one of a private network")
    return found


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name) if "%" not in name else None
    except ValueError:
        return None


def _split_url(url: str) -> SplitResult | None:
    """The parts of an http(s) URL of plain ASCII with a host, without user and fragment; None for all else."""
    if not re.fullmatch(r"[!-~]{1,2000}", url, re.ASCII) or set('\\"<>^`{|}#@') & set(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    name = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or port == 0 or parts.netloc.endswith(":"):
        return None
    return parts if _is_host(name) else None


def _is_host(name: str) -> bool:
    """Resolvers read `127.1` and `0x7f000001` as addresses, so only whole addresses may look like one."""
    return _address(name) is not None or bool(_HOST.fullmatch(name) and not _NUMERIC_HOST.fullmatch(name))


def _check_secure(parts: SplitResult, what: str) -> None:
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError(f"{what} is https, or http on loopback{got_origin(parts)}")


def got_origin(parts: SplitResult) -> str:
    """Scheme, host and port of a URL that was given; never a user, and never a path, which may hold a key."""
    place = parts.netloc.rpartition("@")[2]
    return f", got {shortened(f'{parts.scheme}://{place}')}"


def _got(text: str) -> str:
    """What stands where a place should; nothing of what may hold a password or a key."""
    return "" if set("@?") & set(text) or not text.isprintable() else f", got {shortened(text)}"
