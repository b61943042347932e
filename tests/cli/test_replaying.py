"""Recorded calls are decided again as they were, and what another set of policies would change is said."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import asyncssh
import orjson
import pytest
from mcp_gateway_tools.call_api import CallAPI
from mcp_gateway_tools.run_ssh_command import RunSSHCommand

from mcp_gateway.admission import Request
from mcp_gateway.approval.holding import Channels
from mcp_gateway.audit import usage
from mcp_gateway.audit.decided import DecidedCall, Unreadable, count_since, decided_since
from mcp_gateway.audit.search import opened
from mcp_gateway.calls import Caller, Facts, JSONObject, Secret, SQLFacts
from mcp_gateway.cli.replaying import Replay, facts_of, question_of
from mcp_gateway.config_targets import SSHTarget, to_target
from mcp_gateway.errors import TargetFailed
from mcp_gateway.facts.program_files import built_in
from mcp_gateway.inference import KINDS
from mcp_gateway.masking.classes import BUILT_IN
from mcp_gateway.policy.engine import PolicyEngine
from mcp_gateway.policy.external import Opinion, OpinionError
from mcp_gateway.policy.loader import load_policies
from mcp_gateway.registry import Registered
from mcp_gateway.targets.ssh import SSHConnector
from mcp_gateway.usage import History
from tests.invariants.fixtures import tasks_return, world
from tests.peers.api import answer
from tests.policy.worlds import COMMAND, READ, REQUEST, WRITE
from tests.private import write_private
from tests.roads import POLICIES, POST, Bench, asked, laid, refusal
from tests.test_pipeline_external import Point
from tests.test_pipeline_turns import queued, stalled

__all__ = ["tasks_return", "world"]

pytestmark = pytest.mark.anyio
AGES = """
@id("old") forbid (principal, action == Action::"call_api", resource) when { context.call.token_age >= 60 };
"""


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with laid(tmp_path) as found:
        yield found


def engine(bench: Bench, policies: str) -> PolicyEngine:
    bench.load(policies)
    return bench.engines.pop()


def replayed(bench: Bench, policies: str, *, ago: timedelta = timedelta(days=1)) -> Replay:
    found = Replay(engine=engine(bench, policies), targets=bench.targets)
    with opened(bench.store.data_dir) as connection:
        for event in decided_since(connection, bench.clock.now - ago, before=timedelta(days=1)):
            found.add(event)
    return found


async def some_calls(bench: Bench) -> None:
    await bench.call()
    await bench.call({"method": "DELETE"})
    await bench.call(caller=bench.caller(groups=frozenset({"interns"})))  # refused before any decision
    approval = await asked(bench)
    await bench.vote(approval)
    await bench.call(POST)  # decided twice: without its approval and with it


async def test_the_same_policies_decide_as_recorded(bench: Bench) -> None:
    await some_calls(bench)
    found = replayed(bench, POLICIES)
    assert (found.same, found.changes, found.skipped, found.calls) == (4, {}, {}, 4)


async def test_what_would_change_is_told_by_policy_and_caller(bench: Bench) -> None:
    await some_calls(bench)
    found = replayed(
        bench,
        POLICIES.replace('"DELETE"', '"GET"').replace('"POST"', '"HEAD"'),
    )
    assert found.same == 0
    assert [(change.what.name, change.what.policies, change.calls) for change in found.ordered] == [
        ("newly allowed", ("reads",), 2),
        ("newly allowed", ("reads",), 1),
        ("newly denied", ("never-delete",), 1),
    ]
    assert [change.what.was for change in found.ordered] == ["ask", "deny", "allow"]
    assert dict(found.ordered[0].callers) == {"alice@example.com, through agent": 2}
    told = found.to_json()
    assert (told["changed"], told["same"], len(told["changes"][0]["examples"])) == (4, 0, 2)


@pytest.mark.parametrize(
    ("says", "was"),
    [(Opinion(said="deny"), "deny"), (Opinion(said="ask", approvers={"ops": 1}), "ask"), (None, "deny")],
)
async def test_what_a_decision_point_said_is_left_out(tmp_path: Path, says: Opinion | None, was: str) -> None:
    def speak(_: JSONObject) -> Opinion:
        if says is None:
            raise OpinionError("too late")
        return says

    async with laid(tmp_path, decision_point=Point(says=speak)) as bench:
        for arguments in ({}, POST, {"method": "DELETE"}):
            await bench.call(arguments)
        assert (replayed(bench, POLICIES).same, replayed(bench, POLICIES).changes) == (3, {})
        found = replayed(bench, POLICIES.replace('"DELETE"', '"GET"'))
        assert sorted((change.what.name, change.what.was, change.calls) for change in found.ordered) == [
            ("newly allowed", "deny", 1), ("newly denied", "allow", 1),
        ]  # fmt: skip
        with opened(bench.store.data_dir) as connection:
            (call, *_) = [
                event for event in decided_since(connection, bench.clock.now) if isinstance(event, DecidedCall)
            ]
    assert call.decided["decision"] == was
    earlier = dict(call.decided["external"])
    assert earlier.pop("cedar") == {"decision": "allow", "policies": ["reads"]}
    found = Replay(engine=engine(bench, POLICIES), targets=bench.targets)
    found.add(replace(call, decided=call.decided | {"external": earlier}))
    assert found.skipped == {"an external decision point decided it, and what policy had said is not on record": 1}


async def test_who_would_be_asked_in_place_of_others_is_a_change(bench: Bench) -> None:
    await bench.call(POST)
    themselves = POLICIES.replace('@approval("dba")', '@approval("caller")').replace('"dba")', '"caller")')
    (change,) = replayed(bench, themselves).ordered
    assert (change.what.name, change.what.was, change.what.now) == ("asked of others", "ask", "ask")
    assert change.what.detail == "the person whom the agent acts for in place of one of dba"
    (change,) = replayed(bench, POLICIES.replace('@approval("dba")', '@approval("dba") @approvers("2")')).ordered
    assert change.what.detail == "2 people of dba in place of one of dba"


async def test_what_would_be_shown_raw_is_a_change(bench: Bench) -> None:
    await bench.call()
    await bench.call(POST)
    reveal = '@id("r") permit (principal, action == Action::"reveal", resource == DataClass::"pii.email");'
    (change,) = replayed(bench, POLICIES + reveal).ordered
    assert (change.what.name, change.what.policies, change.what.detail) == ("newly revealed", ("r",), "pii.email")
    assert change.calls == 1
    bench.load(POLICIES + reveal)
    await bench.call({"path": "y"})
    found = replayed(bench, POLICIES + reveal.replace('"pii.email"', '"pii.phone"'))
    assert [(change.what.name, change.what.detail) for change in found.ordered] == [("newly revealed", "pii.phone")]
    masked = replayed(bench, POLICIES).ordered
    assert [(change.what.name, change.what.detail, change.what.policies) for change in masked] == [
        ("newly masked", "pii.email", ())
    ]


async def test_what_detectors_changed_in_the_record_is_not_decided_by(bench: Bench) -> None:
    by_path = (
        '@id("p") forbid (principal, action == Action::"call_api", resource) when { context.http.path like "*@*" };'
    )
    bench.load(POLICIES + by_path)
    assert await bench.code({"path": "to/ada@example.com"}) == "denied"
    assert await bench.code() == "ok"
    found = replayed(bench, POLICIES + by_path)
    assert (found.same, found.changes) == (1, {})
    assert found.skipped == {"a detector changed its path in the record, which policies look at": 1}
    (change,) = replayed(bench, POLICIES).ordered
    assert (change.what.name, change.calls) == ("newly allowed", 1)


async def test_time_and_age_of_the_token_are_those_of_then(bench: Bench) -> None:
    before = bench.clock.now
    young, old = bench.caller(), bench.caller(issued_at=before - timedelta(minutes=5))
    await bench.call(caller=young)
    await bench.call(caller=old)
    bench.clock.now += timedelta(hours=3)
    found = replayed(bench, POLICIES + AGES)
    (change,) = found.ordered
    assert (found.same, change.what.name, change.what.policies, change.calls) == (1, "newly denied", ("old",), 1)
    late = f'@id("late") forbid (principal, action, resource) when {{ context.call.time > datetime("{before:%Y-%m-%dT%H:%M:%SZ}") }};'
    assert replayed(bench, POLICIES + late).changes == {}


async def test_a_call_that_waited_is_decided_by_the_token_that_it_was_decided_by(tmp_path: Path) -> None:
    async with laid(tmp_path, max_calls=1) as bench, anyio.create_task_group() as group:
        tokens = [bench.caller(), bench.caller(token_id="t2", groups=frozenset({"interns"}))]

        async def identify() -> Caller:
            return tokens.pop(0)

        async def call() -> None:
            arguments = {"target": "api", "path": "y"}
            request = Request(
                door="stdio", tool="call_api", arguments=arguments, identify=identify, channels=Channels()
            )
            assert refusal(await bench.road.call(request)).code == "denied"

        async with anyio.create_task_group() as first:
            await stalled(bench, 1, first)
            group.start_soon(call)
            await queued(bench, 2)
            first.cancel_scope.cancel()
        with anyio.fail_after(30):
            while tokens or bench.road.calls_under_way:
                await anyio.sleep(0.01)
        found = replayed(bench, POLICIES)
        assert (found.same, found.changes, found.skipped) == (2, {}, {})


async def test_only_what_came_in_since_then_counts(bench: Bench) -> None:
    bench.clock.now -= timedelta(hours=2)
    await bench.call()
    bench.clock.now += timedelta(hours=2)
    await bench.call()
    assert replayed(bench, POLICIES, ago=timedelta(hours=1)).calls == 1
    assert replayed(bench, POLICIES, ago=timedelta(hours=3)).calls == 2
    assert replayed(bench, POLICIES, ago=timedelta(0)).calls == 1
    with opened(bench.store.data_dir) as connection:
        assert count_since(connection, bench.clock.now - timedelta(hours=1)) == 1


async def test_what_cannot_be_decided_again_is_counted_and_stops_nothing(bench: Bench) -> None:
    await bench.call()
    with opened(bench.store.data_dir) as connection:
        call = next(decided_since(connection, bench.clock.now))
    assert isinstance(call, DecidedCall)
    elsewhere = replace(call, received=call.received | {"target": "gone"})
    old = replace(
        call, identified={name: value for name, value in call.identified.items() if name != "token_issued_at"}
    )
    odd = replace(call, examined={"facts": {"method": "GET"}})
    broken = replace(call, decided={"decision": "perhaps"})
    found = Replay(engine=engine(bench, POLICIES), targets=bench.targets)
    for one in (elsewhere, old, odd, broken, Unreadable(why="its Decided cannot be read"), call):
        found.add(one)
    assert (found.same, found.changes) == (1, {})
    assert found.skipped.total() == 5
    assert any("'gone'" in why for why in found.skipped)


@pytest.mark.parametrize(
    "facts",
    [
        READ,
        WRITE,
        replace(WRITE, kinds=frozenset({"MERGE"}), merge_actions=frozenset({"DELETE"})),
        replace(
            READ,
            columns=frozenset({"a.b", "a.c"}),
            returned_columns=frozenset({"a.b"}),
            condition_columns=frozenset({"a.c"}),
        ),
        replace(READ, inference=None),
        replace(READ, inference={KINDS[0]: frozenset({"pii.email", "shop.margin"})}),
        COMMAND,
        REQUEST,
        replace(
            REQUEST,
            query_keys=frozenset({"a"}),
            body_keys=frozenset({"b"}),
            keys_known=True,
            documented=True,
            operation="getInvoice",
            tags=frozenset({"c"}),
            matches=True,
            graphql_operation="mutation",
            graphql_fields=frozenset({"d"}),
            graphql_opaque=True,
        ),
    ],
)
def test_facts_come_back_as_they_were_recorded(facts: Facts) -> None:
    recorded: JSONObject = orjson.loads(orjson.dumps(facts.to_json()))
    found = facts_of(type(facts), recorded)
    if isinstance(facts, SQLFacts) and isinstance(found, SQLFacts) and facts.returned_columns is None:
        # That they are not told apart is recorded as what it means.
        found = replace(found, returned_columns=None, condition_columns=None)
    assert found == facts
    assert found.to_json() == recorded


def test_columns_of_an_earlier_version_come_back_as_possibly_both() -> None:
    recorded: JSONObject = replace(READ, columns=frozenset({"a.b", "a.c"})).to_json()
    del recorded["returned_columns"], recorded["condition_columns"]
    found = facts_of(SQLFacts, recorded).to_json()
    assert found["returned_columns"] == found["condition_columns"] == ["a.b", "a.c"]


def test_a_merge_of_an_earlier_version_comes_back_with_every_action() -> None:
    recorded: JSONObject = replace(WRITE, kinds=frozenset({"MERGE", "SELECT"})).to_json()
    del recorded["merge_actions"]
    assert facts_of(SQLFacts, recorded).to_json()["merge_actions"] == ["DELETE", "INSERT", "UPDATE"]
    recorded["kinds"] = ["SELECT"]
    assert facts_of(SQLFacts, recorded).to_json()["merge_actions"] == []


def test_a_request_of_an_earlier_version_comes_back_with_the_least_that_can_be_said() -> None:
    recorded = {"method": "GET", "host": "billing.example.com", "path": "/v1/invoices"}
    assert facts_of(type(REQUEST), recorded) == REQUEST
    assert not REQUEST.keys_known


async def test_a_question_comes_back_as_it_was_asked(bench: Bench) -> None:
    caller = bench.caller(groups=frozenset({"dev", "ops"}), email=None)
    await bench.call({"path": "a/b?c=d"}, caller=caller)
    with opened(bench.store.data_dir) as connection:
        call = next(decided_since(connection, bench.clock.now))
    assert isinstance(call, DecidedCall)
    found = question_of(call, targets=bench.targets, actions=bench.engines[-1].actions)
    assert (found.caller.key, found.caller.groups, found.caller.email) == (caller.key, caller.groups, None)
    assert (found.target, found.tool, found.door, found.time) == (
        bench.targets["api"],
        "call_api",
        "http",
        bench.clock.now,
    )
    assert found.facts.to_json()["path"] == "/a/b"


def test_an_empty_record_has_nothing_to_decide(tmp_path: Path) -> None:
    path = write_private(tmp_path / "a.cedar", POLICIES)
    found = Replay(engine=load_policies([path], targets=[], classes=[]), targets={})
    assert found.to_json() == {
        "version": found.engine.version,
        "same": 0,
        "changed": 0,
        "changes": [],
        "anew": 0,
        "skipped": {},
    }


COMMANDS = """
@id("looks") permit (principal, action == Action::"run_ssh_command", resource);
@id("reads-only") forbid (principal, action == Action::"run_ssh_command", resource) unless { context.shell.read_only };
@id("never") forbid (principal, action, resource);
"""
ONCE_RECORDED = {"programs", "opaque", "writes_files", "privileged"}


@asynccontextmanager
async def host_laid(tmp_path: Path) -> AsyncIterator[Bench]:
    """With a host beside the API; policy denies all, so that none is needed."""
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    known_hosts = write_private(tmp_path / "known_hosts", f"web1 {key}")
    table = {"kind": "ssh", "labels": {"env": "prod"}, "host": "web1", "user": "agent", "known_hosts": str(known_hosts)}
    configured = SSHTarget.model_validate(table | {"key": {"file": "/k"}})

    async def no_credential(source: object) -> Secret:
        raise AssertionError("nothing is to be run")

    host = Registered(
        target=to_target("web1", configured),
        connector=SSHConnector(configured, fetch=no_credential),
        timeout=timedelta(seconds=5),
        max_rows=1,
        max_bytes=1000,
        detectors=("ssh",),
    )
    async with laid(tmp_path, policies=COMMANDS, beside=[host], tools=[RunSSHCommand()]) as found:
        yield found


async def commands_before(bench: Bench, *arguments: JSONObject) -> list[DecidedCall]:
    """Calls as a version recorded them that knew fewer facts."""
    for given in arguments:
        answer = await bench.call({"target": "web1"} | given, tool="run_ssh_command")
        assert refusal(answer).code == "denied", refusal(answer)
    with opened(bench.store.data_dir) as connection:
        calls = [call for call in decided_since(connection, bench.clock.now) if isinstance(call, DecidedCall)]
    assert len(calls) == len(arguments)
    return [
        replace(
            call,
            examined=call.examined
            | {"facts": {name: value for name, value in call.examined["facts"].items() if name in ONCE_RECORDED}},
        )
        for call in calls
    ]


async def test_the_record_of_a_command_names_what_was_known_of_programs(tmp_path: Path) -> None:
    async with host_laid(tmp_path) as bench:
        (call,) = await commands_before(bench, {"command": "rm x"})

    assert call.examined["sources"] == {"programs": built_in().version}


async def test_commands_whose_record_lacks_facts_are_examined_anew(tmp_path: Path) -> None:
    async with host_laid(tmp_path) as bench:
        calls = await commands_before(
            bench,
            {"argv": ["ls", "-l", "/var/log"], "reason": "for ada@example.com"},
            {"command": "df -h | sort"},
            {"argv": ["rm", "/var/log/a"], "timeout_s": 5},
        )
        found = Replay(engine=engine(bench, COMMANDS.partition('@id("never")')[0]), targets=bench.targets)
        for call in calls:
            found.add(call)
    assert [(change.what.name, change.calls) for change in found.ordered] == [("newly allowed", 2)]
    assert (found.same, found.anew, found.skipped) == (1, 3, {})
    assert found.to_json()["anew"] == 3


async def test_commands_that_are_not_on_record_exactly_are_not_decided_again(tmp_path: Path) -> None:
    async with host_laid(tmp_path) as bench:
        (masked, altered, huge, odd, cut) = await commands_before(
            bench,
            {"argv": ["grep", "4111 1111 1111 1111", "/var/log/a"]},
            {"argv": ["ls", "/a"]},
            {"argv": ["ls", "/b"]},
            {"argv": ["ls", "/c"]},
            {"argv": ["ls", "/d"]},
        )
        assert "4111" not in str(masked.received["arguments"])
        found = Replay(engine=engine(bench, COMMANDS), targets=bench.targets)
        found.add(masked)
        found.add(replace(altered, received=altered.received | {"arguments": {"target": "web1", "argv": ["rm", "/a"]}}))
        found.add(replace(huge, received=huge.received | {"arguments": {}}))
        found.add(replace(odd, received=odd.received | {"arguments": {"target": "web1", "argv": "ls"}}))
        found.add(replace(cut, examined={"facts": {}}))
    assert (found.same, found.changes, found.anew) == (0, {}, 0)
    assert found.skipped.total() == 5
    assert all(why.endswith("its command is not on record as it was asked for") for why in found.skipped)


async def test_what_had_been_done_by_then_is_counted_again(bench: Bench) -> None:
    """The same as the gateway itself counted, by policies that nobody had then."""
    limits = POLICIES + (
        '@id("calls") forbid (principal, action, resource) when { context.usage.calls_1h >= 2 };'
        '@id("refusals") forbid (principal, action, resource) when { context.agent_usage.refusals_1h >= 1 };'
        '@id("mail") forbid (principal, action, resource)'
        ' when { context.usage.touched_1h.contains(DataClass::"pii.email") };'
    )
    bench.clock.now -= timedelta(hours=2)
    bench.api.answers = [answer(b"ok"), answer(b"ada@example.com")]
    ids = [(await bench.call()).call_id for _ in range(3)]
    ids.append((await bench.call({"method": "DELETE"})).call_id)
    ids.append((await bench.call(caller=bench.caller(subject="bob"))).call_id)
    found = replayed(bench, limits)
    assert found.same == 3  # the first two, and what was denied anyway
    assert {change.what.policies: change.examples for change in found.ordered} == {
        ("calls", "mail"): [ids[2]],
        ("refusals",): [ids[4]],
    }
    bench.clock.now += timedelta(hours=2)
    again = await bench.call()
    late = replayed(bench, limits, ago=timedelta(hours=1))
    assert (late.same, late.changes, again.call_id) == (1, {}, again.call_id)


async def test_what_calls_added_is_told_from_the_record_as_it_was_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However they ended: those that failed with words of the target's, and those that were cancelled, too."""

    async def failing(*_: object, **__: object) -> None:
        raise TargetFailed("no such customer: ada@example.com")

    async def hanging(*_: object, **__: object) -> None:
        await anyio.sleep_forever()

    bench.api.answers = [answer(b"ok"), answer(b"write to 4111 1111 1111 1111")]
    await some_calls(bench)
    await bench.call({"target": "nowhere"})
    with monkeypatch.context() as patch:
        patch.setattr(CallAPI, "execute", failing)
        assert await bench.code() == "failed"
    for slow in ("execute", "examine"):
        with monkeypatch.context() as patch:
            patch.setattr(CallAPI, slow, hanging)
            with anyio.move_on_after(0.2):
                await bench.call()
    found = replayed(
        bench, POLICIES + '@id("u") forbid (principal, action, resource) when { context.usage.calls_1h > 99 };'
    )
    assert found.counts is not None

    def counted(connection: sqlite3.Connection) -> History:
        return usage.read_history(connection, bench.caller(), now=bench.clock.now, classes=BUILT_IN)

    live = await bench.store.read(counted)
    assert counted(found.counts) == live
    assert live.person.touched["1h"] == {"pii.email", "payment.card"}
