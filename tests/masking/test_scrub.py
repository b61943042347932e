"""Canaries: no form of a credential that was used for a call stays in what leaves."""

from __future__ import annotations

import base64
import html
import json
import quopri
import urllib.parse
from collections.abc import Callable
from html.entities import html5

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mcp_gateway.calls import Secret
from mcp_gateway.masking.needles import MIN_SECRET
from mcp_gateway.masking.scrub import SEPARATOR, Scrubber, is_weak, merged
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


def percent(secret: bytes) -> bytes:
    return urllib.parse.quote(secret, safe="").encode()


def units(secret: bytes) -> list[int]:
    wide = secret.decode().encode("utf-16-be")
    return [int.from_bytes(wide[place : place + 2], "big") for place in range(0, len(wide), 2)]


def full_width(text: str) -> str:
    return "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in text)


def named_entities(text: str) -> str:
    names = {value: name for name, value in html5.items() if name.endswith(";") and len(value) == 1}
    return "".join(f"&{names[letter]}" if letter in names else letter for letter in text)


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
    "percent-encoded three times": lambda secret: percent(percent(percent(secret))),
    "percent-encoded as escape() does": lambda secret: b"".join(b"%%u%04x" % unit for unit in units(secret)),
    "JSON in JSON in JSON": lambda secret: json.dumps(json.dumps(json.dumps(secret.decode()))).encode(),
    "octal": lambda secret: b"".join(b"\\%03o" % byte for byte in secret),
    "octal in JSON": lambda secret: json.dumps("".join(f"\\{byte:03o}" for byte in secret)).encode(),
    "\\x of each byte": lambda secret: b"".join(b"\\x%02X" % byte for byte in secret),
    "\\x of each character": lambda secret: "".join(
        f"\\x{ord(character):02x}" for character in secret.decode()
    ).encode(),
    "\\U": lambda secret: "".join(f"\\U{ord(character):08x}" for character in secret.decode()).encode(),
    "\\u{}": lambda secret: "".join(f"\\u{{{ord(character):x}}}" for character in secret.decode()).encode(),
    "\\x{}": lambda secret: "".join(f"\\x{{{ord(character):04X}}}" for character in secret.decode()).encode(),
    "numbered entities": lambda secret: "".join(f"&#{ord(character)};" for character in secret.decode()).encode(),
    "padded entities": lambda secret: "".join(f"&#{ord(character):012d};" for character in secret.decode()).encode(),
    "padded entities, hexadecimal": lambda secret: "".join(f"&#x{ord(c):010X};" for c in secret.decode()).encode(),
    "open entities": lambda secret: "".join(f"&#{ord(character)}" for character in secret.decode()).encode(),
    "open entities, hexadecimal": lambda secret: "".join(f"&#x{ord(c):x}" for c in secret.decode()).encode(),
    "named entities": lambda secret: named_entities(secret.decode()).encode(),
    "named entities, open": lambda secret: html.escape(secret.decode()).replace(";", "").encode(),
    "quoted-printable": lambda secret: b"".join(b"=%02X" % byte for byte in secret),
    "quoted-printable where needed": lambda secret: quopri.encodestring(b"x" * 70 + secret, quotetabs=True),
    "quoted-printable over lines": lambda secret: b"=\r\n".join(
        secret[place : place + 3].replace(b"=", b"=3D") for place in range(0, len(secret), 3)
    ),
    "hexadecimal with colons": lambda secret: secret.hex(":").encode(),
    "HEXADECIMAL with spaces": lambda secret: secret.hex(" ").upper().encode(),
    "hexadecimal in groups": lambda secret: secret.hex("-", 4).encode(),
    "hexadecimal as a list": lambda secret: ", ".join(f"0x{byte:02x}" for byte in secret).encode(),
    "hexadecimal over lines": lambda secret: secret.hex("\n", 8).encode(),
    "hexadecimal in mixed case": lambda secret: "".join(
        letter.upper() if place % 3 else letter for place, letter in enumerate(secret.hex())
    ).encode(),
    "full-width": lambda secret: full_width(secret.decode()).encode(),
    "full-width in JSON": lambda secret: json.dumps(full_width(secret.decode())).encode(),
    "with NULs": lambda secret: b"\0".join(bytes([byte]) for byte in secret) if secret.isascii() else secret,
}

LONGER: dict[str, Callable[[bytes], bytes]] = {
    "base64 of base64": lambda secret: base64.b64encode(base64.b64encode(b"user:" + secret)),
    "base64 of base64 for URLs": lambda secret: base64.urlsafe_b64encode(
        b"u" + base64.urlsafe_b64encode(b":" + secret)
    ),
    "base64 of base64 over lines": lambda secret: base64.encodebytes(base64.b64encode(b"x" * 50 + secret + b"y" * 60)),
    "base64 of UTF-16": lambda secret: base64.b64encode(secret.decode().encode("utf-16-le")),
    "base32": base64.b32encode,
    "base32, lower case": lambda secret: base64.b32encode(b"ab" + secret + b"c").lower(),
    "base32 without padding, over lines": lambda secret: b"\n".join(
        base64.b32encode(b"abcd" + secret)[place : place + 12] for place in range(0, 80, 12)
    ),
}
"""Encodings in which a secret of a few letters is too little to be told from text."""


@pytest.mark.requirement("I5", "R26")
@pytest.mark.parametrize("form", LONGER)
@pytest.mark.parametrize("secret", [secret for secret in SECRETS if len(secret) > 6])
def test_no_rarer_form_of_a_credential_is_left(secret: str, form: str) -> None:
    scrubbed, count = Scrubber([Secret(secret)]).scrub(b"before " + LONGER[form](secret.encode()) + b" after")

    assert count == 1
    assert scrubbed.startswith(b"before ")
    assert b"[credential]" in scrubbed


@pytest.mark.requirement("I5", "R26")
def test_a_pair_of_surrogates_is_one_character() -> None:
    scrubber = Scrubber([Secret("key\U0001f511key")])

    for form in (b'"key\\ud83d\\udd11key"', b"key\\U0001f511key", b"key\\u{1F511}key", b"key&#128273;key"):
        assert scrubber.scrub(form)[1] == 1, form


@pytest.mark.requirement("I5", "R26")
@pytest.mark.parametrize("before", ["=", "&#", "\\", "&#x", "a=4", "0x", "%", "\\u00", "&am"])
def test_what_an_agent_puts_before_an_echo_hides_nothing_of_it(before: str) -> None:
    scrubber = Scrubber([Secret("4141414141abc?def")])

    for form in (b"4141414141abc?def", b"4141414141abc%3Fdef", b"4141414141abc\\u003fdef", b"4141414141abc&quest;def"):
        scrubbed, count = scrubber.scrub(before.encode() + form)
        assert count == 1, scrubbed


def test_what_is_caught_takes_no_longer_than_it_has_to() -> None:
    scrubber = Scrubber([Secret(CANARY), Secret("k" * 3000)])
    text = b'{"url": "https://a.example/?id=12&x=ab&page=3", "hex": "0x12, 0x34", "t": "12:30:11"},\\n' * 10_000

    assert scrubber.scrub(text) == (text, 0)
    assert len(scrubber.views(text)) <= 3, "a layer that shows nothing is left on"


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
                "=",
                "=41",
                "=\n",
                "&#",
                "0x",
                ":",
                "\\1",
                "\uff41",
                "&amp;",
                "\u200b",
                "\u061c",
                "\U000e0101",
                "\x02",
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
@example(secret="correct horse battery", pieces=[11, "\\1", 10], joined=False)
@example(secret="correct horse battery", pieces=[11, "\x01", 10], joined=False)
@example(secret="two\nlines of it", pieces=[7, "\\", "\\n", 8], joined=False)
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
