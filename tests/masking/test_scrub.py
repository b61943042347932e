"""Canaries: no form of a credential that was used for a call stays in what leaves."""

from __future__ import annotations

import base64
import html
import json
import urllib.parse
from collections.abc import Callable

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mcp_gateway.calls import Secret
from mcp_gateway.masking.scrub import MIN_SECRET, SEPARATOR, Scrubber, is_weak, merged
from tests.masking.samples import CANARY

SECRETS = [
    CANARY,
    "correct horse battery",
    'quo"te\\back/slash',
    "pässwörd-ümläut",
    "Zm9vYmFy",
    "deadbeef",
    "1234",
    "a&b<c>d",
]
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda secret: secret,
    "base64": base64.b64encode,
    "base64 of user and password": lambda secret: base64.b64encode(b"user:" + secret),
    "base64 one byte on": lambda secret: base64.b64encode(b"u" + secret + b"tail"),
    "base64 two bytes on": lambda secret: base64.b64encode(b"us" + secret + b"tail"),
    "base64 for URLs": lambda secret: base64.urlsafe_b64encode(b":" + secret),
    "base64 without padding": lambda secret: base64.urlsafe_b64encode(secret).rstrip(b"="),
    "base64 over lines": lambda secret: base64.encodebytes(b"x" * 50 + secret + b"y" * 60),
    "base64 over lines, indented": lambda secret: base64.encodebytes(b"x" * 50 + secret).replace(b"\n", b"\r\n    "),
    "base64, percent-encoded": lambda secret: urllib.parse.quote(base64.b64encode(secret), safe="").encode(),
    "percent-encoded where needed": lambda secret: urllib.parse.quote(secret).encode(),
    "percent-encoded, lower case": lambda secret: b"".join(b"%%%02x" % byte for byte in secret),
    "percent-encoded, upper case": lambda secret: b"".join(b"%%%02X" % byte for byte in secret),
    "every other byte percent-encoded": lambda secret: b"".join(
        b"%%%02x" % byte if place % 2 or byte == 0x25 or byte > 0x7F else bytes([byte])
        for place, byte in enumerate(secret)
    ),
    "percent-encoded twice": lambda secret: urllib.parse.quote(urllib.parse.quote(secret, safe=""), safe="").encode(),
    "JSON": lambda secret: json.dumps(secret.decode()).encode(),
    "JSON in UTF-8": lambda secret: orjson.dumps(secret.decode()),
    "JSON in JSON": lambda secret: json.dumps(json.dumps(secret.decode())).encode(),
    "JSON with escaped slashes": lambda secret: json.dumps(secret.decode()).replace("/", "\\/").encode(),
    "all of it in \\u": lambda secret: b"".join(b"\\u%04x" % ord(character) for character in secret.decode()),
    "all of it in \\x": lambda secret: b"".join(b"\\x%02x" % byte if byte < 0x80 else bytes([byte]) for byte in secret),
    "HTML": lambda secret: html.escape(secret.decode()).encode(),
    "hexadecimal": lambda secret: secret.hex().encode(),
    "HEXADECIMAL": lambda secret: secret.hex().upper().encode(),
    "with a colour in it": lambda secret: secret[:3] + b"\x1b[01;31m" + secret[3:],
    "with zero-width spaces": lambda secret: "\u200b".join(secret.decode()).encode(),
    "with NULs": lambda secret: b"\0".join(bytes([byte]) for byte in secret) if secret.isascii() else secret,
}


@pytest.mark.requirement("I5", "R26")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", SECRETS)
def test_no_form_of_a_credential_is_left(secret: str, form: str) -> None:
    scrubber = Scrubber([Secret(secret)])
    echoed = FORMS[form](secret.encode())

    scrubbed, count = scrubber.scrub(b"before " + echoed + b" after")

    assert count >= 1
    assert scrubbed.startswith(b"before ")
    assert scrubbed.endswith(b" after")
    assert b"[credential]" in scrubbed
    assert scrubber.scrub(scrubbed) == (scrubbed, 0)


def test_what_is_no_credential_stays() -> None:
    text = b"100% of c3Rhcg== \\n and \\u0041 &amp; so on\r\n" * 20

    assert Scrubber([Secret(CANARY)]).scrub(text) == (text, 0)


def test_all_secrets_of_a_call_are_looked_for_and_overlaps_leave_nothing() -> None:
    scrubber = Scrubber([Secret("abcdefgh"), Secret("efghijkl"), Secret("zzzzz")])

    assert scrubber.scrub(b"abcdefghijkl zzzzzzz") == (b"[credential] [credential]", 2)


def test_a_secret_from_a_file_is_found_without_its_line_end() -> None:
    assert Scrubber([Secret("hunter22\n")]).scrub(b"is hunter22!") == (b"is [credential]!", 1)


def test_each_long_line_of_a_key_counts_and_its_frame_does_not() -> None:
    key = (
        "-----BEGIN OPENSSH PRIVATE KEY-----\n"
        + "QUJDREVGR0hJSktMTU5PUA" * 3
        + "\nshort\n-----END OPENSSH PRIVATE KEY-----\n"
    )
    scrubber = Scrubber([Secret(key)])

    assert scrubber.scrub(key.encode())[1] == 1
    assert scrubber.scrub(b"line: " + b"QUJDREVGR0hJSktMTU5PUA" * 3)[0] == b"line: [credential]"
    assert scrubber.scrub(b"-----BEGIN OPENSSH PRIVATE KEY----- short")[1] == 0


@pytest.mark.parametrize("secret", ["a", "ab", "abc"])
def test_a_very_short_secret_is_replaced_only_as_a_whole_value(secret: str) -> None:
    scrubber = Scrubber([Secret(secret)])

    assert is_weak(Secret(secret))
    assert scrubber.scrub(f" {secret}\n".encode()) == (b"[credential]", 1)
    assert scrubber.scrub(f"cabbage {secret} cab".encode())[1] == 0


def test_an_empty_secret_is_nothing_to_look_for() -> None:
    assert not Scrubber([Secret(""), Secret(" \n")])._needles
    assert Scrubber([]).scrub(b"text") == (b"text", 0)


@pytest.mark.parametrize("secret", ["credential", "[cre", "moved", "***]"])
def test_the_mark_never_holds_the_secret(secret: str) -> None:
    scrubber = Scrubber([Secret(secret)])

    scrubbed, count = scrubber.scrub(f"x {secret} y".encode())

    assert count == 1
    assert secret.encode() not in scrubbed


@settings(max_examples=150, deadline=None)
@given(secret=st.text(min_size=MIN_SECRET, max_size=40), before=st.text(max_size=20), after=st.text(max_size=20))
def test_any_secret_goes_from_anywhere(secret: str, before: str, after: str) -> None:
    raw = secret.encode("utf-8", "surrogatepass")
    if len(raw.strip()) < MIN_SECRET:
        return
    scrubber = Scrubber([Secret(raw)])
    for form in (raw, base64.b64encode(raw), urllib.parse.quote(raw).encode()):
        scrubbed, count = scrubber.scrub(before.encode() + form + after.encode())

        assert count >= 1
        assert raw.strip() not in scrubbed


def test_a_secret_that_looks_escaped_itself_is_found() -> None:
    scrubber = Scrubber([Secret("%41%42")])

    for form in (b"%41%42", b"%2541%2542", base64.b64encode(b"%41%42")):
        assert scrubber.scrub(form) == (b"[credential]", 1)


@settings(deadline=None)
@given(
    secret=st.sampled_from(["correct horse battery", "a\0bcdef", "two\nlines of it", CANARY]),
    pieces=st.lists(
        st.sampled_from(
            [
                "\n",
                "\r\n",
                "\\n",
                SEPARATOR,
                SEPARATOR,
                " ",
                "\t",
                "%",
                "%00",
                "%0A",
                "\\",
                "\\u006",
                "&amp;",
                "\u200b",
                "\0",
                "ü",
            ]
        )
        | st.integers(0, 20),
        max_size=12,
    ),
    joined=st.booleans(),
)
@example(secret="a\0bcdef", pieces=[1, "\n", 1, "\n", 5], joined=True)
@example(secret="correct horse battery", pieces=[9, "\\n", 12], joined=True)
def test_a_layer_is_left_on_only_where_it_hides_nothing(secret: str, pieces: list[str | int], joined: bool) -> None:
    scrubber = Scrubber([Secret(secret)])
    text, place = "", 0
    for piece in pieces:  # numbers are how much of the secret comes next
        text += piece if isinstance(piece, str) else secret[place : place + piece]
        place = place if isinstance(piece, str) else (place + piece) % len(secret)
    data = text.encode()

    some, every = (
        scrubber.spans_in(scrubber.views(data, nul=not joined, all_of_them=all_of_them))
        for all_of_them in (False, True)
    )
    assert merged(some) == merged(every)
    views = scrubber.views(data, nul=not joined, all_of_them=True)
    assert all(len(view.text) <= len(data) for view in views), "a layer can only make a text shorter"
