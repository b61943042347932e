from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.masking.keys import IDENTITY_KEY, PASSWORD_KEY, TOKEN_KEY
from mcp_gateway.masking.renamed import MAX_CHARACTERS, WORDS, mask_renamed, renamed, with_own_names
from tests.masking.maskers import masker_with
from tests.masking.samples import CANARY


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{ x: password }", {"x": ("password",)}),
        ("{ me { x,:,password y: id ssn: name } }", {"x": ("password",)}),
        ('{ a(t: "# \\" #") { x #: y\n : #"\n password } }', {"x": ("password",)}),
        ('{ a(t: """ " # """) x #\r :password }', {"x": ("password",)}),
        ("{ x: password ...F } fragment F on Q { x: ssn y: apiKey }", {"x": ("password", "ssn"), "y": ("apiKey",)}),
        ("select=id,x:password::text,y:data->>'ssn',z:data->>access_token", {"x": ("password",), "z": ("access_token",)}),
        ("$select=password as x, u.ssn AS y, [apiKey] as [z]", {"x": ("password",), "y": ("ssn",), "z": ("apiKey",)}),
        ("select=id,my x:password,\"y z\" : ssn,$w:apiKey", {"my x": ("password",), "x": ("password",), "y z": ("ssn",), "$w": ("apiKey",), "w": ("apiKey",)}),
        ("select=x:data->>api-key", {"x": ("api-key",)}),
        ("select=x:password.max(),y:password->a", {"x": ("password",), "y": ("password",)}),
        ("max(u.password) as x, aggregate(ssn with max as y)", {"x": ("password",), "y": ("ssn",)}),
        ("select=id,a-b:password", {"a-b": ("password",), "b": ("password",)}),
        ("password as \"my x\", ssn as [y z] from t, apiKey as w from t", {"my x": ("password",), "my": ("password",), "y z": ("ssn",), "y": ("ssn",), "w from t": ("apiKey",), "w": ("apiKey",)}),
        ("{ password: passwd ssn: password }", {"ssn": ("password",)}),
        ("{ password } a: b name as x", {}),
        ("password" + " " * 40 + "as" + "\n" * 40 + "x", {"x": ("password",)}),
        ("select=id," + " " * 40 + "my x" + " " * 40 + ":" + " " * 40 + "password", {"my x": ("password",), "x": ("password",)}),
        ("password/* as a */as/**/x, \"ssn\"--\nas/*", {"x": ("password",)}),
        ("password::text as x, max(ssn::int) as y, apiKey as[z]", {"x": ("password",), "y": ("ssn",), "z": ("apiKey",)}),
        ("", {}),
    ],
)  # fmt: skip
def test_new_names_are_told_with_the_own_ones(text: str, names: Any) -> None:
    assert renamed([text]) == names


VALUE = {
    "x": "hunter22",
    "deep": [{"x": ["123-45-6789x", None], "y": {"x": 7}}],
    "z": "hunter22",
    "password": "hunter22",
}


def test_what_stands_under_a_new_name_is_masked() -> None:
    masker, value = masker_with(CANARY), json.loads(json.dumps(VALUE))
    mask_renamed(value, {"x": ("password",), "y": ("password",)}, json=masker.json)

    assert value == VALUE | {
        "x": "[secret.password]",
        "deep": [{"x": ["[secret.password]", None], "y": {"x": "[secret.password]"}}],
    }
    assert masker.counts == {"secret.password": 3}


@pytest.mark.parametrize("names", [("password", "ssn"), ("ssn", "password")])
def test_of_two_names_each_speaks(names: tuple[str, str]) -> None:
    value = [{"x": "hunter22"}, {"x": 123456789}]
    mask_renamed(value, {"x": names}, json=masker_with(CANARY).json)
    assert "hunter22" not in str(value)
    assert "123456789" not in str(value)


def test_a_piece_of_json_is_read_with_the_own_names() -> None:
    body = b'{"x": "hunter22", "y" :1, "z": "x", "a\\"x": 1'
    assert with_own_names(body, {"x": ("password", "ssn")}) == body.replace(b'{"x"', b'{"password"')
    assert with_own_names(body, {}) == body


@pytest.mark.requirement("R22")
@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a ",
        "a,",
        "a#",
        "#",
        '"',
        '"\\',
        '"""',
        "a:",
        "a as ",
        "a.",
        "-",
        " ",
        ",",
        ", ",
        "=a",
        "(x y:",
        "x: password ",
        "password as x ",
        "password as x y z",
    ],
)
def test_a_text_of_any_kind_is_read_in_linear_time(piece: str) -> None:
    before = time.process_time()
    renamed([piece * (MAX_CHARACTERS // len(piece))])
    assert time.process_time() - before < 5  # in quadratic time it would take minutes


@pytest.mark.parametrize("padding", [" ", ",", "#c\n", "name ", "a: b ", "/**/"])
def test_a_long_text_hides_no_new_name(padding: str) -> None:
    much = padding * (4 * 1024 * 1024 // len(padding))
    before = time.process_time()
    assert renamed([f"{much} x: password {much}"])["x"] == ("password",)
    assert renamed([much, "\u0130" * 300, "x: PASSWORD"])["x"] == ("PASSWORD",)
    assert time.process_time() - before < 40  # in quadratic time it would take hours


def test_where_more_is_said_than_can_be_looked_into_any_name_may_be_a_new_one() -> None:
    names = renamed(["a password b " * (MAX_CHARACTERS // 8)])
    value, masker = [{"x": "hunter22", "y": {"z": ["hunter22", None]}}], masker_with(CANARY)
    mask_renamed(value, names, json=masker.json)
    assert value == [{"x": "[secret.password]", "y": {"z": ["[secret.password]", None]}}]
    assert with_own_names(b'{"x": "hunter22"', names) == b'{"password": "hunter22"'


@pytest.mark.parametrize("pattern", [PASSWORD_KEY, TOKEN_KEY, IDENTITY_KEY])
def test_every_name_that_has_a_class_is_looked_for(pattern: re.Pattern[str]) -> None:
    @settings(max_examples=300, deadline=None)
    @given(st.from_regex(pattern))
    def check(name: str) -> None:
        assert re.search(WORDS, name, re.IGNORECASE)

    check()


@given(st.text(alphabet='{}:#"\\ ,\n asxpassword.->', max_size=60), st.recursive(st.none() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xas"), inner, max_size=3)))  # fmt: skip
def test_no_text_and_no_value_breaks_it(text: str, value: Any) -> None:
    names = renamed([text])
    mask_renamed(value, {**names, "x": ("password",)}, json=masker_with(CANARY).json)
    with_own_names(text.encode(), names)
