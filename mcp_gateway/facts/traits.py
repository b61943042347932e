"""What is known of the functions that a statement names, for policies that look closer than read-only or not. Pure.

`volatile`, `security_definer`, `own` (beside what the server brings), `language:...`, `extension:...` come from the
catalog; what a function of the server's or of a well-known extension's reaches beside its arguments is listed here:
`files`, `programs`, `network`, `sessions` (other ones), `large_objects`, `sequences`, `settings`, `locks`, `notifications`, `replication`.
A name that no catalog knows is `unknown`. `triggers` has what changes rows of a table with a trigger or rule. `unnamed_tables`
has what may read or write tables that no fact names; `unnamed_parts` and `unnamed_columns` has a statement on tables with more
parts than facts name (`facts.meant`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from mcp_gateway.facts.catalog import Function
from mcp_gateway.facts.harmless import HARMLESS_FUNCTIONS

COMPILED = frozenset({"internal", "c"})
UNKNOWN = "unknown"
UNNAMED_TABLES = "unnamed_tables"
UNNAMED_PARTS = "unnamed_parts"
UNNAMED_COLUMNS = "unnamed_columns"
FILES = "files"
PROGRAMS = "programs"
LOCKS = "locks"
TRIGGERS = "triggers"

_REACH: Mapping[str, str] = {
    "files": r"pg_(read|write|stat)_(binary_)?file|pg_ls_.*|pg_file_.*|pg_logdir_ls|lo_(import|export)|pg_current_logfile"
    r"|pg_read_server_files|pg_hba_file_rules|pg_ident_file_mappings|pg_show_all_file_settings|pg_rotate_logfile(_v2)?"
    r"|pg_reload_conf|pg_relation_filepath|adminpack.*|file_fdw_.*",
    "programs": r"pg_execute_server_program",
    "network": r"dblink(_.*)?|postgres_fdw_.*|http(_.*)?|pg_net_.*|inet_server_(addr|port)",
    "sessions": r"pg_(terminate|cancel)_backend|pg_blocking_pids|pg_safe_snapshot_blocking_pids|pg_log_backend_memory_contexts"
    r"|pg_stat_reset.*|pg_stat_clear_snapshot",
    "large_objects": r"lo_.*|lowrite|loread",
    "sequences": r"nextval|setval|currval|lastval|pg_sequence_last_value",
    "settings": r"set_config|current_setting|pg_reload_conf",
    "locks": r"pg_(try_)?advisory_.*",
    "notifications": r"pg_notify|pg_listening_channels|pg_notification_queue_usage",
    "replication": r"pg_(create|drop|copy)_(physical_|logical_)?replication_slot|pg_(create|drop|copy)_.*replication_slot.*"
    r"|pg_logical_.*|pg_replication_.*|pg_promote|pg_switch_wal|pg_create_restore_point|pg_(start|stop)_backup|pg_backup_.*"
    r"|pg_wal_replay_.*",
    # A query or the name of a table is given to these as a text, or of a type, whose CHECKs may look into tables.
    UNNAMED_TABLES: r"(query|cursor|table|schema|database)_to_xml(schema|_and_xmlschema)?|ts_stat|ts_rewrite|currtid2?"
    r"|pg_input_(is_valid|error_info)|(array|domain|multirange|range|record)_(in|recv)"
    r"|pg_logical_slot_(get|peek)_(binary_)?changes",
}
_MATCH = {reach: re.compile(pattern).fullmatch for reach, pattern in _REACH.items()}
REACHES = frozenset(_REACH)
ALL_TRAITS = REACHES | {"volatile", "security_definer", "own", UNKNOWN, UNNAMED_PARTS, UNNAMED_COLUMNS, TRIGGERS}
"""Every trait but those with a prefix; there are no others in the facts."""
TRAIT_PREFIXES = ("language:", "extension:")


def traits_of(name: str, found: Sequence[Function], *, has_catalog: bool, first_own_oid: int) -> Iterable[str]:
    """The traits of a function by its bare name, and by all that it may mean in the catalog.

    `first_own_oid` is that of the first object that is not the server's.
    """
    reached = [reach for reach, match in _MATCH.items() if match(name)]
    yield from reached
    if not found and (has_catalog or not (reached or name in HARMLESS_FUNCTIONS)):
        yield from (UNKNOWN, UNNAMED_TABLES)
    for function in found:
        if function.volatility == "v":
            yield "volatile"
        if function.security_definer:
            yield "security_definer"
        if function.oid >= first_own_oid and not function.extension:
            yield "own"
        if function.language not in COMPILED:
            yield f"language:{function.language}"
        if function.extension:
            yield f"extension:{function.extension}"
