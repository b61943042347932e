"""The masker of one call: columns, values, JSON, credentials, and the sealed result."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.calls import Secret
from mcp_gateway.errors import MaskingError
from mcp_gateway.masking.classes import BUILT_IN
from mcp_gateway.masking.detectors import DEFAULT
from mcp_gateway.masking.encoded import EncodedBytes
from mcp_gateway.masking.masker import MAX_DEPTH, TOGETHER, CallMasker, masker_for
from mcp_gateway.tool import Column, Masker
from tests.masking.samples import CANARY, JWT, PEM, texts

CLASSES = frozenset({"pii.email", "pii.national_id", "payment.card", "pii.name"})
SSN = frozenset({"pii.national_id"})
NOTHING: frozenset[str] = frozenset()


def masker(
    *, revealed: frozenset[str] = NOTHING, styles: dict[str, str] | None = None, secrets: tuple[str, ...] = (CANARY,)
) -> CallMasker:
    return masker_for(
        revealed=revealed,
        all_classes=CLASSES,
        styles=styles or {},
        detectors=DEFAULT,
        secrets=[Secret(secret) for secret in secrets],
        hash_key=b"k" * 32,
    )


def test_it_is_what_tools_expect() -> None:
    contract: Masker = masker()

    assert contract.hides(CLASSES) == CLASSES


def test_a_class_is_hidden_unless_policy_reveals_one_that_it_was_asked_about() -> None:
    one = masker(revealed=frozenset({"pii.email", "unheard.of"}))

    assert one.hides(frozenset({"pii.email", "pii.name", "unheard.of"})) == {"pii.name", "unheard.of"}


@pytest.mark.parametrize("value", ["078-05-1123", 1, 2.5, True, {"a": 1}, [1, 2], "", "ümläut", None])
def test_a_hidden_column_is_masked_whole_whatever_is_in_it(value: Any) -> None:
    one = masker()

    assert one.column([value, value], classes=SSN) == ["[pii.national_id]"] * 2
    assert one.counts == {"pii.national_id": 2}


def test_null_in_a_hidden_column_says_nothing_unless_it_is_proved_a_stored_column() -> None:
    assert masker().column([None, "x"], classes=SSN) == ["[pii.national_id]"] * 2
    one = masker()
    assert one.column([None, "x"], classes=SSN, keep_nulls=True) == [None, "[pii.national_id]"]
    assert one.counts == {"pii.national_id": 1}


@pytest.mark.requirement("I5")
@pytest.mark.parametrize("style", ["redact", "last4", "hash", "null", "token"])
def test_a_computed_column_shows_its_class_alone_whatever_the_style(style: str) -> None:
    one = masker(styles={"payment.card": style})
    card = frozenset({"payment.card"})

    shown = one.column(["411111111111", "1", None], classes=card, computed=True, keep_nulls=True)

    assert shown == [None if style == "null" else "[payment.card]"] * 3
    assert one.counts == {"payment.card": 3}


def test_a_column_of_several_classes_names_those_that_are_hidden() -> None:
    one = masker(revealed=frozenset({"pii.email"}))

    assert one.column(["x"], classes=frozenset({"pii.email", "pii.name"})) == ["[pii.name]"]
    assert masker().column(["x"], classes=frozenset({"pii.email", "pii.name"})) == ["[pii.email+pii.name]"]
    assert masker().column(["x"], classes=CLASSES) == ["[masked]"]


@pytest.mark.parametrize(
    ("style", "shown"),
    [("redact", "[payment.card]"), ("last4", "[payment.card *1111]"), ("null", None), ("token", "[payment.card]")],
)
def test_a_style_is_the_same_for_a_column_and_for_a_value_found(style: str, shown: str | None) -> None:
    one = masker(styles={"payment.card": style})
    card = "4111111111111111"

    assert one.column([card], classes=frozenset({"payment.card"})) == [shown]
    assert one.column([card], classes=NOTHING) == [shown]
    assert one.json({"number": card}) == {"number": shown}


def test_null_inside_a_longer_text_is_the_marker() -> None:
    one = masker(styles={"payment.card": "null"})

    assert one.text("card 4111111111111111") == "card [payment.card]"
    assert one.text("4111111111111111") == "[payment.card]"
    assert one.column(["card 4111111111111111"], classes=NOTHING) == ["card [payment.card]"]


def test_hashes_join_a_column_with_a_value_found_and_a_number_with_its_text() -> None:
    one = masker(styles={"payment.card": "hash"})
    (column,) = one.column(["4111111111111111"], classes=frozenset({"payment.card"}))

    assert one.column([4111111111111111], classes=frozenset({"payment.card"})) == [column]
    assert one.text("is 4111111111111111 here") == f"is {column} here"
    assert one.column([4111111111111112], classes=frozenset({"payment.card"})) != [column]


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("bob@example.com", "[pii.email]"),
        (4111111111111111, "[payment.card]"),
        (-4111111111111111, "-[payment.card]"),
        (4111111111111111.0, "[payment.card].0"),
        (17, 17),
        (1_700_000_000_000, 1_700_000_000_000),
        (True, True),
        (None, None),
        (1.5, 1.5),
        ({"mail": ["bob@example.com", 1]}, {"mail": ["[pii.email]", 1]}),
        (["078-05-1123"], ["[pii.national_id]"]),
        ('{"mail": "bob@example.com"}', '{"mail": "[pii.email]"}'),
        ("{bob@example.com,x}", "{[pii.email],x}"),
        ("plain", "plain"),
    ],
)
def test_cells_of_any_type_are_scanned_and_harmless_ones_keep_theirs(cell: Any, shown: Any) -> None:
    (masked,) = masker().column([cell], classes=NOTHING)

    assert masked == shown
    assert type(masked) is type(shown)


def test_what_policy_reveals_is_left_alone_by_the_detectors_too() -> None:
    one = masker(revealed=frozenset({"pii.email"}))

    assert one.text("bob@example.com 4111111111111111") == "bob@example.com [payment.card]"
    assert one.counts == {"payment.card": 1}


@settings(max_examples=80, deadline=None)
@given(
    cells=st.lists(
        texts | st.sampled_from([PEM[:60], PEM, "password=", "-----BEGIN PRIVATE KEY-----", "a\0b"]), max_size=8
    )
)
def test_cells_together_are_masked_as_each_alone(cells: list[str]) -> None:
    together, alone = masker(), masker()

    assert together.column(cells, classes=NOTHING) == [alone.column([cell], classes=NOTHING)[0] for cell in cells]
    assert together.counts == alone.counts


@settings(max_examples=80, deadline=None)
@given(
    names=st.lists(texts | st.sampled_from([PEM[:60], PEM, "password=", "a\0b"]), max_size=8),
    style=st.sampled_from(["redact", "null", "hash"]),
)
def test_texts_together_are_masked_as_each_alone(names: list[str], style: str) -> None:
    styles = dict.fromkeys(CLASSES, style)
    together, alone = masker(styles=styles), masker(styles=styles)

    assert together.texts(names) == [alone.text(name) for name in names]
    assert together.counts == alone.counts


@settings(max_examples=120, deadline=None)
@given(
    columns=st.lists(
        st.tuples(
            texts | st.sampled_from(["password=", PEM[:60]]),
            st.lists(texts | st.sampled_from([PEM[:60], "password=", "a\0b", "x" * TOGETHER]), min_size=2, max_size=2)
            | st.lists(st.none() | st.integers() | texts, min_size=2, max_size=2),
            st.sampled_from([NOTHING, frozenset({"pii.email"}), frozenset({"payment.card", "pii.email"})]),
            st.booleans(),
        ),
        max_size=6,
    ),
    style=st.sampled_from(["redact", "null", "hash"]),
    revealed=st.sampled_from([NOTHING, frozenset({"pii.email"})]),
)
def test_columns_together_are_masked_as_each_alone(
    columns: list[tuple[str, list[Any], frozenset[str], bool]], style: str, revealed: frozenset[str]
) -> None:
    styles = dict.fromkeys(CLASSES, style)
    together, alone = masker(styles=styles, revealed=revealed), masker(styles=styles, revealed=revealed)

    names, cells = together.table(
        [
            Column(name=name, values=values, classes=classes, computed=computed)
            for name, values, classes, computed in columns
        ]
    )

    assert names == [alone.text(name) for name, *_ in columns]
    assert cells == [
        alone.column(values, classes=classes, computed=computed) for _, values, classes, computed in columns
    ]
    assert together.counts == alone.counts
    assert together.seal({}).touched == alone.seal({}).touched


def test_a_key_that_never_closes_takes_no_other_cell_with_it() -> None:
    cells = [PEM[:60], "harmless", "bob@example.com"]

    assert masker().column(cells, classes=NOTHING) == ["[secret.private_key]", "harmless", "[pii.email]"]


def test_a_members_name_speaks_for_its_value() -> None:
    one = masker()

    assert one.json(
        {
            "password": "short",
            "pin_password": 1234,
            "tokens": {"access_token": "abc"},
            "Set-Cookie": ["sid=1", "b=2"],
            "ssn": "078051121",
            "token_type": "bearer",
            "next_token": "abc",
            "secret": None,
            "is_secret": True,
        }
    ) == {
        "password": "[secret.password]",
        "pin_password": "[secret.password]",
        "tokens": {"access_token": "[secret.token]"},
        "Set-Cookie": ["[secret.token]", "[secret.token]"],
        "ssn": "[pii.national_id]",
        "token_type": "bearer",
        "next_token": "abc",
        "secret": None,
        "is_secret": True,
    }
    assert one.counts == {"pii.national_id": 1, "secret.password": 2, "secret.token": 3}


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        (["hunter22", None], ["[secret.password]", None]),
        ([["hunter22"], [[7, True]]], [["[secret.password]"], [["[secret.password]", True]]]),
        ([None, [False]], [None, [False]]),
        ([], []),
        (["hunter22", {"a": "hunter22"}], ["hunter22", {"a": "hunter22"}]),
    ],
)
def test_a_members_name_speaks_for_what_is_in_its_lists(value: Any, masked: Any) -> None:
    assert masker().json({"password": value}) == {"password": masked}


def test_member_names_are_masked_and_none_is_lost() -> None:
    one = masker(styles={"pii.phone": "null"})

    assert one.json({"a@example.com": 1, "b@example.com": 2, "[pii.email] (2)": 3, "415-555-0132": 4}) == {
        "[pii.email]": 1,
        "[pii.email] (2)": 2,
        "[pii.email] (2) (2)": 3,
        "[masked]": 4,
    }


@settings(max_examples=60, deadline=None)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=12,
    )
)
def test_any_json_keeps_its_shape_and_can_be_sealed(value: Any) -> None:
    def shape(part: Any) -> Any:
        if isinstance(part, dict):
            return [shape(member) for member in part.values()]
        return [shape(member) for member in part] if isinstance(part, list) else None

    one = masker()
    masked = one.json(value)

    assert shape(masked) == shape(value)
    assert "json" in orjson.loads(one.seal({"json": masked}).structured)


@pytest.mark.parametrize("value", [{"a": ["x", {"b": 1, "": None}], "c": "plain"}, [], "x", 5, None])
def test_json_without_anything_to_mask_is_given_back_itself(value: Any) -> None:
    assert masker().json(value) is value


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        ({1: "x"}, {"1": "x"}),
        (("x", ["y"]), ["x", ["y"]]),
        ({"": "x", "e": "bob@example.com"}, {"": "x", "e": "[pii.email]"}),
        ({"password": "correct horse"}, {"password": "[secret.password]"}),
    ],
)
def test_what_json_becomes_does_not_depend_on_what_else_is_in_it(value: Any, masked: Any) -> None:
    found = masker().json(value)

    assert found == masked
    assert masker().json([value, "eve@example.com"]) == [masked, "[pii.email]"]


def test_json_nested_beyond_reason_is_withheld() -> None:
    value: Any = "x"
    for _ in range(MAX_DEPTH + 2):
        value = [value]

    with pytest.raises(MaskingError, match="nested deeper"):
        masker().json(value)


@pytest.mark.requirement("R27")
@pytest.mark.parametrize("data", [b"\xff\xfe\x00b\x00o\x00b", b"\0" * 1000, bytes(range(256)), b"\xed\xa0\x80", b""])
def test_bytes_that_are_no_text_are_masked_as_they_are(data: bytes) -> None:
    one = masker()

    assert one.raw(data) == data
    assert one.raw(data + b" bob@example.com") == data + b" [pii.email]"


@pytest.mark.requirement("R27", "I5")
def test_bytes_in_base64_are_masked_as_the_bytes_that_they_are() -> None:
    one = masker()
    plain, mail = EncodedBytes.of(b"\x00\xff nothing"), EncodedBytes.of(b"\xff to bob@example.com")
    shown = base64.b64encode(b"\xff to [pii.email]").decode()

    assert one.column([mail, None, plain], classes=frozenset()) == [shown, None, plain]
    assert one.column([[mail, "x"], [plain]], classes=frozenset()) == [[shown, "x"], [plain]]
    assert one.json({"a": mail, "b": plain}) == {"a": shown, "b": plain}
    assert one.counts["pii.email"] == 3


@pytest.mark.requirement("R27")
def test_a_lone_surrogate_neither_hides_a_value_nor_breaks_the_seal() -> None:
    one = masker()
    text = one.text("\ud800 bob@example.com")

    assert text == "\ud800 [pii.email]"
    assert json.loads(one.seal({"text": text}).structured)["text"] == "\ufffd [pii.email]"


def test_the_seal_says_what_was_masked_and_how_often() -> None:
    one = masker()
    one.column(["a", "b"], classes=SSN)
    stream = one.stream()
    text = stream.feed(f"bob@example.com {CANARY}".encode()) + stream.finish()
    sealed = one.seal({"text": text.decode(), "call_id": "c1"}, rows=2, truncated=True)

    counts = {"credential": 1, "pii.email": 1, "pii.national_id": 2}
    assert orjson.loads(sealed.structured) == {"text": "[pii.email] [credential]", "call_id": "c1", "masked": counts}
    assert (sealed.counts, sealed.rows, sealed.truncated) == (counts, 2, True)


@pytest.mark.requirement("I5", "R26")
@pytest.mark.parametrize("place", ["column", "text", "raw", "json value", "json key", "forgotten"])
@pytest.mark.parametrize(
    "form", [CANARY, json.dumps(CANARY), base64.b64encode(f"u:{CANARY}".encode()).decode(), CANARY.encode().hex()]
)
def test_no_road_to_the_result_lets_a_credential_through(form: str, place: str) -> None:
    one = masker(revealed=CLASSES)
    echoed = f"echo {form}"
    roads: dict[str, Callable[[], dict[str, Any]]] = {
        "column": lambda: {"rows": [one.column([echoed], classes=NOTHING)]},
        "text": lambda: {"stdout": one.text(echoed)},
        "raw": lambda: {"stdout": one.raw(echoed.encode()).decode()},
        "json value": lambda: {"json": one.json({"a": [echoed]})},
        "json key": lambda: {"json": one.json({echoed: 1})},
        "forgotten": lambda: {"headers": {"x": echoed}},
    }

    sealed = one.seal(roads[place]())

    assert CANARY.encode() not in sealed.structured
    assert form.encode() not in sealed.structured
    assert orjson.dumps(form)[1:-1] not in sealed.structured
    assert sealed.counts == {"credential": 1}


def test_a_credential_is_gone_even_where_every_class_is_revealed_and_every_detector_off() -> None:
    one = masker_for(
        revealed=CLASSES, all_classes=CLASSES, styles={}, detectors=frozenset(), secrets=[Secret(JWT)], hash_key=b""
    )

    assert one.text(f"Bearer {JWT}") == "Bearer [credential]"


def test_a_forgotten_credential_in_a_name_withholds_the_result() -> None:
    with pytest.raises(MaskingError, match="cannot be taken out"):
        masker().seal({"json": {CANARY: 1}})


def test_a_password_that_is_a_word_of_the_result_itself_breaks_nothing() -> None:
    one = masker(secrets=("masked", "true", "1000", "name", "rows"))

    sealed = one.seal({"rows": [[1000, True, "rows"]], "row_count": 1000, "name": "x"}, rows=1)

    assert orjson.loads(sealed.structured) == {
        "rows": [[1000, True, "[credential]"]],
        "row_count": 1000,
        "name": "x",
        "masked": {"credential": 1},
    }


def test_a_very_short_credential_goes_where_it_is_the_whole_value() -> None:
    one = masker(secrets=("abc",))

    assert one.column(["abc", "abcd", "x"], classes=NOTHING) == ["[credential]", "abcd", "x"]


def test_a_number_that_is_the_credential_goes_as_well() -> None:
    one = masker(secrets=("123456789012",))

    assert one.column([123456789012, 5], classes=NOTHING) == ["[credential]", 5]


@pytest.mark.requirement("R27")
def test_numbers_beyond_json_and_types_it_does_not_know_leave_as_text() -> None:
    sealed = masker().seal({"big": 2**80, "text": "\ud800"})

    assert json.loads(sealed.structured) == {"big": str(2**80), "text": "\ufffd", "masked": {}}


def revealing(*classes: str) -> CallMasker:
    return masker_for(
        revealed=frozenset(classes),
        all_classes=frozenset(BUILT_IN),
        styles={},
        detectors=DEFAULT,
        secrets=[],
        hash_key=b"k" * 32,
    )


@pytest.mark.parametrize("value", ["ab-12345", 78051120])
@pytest.mark.parametrize("hidden", [True, False])
def test_what_a_members_name_says_of_its_value_was_in_the_result(value: object, hidden: bool) -> None:
    one = masker(revealed=NOTHING if hidden else frozenset({"pii.national_id"}))

    shown = one.json({"ssn": value})

    assert shown == {"ssn": "[pii.national_id]" if hidden else value}
    assert one.seal({}).touched == {"pii.national_id"}


def test_what_was_shown_inside_of_something_else_that_was_shown_counts_too() -> None:
    one = revealing("pii.email", "secret.password")

    assert one.text('password="ada@example.com"') == 'password="ada@example.com"'
    assert one.seal({}).touched == {"pii.email", "secret.password"}


def test_what_was_shown_in_a_cell_behind_a_key_that_never_closes_counts_too() -> None:
    one = revealing("pii.email", "secret.private_key")

    assert one.column([PEM[:60], "ada@example.com"], classes=NOTHING) == [PEM[:60], "ada@example.com"]
    assert one.seal({}).touched == {"pii.email", "secret.private_key"}
