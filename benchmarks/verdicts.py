"""How long a verdict on a token takes, good or forged. Run: `python -m benchmarks.verdicts`.

Every forged token of the tests and every form that is accepted, each by a verifier that remembers nothing of it. A
round takes all in turn; of each token counts the median of its rounds. It fails where the slowest takes longer than the
limit: whoever sends tokens may not choose how long the gateway looks at them.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from mcp_gateway.errors import IdentityError
from mcp_gateway.identity.rules import IdentityPolicy
from tests.identity.accepted_forms import BY_POLICY
from tests.identity.forged_claims import FORGED_CLAIMS
from tests.identity.forged_forms import FORGED_FORMS
from tests.identity.forged_signatures import FORGED_SIGNATURES
from tests.identity.forging import verifier

LIMIT_MS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A token and how it is looked at."""

    kind: str
    name: str
    token: str
    policy: IdentityPolicy
    accepted: bool


def cases() -> list[Case]:
    """All of them."""
    found = [
        Case(kind=kind, name=attack.name, token=attack.token(), policy=attack.policy, accepted=False)
        for kind, attacks in (("form", FORGED_FORMS), ("signature", FORGED_SIGNATURES), ("claims", FORGED_CLAIMS))
        for attack in attacks
    ]
    good: list[tuple[IdentityPolicy, str, Callable[[], str]]] = [
        (policy, name, token) for policy, tokens in BY_POLICY for name, token in tokens.items()
    ]
    return found + [
        Case(kind="accepted", name=name, token=token(), policy=policy, accepted=True) for policy, name, token in good
    ]


async def verdict_ms(case: Case) -> float:
    """Milliseconds of CPU for one verdict, which has to be the right one."""
    check = verifier(case.policy)
    begin = time.process_time()
    try:
        await check.verify(case.token)
    except IdentityError:
        accepted = False
    else:
        accepted = True
    took = (time.process_time() - begin) * 1000
    assert accepted is case.accepted, case.name
    return took


async def measure(rounds: int) -> list[tuple[Case, float]]:
    """The median of each."""
    all_cases = cases()
    found = [[await verdict_ms(case) for case in all_cases] for _ in range(rounds)]
    return [(case, statistics.median(times)) for case, times in zip(all_cases, zip(*found, strict=True), strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    found = asyncio.run(measure(parser.parse_args().rounds))
    print(f"| {'tokens':<9} | number | median ms | slowest ms | which |\n|---|---|---|---|---|")
    for kind in ("form", "signature", "claims", "accepted"):
        times = [(ms, case.name) for case, ms in found if case.kind == kind]
        slowest, which = max(times)
        middle = statistics.median(ms for ms, _ in times)
        print(f"| {kind:<9} | {len(times):>6} | {middle:>9.3f} | {slowest:>10.3f} | {which} |")
    worst = max(ms for _, ms in found)
    if worst > LIMIT_MS:
        sys.exit(f"a verdict takes {worst:.1f} ms, at most {LIMIT_MS:.0f} are allowed")


if __name__ == "__main__":
    main()
