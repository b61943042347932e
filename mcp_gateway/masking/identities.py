"""Identity numbers of people, country by country: patterns and the checks that make a match a hit.

Data for `rules`. A number is taken where its form is its own (letters, fixed separators, a date inside) and its
check digits hold. Bare runs of 9 to 13 digits, of which every tenth passes some check, count only behind a label
("SSN: 078051121"), or with the detector `bare_national_id`, which is not among the defaults.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from mcp_gateway.masking.checksums import (
    is_iso7064_mod11_10,
    is_luhn,
    is_social_security_number,
    is_taxpayer_number,
    is_verhoeff,
    weighted_sum,
)

MONTH = rb"(?:0[1-9]|1[0-2])"
DAY = rb"(?:0[1-9]|[12]\d|3[01])"
MBI_LETTER = rb"[AC-HJKMNP-RT-Yac-hjkmnp-rt-y]"
MBI_MIXED = rb"[AC-HJKMNP-RT-Yac-hjkmnp-rt-y\d]"
HETU_LETTERS = "0123456789ABCDEFHJKLMNPRSTUVWXY"
NIF_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
FISCAL_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One kind of identity number."""

    name: str
    pattern: bytes
    check: Callable[[str], bool]
    """Takes the match in upper case without separators."""
    same_separators: bool = False
    """Whether all separators have to be the same character."""
    starts: bytes = b""
    """The bytes that a match can begin with, where RE2's idea of them is too wide."""


def is_nhs_number(digits: str) -> bool:
    """NHS Data Dictionary: weights 10 to 2, modulo 11."""
    return (11 - weighted_sum(digits, range(10, 1, -1)) % 11) % 11 == int(digits[9]) and len(set(digits)) > 2


def is_canadian_sin(digits: str) -> bool:
    """Luhn; no number begins with 0 or 8."""
    return digits[0] not in "08" and is_luhn(digits) and len(set(digits)) > 1


def is_tax_file_number(digits: str) -> bool:
    """Australian Taxation Office: weighted sum divides by 11."""
    return weighted_sum(digits, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def is_medicare_number(digits: str) -> bool:
    """Services Australia: the ninth digit is a weighted sum modulo 10."""
    return weighted_sum(digits, (1, 3, 7, 9, 1, 3, 7, 9)) % 10 == int(digits[8])


def is_aadhaar(digits: str) -> bool:
    """UIDAI: never begins with 0 or 1, no palindrome, Verhoeff."""
    return digits[0] not in "01" and digits != digits[::-1] and is_verhoeff(digits)


def is_german_tax_id(digits: str) -> bool:
    """One of the first ten digits occurs twice or three times, the others at most once; ISO 7064."""
    counts = sorted(digits[:10].count(digit) for digit in set(digits[:10]))
    return (
        digits[0] != "0"
        and counts[-1] in {2, 3}
        and counts[:-1] == [1] * (len(counts) - 1)
        and is_iso7064_mod11_10(digits)
    )


def is_german_social_security(text: str) -> bool:
    """VKVV section 4: the letter counts as two digits, digit sums of weighted places."""
    digits = text[:8] + f"{ord(text[8]) - 64:02}" + text[9:11]
    weights = (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1)
    products = (int(digit) * weight for digit, weight in zip(digits, weights, strict=True))
    return sum(product // 10 + product % 10 for product in products) % 10 == int(text[11])


def is_spanish_nif(text: str) -> bool:
    """The letter is the number modulo 23; X, Y, Z stand for 0, 1, 2 (NIE)."""
    number = text[:-1].replace("X", "0").replace("Y", "1").replace("Z", "2")
    return NIF_LETTERS[int(number) % 23] == text[-1]


def is_fiscal_code(text: str) -> bool:
    """Italian codice fiscale: odd places by a table, even places by value, modulo 26."""
    values = [int(character, 36) if character.isdigit() else ord(character) - 65 for character in text[:15]]
    total = sum(FISCAL_ODD[value] for value in values[::2]) + sum(values[1::2])
    return chr(65 + total % 26) == text[15]


def is_finnish_identity_code(text: str) -> bool:
    """The last character is date and individual number modulo 31."""
    return HETU_LETTERS[int(text[:6] + text[-4:-1]) % 31] == text[-1]


def is_pesel(digits: str) -> bool:
    """Weighted sum modulo 10 is 0; the month is 20 more for those born from 2000 on, 80 more before 1900."""
    century, month = divmod(int(digits[2:4]), 20)
    return (
        century in {0, 1, 4} and 1 <= month <= 12 and weighted_sum(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0
    )


def is_personnummer(digits: str) -> bool:
    """Swedish: Luhn over the last ten digits."""
    return is_luhn(digits[-10:])


def is_korean_number(digits: str) -> bool:
    """Residents (1-4, 9, 0) and foreigners (5-8): weighted sum modulo 11, two more for foreigners."""
    shift = 13 if digits[6] in "5678" else 11
    return (shift - weighted_sum(digits, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)) % 11) % 10 == int(digits[12])


def is_turkish_number(digits: str) -> bool:
    """The tenth digit from odd and even places, the eleventh from the sum of ten."""
    odd, even = sum(map(int, digits[0:9:2])), sum(map(int, digits[1:8:2]))
    return (odd * 7 - even) % 10 == int(digits[9]) and sum(map(int, digits[:10])) % 10 == int(digits[10])


def is_thai_number(digits: str) -> bool:
    """Weights 13 to 2 modulo 11; a province code is 10 to 96."""
    check = (11 - weighted_sum(digits, range(13, 1, -1)) % 11) % 10
    return digits[0] in "12345678" and 10 <= int(digits[1:3]) <= 96 and check == int(digits[12])


def is_french_nir(text: str) -> bool:
    """97 less the number modulo 97; Corsica's 2A and 2B count as 19 and 18."""
    number = int(text[:13].replace("2A", "19").replace("2B", "18"))
    return 97 - number % 97 == int(text[13:])


def is_belgian_number(digits: str) -> bool:
    """97 less the number modulo 97; a 2 in front for those born from 2000 on."""
    return int(digits[9:]) in {97 - int(digits[:9]) % 97, 97 - int("2" + digits[:9]) % 97}


def is_swiss_ahv(digits: str) -> bool:
    """EAN-13."""
    return (10 - weighted_sum(digits, (1, 3) * 6) % 10) % 10 == int(digits[12])


def is_cpf(digits: str) -> bool:
    """Brazil: two check digits, each a weighted sum modulo 11."""
    first = weighted_sum(digits, range(10, 1, -1)) * 10 % 11 % 10
    second = weighted_sum(digits, range(11, 1, -1)) * 10 % 11 % 10
    return (first, second) == (int(digits[9]), int(digits[10])) and len(set(digits)) > 1


def is_norwegian_number(digits: str) -> bool:
    """Two check digits, each a weighted sum modulo 11."""
    first = weighted_sum(digits, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11
    second = weighted_sum(digits, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11
    return first == 0 and second == 0


def is_dutch_bsn(digits: str) -> bool:
    """The "eleven test"."""
    return (weighted_sum(digits, range(9, 1, -1)) - int(digits[8])) % 11 == 0 and int(digits) > 9_999_999


def is_nino(text: str) -> bool:
    """HMRC NIM39110: prefixes that are never given."""
    return text[:2] not in {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"}


def is_driving_licence(text: str) -> bool:
    """UK: a surname filled up with 9, the month of birth, 50 more for women."""
    return text[:5].rstrip("9").isalpha() and 1 <= int(text[6:8]) % 50 <= 12


def is_npi(digits: str) -> bool:
    """US National Provider Identifier: Luhn with 80840 in front; begins with 1 or 2."""
    return digits[0] in "12" and is_luhn("80840" + digits)


def is_us_number(digits: str) -> bool:
    """A social security number or an individual taxpayer number."""
    return is_social_security_number(digits) or is_taxpayer_number(digits)


def is_any_bare(digits: str) -> bool:
    """Whether some country's check holds for a bare run of 9 to 13 digits."""
    checks: tuple[Callable[[str], bool], ...]
    match len(digits):
        case 9:
            checks = (is_canadian_sin, is_tax_file_number, is_dutch_bsn, is_taxpayer_number)
        case 10:
            checks = (is_nhs_number, is_npi, is_personnummer, is_medicare_number)
        case 11:
            checks = (is_verhoeff, is_cpf, is_german_tax_id, is_belgian_number)
        case 12:
            checks = (is_aadhaar,)
        case _:
            checks = (is_thai_number, is_korean_number)
    return len(set(digits)) > 1 and any(check(digits) for check in checks)


def _always(text: str) -> bool:
    return bool(text)


IDENTITIES = (
    Identity(name="us_ssn", pattern=rb"\d{3}[ .\-]\d{2}[ .\-]\d{4}", check=is_us_number, same_separators=True),
    Identity(
        name="us_mbi",
        pattern=rb"[1-9]"
        + MBI_LETTER
        + MBI_MIXED
        + rb"\d-?"
        + MBI_LETTER
        + MBI_MIXED
        + rb"\d-?"
        + MBI_LETTER
        + rb"{2}\d{2}",
        check=_always,
        same_separators=True,
    ),
    Identity(
        name="uk_nino",
        pattern=rb"[A-CEGHJ-PR-TW-Za-ceghj-pr-tw-z][A-CEGHJ-NPR-TW-Za-ceghj-npr-tw-z][ \-]?\d{2}[ \-]?\d{2}[ \-]?\d{2}[ \-]?[A-Da-d]",
        check=is_nino,
    ),
    Identity(name="uk_nhs", pattern=rb"\d{3}[ \-]\d{3}[ \-]\d{4}", check=is_nhs_number, same_separators=True),
    Identity(
        name="uk_driving_licence",
        pattern=rb"[A-Za-z][A-Za-z9]{4}\d[0156]\d(?:0[1-9]|[12]\d|3[01])\d[A-Za-z9]{2}[A-Za-z\d][A-Za-z]{2}",
        check=is_driving_licence,
    ),
    Identity(name="ca_sin", pattern=rb"\d{3}[ \-]\d{3}[ \-]\d{3}", check=is_canadian_sin, same_separators=True),
    Identity(name="au_tfn", pattern=rb"\d{3} \d{3} \d{3}", check=is_tax_file_number),
    Identity(
        name="au_medicare", pattern=rb"[2-6]\d{3}[ \-]\d{5}[ \-]\d", check=is_medicare_number, same_separators=True
    ),
    Identity(name="in_aadhaar", pattern=rb"[2-9]\d{3}[ \-]\d{4}[ \-]\d{4}", check=is_aadhaar, same_separators=True),
    Identity(name="de_tax_id", pattern=rb"[1-9]\d[ ]?\d{3}[ ]?\d{3}[ ]?\d{3}", check=is_german_tax_id),
    Identity(
        name="de_social_security",
        pattern=rb"\d{2}[ ]?" + DAY + MONTH + rb"\d{2}[ ]?[A-Za-z][ ]?\d{3}",
        check=is_german_social_security,
    ),
    Identity(
        name="es_nif",
        pattern=rb"(?:\d{8}|\d{7}-|\d{8}-|[XYZxyz]-?\d{7}-?)[A-HJ-NP-TV-Za-hj-np-tv-z]",
        check=is_spanish_nif,
        starts=b"0123456789XYZxyz_",
    ),
    Identity(
        name="it_fiscal_code",
        pattern=rb"[A-Za-z]{6}\d{2}[A-EHLMPR-Ta-ehlmpr-t]\d{2}[A-Za-z]\d{3}[A-Za-z]",
        check=is_fiscal_code,
    ),
    Identity(
        name="fi_identity_code",
        pattern=DAY + MONTH + rb"\d{2}[+\-A-FU-Ya-fu-y]\d{3}[\dA-Ya-y]",
        check=is_finnish_identity_code,
    ),
    Identity(name="pl_pesel", pattern=rb"\d{4}" + DAY + rb"\d{5}", check=is_pesel),
    Identity(
        name="se_personnummer",
        pattern=rb"(?:(?:19|20)\d{2}" + MONTH + DAY + rb"[+\-]?\d{4}|\d{2}" + MONTH + DAY + rb"[+\-]\d{4})",
        check=is_personnummer,
    ),
    Identity(name="kr_resident_number", pattern=rb"\d{2}" + MONTH + DAY + rb"-?\d{7}", check=is_korean_number),
    Identity(name="za_id", pattern=rb"\d{2}" + MONTH + DAY + rb"\d{4}[01][89]\d", check=is_luhn),
    Identity(name="tr_national_id", pattern=rb"[1-9]\d{10}", check=is_turkish_number),
    Identity(name="no_birth_number", pattern=rb"[0-7]\d" + MONTH + rb"\d{2} ?\d{5}", check=is_norwegian_number),
    Identity(name="sg_nric", pattern=rb"[STFGMstfgm]\d{7}[A-Za-z]", check=_always),
    Identity(name="th_national_id", pattern=rb"[1-8][ \-]\d{4}[ \-]\d{5}[ \-]\d{2}[ \-]\d", check=is_thai_number),
    Identity(
        name="fr_nir",
        pattern=rb"[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d{2}|2[ABab]) ?\d{3} ?\d{3} ?\d{2}",
        check=is_french_nir,
    ),
    Identity(
        name="be_national_number",
        pattern=rb"\d{2}\." + MONTH + rb"\." + DAY + rb"-\d{3}\.\d{2}",
        check=is_belgian_number,
    ),
    Identity(name="ch_ahv", pattern=rb"756\.\d{4}\.\d{4}\.\d{2}", check=is_swiss_ahv),
    Identity(name="br_cpf", pattern=rb"\d{3}\.\d{3}\.\d{3}-\d{2}", check=is_cpf),
)
"""In order of preference where two fit the same span."""

BARE_IDENTITY = Identity(name="bare_national_id", pattern=rb"\d{9,13}", check=is_any_bare)

LABELLED_IDENTITY = (
    rb"(?i:\b(?:ssn|itin|nino|nhs|tfn|pesel|aadhaar|bsn|cpf|mbi|personnummer|hetu|nric|rvnr|social[ _\-]security"
    rb"|social[ _\-]insurance|national[ _\-](?:id|insurance|identity)|tax[ _\-](?:id|file)|taxpayer[ _\-]id"
    rb"|identity[ _\-]card|health[ _\-]insurance|medicare|passports?|(?:driver'?s?|driving)[ _\-]licen[cs]e|tin|sin|nin)"
    rb"(?:[ _\-](?:number|num|no|nr|id|code|card)){0,2}\.?[\"']?(?: is|:|=|#| ){1,3}[\"']?)"
    rb"[A-Za-z]{0,3}\d[\dA-Za-z]{0,13}(?:[ .\-]\d{1,6}[A-Za-z]?\b){0,4}"
)
"""A label in words and the number behind it, whatever its check digits say."""

LABELLED_VALUE = re.compile(rb"[A-Za-z]{0,3}\d[\dA-Za-z]{0,13}(?:[ .\-]\d{1,6}[A-Za-z]?){0,4}\Z")
"""The number at the end of a labelled match; bounded, and run on one match only."""
