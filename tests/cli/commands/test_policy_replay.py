"""`policy replay` says what other policies would change of what was decided."""

from __future__ import annotations

import re
from pathlib import Path

import anyio
import pytest

from mcp_gateway.cli.commands.policy import print_replay
from mcp_gateway.cli.replaying import Change, Otherwise, Replay
from mcp_gateway.policy.loader import load_policies
from tests.cli.policies import configured
from tests.cli.running import SCRIPT, Ran, run_here, run_on_a_terminal, write_config
from tests.private import write_private
from tests.roads import POLICIES as ROAD_POLICIES
from tests.roads import laid


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return configured(tmp_path)


def test_replay_says_what_would_change_and_for_whom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def record() -> None:
        (tmp_path / "road").mkdir()
        async with laid(tmp_path / "road", data=tmp_path / "data") as bench:
            await bench.call()
            await bench.call({"method": "DELETE"})

    anyio.run(record)
    candidate = write_private(tmp_path / "candidate.cedar", ROAD_POLICIES.replace('"DELETE"', '"GET"'))
    current = write_private(tmp_path / "current.cedar", ROAD_POLICIES)
    config = write_config(
        tmp_path,
        f'[identity]\nissuer = "local"\n[policy]\npaths = ["{current}"]\n'
        '[targets.api]\nkind = "http"\nlabels = { env = "prod" }\nbase_url = "https://api.example.com"\n',
    )

    def run(*more: str) -> Ran:
        return run_here(capsys, "--config", str(config), "policy", "replay", *more)

    same, changed, told = run(), run("--candidate", str(candidate)), run("--json")
    assert (same.status, same.out) == (0, "2 calls decided as recorded\n")
    assert (told.status, told.json["same"]) == (0, 2)
    assert changed.status == 1
    assert changed.out.startswith("2 calls decided otherwise\n")
    assert re.search(r"newly allowed +1 call \(deny as recorded\)", changed.out)
    assert re.search(rf"by forbid +never-delete \({re.escape(str(candidate))}:\d+:\d+\)", changed.out)
    assert "1 call of alice@example.com, through agent" in changed.out
    assert run("--since", "yesterday").status == 2


def test_replay_draws_no_bar_for_policies_that_cannot_be_used(config: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.cedar"
    broken.write_text("permit")

    ran = run_on_a_terminal(SCRIPT, "--config", config, "policy", "replay", "--candidate", broken, columns=200)

    assert ran.status == 2
    assert "the policy does not end in ';'" in ran.out
    assert "deciding again" not in ran.out


@pytest.mark.parametrize(
    ("same", "changed", "said"),
    [
        (0, 0, "no call was decided again"),
        (1, 0, "1 call decided as recorded"),
        (0, 1, "1 call decided otherwise"),
        (11_874, 126, "11,874 calls decided as recorded, 126 calls not"),
    ],
)
def test_replay_leaves_out_what_there_is_none_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], same: int, changed: int, said: str
) -> None:
    engine = load_policies([write_private(tmp_path / "a.cedar", ROAD_POLICIES)], targets=[], classes=[])
    what = Otherwise("newly denied", "allow", "deny", ())
    found = Replay(
        engine=engine, targets={}, same=same, changes={what: Change(what=what, calls=changed)} if changed else {}
    )

    print_replay(found)

    assert capsys.readouterr().out.splitlines()[0] == said


def test_replay_says_how_many_commands_were_examined_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = load_policies([write_private(tmp_path / "a.cedar", ROAD_POLICIES)], targets=[], classes=[])
    print_replay(Replay(engine=engine, targets={}, same=3, anew=2))
    said = capsys.readouterr()
    assert said.out == "3 calls decided as recorded\n"
    assert said.err.startswith("2 calls by facts found anew: ")
