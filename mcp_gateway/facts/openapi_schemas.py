"""Whether a value fits a schema of an OpenAPI document. Pure, by `jsonschema`, within bounds.

The value is the agent's, so nothing that it makes expensive is done: expressions run in RE2, references and values
are counted, and what `jsonschema` itself would do with Python's `re` or in quadratic time is not proved or done here.
What is not proved does not fit. `format` is not looked at. Loaded where there is a document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Set
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote

import orjson
import re2
from jsonschema import Draft4Validator, Draft202012Validator, ValidationError
from jsonschema.exceptions import UndefinedTypeCheck, UnknownType
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

URI = "urn:openapi"
MAX_VALUES = 2_000
"""Of one body: members, items and what is in them."""
MAX_REFERENCES = 1_000
"""Followed for one value; recursive schemas that offer alternatives double with each level."""

NOT_PROVED = frozenset({""})
"""In place of the keywords by which a value does not fit."""
QUIET = re2.Options()
QUIET.log_errors = False
"""RE2 writes to standard error itself, for each value."""
READ_OTHERWISE = (
    (re.compile(r"\."), re.compile(r"[\r\u2028\u2029]")),
    (re.compile(r"\\[sS]"), re.compile(r"[\v\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]")),
)
"""What is in an expression, and characters that ECMA-262 and RE2 then take differently: line ends and blanks."""
BY_NUMBER = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|.)", re.DOTALL)
"""An escape; RE2 writes a character's number otherwise than ECMA-262."""
POSIX_CLASS = re.compile(r"\[:\^?[a-z]+:\]")
"""Other characters, one by one, to ECMA-262."""

Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError]]
_references_left: ContextVar[list[int]] = ContextVar("references_left")


class NotProvedError(Exception):
    """Whether a value fits cannot be told within the bounds."""


class Schemas:
    """The schemas of one document."""

    def __init__(self, document: Any, *, version: str) -> None:
        self._class: Any = OPENAPI_30 if version.startswith("3.0") else OPENAPI_31
        self._validators: dict[str, Any] = {}
        """By pointer; there are no more than the document has schemas."""
        self._registry: Any = Registry().with_resource(URI, DRAFT202012.create_resource(document))

    def fits(self, value: Any, pointer: str) -> bool:
        """Whether a value fits the schema at a JSON pointer (RFC 6901); what is not proved does not."""
        return not self.failures(value, pointer, until=None)

    def failures(self, value: Any, pointer: str, *, until: Set[str] | None) -> frozenset[str]:
        """The keywords by which a value does not fit, alternatives included, up to the first of those in `until` (None: up
        to the first of all); `NOT_PROVED` where that cannot be told.
        """
        if count(value, most=MAX_VALUES) > MAX_VALUES:
            return NOT_PROVED
        validator = self._validators.get(pointer)
        if validator is None:
            validator = self._class({"$ref": f"{URI}#{quote(pointer)}"}, registry=self._registry)
            self._validators[pointer] = validator
        token = _references_left.set([MAX_REFERENCES])
        try:
            return _up_to(until, _keywords(validator.iter_errors(value)))
        except (NotProvedError, RecursionError, ArithmeticError, Unresolvable, UnknownType, UndefinedTypeCheck):
            return NOT_PROVED
        except (TypeError, ValueError, AttributeError, KeyError, IndexError):
            return NOT_PROVED  # a schema that is none
        finally:
            _references_left.reset(token)


def _up_to(last: Set[str] | None, keywords: Iterable[str]) -> frozenset[str]:
    found = set()
    for keyword in keywords:
        found.add(keyword)
        if last is None or keyword in last:
            break
    return frozenset(found)


def _keywords(errors: Iterable[ValidationError]) -> Iterator[str]:
    for error in errors:
        yield str(error.validator)
        yield from _keywords(error.context)


def count(value: Any, *, most: int) -> int:
    """How many values there are in one, or more than `most`."""
    waiting, found = [value], 0
    while waiting and found <= most:
        item = waiting.pop()
        found += 1
        waiting += item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    return found


def _reference(validator: Any, reference: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    left = _references_left.get()
    left[0] -= 1
    if left[0] < 0:
        raise NotProvedError
    yield from Draft202012Validator.VALIDATORS["$ref"](validator, reference, instance, schema) or ()


def _pattern(validator: Any, pattern: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    del schema
    if not validator.is_type(instance, "string"):
        return
    if POSIX_CLASS.search(pattern) or any(
        part.search(pattern) and characters.search(instance) for part, characters in READ_OTHERWISE
    ):
        raise NotProvedError
    try:
        found = re2.compile(BY_NUMBER.sub(_by_number, pattern), QUIET).search(instance)
    except re2.error:
        raise NotProvedError from None
    if not found:
        yield ValidationError("it does not match")


def _by_number(escape: re.Match[str]) -> str:
    return f"\\x{{{escape[1]}}}" if escape[1] else escape[0]


def _unique(validator: Any, unique: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    del schema
    if unique and validator.is_type(instance, "array"):
        items = {orjson.dumps(item, option=orjson.OPT_SORT_KEYS) for item in instance}
        if len(items) != len(instance):
            yield ValidationError("an item stands in it twice")


def _additional(validator: Any, additional: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if "patternProperties" in schema:
        raise NotProvedError
    yield from Draft202012Validator.VALIDATORS["additionalProperties"](validator, additional, instance, schema) or ()


def _required(validator: Any, names: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """What is only read is required of answers alone."""
    if not validator.is_type(instance, "object"):
        return
    properties = schema.get("properties", {})
    for name in names:
        described = properties.get(name)
        if name not in instance and not (isinstance(described, dict) and described.get("readOnly") is True):
            yield ValidationError("a member is missing")


def _read_only(validator: Any, read_only: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    del validator, instance, schema
    if read_only is True:
        yield ValidationError("it is only read")


def _one_of(validator: Any, alternatives: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    yield from _alternatives(validator, alternatives, instance, schema, most=1)


def _any_of(validator: Any, alternatives: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    yield from _alternatives(validator, alternatives, instance, schema, most=len(alternatives))


def _alternatives(
    validator: Any, alternatives: Any, instance: Any, schema: Any, *, most: int
) -> Iterator[ValidationError]:
    """At least one has to fit, at the most so many, and the one that a discriminator names: many servers look at it alone."""
    named = _named(validator, instance, schema)
    missed: list[ValidationError] = []
    fitting: list[Any] = []
    for number, alternative in enumerate(alternatives):
        if fitting:
            if validator.evolve(schema=alternative).is_valid(instance):
                fitting.append(alternative)
        elif errors := list(validator.descend(instance, alternative, schema_path=number)):
            missed += errors
        else:
            fitting.append(alternative)
        if len(fitting) == 1 < most and (named is None or named in fitting):
            return
    if not 1 <= len(fitting) <= most or (named in alternatives and named not in fitting):
        yield ValidationError("not the alternatives that may fit do", context=missed)


def _named(validator: Any, instance: Any, schema: Any) -> Any:
    """The alternative that a value names, if any."""
    discriminator = schema.get("discriminator")
    if discriminator is None or not validator.is_type(instance, "object"):
        return None
    name = instance.get(discriminator["propertyName"])
    meant = discriminator.get("mapping", {}).get(name, name) if isinstance(name, str) else None
    for alternative in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        reference = alternative.get("$ref")
        if meant is not None and reference is not None and meant in {reference, reference.rpartition("/")[2]}:
            return alternative
    return None


def _not_proved(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    del validator, value, instance, schema
    raise NotProvedError


def _nullable_type(validator: Any, types: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """`nullable` of OpenAPI 3.0."""
    if instance is None and schema.get("nullable") is True:
        return
    yield from Draft202012Validator.VALIDATORS["type"](validator, types, instance, schema) or ()


COMMON: dict[str, Keyword] = {
    "$ref": _reference,
    "pattern": _pattern,
    "patternProperties": _not_proved,
    "dependencies": _not_proved,  # of older drafts: some readers still look at it
    "uniqueItems": _unique,
    "additionalProperties": _additional,
    "unevaluatedProperties": _not_proved,
    "unevaluatedItems": _not_proved,
    "$dynamicRef": _not_proved,
    "required": _required,
    "readOnly": _read_only,
    "oneOf": _one_of,
    "anyOf": _any_of,
}
OPENAPI_31 = extend(Draft202012Validator, COMMON)
OPENAPI_30 = extend(
    Draft202012Validator,
    {
        **COMMON,
        "type": _nullable_type,
        "minimum": Draft4Validator.VALIDATORS["minimum"],
        "maximum": Draft4Validator.VALIDATORS["maximum"],
        "exclusiveMinimum": lambda *_: iter(()),
        "exclusiveMaximum": lambda *_: iter(()),
    },
)
"""In 3.0 the exclusive bounds are truth values beside the bounds."""
