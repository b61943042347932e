from __future__ import annotations

import time
from typing import Any

import pytest

from mcp_gateway.facts.openapi_schemas import Schemas

PETS = {
    "Pet": {
        "oneOf": [{"$ref": "#/components/schemas/Cat"}, {"$ref": "#/components/schemas/Dog"}],
        "discriminator": {"propertyName": "kind", "mapping": {"kitty": "#/components/schemas/Cat"}},
    },
    "Cat": {"type": "object", "required": ["kind", "lives"]},
    "Dog": {"type": "object", "required": ["kind", "bark"]},
}


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ({"kind": "Cat", "lives": 9}, True),
        ({"kind": "kitty", "lives": 9}, True),
        ({"kind": "Dog", "bark": "x"}, True),
        ({"kind": "Cat", "bark": "x"}, False),
        ({"kind": "kitty", "bark": "x"}, False),
        ({"kind": "Dog", "lives": 9}, False),
        ({"kind": 7, "lives": 9}, True),
        ({"lives": 9}, False),
        (7, False),
    ],
)
def test_a_value_is_what_it_says_that_it_is(value: Any, fits: bool) -> None:
    for version in ("3.0.3", "3.1.0"):
        assert (
            Schemas({"components": {"schemas": PETS}}, version=version).fits(value, "/components/schemas/Pet") is fits
        )


FILTER = {
    "Filter": {
        "oneOf": [{"$ref": "#/components/schemas/And"}, {"$ref": "#/components/schemas/Or"}, {"$ref": "#/components/schemas/Is"}],
        "discriminator": {"propertyName": "op"},
    },
    "And": {"type": "object", "properties": {"op": {"const": "And"}, "of": {"type": "array", "items": {"$ref": "#/components/schemas/Filter"}}}},
    "Or": {"type": "object", "properties": {"op": {"const": "Or"}, "of": {"type": "array", "items": {"$ref": "#/components/schemas/Filter"}}}},
    "Is": {"type": "object", "properties": {"op": {"const": "Is"}, "of": {"type": "string"}}},
}  # fmt: skip


def test_what_holds_itself_is_judged_some_levels_deep() -> None:
    value: Any = {"op": "Is", "of": "x"}
    for op in ("And", "Or", "And", "Or", "And"):
        value = {"op": op, "of": [value]}
    assert Schemas({"components": {"schemas": FILTER}}, version="3.1.0").fits(value, "/components/schemas/Filter")


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        ({"anyOf": [{"type": "integer"}, {"minimum": 5}]}, 7, True),
        ({"anyOf": [{"type": "string"}, {"minimum": 5}]}, 4, False),
        ({"oneOf": [{"type": "integer"}, {"minimum": 5}]}, 7, False),
        ({"oneOf": [{"type": "integer"}, {"minimum": 5}, False]}, 4, True),
        ({"anyOf": []}, 7, False),
        ({"oneOf": [True], "anyOf": [{"type": "integer"}], "discriminator": {"propertyName": "x"}}, 7, True),
    ],
)
def test_alternatives_are_those_of_json_schema(schema: Any, value: Any, fits: bool) -> None:
    assert Schemas(schema, version="3.1.0").fits(value, "") is fits


HOSTILE: dict[str, Any] = {
    "Loop": {"$ref": "#/components/schemas/Loop"},
    "Doubling": {
        "anyOf": [
            {"type": "array", "minItems": 2, "items": {"$ref": "#/components/schemas/Doubling"}},
            {"type": "array", "minItems": 3, "items": {"$ref": "#/components/schemas/Doubling"}},
        ]
    },
    "Slow": {"type": "string", "pattern": "^(a+)+$"},
    "Ahead": {"type": "string", "pattern": "^(?=a)"},
    "Draft7": {"dependencies": {"a": ["b"]}},
    "Names": {"type": "object", "patternProperties": {"^(a+)+$": False}, "additionalProperties": False},
    "Unique": {"type": "array", "uniqueItems": True},
    "None": {"type": 7},
    "Broken": {"properties": []},
    "Unevaluated": {"unevaluatedProperties": False},
    "Dynamic": {"$dynamicRef": "#x"},
}


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Loop", 1),
        ("Doubling", nested(60)),
        ("Doubling", nested(3000)),
        ("Slow", "a" * 5000 + "!"),
        ("Ahead", "a"),
        ("Draft7", {"a": 1}),
        ("Names", {"a" * 5000 + "!": 1}),
        ("Unique", [[n, {}] for n in range(20_000)]),
        ("None", 1),
        ("Broken", {"a": 1}),
        ("Unevaluated", {}),
        ("Dynamic", {}),
        ("Missing", 1),
    ],
)
def test_what_is_not_proved_in_bounds_does_not_fit(name: str, value: Any) -> None:
    schemas = Schemas({"components": {"schemas": HOSTILE}}, version="3.1.0")
    before = time.process_time()
    assert schemas.fits(value, f"/components/schemas/{name}") is False
    assert time.process_time() - before < 10  # a pattern or a schema that doubles would take years


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        (r"^\u0041$", "A", True),
        (r"^\u0041$", "B", False),
        (r"^[\u00c0-\u00ff]+$", "é", True),
        (r"^\\u0041$", r"\u0041", True),
        (r"^\\u0041$", "A", False),
        (r"^\ud83d\ude00$", "😀", False),
        (r"^\u00g0$", "u00g0", False),
    ],
)
def test_a_character_by_its_number(pattern: str, text: str, fits: bool) -> None:
    assert Schemas({"pattern": pattern}, version="3.1.0").fits(text, "") is fits


def test_an_expression_that_is_not_proved_writes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert not Schemas({"pattern": "(?=a)"}, version="3.1.0").fits("a", "")
    assert capfd.readouterr() == ("", "")


def test_what_follows_a_slow_value_is_judged_on_its_own() -> None:
    schemas = Schemas({"components": {"schemas": HOSTILE}}, version="3.1.0")
    assert not schemas.fits(nested(60), "/components/schemas/Doubling")
    assert schemas.fits("aaa", "/components/schemas/Slow")
