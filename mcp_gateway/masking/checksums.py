"""Checksums and number rules: what tells a card, an account or an identity number from any other digits.

Pure functions over text that a pattern has already brought into shape: upper case, separators removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
    "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
    "YE": 30,
}  # fmt: skip
"""Characters of an IBAN by country: the SWIFT IBAN registry, release 99."""

ZERO = ord("0")
DOUBLED = bytes.maketrans(b"0123456789", b"0246813579")
"""Digits to the sum of the digits of their double."""
VERHOEFF_PRODUCT = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
VERHOEFF_PERMUTATION = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def is_luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 annex B: every second digit from the right is doubled, the digits' sum divides by ten."""
    codes = digits.encode()
    return (sum(codes[-1::-2]) + sum(codes[-2::-2].translate(DOUBLED)) - ZERO * len(codes)) % 10 == 0


def is_card_number(digits: str) -> bool:
    """A primary account number: an issuer's range, its length, and the Luhn digit."""
    length = len(digits)
    if not 13 <= length <= 19 or len(set(digits)) < 2:
        return False
    head = int(digits[:4])
    known = (
        (digits[0] == "4" and length in {13, 16, 19})
        or (5100 <= head <= 5599 and length == 16)
        or (2221 <= head <= 2720 and length == 16)
        or (2200 <= head <= 2204 and length >= 16)
        or (head // 100 in {34, 37} and length == 15)
        or ((3000 <= head <= 3059 or head // 100 in {36, 38, 39}) and length in {14, 16})
        or (3528 <= head <= 3589 and length >= 16)
        or (digits[0] == "6" and head // 100 != 61 and length >= 16)
        or (head // 100 in {50, 56, 57, 58} and length in {13, 15, 16, 18, 19})
        or (digits[0] == "1" and length == 15)
    )
    return known and is_luhn(digits)


def is_iban(text: str) -> bool:
    """ISO 13616: the country's length, and 1 as the remainder by 97 with letters counted from A = 10."""
    if IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


def is_verhoeff(digits: str) -> bool:
    """Verhoeff's check over the dihedral group: Aadhaar and the Nigerian NIN."""
    state = 0
    for place, digit in enumerate(reversed(digits)):
        state = int(VERHOEFF_PRODUCT[state][int(VERHOEFF_PERMUTATION[place % 8][int(digit)])])
    return state == 0


def weighted_sum(digits: str, weights: Sequence[int]) -> int:
    """The sum of each digit times its weight; what is longer is cut."""
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def is_iso7064_mod11_10(digits: str) -> bool:
    """ISO 7064 MOD 11,10: the German tax number."""
    product = 10
    for digit in digits[:-1]:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == int(digits[-1])


def is_social_security_number(digits: str) -> bool:
    """US SSN: no area 000, 666 or 900 and above, no group 00, no serial 0000 (SSA, since 2011)."""
    area = int(digits[:3])
    return area not in {0, 666} and area < 900 and digits[3:5] != "00" and digits[5:] != "0000"


def is_taxpayer_number(digits: str) -> bool:
    """US ITIN: area 9xx and a group of 50-65, 70-88, 90-92 or 94-99 (IRS publication 1915)."""
    group = int(digits[3:5])
    return digits[0] == "9" and (50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 99) and group != 93


def is_bitcoin_address(text: str) -> bool:
    """Base58Check of versions 0 and 5, or a bech32/bech32m checksum (BIP 173, BIP 350)."""
    if text[:3].lower() == "bc1":
        return _bech32_polymod(text.lower()) in {1, 0x2BC830A3}
    number = 0
    for character in text:
        number = number * 58 + BASE58.index(character)
    if number >> 200:
        return False
    raw = number.to_bytes(25, "big")
    return raw[0] in {0, 5} and hashlib.sha256(hashlib.sha256(raw[:21]).digest()).digest()[:4] == raw[21:]


def _bech32_polymod(text: str) -> int:
    values = [ord(character) >> 5 for character in text[:2]] + [0] + [ord(character) & 31 for character in text[:2]]
    values += [BECH32.find(character) for character in text[3:]]
    if -1 in values:
        return 0
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            checksum ^= generator if top >> bit & 1 else 0
    return checksum
