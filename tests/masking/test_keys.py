"""What the name of a JSON member says of its value."""

from __future__ import annotations

import pytest

from mcp_gateway.masking.keys import class_of, fits


@pytest.mark.parametrize(
    ("name", "data_class"),
    [
        ("password", "secret.password"),
        ("dbPassword", "secret.password"),
        ("DB_PASSWD", "secret.password"),
        ("client_secret", "secret.password"),
        ("apiKey", "secret.password"),
        ("X-Api-Key", "secret.password"),
        ("SecretAccessKey", "secret.password"),
        ("access_token", "secret.token"),
        ("refreshToken", "secret.token"),
        ("token", "secret.token"),
        ("Authorization", "secret.token"),
        ("Set-Cookie", "secret.token"),
        ("ssn", "pii.national_id"),
        ("passportNumber", "pii.national_id"),
        ("national_id", "pii.national_id"),
    ],
)
def test_a_name_tells_the_class(name: str, data_class: str) -> None:
    assert class_of(name) == data_class


@pytest.mark.parametrize(
    "name",
    ["", "next_token", "nextPageToken", "token_type", "password_changed_at", "secret_name", "key", "id", "passenger", "assign", "token_count"],
)  # fmt: skip
def test_other_names_tell_nothing(name: str) -> None:
    assert class_of(name) is None


def test_a_name_as_long_as_the_target_likes_is_looked_at_by_its_end() -> None:
    assert class_of("x" * 1_000_000 + "_password") == "secret.password"


@pytest.mark.parametrize(
    ("data_class", "value", "fitting"),
    [
        ("secret.password", "hunter2", True),
        ("secret.password", "", False),
        ("secret.password", "****", False),
        ("secret.password", "${DB_PASSWORD}", False),
        ("secret.password", "[secret.password]", False),
        ("pii.national_id", "078051121", True),
        ("pii.national_id", "none yet", False),
        ("pii.national_id", "9" * 100, False),
    ],
)
def test_a_placeholder_is_no_value(data_class: str, value: str, fitting: bool) -> None:
    assert fits(data_class, value) is fitting
