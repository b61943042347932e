"""Lists of built-in functions and operators, by what is known of them.

An immutable built-in function is pure by the catalog's word. These lists add what the catalog does not say: which
stable and volatile ones are pure all the same, whose argument is an effect, and which cannot fail. A function on no
list is opaque, so a forgotten name costs precision and never safety.
"""

from __future__ import annotations

from typing import Final


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


PURE_THOUGH_STABLE: Final = _names("""
    age array_to_json array_to_string concat concat_ws convert convert_from convert_to date date_add date_part
    date_subtract date_trunc extract format generate_series in_range json_agg json_build_array json_build_object
    json_object_agg json_populate_record json_populate_recordset json_to_record json_to_recordset json_to_tsvector
    jsonb_agg jsonb_build_array jsonb_build_object jsonb_path_exists_tz jsonb_path_match_tz jsonb_path_query_array_tz
    jsonb_path_query_first_tz jsonb_path_query_tz jsonb_populate_record jsonb_populate_recordset jsonb_to_record
    jsonb_to_recordset jsonb_to_tsvector length make_timestamptz money mxid_age numeric overlaps phraseto_tsquery
    pg_input_is_valid plainto_tsquery quote_literal quote_nullable regclass row_to_json textanycat anytextcat time
    timestamp timestamptz timetz timezone to_char to_date to_json to_jsonb to_number to_timestamp to_tsquery
    to_tsvector ts_debug ts_headline ts_match_tq ts_match_tt ts_parse ts_token_type websearch_to_tsquery xml
    xml_is_well_formed
    timestamptz_mi_interval timestamptz_pl_interval interval_pl_timestamptz

    current_database current_schema current_schemas current_setting current_user enum_first enum_last enum_range
    get_current_ts_config getdatabaseencoding getpgusername inet_client_addr inet_client_port inet_server_addr
    inet_server_port now pg_backend_pid pg_client_encoding pg_conf_load_time pg_current_snapshot pg_current_xact_id
    pg_current_xact_id_if_assigned pg_is_other_temp_schema pg_my_temp_schema pg_postmaster_start_time pg_trigger_depth
    session_user statement_timestamp system_user transaction_timestamp txid_current txid_current_if_assigned
    txid_current_snapshot version

    aclexplode col_description format_type has_any_column_privilege has_column_privilege has_database_privilege
    has_foreign_data_wrapper_privilege has_function_privilege has_language_privilege has_largeobject_privilege
    has_parameter_privilege has_schema_privilege has_sequence_privilege has_server_privilege has_table_privilege
    has_tablespace_privilege has_type_privilege obj_description oidvectortypes pg_basetype pg_char_to_encoding
    pg_collation_for pg_collation_is_visible pg_column_compression pg_column_is_updatable pg_column_size
    pg_conversion_is_visible pg_describe_object pg_encoding_to_char pg_function_is_visible pg_get_acl
    pg_get_constraintdef pg_get_expr pg_get_function_arg_default pg_get_function_arguments
    pg_get_function_identity_arguments pg_get_function_result pg_get_function_sqlbody pg_get_functiondef
    pg_get_indexdef pg_get_keywords pg_get_partkeydef pg_get_replica_identity_index pg_get_ruledef
    pg_get_serial_sequence pg_get_statisticsobjdef pg_get_triggerdef pg_get_userbyid pg_get_viewdef pg_has_role
    pg_identify_object pg_index_column_has_property pg_index_has_property pg_indexam_has_property
    pg_opclass_is_visible pg_operator_is_visible pg_opfamily_is_visible pg_relation_filenode pg_relation_filepath
    pg_relation_is_publishable pg_relation_is_updatable pg_sequence_parameters pg_statistics_obj_is_visible
    pg_table_is_visible pg_timezone_abbrevs pg_timezone_names pg_ts_config_is_visible pg_ts_dict_is_visible
    pg_ts_parser_is_visible pg_ts_template_is_visible pg_type_is_visible pg_typeof row_security_active
    shobj_description to_regclass to_regcollation to_regnamespace to_regoper to_regoperator to_regproc
    to_regprocedure to_regrole to_regtype to_regtypemod
""")
"""Read the clock, the session, settings or definitions; never a table's rows."""

PURE_THOUGH_VOLATILE: Final = _names("""
    array_sample array_shuffle clock_timestamp gen_random_uuid pg_blocking_pids pg_current_wal_flush_lsn
    pg_current_wal_insert_lsn pg_current_wal_lsn pg_database_size pg_indexes_size pg_is_in_recovery
    pg_is_wal_replay_paused pg_jit_available pg_last_wal_receive_lsn pg_last_wal_replay_lsn
    pg_last_xact_replay_timestamp pg_notification_queue_usage pg_partition_ancestors pg_partition_tree
    pg_relation_size pg_table_size pg_tablespace_size pg_total_relation_size random random_normal timeofday uuidv4
    uuidv7
""")

SINKS: Final = _names("""
    currval lastval nextval pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock pg_advisory_unlock_all
    pg_advisory_unlock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_cancel_backend pg_notify pg_sleep
    pg_sleep_for pg_sleep_until pg_terminate_backend pg_try_advisory_lock pg_try_advisory_lock_shared
    pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared set_config setseed setval
""")
"""Their result tells nothing, their argument does: it can be seen elsewhere, later, or in the time it takes."""

PURE_IN_EXTENSIONS: Final = {
    "pg_trgm": _names("""
        show_limit similarity_op strict_word_similarity_commutator_op strict_word_similarity_op
        word_similarity_commutator_op word_similarity_op
    """),
    "pgcrypto": _names("""
        gen_random_bytes gen_random_uuid gen_salt pgp_pub_encrypt pgp_pub_encrypt_bytea pgp_sym_encrypt
        pgp_sym_encrypt_bytea
    """),
    "tablefunc": _names("normal_rand"),
    "unaccent": _names("unaccent"),
    "uuid-ossp": _names("uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4"),
}
"""Functions of known extensions that are not immutable and depend on arguments, settings or chance alone."""

TOTAL_FUNCTIONS: Final = _names("""
    age ascii avg bit_length bool_and bool_or btrim cardinality char_length character_length concat concat_ws corr
    count covar_pop covar_samp cume_dist dense_rank every first_value format_type initcap jsonb_typeof json_build_array
    json_typeof jsonb_build_array lag last_value lead left length lower ltrim max md5 min mode now num_nonnulls
    num_nulls octet_length percent_rank pg_column_size pg_typeof position quote_ident quote_literal quote_nullable rank
    regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope reverse right row_number row_to_json rtrim sha224
    sha256 sha384 sha512 starts_with stddev stddev_pop stddev_samp strpos sum to_hex to_json to_jsonb upper var_pop
    var_samp variance
    any_value array_agg json_agg jsonb_agg json_arrayagg string_agg xmlagg
""")
"""Cannot fail on any value of bounded size, but for the lists that follow."""

UNBOUNDED_RESULTS: Final = _names("array_agg json_agg jsonb_agg json_arrayagg string_agg xmlagg")
"""Total themselves, but what takes their result may run out of memory, and tells by that."""

GROWING: Final = _names("""
    array_to_string encode json_build_array json_build_object jsonb_build_array jsonb_build_object quote_ident
    quote_literal quote_nullable row_to_json to_json to_jsonb
""")
"""Their result may be several times as long as their argument: enough of them in each other run out of memory."""

TOTAL_IN_ARGUMENT: Final = dict.fromkeys(
    _names("""
        array_length array_to_string ceil ceiling date encode floor like_escape lpad nth_value overlay regexp_count
        regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr
        replace round rpad sign split_part string_to_array substr substring to_char translate trunc
    """),
    0,
) | dict.fromkeys(_names("date_part date_trunc extract timezone"), 1)
"""By the position of the one argument that they cannot fail on, while all others are literals (`literals`)."""

TOTAL_WITH_LITERALS_IN: Final = dict.fromkeys(_names("ntile percentile_disc"), 1) | dict.fromkeys(
    _names("json_build_object jsonb_build_object"), 2
)
"""Cannot fail while every n-th argument, from the first, is a literal: all of them, or the keys of an object."""

TOTAL_ON_STEADY: Final = _names("""
    age avg ceil ceiling corr covar_pop covar_samp floor jsonb_build_array jsonb_build_object regr_avgx regr_avgy
    regr_intercept regr_r2 regr_slope round stddev stddev_pop stddev_samp sum to_jsonb trunc var_pop var_samp variance
""")
"""Total on stored columns, whole numbers and text. A statement that chooses the value itself can make them fail: by
1e308, 'infinity' or a `\\u0000` in JSON."""
STEADY_TYPES: Final = frozenset(
    f"pg_catalog.{name}" for name in ("int2", "int4", "int8", "text", "varchar", "bpchar", "bool")
)
TOTAL_ON_SINGLE: Final = _names("array_agg")
"""Total unless the argument is an array: then all of them have to be of the same shape."""
TOTAL_BY_TYPE: Final = {"date": frozenset({"pg_catalog.date", "pg_catalog.timestamp", "pg_catalog.timestamptz"})}
"""Functions named like a type: on any other argument the call is a cast."""

EQUALITIES: Final = _names("= <> !=")
ORDERINGS: Final = _names("< > <= >=")
TOTAL_OPERATORS: Final = _names("= <> < > <= >= @> <@ && || ? ?| ?& -> ->> #> #>>")
JSON_OPERATORS: Final = _names("-> ->> #> #>>")
"""Total on jsonb and on stored columns; JSON that a statement makes may hold what cannot be told as text."""
COMPUTING: Final = _names("+ - * / % ^ |/ ||/ @ & | # ~ << >> || -> ->> #> #>> #-")
"""What operators there are whose result is no truth value; any other one is taken for a comparison."""
PATTERN_OPERATORS: Final = _names("~ ~* !~ !~* ~~ ~~* !~~ !~~*")
"""Total with a literal pattern: of LIKE one that does not end in a backslash, else one that is known to be valid."""
LIKE_OPERATORS: Final = _names("~~ ~~* !~~ !~~*")
DIVISIONS: Final = _names("/ %")
"""Total on whole numbers and stored columns, with a positive literal divisor."""
TEXT_TYPES: Final = _names("text varchar bpchar")
WIDER_TYPES: Final = {
    "int2": _names("int2 int4 int8 numeric float4 float8"),
    "int4": _names("int4 int8 numeric float8"),
    "int8": _names("int8 numeric float8"),
    "float4": _names("float4 float8"),
    "float8": _names("float8"),
    "numeric": _names("numeric"),
    "date": _names("date"),
    "timestamp": _names("timestamp date"),
    "timestamptz": _names("timestamptz date"),
    "json": _names("json"),
    "jsonb": _names("jsonb json"),
    "uuid": _names("uuid"),
    "bool": _names("bool"),
}
"""Casts that cannot fail, by the type they start from."""
