"""Checksums accept what its issuer gives out and nothing that is off by one digit."""

from __future__ import annotations

import pytest

from mcp_gateway.masking.checksums import (
    is_bitcoin_address,
    is_card_number,
    is_iban,
    is_iso7064_mod11_10,
    is_luhn,
    is_social_security_number,
    is_taxpayer_number,
    is_verhoeff,
)

CARDS = [
    "4111111111111111",  # the schemes' own test numbers
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "30569309025904",
    "3530111333300000",
    "6011111111111117",
    "6212345678901232",
    "122000000000003",
]
IBANS = ["GB29NWBK60161331926819", "DE89370400440532013000", "NO9386011117947", "MT84MALT011000012345MTLCAST001S"]


@pytest.mark.parametrize("number", CARDS)
def test_a_card_number_passes_and_no_neighbour_of_it_does(number: str) -> None:
    assert is_card_number(number)
    for place in range(len(number)):
        other = number[:place] + str((int(number[place]) + 1) % 10) + number[place + 1 :]
        assert not is_luhn(other)


@pytest.mark.parametrize(
    "number", ["0000000000000000", "1111111111111111111", "9111111111111111", "411111111111111", "42"]
)
def test_digits_outside_the_issuers_ranges_are_no_card(number: str) -> None:
    assert not is_card_number(number)


@pytest.mark.parametrize("account", IBANS)
def test_an_account_number_passes_and_no_neighbour_of_it_does(account: str) -> None:
    assert is_iban(account)
    for place in range(4, len(account)):
        if account[place].isdigit():
            other = account[:place] + str((int(account[place]) + 1) % 10) + account[place + 1 :]
            assert not is_iban(other)


@pytest.mark.parametrize("account", ["", "GB", "GB29NWBK6016133192681", "ZZ29NWBK60161331926819"])
def test_another_length_or_country_is_no_account_number(account: str) -> None:
    assert not is_iban(account)


@pytest.mark.parametrize(
    ("digits", "valid"),
    [("078051121", True), ("000121234", False), ("666121234", False), ("900121234", False), ("123001234", False)],
)
def test_social_security_numbers_follow_the_area_rules(digits: str, valid: bool) -> None:
    assert is_social_security_number(digits) is valid


@pytest.mark.parametrize(
    ("digits", "valid"), [("911701234", True), ("911931234", False), ("911491234", False), ("811701234", False)]
)
def test_taxpayer_numbers_follow_the_group_rules(digits: str, valid: bool) -> None:
    assert is_taxpayer_number(digits) is valid


def test_verhoeff_finds_every_single_wrong_digit_and_every_swap() -> None:
    number = "399876543211"

    assert is_verhoeff(number)
    for place in range(len(number)):
        for digit in "0123456789":
            changed = number[:place] + digit + number[place + 1 :]
            assert is_verhoeff(changed) is (changed == number)
    for place in range(len(number) - 1):
        swapped = number[:place] + number[place + 1] + number[place] + number[place + 2 :]
        assert is_verhoeff(swapped) is (swapped == number)


def test_the_german_tax_numbers_check_digit_is_iso_7064() -> None:
    assert is_iso7064_mod11_10("86095742719")
    assert not is_iso7064_mod11_10("86095742718")


@pytest.mark.parametrize(
    ("address", "valid"),
    [
        ("16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ", True),
        ("16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyY", False),
        ("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", True),
        ("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdp", False),
        ("bc1!", False),
        ("z" * 60, False),
    ],
)
def test_bitcoin_addresses_carry_their_checksum(address: str, valid: bool) -> None:
    assert is_bitcoin_address(address) is valid
