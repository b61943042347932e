from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.audit.summaries import UNREADABLE, StoredEvent, beginning, stored_event, summarise
from mcp_gateway.events import EVENT_KINDS

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(
    ["tool", "target", "decision", "policies", "duration", "rows", "masked", "code", "email", "door", "arguments"]
)


@settings(max_examples=40, deadline=None)
@given(
    events=st.lists(
        st.tuples(
            st.sampled_from([*sorted(EVENT_KINDS), "Nonsense"]),
            st.one_of(st.text(), st.dictionaries(keys, json_values).map(json.dumps), json_values.map(json.dumps)),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_the_store_holds_can_be_summarised(events: list[tuple[str, str]]) -> None:
    rows = [stored_event((number, "2026", "c", kind, body, b"h")) for number, (kind, body) in enumerate(events)]

    found = summarise(rows)

    assert found.call_id == "c"
    assert isinstance(found.to_json(), dict)


def test_a_call_that_was_asked_about_shows_both_decisions_and_the_last_policies() -> None:
    def decided(decision: str, *policies: str) -> StoredEvent:
        body: dict[str, Any] = {"decision": decision, "policies": policies}
        return stored_event((1, "2026", "c", "Decided", json.dumps(body), b"h"))

    found = summarise([decided("ask", "p1"), decided("allow", "p2", "p3")])

    assert found.decisions == ("ask", "allow")
    assert found.policies == ("p2", "p3")


def test_an_unreadable_body_is_kept_as_it_is() -> None:
    found = stored_event((1, "2026", None, "Received", "{", None))

    assert found.body == {UNREADABLE: "{"}
    assert found.hash == ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"sql": "SELECT  1\n FROM t", "reason": "x"}, "SELECT 1 FROM t"),
        ({"argv": ["ls", "-l", "my file"]}, "ls -l 'my file'"),
        ({"command": "uptime"}, "uptime"),
        ({"method": "POST", "path": "/invoices", "json": {"a": 1}}, "POST /invoices"),
        ({"path": "/invoices"}, "GET /invoices"),
        ({"count": 3, "query": "of a further tool"}, "of a further tool"),
        ({"sql": "x" * 201}, "x" * 200 + " ..."),
        ({"sql": " " * 5000 + "DROP TABLE t"}, " ..."),
        ({"sql": 5}, ""),
        ({"argv": []}, ""),
        ({}, ""),
        (None, ""),
        ([1], ""),
    ],
)
def test_the_beginning_of_a_call_tells_it_from_others(arguments: object, expected: str) -> None:
    assert beginning(arguments) == expected
