"""What the PostgreSQL target promises also holds of the newer server that the extra `demo` embeds.

The tests are those of Debian's server, run once more: each finds its database on the server that this module names.
"""

from __future__ import annotations

import pytest

from tests.peers.postgres import PostgresDatabase, PostgresServer
from tests.targets.postgres_settings import connector
from tests.targets.test_postgres import (
    test_a_check_names_what_is_wider_than_it_need_be,
    test_a_plan_is_made_and_nothing_is_run,
    test_a_rotated_password_is_fetched_again,
    test_the_catalog_is_kept_until_it_changes,
)
from tests.targets.test_postgres_at_once import (
    exchanges,
    test_a_commit_after_the_database_held_still_costs_one_exchange,
    test_all_of_it_is_one_message_and_its_answers_are_as_predicted,
    test_in_another_isolation_it_is_done_step_by_step,
    test_nobody_can_stand_in_for_what_is_checked_with,
    test_nothing_runs_when_what_it_names_has_changed,
    test_the_same_comes_of_a_statement_as_step_by_step,
    test_values_of_another_type_have_their_own_result,
    test_what_stays_in_a_session_says_nothing_of_a_call,
    test_where_others_write_all_the_time_it_is_one_exchange_too,
)
from tests.targets.test_postgres_at_once_trouble import (
    test_a_connection_that_is_reset_while_it_runs_is_told_and_nothing_runs_again,
    test_what_ends_it_while_it_waits_to_be_parsed_is_told_and_it_does_not_run,
    test_what_is_taken_for_a_statement_of_another_shape_has_its_own_outcome,
)
from tests.targets.test_postgres_catalog import (
    connection,
    superuser,
    test_a_change_of_data_alone_changes_no_version,
    test_a_redefinition_of_what_a_statement_touches_changes_its_versions,
    test_every_redefinition_changes_the_stamp,
    test_functions_say_what_they_are,
    test_relations_of_every_kind_come_with_their_columns,
    test_what_a_view_rests_on_is_touched_too,
)
from tests.targets.test_postgres_statement import (
    test_a_cancelled_call_is_cancelled_at_the_server,
    test_a_read_cannot_write_even_if_the_facts_were_wrong,
    test_a_statement_that_ends_its_transaction_commits_nothing,
    test_a_write_is_committed_and_counts_its_rows,
    test_a_write_that_takes_too_long_is_undone,
    test_bytes_are_cut_at_the_limit_between_rows,
    test_nothing_of_one_call_is_left_for_the_next,
    test_one_statement_is_all_that_runs,
    test_origins_are_those_of_stored_columns,
    test_rows_are_cut_at_the_limit_and_say_so,
    test_the_mode_of_the_transaction_cannot_be_changed,
    test_the_server_ends_a_statement_at_its_timeout,
    test_what_parsing_says_is_released_with_its_position,
    test_what_running_says_is_released_only_where_it_can_hold_no_secret,
)
from tests.targets.test_postgres_types import (
    test_every_type_comes_back_as_json_that_keeps_its_meaning,
    test_parameters_go_through_the_servers_own_input,
)

__all__ = [
    "connection",
    "connector",
    "exchanges",
    "superuser",
    "test_a_cancelled_call_is_cancelled_at_the_server",
    "test_a_change_of_data_alone_changes_no_version",
    "test_a_check_names_what_is_wider_than_it_need_be",
    "test_a_commit_after_the_database_held_still_costs_one_exchange",
    "test_a_connection_that_is_reset_while_it_runs_is_told_and_nothing_runs_again",
    "test_a_plan_is_made_and_nothing_is_run",
    "test_a_read_cannot_write_even_if_the_facts_were_wrong",
    "test_a_redefinition_of_what_a_statement_touches_changes_its_versions",
    "test_a_rotated_password_is_fetched_again",
    "test_a_statement_that_ends_its_transaction_commits_nothing",
    "test_a_write_is_committed_and_counts_its_rows",
    "test_a_write_that_takes_too_long_is_undone",
    "test_all_of_it_is_one_message_and_its_answers_are_as_predicted",
    "test_bytes_are_cut_at_the_limit_between_rows",
    "test_every_redefinition_changes_the_stamp",
    "test_every_type_comes_back_as_json_that_keeps_its_meaning",
    "test_functions_say_what_they_are",
    "test_in_another_isolation_it_is_done_step_by_step",
    "test_nobody_can_stand_in_for_what_is_checked_with",
    "test_nothing_of_one_call_is_left_for_the_next",
    "test_nothing_runs_when_what_it_names_has_changed",
    "test_one_statement_is_all_that_runs",
    "test_origins_are_those_of_stored_columns",
    "test_parameters_go_through_the_servers_own_input",
    "test_relations_of_every_kind_come_with_their_columns",
    "test_rows_are_cut_at_the_limit_and_say_so",
    "test_the_catalog_is_kept_until_it_changes",
    "test_the_mode_of_the_transaction_cannot_be_changed",
    "test_the_same_comes_of_a_statement_as_step_by_step",
    "test_the_server_ends_a_statement_at_its_timeout",
    "test_values_of_another_type_have_their_own_result",
    "test_what_a_view_rests_on_is_touched_too",
    "test_what_ends_it_while_it_waits_to_be_parsed_is_told_and_it_does_not_run",
    "test_what_is_taken_for_a_statement_of_another_shape_has_its_own_outcome",
    "test_what_parsing_says_is_released_with_its_position",
    "test_what_running_says_is_released_only_where_it_can_hold_no_secret",
    "test_what_stays_in_a_session_says_nothing_of_a_call",
    "test_where_others_write_all_the_time_it_is_one_exchange_too",
]

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def postgres_server(embedded_postgres_server: PostgresServer) -> PostgresServer:
    """The server of this module's databases."""
    return embedded_postgres_server


def test_it_is_another_server(postgres_database: PostgresDatabase) -> None:
    ((version,),) = postgres_database.execute("SHOW server_version_num")
    assert int(version) >= 18_00_00
