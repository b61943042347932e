from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from mcp_gateway.facts.frames import FrameError, encoded, framed, restore
from mcp_gateway.facts.sql import SQLExamination, examine_sql
from mcp_gateway.masking.lineage import Lineage, OutputColumn

LINEAGE = Lineage(
    columns=(OutputColumn(name="a", classes=frozenset({"pii.email"})), OutputColumn(name=None, classes=frozenset())),
    touch=frozenset({"pii.email", "payment.card"}),
    opaque=True,
    refusal="no",
    inference={"where": frozenset({"pii.email"})},
    relations=frozenset({"public.users"}),
)


def test_a_frame_says_how_long_it_is() -> None:
    assert framed(b"abc") == b"\0\0\0\3abc"


@pytest.mark.parametrize(
    "value", [LINEAGE, Lineage(columns=None), examine_sql("SELECT a.b, f(1) FROM c.d a", catalog=None)]
)
def test_what_goes_out_comes_back_equal(value: SQLExamination | Lineage) -> None:
    assert restore(type(value), orjson.loads(encoded(value))) == value


def test_what_comes_back_is_hashable_where_it_was() -> None:
    back = restore(Lineage, orjson.loads(encoded(LINEAGE)))

    assert isinstance(back.touch, frozenset)
    assert isinstance(back.columns, tuple)


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
        {"columns": [{"name": 1, "classes": []}]},
        {"columns": {}},
        {"refusal": []},
        {"inference": []},
        {"inference": {"where": "x"}},
        {"more": 1},
    ],
)
def test_anything_else_than_the_agreed_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FrameError):
        restore(Lineage, orjson.loads(encoded(LINEAGE)) | change)


def test_a_missing_field_is_refused() -> None:
    with pytest.raises(FrameError, match="got the fields"):
        restore(Lineage, {"columns": None})


@dataclass(frozen=True, slots=True, kw_only=True)
class Odd:
    value: Mapping[str, float]


def test_a_value_that_has_no_form_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="has no form in a frame"):
        restore(Odd, {"value": {}})
