"""What is told of a text that a limit cut: never a part of a value, whatever was cut off and wherever."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.masking.streams import AHEAD
from tests.fuzz.sizes import FULL
from tests.masking.maskers import masker_with
from tests.masking.samples import CANARY, PEM, VALUES, texts

EDGE = 2 * AHEAD
BODY = "\n".join(base64.b64encode(bytes(range(shift, shift + 48))).decode() for shift in range(0, 200, 8))
KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE{BODY}\n-----END OPENSSH PRIVATE KEY-----"
SECRET_FORMS = [
    CANARY,
    base64.b64encode(CANARY.encode()).decode(),
    CANARY.encode().hex(),
    quote(CANARY, safe=""),
    "".join(f"\\u{ord(letter):04x}" for letter in CANARY),
    "\n".join(CANARY[place : place + 5] for place in range(0, len(CANARY), 5)),
    "\u200b".join(CANARY),
]


STEP = 1 if FULL else 7
"""Places from one cut to the next where no value begins or ends; it shares no divisor with the lines of a key."""
NEAR = 100


def cuts(first: int, last: int) -> list[int]:
    """Every place near both ends, and some of those between them."""
    return [
        cut for cut in range(first, last + 1) if cut - first < NEAR or last - cut < NEAR or (cut - first) % STEP == 0
    ]


def lines(text: str) -> str:
    """A text between enough ordinary lines that something of it remains whatever is given up."""
    around = "an ordinary line\n" * (EDGE // 16)
    return f"{around}{text}\n{around}"


ONE_OF_EACH = [values[0] for name, values in VALUES.items() if name != "secret.private_key"]


@pytest.mark.requirement("R19")
@pytest.mark.parametrize("value", [*ONE_OF_EACH, PEM, KEY, *SECRET_FORMS])
@pytest.mark.parametrize("around", [lines, lambda text: "word " * EDGE + text + " word" * EDGE])
def test_a_value_at_any_cut_is_masked_or_left_out(value: str, around: object) -> None:
    assert callable(around)
    text = around(value).encode()
    masker = masker_with(CANARY)
    whole = masker.raw(text)
    place = text.index(value.encode())
    for cut in cuts(place, place + len(value.encode())):
        head = masker.raw(text[:cut], cut=True)
        tail = masker.raw(text[cut:], headless=True)
        assert whole.startswith(head)
        assert whole.endswith(tail)


@pytest.mark.requirement("R19")
@pytest.mark.parametrize("value", [*ONE_OF_EACH, KEY, *SECRET_FORMS])
def test_a_value_where_the_edge_is_given_up_is_masked_or_left_out(value: str) -> None:
    """The edge that is given up is a cut too; it lies in the value itself if the cut is `AHEAD` behind one of its places."""
    before, size = "word " * 40, len(value.encode())
    text = (before + value + " ").encode() + b"word " * EDGE
    masker = masker_with(CANARY)
    whole = masker.raw(text)
    edge = len(before) + AHEAD
    for cut in (*range(len(before), size + 2 * AHEAD, STEP), *cuts(edge, edge + size)):
        assert whole.startswith(masker.raw(text[:cut], cut=True))


@pytest.mark.requirement("R19")
@settings(max_examples=300, deadline=None)
@given(texts, texts, st.integers(0, 5000))
def test_what_is_told_of_a_cut_text_is_a_part_of_what_is_told_of_the_whole(one: str, other: str, cut: int) -> None:
    text = f"{one}\n{'ordinary words, ' * 130}\n{other}\nthe end\n".encode()
    cut = min(cut, len(text))

    assert masker_with(CANARY).raw(text).startswith(masker_with(CANARY).raw(text[:cut], cut=True))


@pytest.mark.requirement("R19")
@settings(max_examples=300, deadline=None)
@given(texts, texts, st.integers(0, 5000))
def test_what_is_told_of_a_text_without_its_beginning_is_a_part_of_it_too(one: str, other: str, cut: int) -> None:
    text = f"{one}\n{'ordinary words, ' * 130}\n{other}\nthe end\n".encode()
    cut = min(cut, len(text))

    assert masker_with(CANARY).raw(text).endswith(masker_with(CANARY).raw(text[cut:], headless=True))


def test_an_uncut_text_is_told_whole() -> None:
    assert masker_with(CANARY).raw(b"short") == b"short"


def test_what_is_certain_is_kept_in_whole_lines_and_characters() -> None:
    ending = "x" * len(CANARY) * 4

    assert masker_with(CANARY).text(f"a\nb\n{ending}half", cut=True) == "a\nb\n"
    assert masker_with(CANARY).text("ä" * AHEAD, cut=True) == "ä" * (AHEAD // 2)
    assert masker_with(CANARY).text("short", cut=True) == ""
    assert masker_with(CANARY).text("done\n" + PEM[:70], cut=True) == "done\n[secret.private_key]"
    assert masker_with(CANARY).text("word " * EDGE + "\nkept\n", headless=True) == "kept\n"
    assert masker_with(CANARY).text("word " * EDGE, headless=True) == ""
    assert masker_with(CANARY).text("short\n", headless=True) == ""


def test_both_ends_can_be_cut() -> None:
    text = "an ordinary line\n" * (EDGE // 4) + "half a l"

    told = masker_with(CANARY).text(text, cut=True, headless=True)

    assert told.startswith("an ordinary line\n")
    assert told in text
    assert len(text) - 3 * EDGE < len(told) < len(text) - AHEAD


def test_what_is_counted_is_what_is_shown() -> None:
    one = masker_with(CANARY)
    one.text("bob@example.com\n" + "word " * EDGE + "\nbob@example.com\n" + "x" * EDGE, cut=True, headless=True)

    assert one.counts == {"pii.email": 1}
