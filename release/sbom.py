"""What the distribution is made of: every package it runs on, with version and licence, as a CycloneDX document.

`make build` writes it beside the wheel. The packages are those that are installed and that the distribution needs,
directly or not, with the extras that users may ask for; what only tests and builds need is not in it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OURS = "mcp-infra-gateway"
EXTRAS = ("demo", "keyring")
SPDX_OF_CLASSIFIER: Mapping[str, str] = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
}
SPDX_OF_PACKAGE: Mapping[str, str] = {
    # These say it in a licence file or in words of their own.
    "asyncssh": "EPL-2.0 OR GPL-2.0-or-later",
    "cedarpy": "Apache-2.0",
    "protobuf": "BSD-3-Clause",
    "psutil": "BSD-3-Clause",
    "uvloop": "MIT OR Apache-2.0",
}


def needed(name: str = OURS, extras: Iterable[str] = EXTRAS) -> dict[str, Distribution]:
    """Every installed distribution that `name` runs on, itself first; raises if one is not installed."""
    found: dict[str, Distribution] = {}
    asked: set[tuple[str, str]] = set()
    waiting = [(name, extra) for extra in ("", *extras)]
    while waiting:
        package, extra = waiting.pop(0)
        key = (canonicalize_name(package), extra)
        if key in asked:
            continue
        asked.add(key)
        found.setdefault(key[0], distribution(package))
        waiting += _needs(found[key[0]], extra)
    return found


def _needs(package: Distribution, extra: str) -> Iterator[tuple[str, str]]:
    for text in package.requires or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            for wanted in ("", *requirement.extras):
                yield requirement.name, wanted


def licence_of(package: Distribution) -> str:
    """Its licence as an SPDX expression; empty where the package does not say."""
    name = canonicalize_name(package.metadata["Name"])
    if name in SPDX_OF_PACKAGE:
        return SPDX_OF_PACKAGE[name]
    if expressions := package.metadata.get_all("License-Expression"):
        return str(expressions[0])
    classifiers = package.metadata.get_all("Classifier") or []
    licences = [item.rpartition(" :: ")[2] for item in classifiers if item.startswith("License :: ")]
    return " AND ".join(SPDX_OF_CLASSIFIER[item] for item in licences if item in SPDX_OF_CLASSIFIER)


def document() -> Bom:
    """The document; the gateway itself is its subject."""
    subject, *parts = (_component(package) for package in needed().values())
    bom = Bom(components=parts)
    bom.metadata.component = subject
    bom.register_dependency(subject, parts)
    return bom


def _component(package: Distribution) -> Component:
    name, version = canonicalize_name(package.metadata["Name"]), package.version
    licence = licence_of(package)
    return Component(
        name=name,
        version=version,
        type=ComponentType.APPLICATION if name == OURS else ComponentType.LIBRARY,
        bom_ref=f"{name}=={version}",
        purl=PackageURL("pypi", name=name, version=version),
        licenses=[LicenseExpression(licence)] if licence else [],
    )


def main(path: str) -> None:
    """Write the document to a file."""
    try:
        text = JsonV1Dot6(document()).output_as_string(indent=2)
    except PackageNotFoundError as error:
        sys.exit(f"the package {error.name!r} is needed but not installed; make .venv/.ready installs it")
    Path(path).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
