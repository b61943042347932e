"""Asks advisory sources about everything in the lock file: `python -m release.audit PIP_AUDIT [LOCK]`.

Exit status 0: every part was looked up, and nothing is known of any. 1: there are advisories. 3: some part was looked up
nowhere, since no source answered or none knows it; that is no answer, and never passes for a good one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
SOURCES = ("pypi", "osv")
"""As pip-audit names them; the next one is asked about what the one before it did not know."""
SOURCE_SECONDS = 600
ADVISED, UNKNOWN = 1, 3


@dataclass(kw_only=True)
class Found:
    """What sources said."""

    looked_up: set[str] = field(default_factory=set)
    advisories: dict[str, list[str]] = field(default_factory=dict)
    silent: list[str] = field(default_factory=list)
    """Sources that gave no answer, and why."""


def locked(text: str) -> set[str]:
    """The parts of a lock file that are installed here, by their normal names."""
    lines = [line.partition("\\")[0].strip() for line in text.splitlines() if line[:1].isalnum()]
    parts = [Requirement(line) for line in lines]
    return {canonicalize_name(part.name) for part in parts if part.marker is None or part.marker.evaluate()}


def ask(tool: str, source: str, *, lock: Path, found: Found) -> None:
    """Put one source's answers with the others'."""
    command = [
        tool, "--vulnerability-service", source, "--requirement", str(lock), "--require-hashes", "--disable-pip",
        "--format", "json", "--progress-spinner", "off",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SOURCE_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        found.silent.append(f"{source}: no answer within {SOURCE_SECONDS} s")
        return
    try:
        answers: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        said = done.stderr.strip().splitlines()
        found.silent.append(f"{source}: {said[-1] if said else 'nothing was said'}")
        return
    for answer in answers:
        if "skip_reason" in answer:
            continue
        name = canonicalize_name(answer["name"])
        found.looked_up.add(name)
        for advisory in answer["vulns"]:
            fixed = ", ".join(advisory.get("fix_versions", [])) or "no version yet"
            found.advisories.setdefault(name, []).append(f"{answer['version']}: {advisory['id']}, fixed in {fixed}")


def main(arguments: list[str]) -> int:
    """Ask, and say what came of it."""
    tool, lock = arguments[0], Path(arguments[1]) if len(arguments) > 1 else LOCK
    parts, found = locked(lock.read_text(encoding="utf-8")), Found()
    for source in SOURCES:
        if parts - found.looked_up:
            ask(tool, source, lock=lock, found=found)
    for name, advisories in sorted(found.advisories.items()):
        for advisory in advisories:
            print(f"{name} {advisory}")  # noqa: T201
    if found.advisories:
        return ADVISED
    unknown = sorted(parts - found.looked_up)
    if not unknown:
        print(f"nothing is known of any of the {len(parts)} parts")  # noqa: T201
        return 0
    for reason in found.silent:
        print(reason, file=sys.stderr)  # noqa: T201
    if unknown == sorted(parts):
        print("no advisory source answered: nothing was audited", file=sys.stderr)  # noqa: T201
    else:
        print(f"not audited, since no source knows them: {', '.join(unknown)}", file=sys.stderr)  # noqa: T201
    return UNKNOWN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
