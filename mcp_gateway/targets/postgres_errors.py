"""What a PostgreSQL server or the way to it says, as errors of the gateway's own.

A message is safe for the agent as it stands: it names the place and the condition. What the server said in its own
words is the `detail`, and whether it may leave depends on the phase (LINEAGE section 5): nothing that parsing says
holds data, almost everything that running says does.
"""

from __future__ import annotations

import re
import socket
import ssl

import asyncpg

from mcp_gateway.config_places import is_loopback
from mcp_gateway.errors import TargetError, TargetFailed, TargetUnavailable
from mcp_gateway.targets.postgres_address import Address, AuthorityUnreadable
from mcp_gateway.targets.postgres_driver import ConnectionLost, NotPostgres

CONDITIONS = {"PostgresSyntaxError": "syntax_error", "DataError": "data_exception", "RaiseError": "raise_exception"}
READ_ONLY_SERVER = (asyncpg.ReadOnlySQLTransactionError, asyncpg.FeatureNotSupportedError)
"""What a standby says to the beginning of a transaction that may write, or to a write in it."""
NAMELESS = (
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedObjectError,
    asyncpg.UndefinedTableError,
)
"""What parsing ends with where a name in a statement means nothing."""
_NAMES_ONLY = (asyncpg.UndefinedColumnError, asyncpg.UndefinedTableError)
"""Of these, what holds no names but the statement's own: of a function it tells the types of the arguments."""
_OTHER_AUTHORITY = "set 'tls_ca' to the certificates of the authority that signed it"
_CERTIFICATE_ADVICE = {
    10: "whoever runs the server has to renew it",
    62: "set 'host' to a name that the certificate holds",
    64: "set 'host' to a name that the certificate holds",
}
"""By OpenSSL's X509_V_ERR_...: CERT_HAS_EXPIRED, HOSTNAME_MISMATCH, IP_ADDRESS_MISMATCH."""
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class SnapshotStale(TargetFailed):
    """What the call was examined with is no longer what the database has; nothing of it has run."""


class NameUnknown(TargetFailed):
    """The server finds nothing for a name in the statement; nothing of it has run."""


def condition(error: asyncpg.PostgresError) -> str:
    """`22012 (division_by_zero)`; a code that PostgreSQL does not define could spell out data and is left out."""
    name = type(error).__name__
    code: object = getattr(type(error), "sqlstate", None)
    if code is None or code != getattr(error, "sqlstate", None):
        return "an error of its own"
    words = CONDITIONS.get(name) or _WORDS.sub("_", name.removesuffix("Error")).lower()
    return f"{code} ({words})"


def is_verdict(error: asyncpg.PostgresError) -> bool:
    """Whether an error at COMMIT says that the transaction was rolled back, and not that the server or the way to it
    was going away, which says nothing of what became of it.
    """
    code = getattr(error, "sqlstate", None)
    return isinstance(code, str) and len(code) == 5 and not code.startswith(("08", "57P", "58", "F0", "XX"))


def refused(error: asyncpg.PostgresError) -> TargetFailed:
    """The server would not parse or describe the statement: its words and the position may leave."""
    position = _number(getattr(error, "position", None))
    where = f" at character {position}" if position else ""
    return TargetFailed(
        f"PostgreSQL cannot run this statement: {condition(error)}{where}",
        detail=_words(error),
        detail_released=True,
        position=position,
    )


def nameless(error: asyncpg.PostgresError, *, before: int) -> NameUnknown:
    """The server would not parse a statement in which it does not know a name; `before` characters stood before it.

    Its hint is left out: that may be the name of something that the caller is not to hear of yet.
    """
    position = _number(getattr(error, "position", None)) - before
    where = f" at character {position}" if position > 0 else ""
    said = str(error.args[0]) if error.args and isinstance(error, _NAMES_ONLY) else ""
    return NameUnknown(f"{condition(error)}{where}", detail=said, detail_released=True, position=max(position, 0))


def failed(error: asyncpg.PostgresError, *, quiet: bool) -> TargetFailed:
    """The statement ran and failed. With `quiet` only the condition leaves."""
    return TargetFailed(
        f"the statement failed: {condition(error)}",
        detail=_words(error),
        detail_released=not quiet,
    )


def unavailable(error: BaseException, *, address: Address, seconds: float) -> TargetError:
    """There is no way to the server; the message says what to do about it and holds no credential."""
    place = f"PostgreSQL at {address.place}"
    match error:
        case TargetError():
            return error
        case AuthorityUnreadable():
            said = f"the way to {place} cannot be checked: {error}"
        case asyncpg.InvalidAuthorizationSpecificationError():
            said = (
                f"{place} does not let {address.user!r} in: {condition(error)}; "
                "whoever runs the gateway has to check the target's user and password"
            )
        case asyncpg.InvalidCatalogNameError():
            said = f"{place} has no database {address.database!r}"
        case asyncpg.TooManyConnectionsError():
            said = f"{place} has no connection left for {address.user!r}"
        case asyncpg.CannotConnectNowError():
            said = f"{place} is starting up or shutting down"
        case asyncpg.ReadOnlySQLTransactionError() | asyncpg.FeatureNotSupportedError():
            said = f"{place} takes no writes at present: it is a standby, or is being replaced by one"
        case asyncpg.ConnectionDoesNotExistError():
            said = f"{place} closed the connection before the log-in had ended"
        case asyncpg.ProtocolViolationError():
            said = f"{place} refuses what sessions are opened with, as connection poolers do: {condition(error)}; "
            said += "set the target's host and port to those of PostgreSQL itself"
        case asyncpg.PostgresError():
            said = f"{place} refuses the connection: {condition(error)}"
        case NotPostgres():
            said = f"what answers at {address.place} does not speak PostgreSQL's protocol: asked for TLS it answers {error}; "
            said += "check the target's host and port"
        case ConnectionLost():
            said = f"the connection to {place} cannot be used: {error}"
        case ssl.SSLCertVerificationError():
            said = f"the certificate of {place} does not prove who it is: {error.verify_message.rstrip('.')}; "
            said += _CERTIFICATE_ADVICE.get(error.verify_code, _OTHER_AUTHORITY)
        case ssl.SSLError():
            said = f"TLS with {place} failed: {error.reason or 'the handshake broke off'}"
        case TimeoutError():
            said = f"{place} did not answer within {seconds:g} s"
        case socket.gaierror():
            said = f"the name {address.host!r} cannot be resolved"
        case ConnectionRefusedError() | FileNotFoundError():
            said = f"nothing listens where {place} should be"
        case ConnectionError() if "SSL" in str(error):
            said = f"{place} does not offer TLS, which tls = {address.tls!r} demands; "
            said += "whoever runs the server has to switch it on"
            if is_loopback(address.host):
                said += ", or tls = 'disable' for the target, which on loopback nobody can read along"
        case OSError():
            said = f"{place} cannot be reached: {error.strerror or type(error).__name__}"
        case _:
            said = f"what answers at {address.place} does not speak PostgreSQL's protocol"
    return TargetUnavailable(said)


def _words(error: asyncpg.PostgresError) -> str:
    parts = [str(error.args[0]) if error.args else ""]
    for label in ("detail", "hint"):
        said = getattr(error, label, None)
        if isinstance(said, str) and said:
            parts.append(f"{label}: {said}")
    return "; ".join(part for part in parts if part)


def _number(text: object) -> int:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() else 0
