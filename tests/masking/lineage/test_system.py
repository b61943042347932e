"""PostgreSQL's own catalogs: definitions are clear, samples and secrets are not."""

from __future__ import annotations

import pytest

from mcp_gateway.masking.lineage.system import is_held_back
from tests.masking.lineage.catalogs import lineage, masked


@pytest.mark.parametrize(
    ("relation", "column", "held_back"),
    [
        ("pg_stats", "most_common_vals", True),
        ("pg_stats", "histogram_bounds", True),
        ("pg_stats", "null_frac", False),
        ("pg_stats", "n_distinct", False),
        ("pg_stats", "new_in_some_version", True),
        ("pg_statistic", "stavalues1", True),
        ("pg_statistic", "stanullfrac", False),
        ("pg_stats_ext", "most_common_vals", True),
        ("pg_stats_ext_exprs", "histogram_bounds", True),
        ("pg_statistic_ext_data", "stxdmcv", True),
        ("pg_stat_activity", "query", True),
        ("pg_stat_activity", "state", False),
        ("pg_prepared_statements", "statement", True),
        ("pg_cursors", "statement", True),
        ("pg_attribute", "attmissingval", True),
        ("pg_attribute", "attname", False),
        ("pg_class", "relpartbound", True),
        ("pg_class", "relname", False),
        ("pg_largeobject", "data", True),
        ("pg_authid", "rolpassword", True),
        ("pg_shadow", "passwd", True),
        ("pg_user_mapping", "umoptions", True),
        ("pg_foreign_server", "srvoptions", True),
        ("pg_subscription", "subconninfo", True),
        ("pg_tables", "tablename", False),
        ("pg_invented", "anything", True),
        ("tables", "anything", True),
    ],
)
def test_samples_statements_and_secrets_are_held_back(relation: str, column: str, held_back: bool) -> None:
    assert is_held_back("pg_catalog", relation, column) is held_back


def test_options_are_held_back_in_the_information_schema() -> None:
    assert is_held_back("information_schema", "user_mapping_options", "option_value")
    assert not is_held_back("information_schema", "columns", "column_name")


def test_reading_a_catalog_touches_only_what_is_read_of_it() -> None:
    assert masked("SELECT tablename, most_common_vals FROM pg_stats") == ["", "email+ssn"]
    assert lineage("SELECT tablename FROM pg_stats").touch == frozenset()
    assert lineage("SELECT tablename FROM pg_stats WHERE most_common_vals IS NOT NULL").touch == frozenset()
    assert lineage("SELECT 1 FROM pg_stats WHERE most_common_vals::text = 'x'").touch == {"ssn", "email"}
    assert lineage("SELECT relname FROM pg_class").relations == frozenset()
