"""What a function, operator, type or relation that a statement names may do, as far as that can be proved.

Types of arguments are not known, so a name is as good as the worst of its candidates: a harmless built-in is not
enough where a function of the same name stands on the search path. Without a catalog a name means the built-in, and
what is not built in is unproved. `facts.harmless` is the list of built-ins; `facts.sql` asks here while it walks.

A text is a value of whatever type it becomes, written or not: beside a column of a row type `'(1,x)'` is a row, and what
its fields are checked by runs. So a text without a type is judged by all that it may become (`filling`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from mcp_gateway.facts.catalog import Catalog, Relation
from mcp_gateway.facts.harmless import (
    SERVER_FILE_RELATIONS,
)
from mcp_gateway.facts.judging_bodies import MAX_NAMES, ExamineBody
from mcp_gateway.facts.judging_types import Types
from mcp_gateway.facts.meant import Meanings
from mcp_gateway.facts.parser import SQLSyntaxError
from mcp_gateway.facts.planned import at_planning, unlike
from mcp_gateway.facts.reach import Parts, Reach
from mcp_gateway.facts.scopes import Table, table_of
from mcp_gateway.facts.trust import FIRST_USER_OID, SYSTEM_SCHEMAS, Trust


class Judge(Types):
    """Answers for one catalog, or for none; keeps what it found out.

    `root` is the judge by whose path a session's names are looked up; this one then is for definitions, which are read
    with an empty path and qualify everything that is not in pg_catalog.
    """

    def __init__(self, catalog: Catalog | None, *, examine_body: ExamineBody, root: Judge | None = None) -> None:
        super().__init__(catalog, examine_body=examine_body, root=root)
        self.meanings: Meanings = root.meanings if root else Meanings(self, self.families)
        self.reach = Reach(self)
        self.table = lru_cache(MAX_NAMES)(self._table)
        self.reading = lru_cache(MAX_NAMES)(self._reading)
        self._definitions: Judge | None = None

    def definitions(self) -> Judge:
        """The judge of what the catalog gives qualified."""
        if self._definitions is None:
            is_root = self is self.root
            made = Judge(self.catalog, examine_body=self.examine_body, root=self) if is_root else self
            self._definitions = made
        return self._definitions

    def _table(self, parts: Parts) -> Table | None:
        """The relation of this name, if there is a catalog and it knows one."""
        if self.catalog is None:
            return None
        schemas = self.path if len(parts) == 1 else (parts[-2],)
        for schema in schemas:
            found = self.catalog.relations.get(f"{schema}.{parts[-1]}")
            if found is not None and found.schema == schema:
                return table_of(found)
        return None

    def find(self, parts: Parts) -> Relation | None:
        """The same without what facts call it."""
        table = self.table(parts)
        return None if table is None else table.relation

    def _reading(self, parts: Parts) -> Trust:
        """Reading the relation of this name: a view runs what it is made of, a foreign table reaches elsewhere."""
        schema = parts[-2] if len(parts) > 1 else ""
        if schema in {"", "pg_catalog"} and parts[-1] in SERVER_FILE_RELATIONS:
            return Trust.UNPROVED
        if self.catalog is None:
            return Trust.KNOWN
        found = self.find(parts)
        if found is None:  # not yet in the snapshot, or nowhere
            system = schema in SYSTEM_SCHEMAS or (not schema and parts[-1].startswith("pg_"))
            return Trust.KNOWN if system else Trust.UNPROVED
        if found.schema in SYSTEM_SCHEMAS and found.oid < FIRST_USER_OID:
            return Trust.KNOWN
        if found.kind == "v":
            return self._view(found)
        if found.kind == "f" or found.qualified in self.families.above_foreign:
            return Trust.UNPROVED
        return max(self._row_security(found), self._planning(found))

    def writing(self, parts: Parts, *, running: bool) -> Trust:
        """Writing to the relation of this name: what it sets off in it and in all that is written along with it.

        Triggers and rules, row-level security, defaults, checks, expressions of indexes and generated columns, CHECKs
        of domains. Without `running` it is only planned, which fires no trigger.
        """
        found = self.find(parts)
        if found is None:  # reading it has been judged
            return Trust.KNOWN
        reached = self.written_along(found)
        if running and any(of.has_triggers or of.kind not in {"r", "p"} for of in reached):
            return Trust.UNPROVED
        return max(map(self._evaluated, reached))

    def written_along(self, relation: Relation) -> Sequence[Relation]:
        """A relation, what a view is made of, and what a write to any of these changes along with it."""
        relations = {} if self.catalog is None else self.catalog.relations
        made_of = self.meanings.made_of(relation.qualified)
        names = dict.fromkeys(name for one in made_of for name in self.families.written_along(one))
        return [relations[name] for name in names if name in relations]

    def _evaluated(self, relation: Relation) -> Trust:
        """The expressions that a write to one table evaluates."""
        verdicts = self.verdicts.written
        known = verdicts.get(relation.qualified)
        if known is None:
            verdicts[relation.qualified] = Trust.UNPROVED
            generated = [column.generated for column in relation.columns if column.generated is not None]
            types = {column.type.removesuffix("[]") for column in relation.columns}
            known = verdicts[relation.qualified] = max(
                self._row_security(relation),
                self.expressions([*relation.defaults, *relation.checks, *generated]),
                *map(self.checked, types),
                Trust.KNOWN,
            )
        return known

    def _row_security(self, relation: Relation) -> Trust:
        """The policies of a table; whether they hold for this role is not asked."""
        verdicts = self.verdicts.policies
        known = verdicts.get(relation.qualified)
        if known is None:
            verdicts[relation.qualified] = Trust.UNPROVED  # what a policy that reads its own table finds
            known = verdicts[relation.qualified] = self.expressions(relation.policies)
        return known

    def _planning(self, relation: Relation) -> Trust:
        """What planning a statement over a relation runs of its own expressions, and of those of its parts and parents."""
        verdicts = self.verdicts.planned
        known = verdicts.get(relation.qualified)
        if known is None:
            verdicts[relation.qualified] = Trust.UNPROVED
            families, relations = self.families, {} if self.catalog is None else self.catalog.relations
            names = (*families.ancestors(relation.qualified), *families.descendants(relation.qualified))
            made = [relation, *(relations[name] for name in names if name in relations)]
            texts = unlike(text for one in made for text in (*one.checks, *one.measured))
            known = verdicts[relation.qualified] = max(map(self._at_planning, texts), default=Trust.KNOWN)
        return known

    def _at_planning(self, text: str) -> Trust:
        judge = self.definitions()
        try:
            trust, _ = self.examine_body(at_planning(text, waits=judge.waits_for_rows), judge)
        except (SQLSyntaxError, RecursionError):
            return Trust.UNPROVED
        return trust

    def waits_for_rows(self, parts: Parts) -> bool:
        """Whether a function that is applied to a column runs for rows alone: one in SQL may be looked into before."""
        found = self.candidates(parts[-2] if len(parts) > 1 else "", parts[-1])
        return bool(found) and all(function.language != "sql" for function in found)

    def _view(self, view: Relation) -> Trust:
        if view.definition is None:
            return Trust.UNPROVED
        verdicts = self.verdicts.views
        known = verdicts.get(view.qualified)
        if known is None:
            verdicts[view.qualified] = Trust.UNPROVED
            known = verdicts[view.qualified] = self.definitions().body(view.definition)
        return known
