from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.audit.chain import (
    Entry,
    Head,
    decode_body,
    encode_body,
    encode_event,
    encode_time,
    entry_hash,
    follow,
    genesis,
)
from mcp_gateway.errors import StoreError
from mcp_gateway.events import Event, Finished, Identified, PolicyLoaded, Received

EMPTY = genesis("store-1")
NOW = datetime(2026, 11, 24, 12, 0, 0, 7, tzinfo=timezone(timedelta(hours=2)))
ONE_OF_EACH: list[Event] = [
    Identified(
        at=NOW,
        call_id="c",
        issuer="i",
        subject="ü\x00\n",
        actor="a",
        email=None,
        groups=frozenset({"b", "a"}),
        scopes=frozenset(),
        token_id="t",
        token_issued_at=NOW,
        token_expires_at=NOW,
        assurance="token",
    ),
    Received(
        at=NOW, call_id="c", door="http", tool="t", target="o", arguments={"b": [1, {"y": 1.5, "x": None}]}, client={}
    ),
    Finished(at=NOW, call_id="c", duration=timedelta(microseconds=1_500_001), masked={"b": 1, "a": 2}),
    PolicyLoaded(at=NOW, version="v", policies=3, problems=("b", "a")),
    Received(at=NOW, call_id="c", door="http", tool="t", target="o", arguments={"n": 2**70, "s": "\ud800"}, client={}),
]


def chain(count: int, *, head: Head = EMPTY) -> list[Entry]:
    entries: list[Entry] = []
    for number in range(head.sequence + 1, head.sequence + count + 1):
        at, call_id, kind, body = "2026-11-24T12:00:00.000000+00:00", "c-1", "Answered", f'{{"code":"{number}"}}'
        found = entry_hash(sequence=number, at=at, call_id=call_id, kind=kind, body=body.encode(), previous=head.hash)
        entries.append((number, at.encode(), call_id.encode(), kind.encode(), body.encode(), found))
        head = Head(sequence=number, hash=found)
    return entries


def changed(entry: Entry, place: int, value: Any) -> Entry:
    parts = list(entry)
    parts[place] = value
    return tuple(parts)  # type: ignore[return-value]


def test_anybody_can_compute_the_hash_of_an_event() -> None:
    written = entry_hash(
        sequence=7,
        at="2026-11-24T12:00:00.000000+00:00",
        call_id=None,
        kind="Answered",
        body=b'{"code":"ok"}',
        previous=b"\x01" * 32,
    )

    line = json.dumps([7, "2026-11-24T12:00:00.000000+00:00", None, "Answered", "01" * 32], separators=(",", ":"))
    assert written == hashlib.sha256(line.encode() + b"\n" + b'{"code":"ok"}').digest()
    assert written.hex() == "f5b6293432a313c222ad20ceca242820eabcab775ec4a07f4c0be87d20864039"


def test_a_whole_chain_ends_at_its_last_event() -> None:
    entries = chain(3)

    head, flaw = follow(entries, head=EMPTY)

    assert flaw is None
    assert head == Head(sequence=3, hash=entries[-1][5] or b"")


def test_a_chain_goes_on_from_any_head_in_it() -> None:
    entries = chain(5)
    head, _ = follow(entries[:2], head=EMPTY)

    assert follow(entries[2:], head=head)[1] is None


@pytest.mark.parametrize("place", range(1, 6))
@pytest.mark.parametrize("value", [None, b"", b"x", b"\xff\xfe", 7, 0.5])
@pytest.mark.requirement("I6", "R7")
def test_a_changed_part_is_found_at_its_event(place: int, value: object) -> None:
    entries = chain(5)
    entries[2] = changed(entries[2], place, value)

    head, flaw = follow(entries, head=EMPTY)

    assert flaw is not None
    assert flaw.sequence == 3
    assert head.sequence == 2


@pytest.mark.requirement("R7")
def test_a_removed_event_is_named() -> None:
    entries = chain(5)
    del entries[2]

    _, flaw = follow(entries, head=EMPTY)

    assert str(flaw) == "event 3 is missing: event 4 comes after event 2"


@pytest.mark.requirement("R7")
def test_a_removed_first_event_is_named() -> None:
    _, flaw = follow(chain(5)[1:], head=EMPTY)

    assert str(flaw) == "event 1 is missing: event 2 comes after event 0"


@pytest.mark.requirement("R7")
def test_events_that_change_places_are_found() -> None:
    entries = chain(5)
    entries[1], entries[3] = changed(entries[3], 0, 2), changed(entries[1], 0, 4)

    _, flaw = follow(entries, head=EMPTY)

    assert str(flaw) == "event 2 does not fit its hash: it, or what comes before it, was changed"


@pytest.mark.requirement("R7")
def test_an_inserted_event_is_found_even_with_a_hash_of_its_own() -> None:
    entries = chain(4)
    inserted = chain(3)[2]
    later = [changed(entry, 0, entry[0] + 1) for entry in entries[2:]]

    _, flaw = follow([*entries[:2], changed(inserted, 4, b"{}"), *later], head=EMPTY)

    assert flaw is not None
    assert flaw.sequence == 3


@pytest.mark.requirement("R7")
def test_events_of_another_store_never_fit() -> None:
    _, flaw = follow(chain(2, head=genesis("store-2")), head=EMPTY)

    assert flaw is not None
    assert flaw.sequence == 1


def test_a_suffix_hashed_anew_fits_and_only_a_head_kept_elsewhere_tells() -> None:
    entries = chain(5)
    kept, _ = follow(entries, head=EMPTY)
    head, _ = follow(entries[:2], head=EMPTY)
    forged = [*entries[:2]]
    for entry in entries[2:]:
        body = b'{"code":"forged"}'
        found = entry_hash(
            sequence=entry[0],
            at=(entry[1] or b"").decode(),
            call_id="c-1",
            kind="Answered",
            body=body,
            previous=head.hash,
        )
        forged.append((entry[0], entry[1], entry[2], entry[3], body, found))
        head = Head(sequence=entry[0], hash=found)

    found_head, flaw = follow(forged, head=EMPTY)

    assert flaw is None
    assert found_head != kept


@settings(deadline=None)
@given(
    place=st.integers(min_value=0, max_value=4),
    part=st.integers(min_value=1, max_value=5),
    index=st.integers(min_value=0),
    bit=st.integers(min_value=0, max_value=7),
)
@pytest.mark.requirement("I6", "R6")
def test_one_flipped_bit_anywhere_is_found(place: int, part: int, index: int, bit: int) -> None:
    entries = chain(5)
    data = bytearray(entries[place][part] or b"")
    data[index % len(data)] ^= 1 << bit
    entries[place] = changed(entries[place], part, bytes(data))

    _, flaw = follow(entries, head=EMPTY)

    assert flaw is not None
    assert flaw.sequence == place + 1


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=50, deadline=None)
@given(body=st.dictionaries(st.text(st.characters()), json_values, max_size=5))
def test_a_body_comes_back_as_it_was(body: dict[str, Any]) -> None:
    assert decode_body(encode_body(body)) == body


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=lambda event: event.kind)
def test_an_event_is_written_as_its_body(event: Event) -> None:
    assert encode_event(event) == encode_body(event.body())
    assert decode_body(encode_event(event)) == event.body()


@settings(max_examples=30, deadline=None)
@given(body=st.dictionaries(st.text(), st.integers(), min_size=2, max_size=5))
def test_the_order_of_keys_does_not_matter(body: dict[str, Any]) -> None:
    assert encode_body(body) == encode_body(dict(reversed(body.items())))


@pytest.mark.parametrize(
    ("body", "written"),
    [
        ({"n": 2**70}, '{"n":1180591620717411303424}'),
        ({"s": "\ud800"}, r'{"s":"\ud800"}'),
        ({"s": "a\x00b"}, r'{"s":"a\u0000b"}'),
        ({"b": 1, "a": "ü"}, '{"a":"ü","b":1}'),
    ],
)
def test_what_an_agent_may_send_is_written_exactly(body: dict[str, Any], written: str) -> None:
    assert encode_body(body) == written


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(depth):
        found = {"a": found}
    return found


@pytest.mark.parametrize("body", [{"a": object()}, {"a": float("nan"), "b": 2**70}, nested(100_000), {"a": 10**5000}])
def test_what_json_cannot_hold_refuses_the_event(body: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="an event cannot be written as JSON: "):
        encode_body(body)


@pytest.mark.parametrize("text", ["[]", "1", "null"])
def test_a_body_is_an_object(text: str) -> None:
    with pytest.raises(TypeError, match="an event's body is a JSON object"):
        decode_body(text)


def test_times_sort_as_texts() -> None:
    early = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
    times = [
        early,
        early + timedelta(microseconds=1),
        (early + timedelta(seconds=1)).astimezone(timezone(timedelta(hours=-5))),
    ]

    written = [encode_time(at) for at in times]

    assert written == sorted(written)
    assert written[2] == "2026-11-24T12:00:01.000000+00:00"


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(StoreError, match="an event's time must have a zone, got '2026-11-24 12:00:00'"):
        encode_time(datetime(2026, 11, 24, 12))  # noqa: DTZ001 - the point of it
