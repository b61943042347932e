"""Where metadata lies and what it must say."""

from __future__ import annotations

import pytest

from mcp_gateway.identity.discovery import check_issuer_url, metadata_urls, read_metadata
from mcp_gateway.identity.encoding import Malformed
from tests.peers.issuer import as_json

ISSUER = "https://idp.example.com/realms/corp"


@pytest.mark.parametrize(
    ("issuer", "connect", "oauth"),
    [
        (
            "https://idp.example.com",
            "https://idp.example.com/.well-known/openid-configuration",
            "https://idp.example.com/.well-known/oauth-authorization-server",
        ),
        (
            "https://idp.example.com/",
            "https://idp.example.com/.well-known/openid-configuration",
            "https://idp.example.com/.well-known/oauth-authorization-server",
        ),
        (
            ISSUER,
            "https://idp.example.com/realms/corp/.well-known/openid-configuration",
            "https://idp.example.com/.well-known/oauth-authorization-server/realms/corp",
        ),
        (
            "http://127.0.0.1:8080/a",
            "http://127.0.0.1:8080/a/.well-known/openid-configuration",
            "http://127.0.0.1:8080/.well-known/oauth-authorization-server/a",
        ),
    ],
)
def test_metadata_lies_in_two_places(issuer: str, connect: str, oauth: str) -> None:
    assert metadata_urls(issuer) == (connect, oauth)


@pytest.mark.parametrize(
    "url",
    [
        ISSUER,
        "https://idp.example.com:8443/",
        "http://127.0.0.1:1",
        "http://127.8.9.1/x",
        "http://[::1]:8080",
        "http://localhost/x",
    ],
)
def test_https_and_loopback_are_accepted(url: str) -> None:
    check_issuer_url(url)


def test_keys_may_lie_on_another_host_and_have_a_query() -> None:
    url = "https://keys.example.net/discovery?p=signin"

    assert read_metadata(as_json({"issuer": ISSUER, "jwks_uri": url}), issuer=ISSUER) == url


@pytest.mark.parametrize("named", [ISSUER + "/", ISSUER.upper(), "https://idp.example.com", [ISSUER], None, 1])
def test_metadata_of_another_issuer_is_refused(named: object) -> None:
    with pytest.raises(Malformed, match="is of another issuer"):
        read_metadata(as_json({"issuer": named, "jwks_uri": "https://idp.example.com/keys"}), issuer=ISSUER)


@pytest.mark.parametrize("url", ["http://127.0.0.1/keys", "http://localhost:1/keys"])
def test_an_issuer_on_the_network_may_not_send_to_loopback(url: str) -> None:
    with pytest.raises(Malformed, match="has a 'jwks_uri' that is not https"):
        read_metadata(as_json({"issuer": ISSUER, "jwks_uri": url}), issuer=ISSUER)
