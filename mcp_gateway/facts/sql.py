"""What a SQL text would do: `examine_sql` gives the facts that policy decides on.

Pure. Runs inside `facts.worker`, because text that an agent wrote can make the parser slow or break it. The text is
parsed with PostgreSQL's grammar and walked (`facts.sql_walk`); `facts.judging` says what the functions in it may do,
from the catalog where there is one. `read_only` is a claim that is stood behind: nothing that changes anything is in
the statement, every node of it is known, and everything it calls is harmless. What cannot be proved is not read-only.

It is the first wall. The second is the server's read-only transaction, the third the rights of the gateway's role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mcp_gateway.calls import JSONObject, SQLFacts
from mcp_gateway.facts.absent import claimed
from mcp_gateway.facts.catalog import Catalog
from mcp_gateway.facts.examination import SQLExamination
from mcp_gateway.facts.families import How
from mcp_gateway.facts.judging import Judge
from mcp_gateway.facts.parser import TOO_DEEP, SQLSyntaxError, Statements, parse_tree
from mcp_gateway.facts.reach import Named
from mcp_gateway.facts.scopes import Scope, all_stored, stored
from mcp_gateway.facts.shapes import fingerprint_of, row_limit_of
from mcp_gateway.facts.sql_changes import Changes
from mcp_gateway.facts.sql_statements import (
    EMPTY,
    SESSION_FUNCTION,
    SEVERAL,
    analyzes,
    changed_tables,
    decides_over_rows,
    drops_unnamed,
    kind_of,
    knows_explain_options,
    refusal_of,
)
from mcp_gateway.facts.sql_walk import DATA_CHANGES
from mcp_gateway.facts.traits import FILES, LOCKS, PROGRAMS, TRIGGERS, UNKNOWN, UNNAMED_TABLES
from mcp_gateway.facts.tree import opened, relation_parts, strings
from mcp_gateway.facts.trust import Trust
from mcp_gateway.facts.uses import Uses, among, completed

PLANNED = DATA_CHANGES | {"SelectStmt"}
"""What `EXPLAIN` may be put in front of for a preview."""
EXPLAINED = PLANNED | {"CreateTableAsStmt", "DeclareCursorStmt", "ExecuteStmt", "RefreshMatViewStmt"}
"""What PostgreSQL's grammar lets EXPLAIN explain."""


def examine_sql(sql: str, *, catalog: Catalog | None) -> SQLExamination:
    """Examine a text. Without a catalog, what only a catalog could tell is taken as the worst.

    Raises `SQLSyntaxError` for what is no SQL, is longer than `MAX_SQL_BYTES` or too deeply nested.
    """
    return examine_statements(parse_tree(sql), judge=judge_of(catalog))


def examine_statements(
    raw: Statements,
    *,
    judge: Judge,
    returns: frozenset[str] = frozenset(),
    inference: Mapping[str, frozenset[str]] | None = None,
    uses: Uses | None = None,
) -> SQLExamination:
    """As `examine_sql`, for a text that `parse_tree` has parsed and a judge that is kept.

    `returns`, `inference` and `uses` are facts that lineage finds.
    """
    statements = [one["stmt"] for one in raw]
    found = Examiner(judge)
    try:
        refusals = [refusal for statement in statements if (refusal := found.statement(statement)) is not None]
        return found.examination(
            statements,
            refusals=refusals,
            fingerprint=fingerprint_of(raw.json),
            returns=returns,
            inference=inference,
            uses=uses,
        )
    except RecursionError:
        raise SQLSyntaxError(TOO_DEEP) from None


def judge_of(catalog: Catalog | None) -> Judge:
    """The judge by a catalog. It remembers views and functions that it has read, so keep it as long as the catalog."""
    return Judge(catalog, examine_body=_examine_body)


def _examine_body(statements: Sequence[JSONObject], judge: Judge) -> tuple[Trust, Named]:
    """How far the body of a view or SQL function can be trusted, but for casts applied unseen, which whatever reaches it
    adds; and what it names.

    A cast's own function would meet itself here otherwise.
    """
    found = Examiner(judge)
    for statement in statements:
        if "ReturnStmt" in statement:
            found.node(statement["ReturnStmt"].get("returnval"), Scope())
        else:
            found.statement(statement)
    return Trust.UNPROVED if found.effects else found.trust, found.names


class Examiner(Changes):
    """The walk, with what whole statements do."""

    def worst(self, compared: frozenset[str]) -> Trust:
        """The trust in everything that takes part, casts that are applied unseen and what compares values included."""
        casts = self.judge.casts() if self.computes else Trust.KNOWN
        return max(self.trust, casts, self.judge.comparing(compared))

    @property
    def names(self) -> Named:
        """What the whole text names."""
        self.named.computes = self.computes
        self.named.compares = self.computes or self.compares
        self.named.columns = self.columns
        return self.named

    def examination(
        self,
        statements: Sequence[JSONObject],
        *,
        refusals: Sequence[str],
        fingerprint: str,
        returns: frozenset[str],
        inference: Mapping[str, frozenset[str]] | None,
        uses: Uses | None,
    ) -> SQLExamination:
        """What all of it comes to."""
        refusal = refusals[0] if refusals else SESSION_FUNCTION if self.session_function else None
        if len(statements) != 1:
            refusal = SEVERAL.format(count=len(statements)) if statements else EMPTY
        single = len(statements) == 1
        reached = self.judge.reach.of(self.names)
        followed = uses is None or uses.followed
        columns, traits = reached.used(self.columns if followed else self.columns | self._every_column())
        if uses is not None:
            uses, traits = completed(uses, reached=reached, traits=traits)
            if self.judge.catalog is None:
                uses = among(uses, columns)
            columns = columns.union(uses.returned, uses.conditions)
        apart = uses if uses is not None and uses.apart else None
        worst = self.worst(reached.compared)
        return SQLExamination(
            facts=SQLFacts(
                read_only=single and not self.effects and worst != Trust.UNPROVED,
                kinds=frozenset(self.kinds),
                merge_actions=frozenset(self.merge_actions),
                reads=reached.reads,
                writes=reached.writes,
                columns=columns,
                returned_columns=None if apart is None else apart.returned,
                condition_columns=None if apart is None else apart.conditions,
                functions=frozenset(self.functions),
                function_traits=traits,
                unbounded=self.unbounded,
                statements=len(statements),
                row_limit=row_limit_of(statements),
                fingerprint=fingerprint,
                returns=returns,
                inference=inference,
            ),
            refusal=refusal,
            called=reached.functions.union(self.called),
            leaves=reached.leaves,
            unknown=frozenset(self.unheard),
            absent=claimed(self.absent, statements[0]) if single else frozenset(),
            harmless=single and opened(statements[0])[0] in PLANNED and worst == Trust.KNOWN,
        )

    def _every_column(self) -> set[str]:
        """Every column of the relations in the text, as far as the catalog knows them."""
        tables = [table for parts in self.named.relations if (table := self.judge.table(parts)) is not None]
        return {str(column) for table in tables for column in table.columns.values()}

    # Statements

    def statement(self, node: JSONObject, *, scope: Scope | None = None) -> str | None:
        """Take a whole statement in. Returns why it may never run in a call, or None."""
        kind, body = opened(node)
        scope = scope or Scope()
        refusal = refusal_of(kind, body)
        if kind in DATA_CHANGES:
            self.data_change(kind, body, scope)
            return refusal
        self.kinds.add(kind_of(kind, body))
        match kind:
            case "SelectStmt":
                self.query(body, scope)
            case "ExplainStmt":
                return self._explain(body, scope)
            case "VariableShowStmt":
                pass
            case "CopyStmt":
                self._copy(body, scope)
            case "CreateTableAsStmt":
                self.effect()
                self.into(body["into"], scope)
                refusal = self._inner(body["query"], scope)
            case "DeclareCursorStmt" | "PrepareStmt":
                self.effect()
                self._inner(body["query"], scope)
            case _:
                self._definition(kind, body, scope)
        return refusal

    def _inner(self, node: JSONObject, scope: Scope, *, with_kind: bool = True) -> str | None:
        """The statement that another one wraps."""
        kind, body = opened(node)
        if kind == "SelectStmt" and not with_kind:
            self.query(body, scope)
            return None
        return self.statement(node, scope=scope)

    def _explain(self, body: JSONObject, scope: Scope) -> str | None:
        """EXPLAIN plans, which runs immutable and stable functions; with ANALYZE it runs the whole."""
        options = body.get("options", ())
        if not knows_explain_options(options):
            self.doubt(Trust.UNPROVED)
        kind, inner = opened(body["query"])
        self.running = analyzes(options)
        if kind not in EXPLAINED:
            self.running = True
            self.effect()
        if kind == "CreateTableAsStmt":  # one statement to EXPLAIN, not two
            self.kinds.add(kind_of(kind, inner))
            self.effect()
            self.into(inner["into"], scope)
            refusal = self._inner(inner["query"], scope, with_kind=False)
        else:
            refusal = self.statement(body["query"], scope=scope)
        self.running = True
        return refusal

    def _copy(self, body: JSONObject, scope: Scope) -> None:
        incoming = body.get("is_from", False)
        if incoming or body.get("is_program") or "filename" in body:
            self.effect()
        if body.get("is_program"):
            self.named.traits.add(PROGRAMS)
        elif "filename" in body:
            self.named.traits.add(FILES)
        if "query" in body:
            self._inner(body["query"], scope)
        elif incoming:
            self.named.written.add(relation_parts(body["relation"]))
            relation = self.taking_rows(body["relation"])
            self.write(relation)
            self.happens(relation, "insert")
        else:
            copied = self.relation(body["relation"], scope, only_stored=True)
            named = strings(body.get("attlist", ()))
            self.columns.update(
                all_stored(copied) if not named else [one for name in named for one in stored(copied, name)]
            )
        self.node(body.get("whereClause"), scope)

    def _definition(self, kind: str, body: JSONObject, scope: Scope) -> None:
        """Anything else changes definitions, rights or the session, or runs code: as the closed list ends here."""
        self.effect()
        self.doubt(Trust.UNPROVED)
        if self.running:
            self.named.changed.update(changed_tables(kind, body))
            if drops_unnamed(kind, body):
                self.named.traits.add(UNNAMED_TABLES)
            if decides_over_rows(kind, body):
                self.named.traits.add(TRIGGERS)
        match kind:
            case "RefreshMatViewStmt":
                self.named.written.add(relation_parts(body["relation"]))
            case "DoStmt":
                self.named.traits |= {UNKNOWN, UNNAMED_TABLES}
            case "TruncateStmt":
                how: How = "truncate_cascade" if body.get("behavior") == "DROP_CASCADE" else "truncate"
                for one in body["relations"]:
                    self.happens(one["RangeVar"], how)
            case "LockStmt":
                self.named.traits.add(LOCKS)
            case _:
                pass
        self.fields(body, scope)

    def unknown(self, kind: str, body: JSONObject) -> None:
        """A node outside the closed list; a statement in it adds its kind, as rules, schemas and functions have."""
        super().unknown(kind, body)
        if kind.endswith("Stmt"):
            self.effect()
            self.kinds.add(kind_of(kind, body))
            if self.running:
                self.named.changed.update(changed_tables(kind, body))

    def into(self, body: JSONObject, scope: Scope) -> None:
        """SELECT INTO or CREATE TABLE AS: makes a table."""
        self.effect()
        self.doubt(Trust.PROVED)  # it may be a temporary table, which stays in the session
        self.write(body["rel"])
        self.each(body.get("options", ()), scope)
