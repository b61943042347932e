"""`query_database`: one SQL statement on a registered PostgreSQL database."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import orjson
import structlog
from pydantic import Field

from mcp_gateway.answers import Masked
from mcp_gateway.calls import MAX_EXACT, JSONObject, SQLFacts, Target, TargetKind
from mcp_gateway.errors import RequestError, TargetError, UnknownNameError
from mcp_gateway.facts.examination import SQLExamination
from mcp_gateway.facts.parser import SQLSyntaxError
from mcp_gateway.facts.worker import SQLWorker, settled
from mcp_gateway.masking.lineage.origins import Origins
from mcp_gateway.masking.lineage.verdict import Lineage, OutputColumn
from mcp_gateway.targets.postgres import PostgresConnector
from mcp_gateway.targets.postgres_catalog import Snapshot, Touched
from mcp_gateway.targets.postgres_errors import NameUnknown
from mcp_gateway.targets.postgres_statement import Result, ResultColumn, Statement
from mcp_gateway.tool import Arguments, Column, Examination, Looked, Masker, Permit

log = structlog.get_logger(__name__)

UNPLANNED = (-1, -1)


class QueryDatabaseArguments(Arguments):
    """One statement and the values of its parameters."""

    sql: str
    params: list[Any] | None = Field(default=None, description="values of $1, $2, ...")
    max_rows: int | None = Field(default=None, ge=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What the examination knows that execution and masking need."""

    examination: SQLExamination
    lineage: Lineage
    touched: Touched
    origins: Origins
    """What the server's own word on where a column comes from says of its classes."""
    target: str
    classes: frozenset[str]
    """Every class of the target: what a column has that nothing is proved of."""

    @property
    def quiet(self) -> bool:
        """Whether what the server says while the statement runs may hold data that has to stay."""
        unsure = self.lineage.columns is None and bool(self.classes)
        return bool(self.lineage.touch) or self.lineage.opaque or unsure


class _Found(NamedTuple):
    """What the worker makes of a statement by one snapshot, before it is settled what that comes to."""

    examination: SQLExamination
    lineage: Lineage | None

    def touched(self, snapshot: Snapshot) -> Touched:
        """What of the database it rests on."""
        facts, lineage = self.examination.facts, self.lineage
        relations = (facts.reads | facts.writes) - self.examination.leaves
        functions = self.examination.called
        if lineage is not None:
            relations, functions = relations | lineage.relations, functions | lineage.functions
        return snapshot.touched(relations=relations, functions=functions)


class QueryDatabase:
    """Runs one statement."""

    name: ClassVar[str] = "query_database"
    kind: ClassVar[TargetKind] = "postgres"
    description: ClassVar[str] = "Run one SQL statement on a registered PostgreSQL database."
    read_only_hint: ClassVar[bool] = False
    Arguments: ClassVar[type[Arguments]] = QueryDatabaseArguments
    result_schema: ClassVar[JSONObject] = {
        "type": "object",
        "properties": {
            "columns": {"type": "array", "items": {"type": "object"}},
            "rows": {"type": "array", "items": {"type": "array"}},
            "row_count": {"type": "integer"},
            "truncated": {"type": "boolean"},
            "masked": {"type": "object"},
            "call_id": {"type": "string"},
        },
        "required": ["columns", "rows", "row_count", "call_id"],
    }

    def __init__(self, *, worker: SQLWorker) -> None:
        self._worker = worker

    async def examine(
        self, arguments: QueryDatabaseArguments, *, target: Target, connector: PostgresConnector, fresh: bool = False
    ) -> Examination[Prepared]:
        """Parse the statement against the catalog: what it would do, and where its columns come from.

        A name that the snapshot has nothing for may be newer than that, so it is looked for as if `fresh`.
        """
        snapshot, looked = await connector.snapshot()
        found = await self._found(arguments, target=target, connector=connector, snapshot=snapshot)
        if fresh or found.examination.absent:
            touched = found.touched(snapshot)
            if await connector.versions(touched) != touched.expected:
                snapshot, looked = await connector.snapshot(beside=snapshot)
                found = await self._found(arguments, target=target, connector=connector, snapshot=snapshot)
        examination, lineage = settled((found.examination, found.lineage), classes=target.classes)
        if examination.refusal is not None:
            if found.examination.refusal is None:
                await _check_names(examination, connector)
            message = f"this statement cannot run in a call: {examination.refusal}"
            raise RequestError(message, next_step="change the statement")
        touched = found.touched(snapshot)
        return Examination(
            facts=examination.facts,
            environment=_environment(target, snapshot, touched),
            shown=_shown(arguments),
            looked=(Looked(what=looked),) if looked else (),
            private=Prepared(
                examination=examination,
                lineage=lineage,
                touched=touched,
                origins=connector.origins(snapshot),
                target=target.name,
                classes=target.classes,
            ),
        )

    async def _found(
        self,
        arguments: QueryDatabaseArguments,
        *,
        target: Target,
        connector: PostgresConnector,
        snapshot: Snapshot,
    ) -> _Found:
        try:
            examination, lineage = await self._worker.examine(
                arguments.sql, catalog_key=target.name, catalog=snapshot.catalog, classify=connector.classify
            )
        except SQLSyntaxError as error:
            where = f" at character {error.position}" if error.position else ""
            raise RequestError(f"{error.message}{where}", next_step="mend the SQL") from None
        return _Found(examination, lineage)

    async def preview(
        self,
        arguments: QueryDatabaseArguments,
        *,
        examination: Examination[Prepared],
        connector: PostgresConnector,
    ) -> str:
        """Planned rows by EXPLAIN, only where planning runs nothing but what is known to be harmless.

        Where not even that is possible because a name in the statement means nothing, nobody needs to look at it. Of a
        statement that may do more the server is asked for such names alone: parsing can run the CHECK of a domain.
        """
        await _check_names(examination.private.examination, connector)
        try:
            rows, _ = await self._planned(arguments, examination=examination, connector=connector)
        except NameUnknown as error:
            raise _unknown(f"{error.message}{': ' if error.detail else ''}{error.detail}") from None
        return "" if rows < 0 else f"PostgreSQL expects about {rows:,} row{'' if rows == 1 else 's'}"

    async def plan(
        self,
        arguments: QueryDatabaseArguments,
        *,
        examination: Examination[Prepared],
        connector: PostgresConnector,
    ) -> Examination[Prepared]:
        """With the rows and the cost that the planner expects, likewise."""
        facts, outcome = examination.facts, "ok"
        if not examination.private.examination.harmless or not isinstance(facts, SQLFacts):
            return examination
        try:
            rows, cost = await self._planned(arguments, examination=examination, connector=connector)
            facts = replace(facts, planned_rows=rows, planned_cost=cost)
        except TargetError as error:
            outcome = error.code
        return replace(examination, facts=facts, looked=(*examination.looked, Looked(what="plan", outcome=outcome)))

    async def _planned(
        self,
        arguments: QueryDatabaseArguments,
        *,
        examination: Examination[Prepared],
        connector: PostgresConnector,
    ) -> tuple[int, int]:
        """Rows and cost; -1 for what is not known."""
        if not examination.private.examination.harmless:
            return UNPLANNED
        plan = await connector.explain(arguments.sql, arguments.params or [])
        try:
            top = plan[0]["Plan"]
            inner = top.get("Plans", [{}])[0] if top["Node Type"] == "ModifyTable" else top
            return min(int(inner["Plan Rows"]), MAX_EXACT), min(math.ceil(top["Total Cost"]), MAX_EXACT)
        except (KeyError, IndexError, TypeError, ValueError, OverflowError):
            return UNPLANNED

    async def execute(
        self,
        arguments: QueryDatabaseArguments,
        *,
        examination: Examination[Prepared],
        connector: PostgresConnector,
        permit: Permit,
    ) -> Result:
        """Run it, once, unchanged."""
        known = examination.private
        return await connector.run(
            Statement(
                sql=arguments.sql,
                parameters=arguments.params or [],
                call_id=permit.call_id,
                read_only=known.examination.facts.read_only,
                harmless=known.examination.harmless,
                quiet=known.quiet,
                touched=known.touched,
                timeout=permit.timeout,
                max_rows=min(permit.max_rows, arguments.max_rows or permit.max_rows),
                max_bytes=permit.max_bytes,
                shape=self._worker.shape(arguments.sql, catalog_key=known.target),
            )
        )

    def size(self, raw: Result) -> int:
        """What the server sent."""
        return raw.size

    def mask(self, raw: Result, *, examination: Examination[Prepared], masker: Masker, call_id: str) -> Masked:
        """Each column by the classes that it may derive from, then by what its values look like."""
        proofs = _proved(raw.columns, examination.private)
        names, cells = masker.table(
            [
                Column(name=column.name, values=column.values, classes=proved.classes, computed=not proved.stored)
                for column, proved in zip(raw.columns, proofs, strict=True)
            ]
        )
        columns = [
            {"name": name, "type": column.type, "masked": sorted(masker.hides(proved.classes))}
            for name, column, proved in zip(names, raw.columns, proofs, strict=True)
        ]
        rows = list(zip(*cells, strict=True)) if cells else []
        count = raw.rows if raw.affected is None else raw.affected
        result: JSONObject = {
            "columns": columns,
            "rows": rows,
            "row_count": count,
            "truncated": raw.truncated,
            "call_id": call_id,
        }
        return masker.seal(result, rows=count, truncated=raw.truncated)

    def mask_error(self, error: TargetError, *, examination: Examination[Prepared], masker: Masker) -> str:
        """The connector's own sentence, and the server's words where they may leave."""
        del examination
        if not error.detail_released or not error.detail:
            return masker.text(error.message)
        return masker.text(f"{error.message}: {error.detail}")


def _proved(columns: tuple[ResultColumn, ...], known: Prepared) -> list[OutputColumn]:
    """What is proved of each column, by position, and what the server says of its origin.

    The two cannot differ unless the resolver is wrong. Then both count, and whoever runs the gateway is told.
    """
    found = []
    for number, (column, verdict) in enumerate(zip(columns, _resolved(columns, known), strict=True), start=1):
        stored = known.origins.classes(column.origin.relation, column.origin.number)
        if not stored <= verdict.classes:
            log.error(
                "lineage_disagrees_with_server",
                target=known.target,
                result_column=number,
                relation=column.origin.relation,
                attribute=column.origin.number,
                missed=sorted(stored - verdict.classes),
            )
        found.append(verdict if stored <= verdict.classes else verdict._replace(classes=verdict.classes | stored))
    return found


def _resolved(columns: tuple[ResultColumn, ...], known: Prepared) -> list[OutputColumn]:
    """What is proved of each column, by position; all of the target's classes where verdict and server differ."""
    proved = known.lineage.columns
    nothing = OutputColumn(name=None, classes=known.classes)
    if proved is None or len(proved) != len(columns):
        return [nothing] * len(columns)
    return [
        verdict if verdict.name is None or verdict.name == column.name else nothing
        for verdict, column in zip(proved, columns, strict=True)
    ]


async def _check_names(examination: SQLExamination, connector: PostgresConnector) -> None:
    """Raise `UnknownNameError` for names that neither the snapshot nor the server has anything for."""
    if examination.absent and (missing := await connector.absent(examination.absent)):
        raise _unknown(f"it has no {', no '.join(map(str, missing))}")


def _unknown(detail: str) -> UnknownNameError:
    return UnknownNameError(
        "the target does not know a name in this statement",
        detail=detail,
        next_step="mend the SQL; nothing has run and nobody is asked",
    )


def _environment(target: Target, snapshot: Snapshot, touched: Touched) -> str:
    """What an approval rests on: the target's configuration and every object that the statement can reach."""
    path = list(snapshot.catalog.search_path)
    return hashlib.sha256(orjson.dumps([target.fingerprint, path, touched.objects])).hexdigest()


def _shown(arguments: QueryDatabaseArguments) -> dict[str, str]:
    shown = {"statement": arguments.sql}
    for number, value in enumerate(arguments.params or [], start=1):
        shown[f"${number}"] = orjson.dumps(value).decode()
    if arguments.max_rows is not None:
        shown["at most"] = f"{arguments.max_rows} rows of the result"
    return shown
