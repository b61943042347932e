"""Values of a call: who asks, for what, of which target, and what it would do.

Frozen records with no behaviour beyond their own form. `identity` alone builds a `Caller`; the road
(`establishing`) builds a `Call`; `facts` builds the facts. Everybody may import this module; of the
package it imports names alone (`inference`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NoReturn, TypeAlias

import orjson
import rfc8785

from mcp_gateway.inference import KINDS

JSONObject: TypeAlias = dict[str, Any]
"""A JSON object at an edge; narrowed where it is read."""
TargetKind: TypeAlias = Literal["postgres", "ssh", "http"]
Assurance: TypeAlias = Literal["token", "local", "local-demo"]
Door: TypeAlias = Literal["stdio", "http", "sse", "cli"]

MAX_EXACT = 2**53 - 1
"""The largest integer that has a canonical form (RFC 8785 section 3.2.2.3)."""
SECRET_TEXT = "<secret>"  # noqa: S105 - this is what is shown in place of one


class Secret:
    """A value that may be used and never shown.

    `repr`, `str`, formatting, pickling and copying give a placeholder or raise; `reveal()` is the one way to
    the value, so that every use of a credential can be found by searching for that word.
    """

    __slots__ = ("__value",)

    def __init__(self, value: str | bytes) -> None:
        self.__value = value.encode() if isinstance(value, str) else value

    def reveal(self) -> bytes:
        """The secret itself. Only what talks to a target or verifies a token calls this."""
        return self.__value

    def reveal_text(self) -> str:
        """The secret decoded as UTF-8."""
        return self.__value.decode()

    def __repr__(self) -> str:
        return SECRET_TEXT

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return SECRET_TEXT

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied")

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A verified human and the agent that acts for them. Built by `mcp_gateway.identity` alone."""

    issuer: str
    subject: str
    actor: str
    """The agent: `act.sub`, else `azp`/`client_id` (RFC 8693 section 4.1, RFC 9068 section 2.2)."""
    client_id: str | None
    """`azp`/`client_id` as the token has it: the OAuth client that the token was issued to."""
    delegated: bool
    """Whether the token carries `act`: somebody acts for the human, so this token can never approve."""
    email: str | None
    groups: frozenset[str]
    scopes: frozenset[str]
    token_id: str
    """`jti`, else the SHA-256 of what was signed (header and payload) in hexadecimal."""
    issued_at: datetime
    expires_at: datetime
    auth_time: datetime | None
    assurance: Assurance
    unverified_email: str | None = None
    """An address that the token names and nobody has verified: enough to refuse its caller, never to know them by."""
    key: str = field(init=False, repr=False, compare=False)
    """`issuer|subject`: the human, whichever agent or client they came by."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", person_key(self.issuer, self.subject))


def person_key(issuer: str, subject: str) -> str:
    """Who a human is, to the letter."""
    return f"{issuer}|{subject}"


def person_text(key: str, *, email: str | None) -> str:
    """A human as people are shown them: by the verified address, if there is one, and by who that is to the letter."""
    return f"{email} ({key})" if email else key


def person_name(key: str, *, email: str | None) -> str:
    """The beginning of it, for a line of a list."""
    return email or key


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A registered thing behind the gateway, as policy and the road see it. How to reach it is its connector's."""

    name: str
    kind: TargetKind
    description: str
    labels: Mapping[str, str]
    classes: frozenset[str]
    """Data classes that the configuration attaches to columns of this target."""
    fingerprint: str
    """SHA-256 over the target's configuration; part of what an approval is bound to."""
    observed: bool = False
    """Whether policy is only observed: what it would refuse or ask about is recorded, and runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """What the client program says of itself; never trusted, only recorded."""

    name: str = ""
    version: str = ""
    protocol: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request whose caller, tool, target and arguments are established."""

    id: str
    caller: Caller
    tool: str
    target: Target
    arguments: JSONObject
    """Validated, defaults filled in, without `target` and `reason`; `repeat_of` stays in."""
    reason: str
    door: Door
    received_at: datetime
    digest: str
    """Fingerprint of what is asked: `digest_of` over this call, in hexadecimal."""
    client: Client = field(default_factory=Client)


def digest_of(*, caller: Caller, tool: str, target: str, arguments: JSONObject) -> str:
    """SHA-256 over the RFC 8785 form of an allow-list of fields: what an approval is bound to.

    Token id, times, groups and scopes are left out: they are checked again whenever they matter, and a
    refreshed token must be able to continue the approval of the one before it.
    """
    return hashlib.sha256(
        canonical(
            {
                "v": 1,
                "issuer": caller.issuer,
                "subject": caller.subject,
                "actor": caller.actor,
                "tool": tool,
                "target": target,
                "arguments": arguments,
            }
        )
    ).hexdigest()


def canonical(value: Any) -> bytes:
    """The RFC 8785 form of a JSON value. Raises what `rfc8785` raises for a value that has none.

    `orjson` writes the same, many times faster, where all text is ASCII and no number has a fraction: there the order
    of names, the escapes and the digits leave no choice.
    """
    if _is_plain(value):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return rfc8785.dumps(value)


def _is_plain(value: Any) -> bool:
    left = [value]
    while left:
        item = left.pop()
        kind = type(item)
        if kind is str:
            if not item.isascii():
                return False
        elif kind is int:
            if not -MAX_EXACT <= item <= MAX_EXACT:
                return False
        elif kind is list:
            left += item
        elif kind is dict:
            for name in item:
                if type(name) is not str or not name.isascii():
                    return False
            left += item.values()
        elif item is not None and kind is not bool:
            return False
    return True


ESTIMATES = frozenset({"planned_rows", "planned_cost"})
"""Facts that change by themselves, as tables grow: no approval is bound to them, and policy sees them anew at its claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SQLFacts:
    """What a statement would do. The attribute names are those of `Sql` in the Cedar schema."""

    read_only: bool
    """Changes no shared or persistent state, reaches no file, network or other session: proved, not guessed."""
    kinds: frozenset[str]
    """Upper-case statement kinds, nested ones too: `SELECT`, `SELECT_INTO`, `DELETE`, `EXPLAIN`, ..."""
    reads: frozenset[str]
    writes: frozenset[str]
    columns: frozenset[str]
    functions: frozenset[str]
    unbounded: bool
    """An UPDATE or DELETE that no condition binds."""
    statements: int
    returned_columns: frozenset[str] | None = None
    """Those of `columns` that the result is made of, or what is written somewhere; None where they are not told apart:
    then all of them, here and in `condition_columns`."""
    condition_columns: frozenset[str] | None = None
    """Those that decide which rows or values there are, how many, or in which order; one may be in both."""
    merge_actions: frozenset[str] = frozenset()
    """`INSERT`, `UPDATE`, `DELETE`: what every MERGE in it may do, nested ones too. `DO NOTHING` is none."""
    function_traits: frozenset[str] = frozenset()
    """What is known of its functions, and of those behind its operators: `volatile`, `extension:dblink`, `files`, ..."""
    row_limit: int = -1
    """Most rows that its own LIMIT lets through; -1 where nothing bounds them."""
    fingerprint: str = ""
    """Of its shape, without its values; 32 hexadecimal characters."""
    returns: frozenset[str] = frozenset()
    """Data classes that its result may carry, masked or not."""
    planned_rows: int = -1
    """Rows that the server's planner expects; -1 where it was not asked, because no policy looks at it or it is not safe."""
    planned_cost: int = -1
    """What the planner expects it to cost, in the planner's units."""
    inference: Mapping[str, frozenset[str]] | None = None
    """By kind (`inference`) the data classes that it tells something about although they stay masked. None
    where that was not found out: then policy takes it for every kind and every class of the target."""
    hidden: frozenset[str] | None = None
    """Those of the classes in `inference` that this caller may not see raw; None until policy was asked."""

    @property
    def infers(self) -> Mapping[str, frozenset[str]]:
        """`inference` without what the caller may see raw anyway, and without kinds of which nothing is left then."""
        told = self.inference or {}
        found = {kind: of if self.hidden is None else of & self.hidden for kind, of in told.items()}
        return {kind: of for kind, of in sorted(found.items()) if of}

    def context(self) -> JSONObject:
        """The `sql` record of the Cedar context."""
        infers = self.infers
        return {
            "read_only": self.read_only,
            "kinds": sorted(self.kinds),
            "merge_actions": sorted(self.merge_actions),
            "reads": sorted(self.reads),
            "writes": sorted(self.writes),
            "columns": sorted(self.columns),
            "returned_columns": sorted(self.columns if self.returned_columns is None else self.returned_columns),
            "condition_columns": sorted(self.columns if self.condition_columns is None else self.condition_columns),
            "functions": sorted(self.functions),
            "function_traits": sorted(self.function_traits),
            "unbounded": self.unbounded,
            "statements": self.statements,
            "row_limit": self.row_limit,
            "fingerprint": self.fingerprint,
            "returns": sorted(self.returns),
            "planned_rows": self.planned_rows,
            "planned_cost": self.planned_cost,
            "infers": sorted(frozenset[str]().union(*infers.values())),
            "inference": list(KINDS) if self.inference is None else list(infers),
        }

    def to_json(self) -> JSONObject:
        """All of it, for approvers, records and `inspect`.

        `inference` has the classes of each kind, also those that the caller may see; `infers` those that stay masked.
        """
        told = dict.fromkeys(KINDS, frozenset[str]()) if self.inference is None else self.inference
        inference = {kind: sorted(told[kind]) for kind in sorted(told)}
        return self.context() | {"inference": inference}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellFacts:
    """What a command would do. The attribute names are those of `Shell` in the Cedar schema."""

    programs: frozenset[str]
    """All that would run, as written; wrappers and what they run."""
    subcommands: frozenset[str]
    """Such as `systemctl restart`, of programs that have them."""
    opaque: bool
    """True when not everything that would run is proved."""
    read_only: bool
    """Proved to change nothing, to run nothing but `programs`, to reach no network and to take no more rights."""
    writes_files: bool
    """True when it is not proved that nothing is written or changed."""
    privileged: bool
    network: bool
    """True when it is not proved that nothing beyond the host is reached."""
    writes: frozenset[str]
    """Paths that would be written, or written below, as written."""
    removes: frozenset[str]
    """Paths that would be removed, as written."""
    paths_known: bool
    """Whether `writes` and `removes` are proved to be all."""

    def context(self) -> JSONObject:
        """The `shell` record of the Cedar context."""
        return {
            "programs": sorted(self.programs),
            "subcommands": sorted(self.subcommands),
            "opaque": self.opaque,
            "read_only": self.read_only,
            "writes_files": self.writes_files,
            "privileged": self.privileged,
            "network": self.network,
            "writes": sorted(self.writes),
            "removes": sorted(self.removes),
            "paths_known": self.paths_known,
        }

    def to_json(self) -> JSONObject:
        """All of it, for approvers, records and `inspect`."""
        return self.context()


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPFacts:
    """What a request would ask of whom. The attribute names are those of `Http` in the Cedar schema.

    What has a default is the least that can be said, as of a request that was recorded before there was this fact.
    """

    method: str
    host: str
    path: str
    """Normalised, without the query."""
    query_keys: frozenset[str] = frozenset()
    """Names of the query's fields, decoded once."""
    body_keys: frozenset[str] = frozenset()
    """Names of a form's fields, or of a JSON object's own members."""
    keys_known: bool = False
    """Whether `query_keys` and `body_keys` are proved to be all, whichever server reads them."""
    documented: bool = False
    """Whether the target names an OpenAPI document."""
    operation: str = ""
    """The document's operation that this is: its `operationId`, else such as `GET /invoices/{id}`; empty if it has none."""
    tags: frozenset[str] = frozenset()
    """Those of the operation."""
    matches: bool = False
    """Whether the request is proved to be as the document says."""
    graphql_operation: str = ""
    """`query`, `mutation` or `subscription`; the worst of what may run; empty where the request is no GraphQL."""
    graphql_fields: frozenset[str] = frozenset()
    """Fields of the root that the operation asks for, by their own names."""
    graphql_opaque: bool = False
    """True when the operation and its fields are not proved."""

    def context(self) -> JSONObject:
        """The `http` record of the Cedar context."""
        return {
            "method": self.method,
            "host": self.host,
            "path": self.path,
            "query_keys": sorted(self.query_keys),
            "body_keys": sorted(self.body_keys),
            "keys_known": self.keys_known,
            "documented": self.documented,
            "operation": self.operation,
            "tags": sorted(self.tags),
            "matches": self.matches,
            "graphql_operation": self.graphql_operation,
            "graphql_fields": sorted(self.graphql_fields),
            "graphql_opaque": self.graphql_opaque,
        }

    def to_json(self) -> JSONObject:
        """All of it, for approvers, records and `inspect`."""
        return self.context()


Facts: TypeAlias = SQLFacts | ShellFacts | HTTPFacts


def depend_on_caller(facts: Facts) -> bool:
    """Whether they tell something about data classes, of which they also say what stays masked for the caller."""
    return isinstance(facts, SQLFacts) and facts.inference != {}
