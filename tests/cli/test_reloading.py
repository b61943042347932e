"""Policies are put into force when their files hold still, and never half of them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp_gateway_tools.call_api import CallAPI
from mcp_gateway_tools.run_ssh_command import RunSSHCommand, RunSSHCommandArguments
from structlog.testing import capture_logs

from mcp_gateway.cli import reloading
from mcp_gateway.cli.assemble import hold_knowledge
from mcp_gateway.cli.loading import documents_of, load_interfaces
from mcp_gateway.cli.reloading import DOCUMENTS, POLICIES, PROGRAMS, Reloading
from mcp_gateway.config import parse_settings
from mcp_gateway.decisions import Allow, Deny
from mcp_gateway.errors import StoreError
from mcp_gateway.events import DocumentsLoaded, Event, PolicyLoaded, ProgramsLoaded
from mcp_gateway.facts.requests import digests
from mcp_gateway.held import Held
from mcp_gateway.policy.engine import PolicyEngine
from mcp_gateway.policy.files import Stamp, stamp_of
from mcp_gateway.policy.holder import Policies
from mcp_gateway.policy.loader import SUFFIX, load_policies
from tests.cli.test_loading_apis import DOCUMENT, examined, settings, written
from tests.policy.worlds import READ_ALL, TARGETS, question
from tests.tools.test_run_ssh_command import TARGET, connector

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R28", "I7")]
FORBID = '@id("nothing") forbid (principal, action, resource);'
LOOK_SECONDS = 0.02


@dataclass(slots=True, kw_only=True)
class Watched:
    """A set of policies that is kept as its files are."""

    folder: Path
    policies: Policies
    reloading: Reloading[PolicyEngine] = field(init=False)
    recorded: list[PolicyLoaded] = field(default_factory=list)
    failures: list[StoreError] = field(default_factory=list)

    async def record(self, event: Event) -> None:
        if self.failures:
            raise self.failures.pop()
        assert isinstance(event, PolicyLoaded)
        assert event.version == self.policies.current.version or not event.problems
        self.recorded.append(event)

    def allows(self) -> bool:
        return isinstance(self.policies.current.decide(question()), Allow)

    async def until_recorded(self, count: int) -> None:
        with anyio.fail_after(20):
            while len(self.recorded) < count:
                await anyio.sleep(0.005)


@asynccontextmanager
async def watched(tmp_path: Path, *, look_seconds: float = LOOK_SECONDS) -> AsyncIterator[Watched]:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "a.cedar").write_text(READ_ALL)
    seen = stamp_of([folder], suffix=SUFFIX)
    policies = Policies(lambda: load_policies([folder], targets=TARGETS, classes=[], guarded=False))
    found = Watched(folder=folder, policies=policies)
    found.reloading = Reloading(
        policies,
        kind=POLICIES,
        paths=[folder],
        seen=seen,
        record=found.record,
        clock=lambda: datetime.now(UTC),
        look_seconds=look_seconds,
    )
    async with anyio.create_task_group() as group:
        group.start_soon(found.reloading.keep)
        yield found
        group.cancel_scope.cancel()


async def test_a_changed_file_is_recorded_and_comes_into_force(tmp_path: Path) -> None:
    async with watched(tmp_path) as found:
        before = found.policies.current
        assert found.allows()
        (found.folder / "b.cedar").write_text(FORBID)
        await found.until_recorded(1)
        assert not found.allows()
        (found.folder / "b.cedar").unlink()
        await found.until_recorded(2)
        assert found.allows()
    first, second = found.recorded
    assert (first.policies, first.problems) == (2, ())
    assert (second.version, second.policies) == (before.version, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "a.cedar").write_text("permit"), "a.cedar"),
        (lambda folder: (folder / "a.cedar").write_text(READ_ALL.replace('Action::"', 'Action::"x')), "a.cedar"),
        (lambda folder: (folder / "a.cedar").rename(folder.parent / "gone") and folder.rmdir(), "no such file"),
    ],
    ids=["cut off", "misspelt", "gone"],
)
async def test_a_set_that_cannot_be_used_is_recorded_and_the_old_one_stays(
    tmp_path: Path, change: Callable[[Path], object], said: str
) -> None:
    async with watched(tmp_path) as found:
        before = found.policies.current
        change(found.folder)
        await found.until_recorded(1)
        assert found.policies.current is before
        assert found.allows()
    (event,) = found.recorded
    assert event.version == before.version
    assert said in event.problems[0]


async def test_a_file_that_is_being_written_waits_until_it_holds_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look finds it longer, as while an editor writes; what stands there meanwhile is a valid set without its forbid."""
    looks = 0
    read: list[int] = []

    def growing(paths: list[Path], *, suffix: str) -> Stamp:
        nonlocal looks
        looks += 1
        if looks < 10:
            (paths[0] / "a.cedar").write_text(READ_ALL.replace('@id("', f'@id("v{looks}-'))
        elif looks == 10:
            (paths[0] / "a.cedar").write_text(READ_ALL + FORBID)
        return stamp_of(paths, suffix=suffix)

    monkeypatch.setattr(reloading, "stamp_of", growing)
    async with watched(tmp_path) as found:
        real = found.policies.read

        def reading() -> object:
            read.append(looks)
            return real()

        monkeypatch.setattr(found.policies, "read", reading)
        await found.until_recorded(1)
    assert not found.allows()
    assert [event.policies for event in found.recorded] == [2]
    assert min(read) >= 10


async def test_what_changes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched(tmp_path) as found:
        real, times = found.policies.read, 0

        def reading() -> object:
            nonlocal times
            times += 1
            loaded = real()
            if times == 1:
                (found.folder / "b.cedar").write_text(FORBID)
            return loaded

        monkeypatch.setattr(found.policies, "read", reading)
        (found.folder / "a.cedar").write_text(READ_ALL.replace('@id("', '@id("other-'))
        await found.until_recorded(1)
        assert not found.allows()
    assert [event.policies for event in found.recorded] == [2]


async def test_a_set_that_cannot_be_recorded_does_not_decide_and_is_tried_again(tmp_path: Path) -> None:
    async with watched(tmp_path) as found:
        found.failures += [StoreError("the disk is full")] * 3
        (found.folder / "b.cedar").write_text(FORBID)
        with anyio.fail_after(20):
            while found.failures:
                assert found.allows()
                await anyio.sleep(0.005)
        await found.until_recorded(1)
        assert not found.allows()


@pytest.mark.requirement("R30")
@pytest.mark.parametrize("asked", [False, True], ids=["looked", "asked"])
async def test_a_look_that_cannot_be_taken_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    """As where the machine has no thread left for it at that moment."""
    looks, without_thread = 0, 3

    def no_thread(paths: list[Path], *, suffix: str) -> Stamp:
        nonlocal looks
        looks += 1
        if looks <= without_thread:
            raise RuntimeError("can't start new thread")
        return stamp_of(paths, suffix=suffix)

    monkeypatch.setattr(reloading, "stamp_of", no_thread)
    with capture_logs() as logs:
        async with watched(tmp_path) as found:
            (found.folder / "b.cedar").write_text(FORBID)
            if asked:
                found.reloading.ask()
            await found.until_recorded(1)
            assert not found.allows()
    said = [(entry["event"], entry["log_level"], entry.get("cause")) for entry in logs]
    assert said[0] == ("policies_not_reloaded", "error", "RuntimeError")
    assert [event for event, _, _ in said].count("policies_not_reloaded") == 1


async def test_a_file_that_never_holds_still_is_read_once_a_look_though_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path, look_seconds=0.2) as found:
        real, reads = found.policies.read, 0

        def reading() -> object:
            nonlocal reads
            reads += 1
            (found.folder / "b.cedar").write_text(FORBID * reads)
            return real()

        monkeypatch.setattr(found.policies, "read", reading)
        found.reloading.ask()
        await anyio.sleep(0.5)
        assert 1 <= reads <= 3
        assert found.allows()


async def test_a_loader_that_breaks_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> PolicyEngine:
        raise MemoryError

    async with watched(tmp_path) as found:
        monkeypatch.setattr(found.policies, "read", broken)
        (found.folder / "b.cedar").write_text(FORBID)
        await found.until_recorded(1)
        assert found.allows()
    assert found.recorded[0].problems == ("the policies could not be read: MemoryError",)


async def test_who_asks_need_not_wait_for_a_look(tmp_path: Path) -> None:
    async with watched(tmp_path, look_seconds=3600) as found:
        (found.folder / "b.cedar").write_text(FORBID)
        found.reloading.ask()
        await found.until_recorded(1)
        assert isinstance(found.policies.current.decide(question()), Deny)
        found.reloading.ask()  # nothing has changed: nothing to record
        (found.folder / "b.cedar").unlink()
        found.reloading.ask()
        await found.until_recorded(2)
    assert len({event.version for event in found.recorded}) == 2


async def test_a_changed_document_counts_for_the_next_request_and_a_bad_one_keeps_the_old(tmp_path: Path) -> None:
    file = written(tmp_path / "billing.yaml", DOCUMENT)
    configured = settings(billing=file)
    interfaces = Held(lambda: load_interfaces(configured))
    recorded: list[DocumentsLoaded] = []
    tool = CallAPI(interfaces=lambda: interfaces.current)

    async def record(event: Event) -> None:
        assert isinstance(event, DocumentsLoaded)
        assert event.problems or event.documents != digests(interfaces.current), "recorded before it decides"
        recorded.append(event)

    async def until(count: int) -> Any:
        with anyio.fail_after(20):
            while len(recorded) < count:
                await anyio.sleep(0.005)
            await anyio.sleep(0)
        return await examined(configured, tool=tool)

    reloading = Reloading(
        interfaces,
        kind=DOCUMENTS,
        paths=documents_of(configured),
        seen=stamp_of([file], suffix=""),
        record=record,
        clock=lambda: datetime.now(UTC),
        look_seconds=LOOK_SECONDS,
    )
    async with anyio.create_task_group() as group:
        group.start_soon(reloading.keep)
        first = await until(0)
        written(file, DOCUMENT.replace("risky", "harmless"))
        second = await until(1)
        written(file, DOCUMENT.replace("/invoices", "invoices"))
        third = await until(2)
        file.unlink()
        fourth = await until(3)
        group.cancel_scope.cancel()

    assert [one.facts.tags for one in (first, second, third, fourth)] == [{"risky"}, *[{"harmless"}] * 3]
    assert first.environment != second.environment == third.environment == fourth.environment
    assert [event.documents for event in recorded] == [digests(interfaces.current)] * 3
    assert ["begins with a slash" in str(event.problems) for event in recorded] == [False, True, False]
    assert "no such file" in recorded[2].problems[0]


async def test_a_changed_table_of_programs_counts_for_the_next_command_and_a_bad_one_keeps_the_old(
    tmp_path: Path,
) -> None:
    file = tmp_path / "programs.toml"
    file.touch(mode=0o600)
    file.write_text('[shopctl]\nsubcommands.reads = "status"')
    configured = parse_settings(
        f'[identity]\nissuer = "local"\n[commands]\nprograms = ["{file}"]\n', file="gateway.toml"
    )
    knowledge = hold_knowledge(configured)
    assert knowledge is not None
    recorded: list[ProgramsLoaded] = []
    found = connector(tmp_path)
    tool = RunSSHCommand(knowledge=lambda: knowledge.current)
    given = RunSSHCommandArguments(target="web1", command="shopctl status")

    async def record(event: Event) -> None:
        assert isinstance(event, ProgramsLoaded)
        assert event.problems or event.version != knowledge.current.version, "recorded before it decides"
        recorded.append(event)

    async def until(count: int) -> tuple[bool, str]:
        with anyio.fail_after(20):
            while len(recorded) < count:
                await anyio.sleep(0.005)
            await anyio.sleep(0)
        seen = await tool.examine(given, target=TARGET, connector=found)
        return seen.facts.to_json()["read_only"], seen.sources["programs"]

    reloading = Reloading(
        knowledge,
        kind=PROGRAMS,
        paths=configured.commands.programs,
        seen=stamp_of([file], suffix=""),
        record=record,
        clock=lambda: datetime.now(UTC),
        look_seconds=LOOK_SECONDS,
    )
    async with anyio.create_task_group() as group:
        group.start_soon(reloading.keep)
        first = await until(0)
        file.write_text('[shopctl]\nsubcommands.changes = "status"')
        second = await until(1)
        file.write_text("[ls]")
        third = await until(2)
        file.write_text('[shopctl]\nsubcommands.reads = "status"')
        file.chmod(0o622)
        fourth = await until(3)
        file.chmod(0o600)
        last = await until(4)
        group.cancel_scope.cancel()

    assert [read_only for read_only, _ in (first, second, third, fourth, last)] == [True, False, False, False, True]
    assert first[1] == last[1] != second[1] == third[1] == fourth[1]
    assert [event.version for event in recorded] == [second[1], second[1], second[1], last[1]]
    assert [bool(event.problems) for event in recorded] == [False, True, True, False]
    assert "it is known already" in recorded[1].problems[0]
    assert "others can write to it" in recorded[2].problems[0]


def test_a_stamp_tells_owner_and_mode_and_a_file_that_was_swapped(tmp_path: Path) -> None:
    file = tmp_path / "a.cedar"
    file.write_text(READ_ALL)
    stamps = [stamp_of([tmp_path], suffix=SUFFIX)]
    file.chmod(0o666)
    stamps.append(stamp_of([tmp_path], suffix=SUFFIX))
    other = tmp_path / "b"
    other.write_text(READ_ALL)
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.replace(file)
    stamps.append(stamp_of([tmp_path], suffix=SUFFIX))
    file.unlink()
    stamps.append(stamp_of([tmp_path], suffix=SUFFIX))
    assert len(set(stamps)) == 4
    assert stamp_of([tmp_path], suffix=SUFFIX) == stamps[-1]
