"""Which network addresses a request may go to. Pure.

`ipaddress.is_global` misses 192.0.0.192 and every IPv4 address inside an IPv6 one, so this is a table of its own,
after the IANA special-purpose registries (RFC 6890) and what cloud providers use for metadata.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

NEVER: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "169.254.0.0/16",  # link-local, and the metadata address of most clouds
        "100.100.100.200/32",  # metadata (Alibaba)
        "192.0.0.192/32",  # metadata (Oracle)
        "168.63.129.16/32",  # metadata (Azure)
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/128",
        "fe80::/10",
        "fd00:ec2::/32",  # metadata (AWS)
        "fd20:ce::254/128",  # metadata (Google)
        "ff00::/8",
    )
)
"""Refused whatever a target's `networks` say."""

NOT_PUBLIC: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
        "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24",
    )
)  # fmt: skip
"""Refused unless a target's `networks` name them."""

LOCAL_TRANSLATION = IPv6Network("64:ff9b:1::/48")
"""For NAT64 of a network's own (RFC 8215), with IPv4 addresses where that network has them."""

PUBLIC_IPV6 = IPv6Network("2000::/3")
NOT_PUBLIC_IPV6: tuple[IPv6Network, ...] = tuple(
    IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20", "5f00::/16")
)
CARRIERS: tuple[IPv6Network, ...] = tuple(
    IPv6Network(text)
    for text in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "2001::/32", "2002::/16")
)
"""Networks whose addresses are ways to IPv4 addresses, and nothing else."""


def allowed(address: str, *, networks: Sequence[Network] = (), public: bool = True) -> bool:
    """Whether a connection to this address is allowed; text that is no plain address is not. `public` says whether public
    addresses are that are in none of the `networks`.

    An IPv4 address inside an IPv6 one (mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP) has to be allowed as
    well. It stands for the whole only where nothing but a way to it has such an address: anybody can give an interface the
    last 64 bits of ISATAP, in any network.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.scope_id is not None:
        return False
    inner = list(_inside(parsed))
    if any(_within(item, NEVER) for item in (parsed, *inner)):
        return False
    if not all(_within(item, networks) or (public and _is_public(item)) for item in inner):
        return False
    return (bool(inner) and _within(parsed, CARRIERS)) or _within(parsed, networks) or (public and _is_public(parsed))


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not _within(address, NOT_PUBLIC)
    return address in PUBLIC_IPV6 and not _within(address, NOT_PUBLIC_IPV6)


def _inside(address: Address) -> Iterable[IPv4Address]:
    """Every IPv4 address that an IPv6 address carries to somebody who unwraps it."""
    if isinstance(address, IPv4Address):
        return
    number = int(address)
    low = IPv4Address(number & 0xFFFFFFFF)
    if number >> 32 in (0, 0xFFFF, 0xFFFF0000) and number > 1:
        yield low  # compatible ::/96, mapped ::ffff:0:0/96, translated ::ffff:0:0:0/96
    if address in IPv6Network("64:ff9b::/96") or address in LOCAL_TRANSLATION:
        yield low
    if address in LOCAL_TRANSLATION:
        own = IPv4Address((number >> 48 & 0xFFFF0000) | (number >> 40 & 0xFFFF))  # RFC 6052 section 2.2, for 48 bits
        if 0 < own.packed[0] < 224:  # otherwise the number of a subnet, with the address at the end
            yield own
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if (number >> 32) & 0xFFFFFFFF in (0x00005EFE, 0x02005EFE):
        yield low  # ISATAP (RFC 5214)


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
