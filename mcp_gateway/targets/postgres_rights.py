"""What a check of a PostgreSQL target finds: rights that are wider than policies can be, and what is misconfigured.

Pure. The only real boundary is what the role may do at the database: a read-only transaction is a second wall with
known ways through (SECURITY: "what a READ ONLY transaction lets through").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcp_gateway.facts.catalog import Catalog
from mcp_gateway.masking.lineage import unknown_paths
from mcp_gateway.targets.postgres_address import Address

OLDEST_SERVER = 140000
HOLDS_READ_ONLY = 160002
"""From 16.2 on no function can take a transaction out of READ ONLY."""

WHAT_ATTRIBUTES_ALLOW = {
    "SUPERUSER": "may do everything, read and write the server's files and run programs on its host",
    "CREATEROLE": "may create roles and give itself others",
    "CREATEDB": "may create databases",
    "REPLICATION": "may read the whole cluster as a replica",
    "BYPASSRLS": "is bound by no row-level security",
}
WHAT_ROLES_ALLOW = {
    "pg_execute_server_program": "runs programs on the server's host",
    "pg_read_server_files": "reads the server's files",
    "pg_write_server_files": "writes the server's files",
    "pg_read_all_data": "reads every table",
    "pg_write_all_data": "writes every table",
    "pg_signal_backend": "ends other sessions",
    "pg_checkpoint": "forces checkpoints",
    "pg_maintain": "vacuums and reindexes every table",
    "pg_create_subscription": "makes the server connect elsewhere",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a check found out."""

    server: str
    """`PostgreSQL 15.18 at db.internal:5432`."""
    problems: tuple[str, ...]
    """What has to be mended: with one of them the target is not used."""
    warnings: tuple[str, ...]
    """What is wider or weaker than it need be, a sentence each."""


def read_findings(
    rights: Mapping[str, Any], *, address: Address, catalog: Catalog, classify: Mapping[str, str]
) -> Findings:
    """Judge what the query for rights gave."""
    problems = [
        f"the classified column {path!r} does not exist, so it protects nothing"
        for path in unknown_paths(catalog, classify)
    ]
    if rights["number"] < OLDEST_SERVER:
        problems.append(f"PostgreSQL {rights['version']} is too old; version 14 or newer is needed")
    warnings = [
        f"the role {address.user!r} is {name}: it {WHAT_ATTRIBUTES_ALLOW[name]}"
        for name, held in rights["attributes"].items()
        if held
    ]
    if not rights["attributes"]["SUPERUSER"]:
        warnings += [f"the role {address.user!r} has {name}: it {WHAT_ROLES_ALLOW[name]}" for name in rights["roles"]]
    count, example = rights["writable"]
    if count:
        warnings.append(
            f"the role {address.user!r} may change {count} {'table' if count == 1 else 'tables'}, such as {example}; if agents only read here, "
            "take those rights away: they are the only real boundary"
        )
    if rights["creates"]:
        names = ", ".join(rights["creates"])
        warnings.append(f"the role {address.user!r} may create objects in {names}: new functions, views, operators")
    if rights["number"] < HOLDS_READ_ONLY:
        warnings.append(
            f"PostgreSQL {rights['version']} lets a function leave a read-only transaction; 16.2 and later do not"
        )
    if not rights["tls"] and not address.is_socket:
        warnings.append("the connection is not encrypted")
    elif rights["tls"] and not address.verified:
        warnings.append(f"tls = {address.tls!r} does not prove who the server is; verify-full does")
    return Findings(
        server=f"PostgreSQL {rights['version']} at {address.place}",
        problems=tuple(problems),
        warnings=tuple(warnings),
    )
