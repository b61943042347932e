"""Identity numbers: what each country's rules let through."""

from __future__ import annotations

import pytest

from mcp_gateway.masking.identities import BARE_IDENTITY, IDENTITIES

VALID = {
    "us_ssn": "078051121",
    "us_mbi": "1EG4TE5MK73",
    "uk_nino": "PR123612C",
    "uk_nhs": "9434765919",
    "uk_driving_licence": "MORGA657054SM9IJ",
    "ca_sin": "130692544",
    "au_tfn": "876543210",
    "au_medicare": "2123456701",
    "in_aadhaar": "399876543211",
    "de_tax_id": "86095742719",
    "de_social_security": "15070649C103",
    "es_nif": "X9613851N",
    "it_fiscal_code": "RSSMRA85T10A562S",
    "fi_identity_code": "131052308T",
    "pl_pesel": "44051401458",
    "se_personnummer": "8712202384",
    "kr_resident_number": "0509122000019",
    "za_id": "8001015009087",
    "tr_national_id": "76543210794",
    "no_birth_number": "17054026641",
    "th_national_id": "3456789012347",
    "fr_nir": "255081416802538",
    "be_national_number": "85073003328",
    "ch_ahv": "7569217076985",
    "br_cpf": "11144477735",
}
WITHOUT_CHECK_DIGITS = {"us_ssn", "us_mbi", "uk_nino", "uk_driving_licence", "sg_nric"}


@pytest.mark.parametrize("name", sorted(VALID))
def test_a_valid_number_passes(name: str) -> None:
    (identity,) = (identity for identity in IDENTITIES if identity.name == name)

    assert identity.check(VALID[name])


@pytest.mark.parametrize("name", sorted(VALID.keys() - WITHOUT_CHECK_DIGITS))
def test_most_numbers_that_differ_in_one_digit_do_not(name: str) -> None:
    (identity,) = (identity for identity in IDENTITIES if identity.name == name)
    number = VALID[name]
    places = [place for place, character in enumerate(number) if character.isdigit()]
    others = [number[:place] + str((int(number[place]) + 1) % 10) + number[place + 1 :] for place in places]

    assert sum(identity.check(other) for other in others) <= len(others) // 4


def test_every_kind_of_number_but_the_checkless_has_a_sample_here() -> None:
    assert {identity.name for identity in IDENTITIES} - {"sg_nric"} == set(VALID)


@pytest.mark.parametrize("digits", ["111111111", "000000000000", "123456789", "1234567890123"])
def test_bare_digits_without_any_check_are_no_identity(digits: str) -> None:
    assert not BARE_IDENTITY.check(digits)
