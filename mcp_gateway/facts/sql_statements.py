"""Statements of PostgreSQL's grammar: what kind each is, which may never run in a call, which tables it changes.

Pure tables and functions over parse-tree nodes, used by `facts.sql`. A statement that is not named here counts as a
change of definitions and gets its kind from the node's name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.tree import Use, strings, use_of

KINDS = {
    "CallStmt": "CALL",
    "CheckPointStmt": "CHECKPOINT",
    "ClosePortalStmt": "CLOSE",
    "CompositeTypeStmt": "CREATE",
    "ConstraintsSetStmt": "SET",
    "CopyStmt": "COPY",
    "CreatedbStmt": "CREATE",
    "DefineStmt": "CREATE",
    "DoStmt": "DO",
    "DropdbStmt": "DROP",
    "ImportForeignSchemaStmt": "IMPORT",
    "IndexStmt": "CREATE",
    "RenameStmt": "ALTER",
    "RuleStmt": "CREATE",
    "SecLabelStmt": "SECURITY_LABEL",
    "VariableShowStmt": "SHOW",
    "ViewStmt": "CREATE",
}
TRANSACTION_KINDS = {
    "TRANS_STMT_BEGIN": "BEGIN",
    "TRANS_STMT_START": "BEGIN",
    "TRANS_STMT_COMMIT": "COMMIT",
    "TRANS_STMT_ROLLBACK": "ROLLBACK",
    "TRANS_STMT_SAVEPOINT": "SAVEPOINT",
    "TRANS_STMT_RELEASE": "RELEASE",
    "TRANS_STMT_ROLLBACK_TO": "ROLLBACK_TO",
    "TRANS_STMT_PREPARE": "PREPARE_TRANSACTION",
    "TRANS_STMT_COMMIT_PREPARED": "COMMIT_PREPARED",
    "TRANS_STMT_ROLLBACK_PREPARED": "ROLLBACK_PREPARED",
}
MERGE_ACTIONS = {
    "CMD_INSERT": frozenset({"INSERT"}),
    "CMD_UPDATE": frozenset({"UPDATE"}),
    "CMD_DELETE": frozenset({"DELETE"}),
    "CMD_NOTHING": frozenset[str](),
}
"""What a WHEN clause of MERGE does, by its `commandType`."""
ANY_MERGE_ACTION = frozenset({"INSERT", "UPDATE", "DELETE"})
"""What one may do whose `commandType` is none of these, as a later grammar might have."""

ALL_KINDS = frozenset(
    "ALTER ANALYZE BEGIN CALL CHECKPOINT CLOSE CLUSTER COMMENT COMMIT COMMIT_PREPARED COPY CREATE DEALLOCATE DECLARE DELETE "
    "DISCARD DO DROP EXECUTE EXPLAIN FETCH GRANT IMPORT INSERT LISTEN LOAD LOCK MERGE MOVE NOTIFY P PREPARE "
    "PREPARE_TRANSACTION RAW REASSIGN REFRESH REINDEX RELEASE REPLICA RESET RETURN REVOKE ROLLBACK ROLLBACK_PREPARED "
    "ROLLBACK_TO SAVEPOINT SECURITY_LABEL SELECT SELECT_INTO SET SHOW TRANSACTION TRUNCATE UNLISTEN UPDATE VACUUM".split()
)
"""Every kind that a statement of this grammar can have; there are no others in the facts."""

EMPTY = "there is no statement"
SEVERAL = "a call runs one statement, this text has {count}"
SESSION_FUNCTION = "set_config is session-changing, and a call may not change its session"
TRANSACTION = "{kind} is transaction control: every call runs in a transaction of its own"
SETTING = "{kind} is session-changing, and a call may not change its session"
NO_SESSION = "{kind} works across statements of a session, and a call has a session of its own"
REFUSED = {
    "TransactionStmt": TRANSACTION,
    "ConstraintsSetStmt": SETTING,
    "DiscardStmt": SETTING,
    "LoadStmt": SETTING,
    "VariableSetStmt": SETTING,
    "ClosePortalStmt": NO_SESSION,
    "DeallocateStmt": NO_SESSION,
    "DeclareCursorStmt": NO_SESSION,
    "ExecuteStmt": NO_SESSION,
    "FetchStmt": NO_SESSION,
    "ListenStmt": NO_SESSION,
    "NotifyStmt": NO_SESSION,
    "PrepareStmt": NO_SESSION,
    "UnlistenStmt": NO_SESSION,
}
COPY_IN = "COPY FROM STDIN needs a stream that a call does not have: use INSERT"
COPY_OUT = "COPY TO STDOUT needs a stream that a call does not have: use SELECT"

EXPLAIN_OPTIONS = frozenset(
    "analyze verbose costs settings generic_plan buffers serialize wal timing summary memory format".split()
)
FALSE_WORDS = frozenset({"false", "off"})

TABLE_OBJECTS = frozenset({"OBJECT_TABLE", "OBJECT_FOREIGN_TABLE", "OBJECT_MATVIEW"})
ON_TABLE_OBJECTS = frozenset({"OBJECT_POLICY", "OBJECT_RULE", "OBJECT_TRIGGER"})
"""What decides over a table's rows, and is called by its name and that of the table."""
ON_TABLES = frozenset({"AlterPolicyStmt", "CreatePolicyStmt", "CreateTrigStmt", "RuleStmt"})
RENAMED_WITH_TABLE = TABLE_OBJECTS | {"OBJECT_INDEX", "OBJECT_TABCONSTRAINT"}
"""The server also takes ALTER INDEX ... RENAME for a table."""

TYING = frozenset({"AT_AttachPartition", "AT_DetachPartition", "AT_AddInherit", "AT_DropInherit"})
ON_UNNAMED_TABLES = frozenset({
    "AlterExtensionStmt", "AlterSubscriptionStmt", "CreateExtensionStmt", "CreateSubscriptionStmt", "DropOwnedStmt", "DropdbStmt",
})  # fmt: skip
"""Statements that drop or fill tables which they do not name, or run a script that may."""

FIRST_WORD = re.compile(r"[A-Z][a-z]*")


def kind_of(statement: str, body: JSONObject) -> str:
    """The kind of a statement node, in upper case: `SELECT`, `CREATE`, `SECURITY_LABEL`."""
    match statement:
        case "SelectStmt":
            while "larg" in body:  # INTO stands in the first arm
                body = body["larg"]
            return "SELECT_INTO" if "intoClause" in body else "SELECT"
        case "TransactionStmt":
            return TRANSACTION_KINDS.get(body.get("kind", ""), "TRANSACTION")
        case "VariableSetStmt":
            return "RESET" if body.get("kind") in {"VAR_RESET", "VAR_RESET_ALL"} else "SET"
        case "GrantStmt" | "GrantRoleStmt":
            return "GRANT" if body.get("is_grant") else "REVOKE"
        case "VacuumStmt":
            return "VACUUM" if body.get("is_vacuumcmd") else "ANALYZE"
        case "FetchStmt":
            return "MOVE" if body.get("ismove") else "FETCH"
        case _:
            word = FIRST_WORD.match(statement)
            return KINDS.get(statement) or (word[0] if word else statement).upper()


def refusal_of(statement: str, body: JSONObject) -> str | None:
    """Why a statement of this kind may never run in a call."""
    if statement == "CopyStmt" and not body.get("is_program") and "filename" not in body:
        return COPY_IN if body.get("is_from") else COPY_OUT
    reason = REFUSED.get(statement)
    return None if reason is None else reason.format(kind=kind_of(statement, body).replace("_", " "))


def analyzes(options: Sequence[JSONObject]) -> bool:
    """Whether EXPLAIN with these options runs the statement. The last ANALYZE counts; doubt means yes."""
    found = False
    for option in options:
        body = option.get("DefElem", {})
        if body.get("defname") == "analyze":
            found = not _is_false(body.get("arg"))
    return found


def knows_explain_options(options: Sequence[JSONObject]) -> bool:
    """Whether these are all the server's own options; extensions can bring further ones."""
    return all(option.get("DefElem", {}).get("defname") in EXPLAIN_OPTIONS for option in options)


def _is_false(argument: JSONObject | None) -> bool:
    """As `defGetBoolean` in PostgreSQL's define.c."""
    match argument:
        case {"String": {"sval": str(word)}}:
            return word.lower() in FALSE_WORDS
        case {"Boolean": dict(value)}:
            return not value.get("boolval", False)
        case {"Integer": dict(value)}:
            return int(value.get("ival", 0)) == 0
        case _:
            return False


def changed_tables(statement: str, body: JSONObject) -> list[Use]:
    """Tables whose rows or definition a statement changes that is no INSERT, UPDATE, DELETE or MERGE."""
    match statement:
        case "CreateStmt" | "RefreshMatViewStmt":
            return [use_of(body["relation"])]
        case "CreateForeignTableStmt":
            return [use_of(body["base"]["relation"])]
        case "AlterTableStmt" if body.get("objtype") in TABLE_OBJECTS:
            return [use_of(body["relation"]), *_tied(body)]
        case "RenameStmt" if _renames_table(body):
            return [use_of(body["relation"])]
        case "AlterObjectSchemaStmt" if body.get("objectType") in TABLE_OBJECTS:
            return [use_of(body["relation"])]
        case "DropStmt" if body.get("removeType") in TABLE_OBJECTS:
            return [Use(strings(name["List"]["items"])) for name in body["objects"]]
        case "TruncateStmt":
            return [use_of(relation["RangeVar"]) for relation in body["relations"]]
        case _:
            return []


def drops_unnamed(statement: str, body: JSONObject) -> bool:
    """Whether tables, columns or rows may come or go with it that it does not name: a whole schema, what depends on a type."""
    match statement:
        case "DropStmt":
            return body.get("behavior") == "DROP_CASCADE" or body.get("removeType") == "OBJECT_EXTENSION"
        case "AlterTableStmt":
            return any(command.get("behavior") == "DROP_CASCADE" for command in _commands(body))
        case "RenameStmt":
            return body.get("behavior") == "DROP_CASCADE"
        case _:
            return statement in ON_UNNAMED_TABLES


def decides_over_rows(statement: str, body: JSONObject) -> bool:
    """Whether it makes, changes or drops a trigger, a rule or a policy, which decides over the rows of its table."""
    return statement in ON_TABLES or not ON_TABLE_OBJECTS.isdisjoint({body.get("removeType"), body.get("renameType")})


def _commands(body: JSONObject) -> list[JSONObject]:
    return [command["AlterTableCmd"] for command in body.get("cmds", ())]


def _tied(body: JSONObject) -> list[Use]:
    """The tables that ALTER TABLE makes a part of the one that it names, or the other way round; or that it unties."""
    definitions = [command.get("def", {}) for command in _commands(body) if command["subtype"] in TYING]
    tied = [one.get("RangeVar") or one.get("PartitionCmd", {}).get("name") for one in definitions]
    return [use_of(relation) for relation in tied if relation is not None]


def _renames_table(body: JSONObject) -> bool:
    renamed = body.get("renameType")
    return renamed in RENAMED_WITH_TABLE or (renamed == "OBJECT_COLUMN" and body.get("relationType") in TABLE_OBJECTS)
