"""Detector lists of the configuration."""

from __future__ import annotations

import pytest

from mcp_gateway.errors import ConfigError
from mcp_gateway.masking.detectors import ALL, CLASS_OF, DEFAULT, NAMES, SSH, find_problems, resolve


def test_no_names_stand_for_the_default() -> None:
    assert resolve([]) == DEFAULT


def test_addresses_and_phone_numbers_are_off_by_default_for_ssh() -> None:
    assert {CLASS_OF[name] for name in DEFAULT - SSH} == {"pii.ip_address", "pii.mac_address", "pii.phone"}
    assert resolve(["ssh"]) == SSH


def test_the_default_leaves_out_what_is_imprecise() -> None:
    assert {"bare_national_id", "bitcoin"} == ALL - DEFAULT


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["email"], {"email"}),
        (["email", "card"], {"email", "card"}),
        (["payment.card"], {"card"}),
        (["-email"], DEFAULT - {"email"}),
        (["default", "-phone", "-pii.ip_address"], DEFAULT - {"phone", "ip_address"}),
        (["default", "-email", "email"], DEFAULT),
        (["all", "-default"], ALL - DEFAULT),
        (["email", "-email"], set()),
    ],
)
def test_a_list_is_read_from_left_to_right(names: list[str], expected: set[str]) -> None:
    assert resolve(names) == expected


def test_a_class_stands_for_its_default_detectors() -> None:
    assert {CLASS_OF[name] for name in NAMES["secret.token"]} <= {"secret.token", "secret.password"}
    assert "bare_national_id" not in NAMES["pii.national_id"]


def test_every_unknown_name_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(["emial", "default", "-phones"])

    assert [problem.path for problem in caught.value.problems] == ["masking.detectors"] * 2
    assert [problem.message for problem in caught.value.problems] == [
        "unknown detector 'emial'; did you mean 'email'?",
        "unknown detector '-phones'; did you mean '-phone'?",
    ]


def test_problems_name_the_path_they_were_found_under() -> None:
    (problem,) = find_problems(["x"], path="targets.orders.detectors")

    assert problem.path == "targets.orders.detectors"
