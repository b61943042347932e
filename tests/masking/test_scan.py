"""What the detectors find, what they leave alone, and how hits that meet are resolved."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from mcp_gateway.errors import MaskingError
from mcp_gateway.masking import scan
from mcp_gateway.masking.detectors import DEFAULT
from mcp_gateway.masking.rules import MAX_KEY
from mcp_gateway.masking.scan import Scanner, scanner_for
from tests.masking.samples import JWT, PEM, VALUES, digits_of, texts, wide

SCANNER = scanner_for(detectors=DEFAULT, revealed=frozenset())


def found(text: str, scanner: Scanner = SCANNER) -> list[tuple[str, str]]:
    """Class and value of every hit."""
    data = text.encode()
    return [(rule.data_class, data[start:end].decode()) for start, end, rule in scanner.hits(data)]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in VALUES.items() for value in values])
def test_every_sample_is_one_hit_of_its_class(name: str, value: str) -> None:
    assert [data_class for data_class, _ in found(f"see {value} here")] == [name]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("mail bob@example.com.", "bob@example.com"),
        ("<mailto:bob@example.com>", "bob@example.com"),
        ("'bob@example.com'", "bob@example.com"),
        ("user=bob@example.com&x=1", "bob@example.com"),
        ("card 4111-1111-1111-1111 12/27", "4111-1111-1111-1111"),
        ("PAN4111111111111111", "4111111111111111"),
        ("card_4111111111111111", "4111111111111111"),
        ("4111\u00a01111\u00a01111\u00a01111", "4111\u00a01111\u00a01111\u00a01111"),
        ("VG96 VPVG 0000 0123 4567 8901 X in a sentence", "VG96 VPVG 0000 0123 4567 8901"),
        ("AL47-2121-1009-0000-0002-3569-8741", "AL47-2121-1009-0000-0002-3569-8741"),
        ("SSN: 078051121", "078051121"),
        ("passport number: M456B7890", "M456B7890"),
        ("tel. +1 (415) 555-0132, or", "+1 (415) 555-0132"),
        ("at 10.0.0.1:8080", "10.0.0.1"),
        ("https://u:pa@ss@host/path", "pa@ss"),
        ("redis://:hunter22@cache:6379/0", "hunter22"),
        ("DB_PASSWORD=hunter22", "hunter22"),
        ("export AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIbPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMIbPxRfiCYEXAMPLEKEY"),
        ("{'api_key': 'abc def'}", "abc def"),
        (r"{\"password\": \"a b c d\", \"x\": 1}", "a b c d"),
        (r'{"password": "ab\"cd", "x": 1}', r"ab\"cd"),
        ("PASSWORD=sécrét-ümläut", "sécrét-ümläut"),
        ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("authorization: Bearer abcdef0123456789", "abcdef0123456789"),
        ("Set-Cookie: sid=abc123; HttpOnly", "sid=abc123; HttpOnly"),
        ("x-api-key: 0123456789", "0123456789"),
        ("?sv=2020&sig=" + "aB3%2F" * 8 + "%3D", "aB3%2F" * 8 + "%3D"),
        ("AccountKey=" + "Ab3+" * 22 + "==;", "Ab3+" * 22 + "=="),
        ("k: AIza" + "SyA_-" * 7 + " ", "AIza" + "SyA_-" * 7),
        ("sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc", "sk_live_4eC39HqLyjWDarjtT1zdp7dc"),
        ("github_pat_11ABCDEFG0abcdefghijkl_x", "github_pat_11ABCDEFG0abcdefghijkl_x"),
        ("token=0123456789abcdef", "0123456789abcdef"),
        (JWT + ".", JWT + "."),
    ],
)
def test_the_value_is_masked_and_not_what_stands_around_it(text: str, value: str) -> None:
    assert [hit for _, hit in found(text)] == [value]


@pytest.mark.parametrize(
    "text",
    [
        "hello-world", "git@github.com:org/repo.git", "lodash@4.17.21", "@app.route", "info@presidio.",
        "1700000000000", "4111111111111112", "0.4532015112830366", "order 4111-2222-3333-4444",
        "2024-01-15T10:11:12.123456Z", "12:34:56", "1:2:3:4", "v1.2.3", "256.1.1.1", "1.2.3.4.5", "std::vector", "dead::beef",
        "DE89370400440532013001", "GB29 NWBK 6016 1331 9268", "123-45-6789-0 is 000-12-3456",
        "550e8400-e29b-41d4-a716-446655440000", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "SELECT id FROM users WHERE password = $1", "password=${DB_PASSWORD}", "password: null", "password: <your password>",
        "password = os.environ['X']", "password=getpass()", "password: forgotten by the user", "token: string",
        "next_token=eyJpZCI6MTIzfQ", "page_token: abc", "password_changed_at=2024", "Bearer authentication",
        "basic information", "cursor eyJpZCI6MTIzfQ==", "http://localhost:8080/path", "http://host:80/a@b",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "SHA256:aa:bb:cc:dd:ee:ff:00:11:22", "total 1 234 567 890", "+", "::", "a" * 5000, "\0" * 50, "",
    ],
)  # fmt: skip
def test_what_is_no_value_is_left_alone(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("password=bob@example.com", ["bob@example.com"]),
        ("https://ghp_" + "a1B2" * 9 + ":x-oauth@github.com/", ["ghp_" + "a1B2" * 9, "x-oauth"]),
        ("bob@example.com,eve@example.org", ["bob@example.com", "eve@example.org"]),
        ("4111111111111111@example.com", ["4111111111111111@example.com"]),
        ("415-555-0132@example.com", ["415-555-0132@example.com"]),
        (PEM + PEM, [PEM, PEM]),
        ("x" + PEM + " bob@example.com", [PEM, "bob@example.com"]),
    ],
)
def test_hits_that_meet_are_resolved_in_one_way(text: str, values: list[str]) -> None:
    assert [value for _, value in found(text)] == values


def test_a_key_without_an_end_is_masked_to_the_end_of_the_text_or_of_all_patience() -> None:
    begin = "-----BEGIN OPENSSH PRIVATE KEY-----\n"

    assert found(begin + "b3Blbn" * 50) == [("secret.private_key", begin + "b3Blbn" * 50)]
    ((_, value),) = found(begin + "ä" * MAX_KEY)
    assert MAX_KEY <= len(value.encode()) <= MAX_KEY + len(begin) + 4


def test_a_keys_body_is_masked_without_its_frame_and_in_base64() -> None:
    body = "MIIEpAIBAAKCAQEAabc/+\nDEF012==\n"

    assert found(body + "# done")[0] == ("secret.private_key", body)
    assert found("key: LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1JSUV2 ")[0][0] == "secret.private_key"


@pytest.mark.parametrize(
    "text",
    [
        "b\u200bo\u200bb@exam\u00adple.com", "bob\x1b[1;31m@\x1b[0mexample.com", wide("bob@example.com"), "b\x08bo\x08ob\x08b@example.com",
        "bob\u202e@example.com", "bob\0@example.com", "bob\ufe0f@example.com", "\ufeffbob@example.com",
    ],
)  # fmt: skip
def test_invisible_characters_do_not_hide_an_address(text: str) -> None:
    assert [name for name, _ in found(text)] == ["pii.email"]


@pytest.mark.parametrize(
    "text",
    [wide("4111111111111111"), digits_of(0x660, "4111111111111111"), "4111\u20111111\u20111111\u20111111", "4\u200d1\u200d1\u200d1111111111111",
     "4111\x1b[m1111\x1b[?25h1111\x1b[38:2::1:2:3m1111", digits_of(0x1D7CE, "4111111111111111"), "4111\u30001111\u30001111\u30001111"],
)  # fmt: skip
def test_other_digits_and_separators_do_not_hide_a_card(text: str) -> None:
    assert [name for name, _ in found(text)] == ["payment.card"]


def test_a_revealed_class_does_not_shield_what_is_inside_its_values() -> None:
    scanner = scanner_for(detectors=DEFAULT, revealed=frozenset({"pii.email"}))

    assert found("bob@example.com", scanner) == []
    assert found("4111111111111111@example.com", scanner) == [("payment.card", "4111111111111111")]


def test_without_detectors_nothing_is_found() -> None:
    assert found("bob@example.com " + PEM, scanner_for(detectors=frozenset(), revealed=frozenset())) == []


@pytest.mark.requirement("R27")
def test_a_text_with_more_values_than_can_be_looked_at_is_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "MAX_CANDIDATES", 100)  # the real limit takes 9 s to reach

    with pytest.raises(MaskingError, match="more than 100 values"):
        SCANNER.hits(b"192.0.2.1 " * 200)


@settings(max_examples=150, deadline=None)
@given(text=texts)
def test_hits_are_in_order_apart_and_never_cut_a_character(text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    place = 0
    for start, end, _ in SCANNER.hits(data):
        assert place <= start < end <= len(data)
        data[place:start].decode("utf-8", "surrogatepass")
        data[start:end].decode("utf-8", "surrogatepass")
        place = end
