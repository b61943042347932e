"""Whether a function's result depends on its arguments alone (and on clock, session, definitions, chance)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mcp_gateway.facts.catalog import Function
from mcp_gateway.masking.lineage.builtins import PURE_IN_EXTENSIONS, PURE_THOUGH_STABLE, PURE_THOUGH_VOLATILE

FIRST_USER_OID = 16384
"""FirstNormalObjectId: below it are the objects that initdb made."""


def is_builtin(function: Function) -> bool:
    """Whether it is PostgreSQL's own."""
    return function.oid < FIRST_USER_OID and function.schema == "pg_catalog"


def is_pure(function: Function, functions_named: Callable[[str], Sequence[Function]]) -> bool:
    """Whether a function is pure by itself; the body of one in SQL is not looked into.

    An aggregate is pure if all its transition functions are. Functions in C, and an extension's own names for functions
    of the server, are the work of whoever may run code in the server anyway, so their word for being immutable is taken.
    """
    if is_builtin(function):
        return (
            function.kind in ("a", "w")
            or (function.volatility == "i" and function.language in ("internal", "sql", "c"))
            or function.name in PURE_THOUGH_STABLE
            or function.name in PURE_THOUGH_VOLATILE
        )
    if function.kind == "a":
        return bool(function.transitions) and all(
            _are_pure(functions_named(name), functions_named) for name in function.transitions
        )
    if function.language != "c" and not (function.language == "internal" and function.extension is not None):
        return False
    return function.volatility == "i" or function.name in PURE_IN_EXTENSIONS.get(function.extension or "", ())


def _are_pure(functions: Sequence[Function], functions_named: Callable[[str], Sequence[Function]]) -> bool:
    plain = [function for function in functions if function.kind != "a"]
    return bool(plain) and all(is_pure(function, functions_named) for function in plain)
