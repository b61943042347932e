"""Nothing that an approver or an operator reads acts, hides or scrolls away."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.masking.visible import make_visible
from tests.corpora import cases


@pytest.mark.parametrize("text", ["", "SELECT 1", "Grüße, 日本語 🙂", "a  b", "x" * 100_000])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert make_visible(text) == text


@pytest.mark.requirement("R37")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", "a<U+001B>[2Jb"),
        ("rm \u202egpj.exe", "rm <U+202E>gpj.exe"),
        ("a\u200bb", "a<U+200B>b"),
        ("a\u00a0b", "a<U+00A0>b"),
        ("a\rb", "a<U+000D>b"),
        ("a\x00b\x7f", "a<U+0000>b<U+007F>"),
        ("a\nb", "a<U+000A>b"),
        ("a\tb", "a<U+0009>b"),
        ("a\u2028b", "a<U+2028>b"),
        ("x\U000e0041", "x<U+E0041>"),
        ("x\ufe0f\u3164", "x<U+FE0F><U+3164>"),
        ("\ud800", "<U+D800>"),
        ("a\U00016fe4\U0001d159b", "a<U+16FE4><U+1D159>b"),
        ("e\u0301", "e\u0301"),
        ("e" + "\u0301" * 3, "e\u0301\u0301<U+0301>"),
        ("a" + " " * 5000 + "b", "a<5,000 spaces>b"),
    ],
)
def test_what_has_no_glyph_is_written_out(text: str, shown: str) -> None:
    assert make_visible(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\nb"),
        ("a\tb", "a\tb"),
        ("a\r\nb", "a<U+000D>\nb"),
        ("a" + "\n" * 900 + "b", "a\n<900 line breaks>\nb"),
        ("a\x1bb", "a<U+001B>b"),
        ("a" + "\n " * 900 + "b", "a\n<900 line breaks>\n b"),
        ("a" + "\n \t" * 900 + "\n;b", "a\n<901 line breaks>\n;b"),
        ("a\n" + " " * 5000 + "\nb", "a\n<5,000 spaces>\nb"),
        ("a" + "\t" * 500 + "b", "a<500 spaces and tabs>b"),
        ("a" + " \t" * 30 + "b", "a<60 spaces and tabs>b"),
        ("a\n\n\n\t\t\t\tb", "a\n\n\n\t\t\t\tb"),
    ],
)
def test_a_block_keeps_its_lines(text: str, shown: str) -> None:
    assert make_visible(text, block=True) == shown


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text", [" " * 1_000_000 + "b", "\n" + " " * 1_000_000 + "b", "\n  b" * 200_000, "\n \n \nb" * 100_000]
)
def test_a_block_is_made_visible_in_linear_time(text: str) -> None:
    assert make_visible(text, block=True).endswith("b")


def test_a_run_of_line_breaks_on_one_line_is_counted() -> None:
    assert make_visible("a" + "\n" * 900 + "b") == "a<900 line breaks>b"


@pytest.mark.requirement("R37")
@given(text=st.text())
def test_only_printable_characters_are_left_and_none_is_lost(text: str) -> None:
    shown = make_visible(text)

    assert all(unicodedata.category(character)[0] not in "CZ" or character == " " for character in shown)
    assert [character for character in text if character.isalnum()] == [
        character for character in shown if character.isalnum() and character in text
    ] or len(shown) > len(text)
    assert make_visible(shown) == shown


def test_no_text_of_the_evasion_corpora_keeps_a_control_character() -> None:
    for name in ("shell.jsonl", "jsonrpc.jsonl"):
        for case in cases(name):
            shown = make_visible(str(case["input"]), block=True)
            assert all(unicodedata.category(character) != "Cc" or character in "\n\t" for character in shown)


def test_marks_are_counted_for_each_letter_and_pieces_of_a_text_are_shown_alike() -> None:
    text = "e\u0301\u0302\u0303 a\u0301\n\u0301\u0302\u0303" + "\u00e9\u202e" * 3

    assert make_visible(text, block=True) == (
        "e\u0301\u0302<U+0303> a\u0301\n\u0301\u0302<U+0303>" + "\u00e9<U+202E>" * 3
    )
