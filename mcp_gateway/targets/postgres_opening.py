"""Opening sessions with a PostgreSQL database, with the credential that is in force.

Every session has settings of its own for whatever the role or the server could set otherwise, and a search path that is
read once: what unqualified names mean must not change between a statement's examination and its run. A server that has
not taken one of them is refused: connection poolers, which stand between, leave some out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Protocol

import anyio
import asyncpg
import orjson

from mcp_gateway.calls import Secret
from mcp_gateway.targets import postgres_errors
from mcp_gateway.targets.postgres_address import Address
from mcp_gateway.targets.postgres_driver import PROTOCOL_ERRORS, ConnectionLost
from mcp_gateway.targets.postgres_queries import GIVEN_SETTINGS, OWN_PATH
from mcp_gateway.targets.postgres_session import Session, open_session

CONNECT_SECONDS = 10.0
IDLE_IN_TRANSACTION = "60000"
"""Milliseconds."""

SETTINGS = {
    "application_name": "mcp-gateway/catalog",
    "search_path": "",
    "default_transaction_read_only": "on",
    "standard_conforming_strings": "on",
    "DateStyle": "ISO",
    "IntervalStyle": "iso_8601",
    "bytea_output": "hex",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}


class PostgresSettings(Protocol):
    """The part of a target's settings that is needed here."""

    @property
    def host(self) -> str:
        """Name, address, or folder of a Unix socket."""

    @property
    def port(self) -> int:
        """TCP port."""

    @property
    def database(self) -> str:
        """Name of the database."""

    @property
    def user(self) -> str:
        """The role to log in as."""

    @property
    def password(self) -> Any:
        """Source of the password; None where the server asks for none."""

    @property
    def tls(self) -> str:
        """One of libpq's names."""

    @property
    def timeout(self) -> timedelta:
        """The target's own limit for one statement."""

    @property
    def classify(self) -> Mapping[str, str]:
        """`schema.table.column` to data class."""


class Opener:
    """Opens sessions for calls, and for what the gateway itself asks."""

    def __init__(
        self,
        settings: PostgresSettings,
        *,
        fetch: Callable[[Any], Awaitable[Secret]],
        replaced: Callable[[], None],
    ) -> None:
        """`replaced` is called when the password is another one: a session belongs to the one that opened it."""
        self._settings = settings
        self._fetch = fetch
        self._replaced = replaced
        self.address = Address(
            host=settings.host,
            port=settings.port,
            database=settings.database,
            user=settings.user,
            tls=settings.tls,
            tls_ca=getattr(settings, "tls_ca", None),
        )
        self._seconds = min(CONNECT_SECONDS, settings.timeout.total_seconds())
        self._password: Secret | None = None
        self.secrets: tuple[Secret, ...] = ()
        """The passwords in use: the newest, and the one before it that older sessions were opened with."""
        self._path: tuple[str, ...] | None = None

    async def search_path(self) -> tuple[str, ...]:
        """The schemas that unqualified names mean: what the role has when the gateway starts, from then on fixed."""
        if self._path is None:
            session = await self._open(SETTINGS, without="search_path")
            try:
                with anyio.fail_after(self._seconds):
                    self._path = tuple(map(str, orjson.loads(await session.value(OWN_PATH))))
            except (ConnectionLost, TimeoutError, asyncpg.PostgresError, *PROTOCOL_ERRORS) as error:
                raise self.unavailable(error) from error
            finally:
                await session.close()
        return self._path

    async def for_calls(self) -> Session:
        """One for agents' statements."""
        path = await self.search_path()
        milliseconds = int(self._settings.timeout.total_seconds() * 1000)
        return await self._open(
            SETTINGS
            | {
                "application_name": "mcp-gateway",
                "search_path": path_setting(path),
                "statement_timeout": str(milliseconds),
                "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION,
            },
            without="jit",
        )

    async def for_catalog(self) -> Session:
        """One that only reads, for what the gateway asks."""
        return await self._open(SETTINGS)

    async def _open(self, settings: Mapping[str, str], *, without: str = "") -> Session:
        """Connect; where the server refuses the password, fetch it once more, because it may have been rotated."""
        wanted = {name: value for name, value in settings.items() if name != without}
        try:
            with anyio.fail_after(self._seconds):
                used = self._password or await self._fetch_password()
                try:
                    return await self._connect(used, wanted)
                except asyncpg.InvalidAuthorizationSpecificationError:
                    again = await self._fetch_password()
                    if used is None or again is None or again.reveal() == used.reveal():
                        raise
                    return await self._connect(again, wanted)
        except (ConnectionLost, TimeoutError, asyncpg.PostgresError, *PROTOCOL_ERRORS) as error:
            raise self.unavailable(error) from error

    async def _connect(self, password: Secret | None, settings: Mapping[str, str]) -> Session:
        session = await open_session(self.address, password=password, settings=settings)
        try:
            found = orjson.loads(await session.value(GIVEN_SETTINGS))
            if missing := not_taken(settings, found=found):
                raise ConnectionLost(
                    f"its sessions do not have the {', '.join(missing)} that they are opened with, as behind a connection "
                    "pooler; set the target's host and port to those of PostgreSQL itself"
                )
            with suppress(asyncpg.PostgresError):
                # So that a statement ends soon after the gateway has died; not every system can see that.
                await session.control("SET client_connection_check_interval = '1s'")
        except BaseException:
            await session.close()
            raise
        return session

    async def _fetch_password(self) -> Secret | None:
        if self._settings.password is None:
            return None
        fetched = await self._fetch(self._settings.password)
        if self._password is not None and fetched.reveal() != self._password.reveal():
            self._replaced()
        self.secrets = (*self.secrets, fetched)[-2:]
        self._password = fetched
        return fetched

    def unavailable(self, error: BaseException, *, seconds: float | None = None) -> Exception:
        """What to raise for a session that could not be had, or did not answer within `seconds`."""
        return postgres_errors.unavailable(error, address=self.address, seconds=seconds or self._seconds)


def not_taken(wanted: Mapping[str, str], *, found: Mapping[str, str]) -> list[str]:
    """Names of the settings that a session was to have and has not, or not from whoever opened it."""
    taken = dict(found)
    # The order of day and month stands behind the style, and is the server's.
    taken["DateStyle"] = str(taken.get("DateStyle", "")).partition(",")[0]
    return sorted(name for name, value in wanted.items() if taken.get(name) != value)


def path_setting(path: Sequence[str]) -> str:
    """`pg_temp` comes last: by default temporary tables come first and could stand in for any other."""
    return ", ".join('"' + schema.replace('"', '""') + '"' for schema in (*path, "pg_temp"))
