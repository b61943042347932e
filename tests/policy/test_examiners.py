from __future__ import annotations

import pytest

from mcp_gateway.calls import HTTPFacts, JSONObject, ShellFacts, SQLFacts
from mcp_gateway.facts.requests import PLAIN, Interface
from mcp_gateway.policy.examiners import EXAMINERS


def test_each_tool_is_examined_by_the_facts_functions_of_the_road() -> None:
    sql = EXAMINERS["query_database"]({"sql": "DELETE FROM orders"}, PLAIN)
    assert isinstance(sql, SQLFacts)
    assert (sql.read_only, sql.unbounded) == (False, True)
    query = EXAMINERS["query_database"]({"sql": "SELECT id FROM orders WHERE note = 'x'"}, PLAIN).context()
    assert (query["returned_columns"], query["condition_columns"]) == (["orders.id"], ["orders.note"])
    shell = EXAMINERS["run_ssh_command"]({"argv": ["sudo", "ls"]}, PLAIN)
    assert isinstance(shell, ShellFacts)
    assert shell.privileged
    http = EXAMINERS["call_api"]({"path": "users", "method": "GET"}, Interface(base_url="https://api.example.com/v1"))
    assert http == HTTPFacts(method="GET", host="api.example.com", path="/v1/users", keys_known=True)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("query_database", {"sql": "SELECT 1; SELECT 2"}),
        ("query_database", {"sql": "SELEC"}),
        ("query_database", {"sql": "BEGIN"}),
        ("run_ssh_command", {"argv": []}),
        ("run_ssh_command", {"argv": ["ls"], "command": "ls"}),
        ("call_api", {"path": "/../x"}),
        ("call_api", {"path": "/x", "method": "TRACE"}),
        ("call_api", {"path": "/x", "headers": {"Authorization": "x"}}),
    ],
)
def test_what_the_road_refuses_before_policy_is_refused_here_too(tool: str, arguments: JSONObject) -> None:
    with pytest.raises(ValueError, match=r"."):
        EXAMINERS[tool](arguments, Interface(base_url="https://api.example.com"))
