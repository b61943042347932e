"""Folded text and the way back to the original."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given, settings

from mcp_gateway.errors import MaskingError
from mcp_gateway.masking.folding import BARRIER, MAX_RUN, MAX_TOKENS, REPLACED, Folded, fold
from tests.masking.samples import texts, wide


def folded(text: str) -> Folded:
    result = fold(text.encode("utf-8", "surrogatepass"), nul=True)
    assert result is not None
    return result


@pytest.mark.parametrize("text", ["", "plain", "tab\tline\n", "ümläut", "日本語", "🙂"])
def test_ordinary_text_is_not_folded(text: str) -> None:
    assert fold(text.encode(), nul=True) is None


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\u200bb", b"ab"),
        ("\x1b[01;31mred\x1b[m", b"red"),
        ("\x1b[38:2::1:2:3mred\x1b[?25h\x1b[?2004l\x1b[1 q\x1b[>0q", b"red"),
        ("\x1b[4111111111111111m", b"[4111111111111111m"),
        ("x\x08y", b"y"),
        (wide("123@x.y"), b"123@x.y"),
        ("1\u00a0234\u202f567", b"1 234 567"),
        ("a\u2011b\u2212c", b"a-b-c"),
        ("\u202eabc\u202c", b"abc"),
        ("a\0b", b"ab"),
        ("\u0663\u06f4\u0967", b"341"),
    ],
)
def test_what_a_reader_does_not_see_is_gone_and_look_alikes_are_plain(text: str, seen: bytes) -> None:
    assert folded(text).text == seen


def test_a_nul_between_joined_cells_stays() -> None:
    assert fold(b"a\n\0\nb", nul=False) is None


def test_every_decimal_digit_of_unicode_is_folded() -> None:
    digits = [chr(code) for code in range(0x80, sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Nd"]

    assert all(REPLACED[digit.encode()] == str(unicodedata.decimal(digit)).encode() for digit in digits)


def test_a_run_of_invisible_characters_beyond_all_reason_is_a_barrier() -> None:
    assert folded("a" + "\u200b" * MAX_RUN + "b").text == b"ab"
    assert folded("a" + "\u200b" * (MAX_RUN + 1) + "b").text == b"a" + BARRIER + b"b"


def test_a_text_that_is_all_escapes_is_withheld() -> None:
    with pytest.raises(MaskingError, match="more than 1,000,000 escapes"):
        fold("1\u200b".encode() * (MAX_TOKENS + 1), nul=True)


@settings(max_examples=150, deadline=None)
@given(text=texts)
def test_every_folded_byte_has_its_place_and_cuts_fall_between_tokens(text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    result = fold(data, nul=True)
    if result is None:
        return
    last = 0
    for offset in range(len(result.text)):
        start, end = result.start(offset), result.end(offset + 1)
        assert last <= start < end <= len(data)
        assert result.text[offset : offset + 1] in {data[start:end], REPLACED.get(data[start:end]), BARRIER}
        last = end
    for place in range(0, len(data) + 1, 3):
        cut = result.floor(place)
        before, after = fold(data[:cut], nul=True), fold(data[cut:], nul=True)
        pieces = (before.text if before else data[:cut]) + (after.text if after else data[cut:])
        assert cut <= place
        assert pieces.replace(BARRIER, b"") == result.text.replace(BARRIER, b"")
