"""What the name of a JSON member says of its value: `"password"`, `"apiKey"`, `"ssn"`.

In running text a rule sees label and value together (`password=...`); in JSON they are two strings, so the label alone
has to tell. The last word of a name counts: `password_changed_at` is no password, `next_token` no credential.
"""

from __future__ import annotations

import re
from functools import lru_cache

from mcp_gateway.masking import classes
from mcp_gateway.masking.judging import is_placeholder

MAX_KEY = 64
"""Characters of a name that is looked at; names are the target's and can be any length."""

PASSWORD_KEY = re.compile(
    r"(?:pass(?:word|wd|phrase)|pwd|secret|(?:api|secret|private|encryption|signing)[_\- ]?key|access[_\- ]?key|account[_\- ]?key)s?\Z",
    re.I,
)
TOKEN_KEY = re.compile(
    r"(?:(?:access|auth|api|refresh|session|id|bearer|csrf|xsrf|bot|registration)[_\- ]?token|\A(?:x-)?token"
    r"|\A(?:proxy-)?authorization|\A(?:set-)?cookie|credential)s?\Z",
    re.I,
)
IDENTITY_KEY = re.compile(
    r"(?:ssn|itin|nino|pesel|aadhaar|bsn|cpf|personnummer|nric|passport|social[_\- ]?security|national[_\- ]?(?:id|insurance)"
    r"|tax[_\- ]?(?:id|file)|taxpayer[_\- ]?id|driv(?:er'?s?|ing)[_\- ]?licen[cs]e)(?:[_\- ]?(?:number|num|no|id))?\Z",
    re.I,
)
MIN_DIGITS = 5
MAX_IDENTITY = 32


@lru_cache(maxsize=4096)
def class_of(name: str) -> str | None:
    """The class that a member's name gives its value, or None."""
    name = name[-MAX_KEY:]
    if PASSWORD_KEY.search(name):
        return classes.SECRET_PASSWORD
    if TOKEN_KEY.search(name):
        return classes.SECRET_TOKEN
    return classes.PII_NATIONAL_ID if IDENTITY_KEY.search(name) else None


def fits(data_class: str, value: str) -> bool:
    """Whether a value can be what its name says."""
    if data_class == classes.PII_NATIONAL_ID:
        return len(value) <= MAX_IDENTITY and sum(character.isdigit() for character in value) >= MIN_DIGITS
    return not is_placeholder(value.encode("utf-8", "replace"))
