from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest

from mcp_gateway.facts.frames import SHAPE, Answer, FrameError, encoded, framed, shape_of
from mcp_gateway.facts.sql import examine_sql
from mcp_gateway.facts.worker import decoded
from mcp_gateway.masking.lineage import Lineage, OutputColumns

LINEAGE = Lineage(
    columns=OutputColumns.gathered(
        ["a", None, "b"], [(frozenset({"pii.email"}), False), (frozenset(), False), (frozenset(), False)]
    ),
    touch=frozenset({"pii.email", "payment.card"}),
    opaque=True,
    refusal="no",
    inference={"where": frozenset({"pii.email"})},
    relations=frozenset({"public.users"}),
)
EXAMINED = Answer(examination=examine_sql("SELECT a.b, f(1) FROM c.d a", catalog=None), lineage=LINEAGE)

COLUMNS = {"names": ["a", None, "b"], "kinds": [[["pii.email"], False], [[], False]], "of": [0, 1, 1]}


def test_a_frame_says_how_long_it_is() -> None:
    assert framed(b"abc") == b"\0\0\0\3abc"


@pytest.mark.parametrize(
    "answer",
    [
        EXAMINED,
        Answer(examination=EXAMINED.examination),
        Answer(examination=EXAMINED.examination, lineage=Lineage(columns=None)),
        Answer(examination=EXAMINED.examination, lineage=replace(LINEAGE, columns=OutputColumns.gathered([], []))),
        Answer(syntax="at x", position=3),
        Answer(failed="KeyError"),
    ],
)
def test_what_goes_out_comes_back_equal(answer: Answer) -> None:
    assert decoded(encoded(answer)) == answer


def test_what_comes_back_is_hashable_where_it_was() -> None:
    back = decoded(encoded(EXAMINED)).lineage

    assert back is not None
    assert isinstance(back.touch, frozenset)
    assert isinstance(hash(back.columns), int)


@pytest.mark.parametrize(
    "change",
    [
        {"opaque": 1},
        {"opaque": "false"},
        {"touch": "pii"},
        {"touch": [1]},
        {"touch": ["pii.email", None]},
        {"touch": {"a": 1}},
        {"columns": [{}]},
        {"columns": {}},
        {"columns": COLUMNS | {"names": ["a", None, 1]}},
        {"columns": COLUMNS | {"names": ["a", None]}},
        {"columns": COLUMNS | {"kinds": [["pii.email", False], [[], False]]}},
        {"columns": COLUMNS | {"kinds": [[["pii.email"], 0], [[], False]]}},
        {"columns": COLUMNS | {"kinds": [[["pii.email"], False]]}},
        {"columns": COLUMNS | {"of": [0, 1]}},
        {"columns": COLUMNS | {"of": [0, 1, -1]}},
        {"columns": COLUMNS | {"of": [0, 1, True]}},
        {"columns": COLUMNS | {"of": [0, 1, "1"]}},
        {"columns": COLUMNS | {"more": 1}},
        {"refusal": []},
        {"inference": []},
        {"inference": {"where": "x"}},
    ],
)
def test_anything_else_than_the_agreed_form_is_refused(change: dict[str, Any]) -> None:
    answer = orjson.loads(encoded(EXAMINED))
    answer["lineage"] |= change
    with pytest.raises(FrameError, match=r"^lineage\."):
        decoded(orjson.dumps(answer))


def test_columns_go_by_their_kinds() -> None:
    assert orjson.loads(encoded(EXAMINED))["lineage"]["columns"] == COLUMNS


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"more": 1}', b'{"examination": {}}', b'{"position": "1"}'])
def test_what_is_no_answer_is_refused(content: bytes) -> None:
    with pytest.raises(FrameError):
        decoded(content)


@dataclass
class One:
    a: int
    b: str = ""


@dataclass
class Other:
    a: int
    b: bytes = b""


def test_the_shape_tells_fields_and_their_types_apart() -> None:
    assert shape_of(One) != shape_of(Other)
    assert shape_of(One) != shape_of(One, Answer)
    assert len(SHAPE) == 64


def test_a_value_that_has_no_form_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        encoded({"value": object()})
