"""The lists of what PostgreSQL brings, held against a real server."""

from __future__ import annotations

import pytest

from mcp_gateway.facts import harmless
from tests.peers.postgres import PostgresServer

UNCALLABLE = ("internal", "cstring", "trigger", "event_trigger")


def test_the_lists_do_not_contradict_each_other() -> None:
    assert not harmless.PURE_FUNCTIONS & harmless.HARMLESS_VOLATILE_FUNCTIONS
    assert not harmless.HARMLESS_FUNCTIONS & harmless.SINGLE_ARGUMENT_RISKS
    assert not harmless.HARMLESS_FUNCTIONS & harmless.RECORD_FILLERS


@pytest.mark.parametrize(
    "name",
    """
    nextval setval set_config setseed pg_terminate_backend pg_cancel_backend pg_reload_conf pg_rotate_logfile pg_switch_wal
    pg_read_file pg_read_binary_file pg_ls_dir pg_stat_file pg_current_logfile lo_import lo_export lo_create lo_unlink lo_put
    lo_get lowrite loread pg_notify pg_advisory_lock pg_try_advisory_xact_lock pg_advisory_unlock_all query_to_xml
    table_to_xml schema_to_xml database_to_xml cursor_to_xml ts_stat ts_rewrite pg_stat_reset pg_stat_reset_shared
    pg_create_restore_point pg_create_physical_replication_slot pg_drop_replication_slot pg_replication_origin_create
    pg_logical_emit_message pg_logical_slot_get_changes pg_export_snapshot pg_import_system_collations pg_promote
    pg_current_xact_id txid_current pg_input_is_valid domain_in record_in array_in pg_log_backend_memory_contexts
    brin_summarize_new_values gin_clean_pending_list pg_wal_replay_pause pg_restore_attribute_stats pg_backup_start
    currtid2 pg_extension_config_dump pg_sync_replication_slots pg_hba_file_rules pg_show_all_file_settings dblink_exec
    """.split(),
)
def test_functions_that_do_something_are_not_listed(name: str) -> None:
    assert name not in harmless.HARMLESS_FUNCTIONS


def test_every_listed_function_of_the_server_is_of_the_listed_kind(postgres_server: PostgresServer) -> None:
    rows = postgres_server.execute(
        """
        SELECT p.proname, p.provolatile::text, t.typname, coalesce(array_agg(a.typname::text), '{}')
        FROM pg_proc p JOIN pg_type t ON t.oid = p.prorettype
        LEFT JOIN pg_type a ON a.oid = ANY (p.proargtypes::oid[])
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.oid < 16384 GROUP BY p.oid, t.oid
        """
    )
    functions = [row for row in rows if row[0] in harmless.HARMLESS_FUNCTIONS]

    assert len({row[0] for row in functions}) > 1_700
    assert [row for row in functions if row[1] == "v" and row[0] not in harmless.HARMLESS_VOLATILE_FUNCTIONS] == []
    assert [row for row in functions if {row[2], *row[3]} & set(UNCALLABLE)] == []


def test_every_function_that_attribute_notation_can_call_is_harmless_or_a_risk(postgres_server: PostgresServer) -> None:
    rows = postgres_server.execute(
        """
        SELECT DISTINCT p.proname FROM pg_proc p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.oid < 16384 AND p.provolatile = 'v'
          AND (p.provariadic <> 0 OR 1 BETWEEN p.pronargs - p.pronargdefaults AND p.pronargs)
          AND NOT 'internal'::regtype = ANY (p.proargtypes::oid[]) AND p.prorettype <> 'internal'::regtype
        """
    )

    known = harmless.HARMLESS_FUNCTIONS | harmless.SINGLE_ARGUMENT_RISKS | harmless.SESSION_FUNCTIONS
    assert {name for (name,) in rows} - known == set()


def test_every_operator_of_the_server_only_computes(postgres_server: PostgresServer) -> None:
    rows = postgres_server.execute(
        """
        SELECT o.oprname, bool_or(p.provolatile = 'v') FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode
        WHERE o.oid < 16384 GROUP BY o.oprname
        """
    )
    volatile = dict(rows)

    assert volatile.keys() <= harmless.OPERATORS
    assert not any(volatile.values())


def test_no_listed_type_runs_anything_but_its_input(postgres_server: PostgresServer) -> None:
    rows = postgres_server.execute(
        """
        SELECT typname FROM pg_type
        WHERE typnamespace = 'pg_catalog'::regnamespace AND (typtype IN ('c', 'd') OR oid >= 16384)
        """
    )

    assert {name for (name,) in rows} & harmless.TYPES == set()


def test_the_domains_of_the_information_schema_check_nothing_of_ours(postgres_server: PostgresServer) -> None:
    rows = postgres_server.execute(
        "SELECT typname FROM pg_type WHERE typnamespace = 'information_schema'::regnamespace AND typtype = 'd'"
    )

    assert {name for (name,) in rows} == harmless.INFORMATION_SCHEMA_TYPES
