"""The data classes that are built in: what a detector can find, and what columns are most often classified as.

A class is a label on data. Configuration may use further ones; the policy schema is the union of both. A class
that no policy reveals stays masked, whether it is built in or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

PII_EMAIL = "pii.email"
PII_PHONE = "pii.phone"
PII_IP_ADDRESS = "pii.ip_address"
PII_MAC_ADDRESS = "pii.mac_address"
PII_NATIONAL_ID = "pii.national_id"
PAYMENT_CARD = "payment.card"
PAYMENT_IBAN = "payment.iban"
PAYMENT_CRYPTO_ADDRESS = "payment.crypto_address"
SECRET_TOKEN = "secret.token"  # noqa: S105 - the name of a class
SECRET_PASSWORD = "secret.password"  # noqa: S105 - the name of a class
SECRET_PRIVATE_KEY = "secret.private_key"  # noqa: S105 - the name of a class

BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        PII_EMAIL: "e-mail addresses",
        PII_PHONE: "telephone numbers",
        PII_IP_ADDRESS: "IPv4 and IPv6 addresses",
        PII_MAC_ADDRESS: "hardware addresses of network devices",
        PII_NATIONAL_ID: "numbers that a state, a tax office or a health service gives to a person",
        "pii.name": "names of people; by column only",
        "pii.address": "postal addresses; by column only",
        "pii.birth_date": "dates of birth; by column only",
        "pii.health": "data on somebody's health; by column only",
        PAYMENT_CARD: "payment card numbers",
        PAYMENT_IBAN: "international bank account numbers",
        "payment.account": "other account numbers; by column only",
        PAYMENT_CRYPTO_ADDRESS: "Bitcoin addresses",
        SECRET_TOKEN: "API keys, access tokens, session cookies",
        SECRET_PASSWORD: "passwords and other shared secrets",
        SECRET_PRIVATE_KEY: "private keys",
    }
)
"""Every built-in class and what it covers, in words for documentation."""
