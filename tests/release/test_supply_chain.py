"""What is shipped, and what it is made of: licences, the lock file, the parts list and the wheel itself."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from license_expression import get_spdx_licensing
from packaging.utils import canonicalize_name

from release.sbom import OURS, licence_of, needed

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
ALLOWED = {
    "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "EPL-2.0", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0",
}  # fmt: skip
PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)", re.MULTILINE)


def is_allowed(expression: str) -> bool:
    """Whether some choice of an SPDX expression has allowed licences alone."""
    licensing = get_spdx_licensing()
    parsed = licensing.parse(expression, validate=True)
    facts = {symbol: licensing.TRUE if symbol.key in ALLOWED else licensing.FALSE for symbol in parsed.symbols}
    return bool(parsed.subs(facts).simplify() == licensing.TRUE)


@pytest.mark.parametrize("package", needed().values(), ids=needed())
def test_everything_that_is_shipped_with_has_a_licence_that_the_design_allows(package: Distribution) -> None:
    licence = licence_of(package)
    assert licence, f"{package.metadata['Name']} does not say its licence; look it up and name it in release/sbom.py"
    assert is_allowed(licence), f"{package.metadata['Name']} is under {licence}"


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [("MIT", True), ("GPL-3.0-only", False), ("EPL-2.0 OR GPL-2.0-or-later", True), ("MIT AND LGPL-3.0-only", False)],
)
def test_a_copyleft_licence_without_a_choice_is_not_allowed(expression: str, allowed: bool) -> None:
    assert is_allowed(expression) is allowed


def test_the_lock_file_pins_everything_that_runs_with_hashes_and_names_no_host() -> None:
    text = LOCK.read_text()
    locked = {canonicalize_name(match["name"]) for match in PINNED.finditer(text)}

    assert needed().keys() - locked == {OURS}
    assert "://" not in text
    for entry in re.split(r"\n(?=[A-Za-z])", text.strip()):
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_the_parts_list_names_every_part_with_version_and_licence(tmp_path: Path) -> None:
    path = tmp_path / "sbom.cdx.json"
    subprocess.run([sys.executable, "-m", "release.sbom", str(path)], cwd=ROOT, check=True)

    found = json.loads(path.read_text())
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert found["metadata"]["component"]["name"] == OURS
    parts = {part["name"]: part for part in found["components"]}
    assert parts.keys() == needed().keys() - {OURS}
    for name, part in parts.items():
        assert part["version"] == needed()[name].version
        assert part["purl"] == f"pkg:pypi/{name}@{part['version']}"
        assert part["licenses"]


def test_the_same_source_gives_the_same_wheel(tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        command = [
            sys.executable,
            "-m",
            "build",
            "--no-isolation",
            "--wheel",
            "--outdir",
            str(tmp_path / name),
            str(ROOT),
        ]
        environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
        subprocess.run(command, check=True, capture_output=True, env=environment)
        (wheel,) = (tmp_path / name).glob("*.whl")
        digests.add(hashlib.sha256(wheel.read_bytes()).hexdigest())

    assert len(digests) == 1
