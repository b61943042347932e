"""Which columns of PostgreSQL's own catalogs hold pieces of data, statements or secrets.

Names and definitions are clear; samples of values, other people's statements, passwords and connection options have
every class of the target. A relation of `pg_catalog` that is not known here has them in all its columns.
"""

from __future__ import annotations

SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema"})

_KNOWN = frozenset(
    """
    aggregate am amop amproc attrdef attribute auth_members authid available_extension_versions available_extensions
    backend_memory_contexts cast class collation config constraint conversion cursors database db_role_setting
    default_acl depend description enum event_trigger extension file_settings foreign_data_wrapper foreign_server
    foreign_table group hba_file_rules ident_file_mappings index indexes inherits init_privs language largeobject
    largeobject_metadata locks matviews namespace opclass operator opfamily parameter_acl partitioned_table policies
    policy prepared_statements prepared_xacts proc publication publication_namespace publication_rel
    publication_tables range replication_origin replication_origin_status replication_slots rewrite roles rules
    seclabel seclabels sequence sequences settings shadow shdepend shdescription shmem_allocations shseclabel
    stat_activity stat_all_indexes stat_all_tables stat_archiver stat_bgwriter stat_checkpointer stat_database
    stat_database_conflicts stat_gssapi stat_io stat_progress_analyze stat_progress_basebackup stat_progress_cluster
    stat_progress_copy stat_progress_create_index stat_progress_vacuum stat_recovery_prefetch stat_replication
    stat_replication_slots stat_slru stat_ssl stat_subscription stat_subscription_stats stat_sys_indexes
    stat_sys_tables stat_user_functions stat_user_indexes stat_user_tables stat_wal stat_wal_receiver
    stat_xact_all_tables stat_xact_sys_tables stat_xact_user_functions stat_xact_user_tables statio_all_indexes
    statio_all_sequences statio_all_tables statio_sys_indexes statio_sys_sequences statio_sys_tables
    statio_user_indexes statio_user_sequences statio_user_tables statistic statistic_ext statistic_ext_data stats
    stats_ext stats_ext_exprs subscription subscription_rel tables tablespace timezone_abbrevs timezone_names
    transform trigger ts_config ts_config_map ts_dict ts_parser ts_template type user user_mapping user_mappings views
    wait_events
    """.split()
)
"""Without the `pg_` that each of them starts with."""

_HELD_BACK = {
    "pg_attribute": "attmissingval attoptions attfdwoptions",
    "pg_authid": "rolpassword",
    "pg_backend_memory_contexts": "ident",
    "pg_class": "relpartbound",
    "pg_cursors": "statement",
    "pg_db_role_setting": "setconfig",
    "pg_file_settings": "setting error",
    "pg_foreign_data_wrapper": "fdwoptions",
    "pg_foreign_server": "srvoptions",
    "pg_foreign_table": "ftoptions",
    "pg_hba_file_rules": "options error",
    "pg_largeobject": "data",
    "pg_prepared_statements": "statement",
    "pg_prepared_xacts": "gid",
    "pg_roles": "rolpassword rolconfig",
    "pg_shadow": "passwd useconfig",
    "pg_stat_activity": "query",
    "pg_stat_wal_receiver": "conninfo",
    "pg_statistic_ext_data": "stxdndistinct stxddependencies stxdmcv stxdexpr",
    "pg_subscription": "subconninfo",
    "pg_user": "passwd useconfig",
    "pg_user_mapping": "umoptions",
    "pg_user_mappings": "umoptions",
}
_ONLY_CLEAR = {
    "pg_statistic": "starelid staattnum stainherit stanullfrac stawidth stadistinct",
    "pg_stats": "schemaname tablename attname inherited null_frac avg_width n_distinct",
    "pg_stats_ext": "schemaname tablename statistics_schemaname statistics_name statistics_owner attnames exprs kinds "
    "inherited",
    "pg_stats_ext_exprs": "schemaname tablename statistics_schemaname statistics_name statistics_owner expr inherited "
    "null_frac avg_width n_distinct",
}
_OPTION_COLUMNS = frozenset({"option_value", "umoptions", "srvoptions", "ftoptions", "fdwoptions", "attfdwoptions"})


def is_held_back(schema: str, relation: str, column: str) -> bool:
    """Whether a column of a system catalog has every class of the target."""
    if schema == "information_schema":
        return column in _OPTION_COLUMNS
    if relation in _ONLY_CLEAR:
        return column not in _ONLY_CLEAR[relation].split()
    if relation in _HELD_BACK:
        return column in _HELD_BACK[relation].split()
    return not (relation.startswith("pg_") and relation.removeprefix("pg_") in _KNOWN)
