"""What is taken out of the environment, before what would read it is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from mcp_gateway.surroundings import FORGOTTEN, SYSTEM_PATH, no_programs

PROGRAM = """
import json, os, sys
from mcp_gateway import surroundings
surroundings.forget_surroundings()
readers = sorted({"ssl", "_ssl", "hashlib", "_hashlib", "sqlite3", "socket", "asyncssh", "cryptography"} & sys.modules.keys())
print(json.dumps([dict(os.environ), sorted(surroundings.was_set), readers]))
"""
KEPT = {"HOME": "/h", "LANG": "C.UTF-8", "ORDERS_PASSWORD": "x", "PGPASSWORD": "y", "MCP_GATEWAY_CONFIG": "/c"}


def test_what_decides_for_libraries_is_forgotten_and_the_rest_stays() -> None:
    proxies = {"HTTPS_PROXY": "p", "https_proxy": "p", "All_Proxy": "p", "NO_PROXY": "*"}
    taken = dict.fromkeys(FORGOTTEN, "/evil") | proxies | {"KEYRING_PROPERTY_X": "y"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM],
        env=KEPT | taken | {"PATH": "/evil:."},
        capture_output=True,
        check=True,
    )
    environ, was_set, readers = json.loads(done.stdout)

    assert {name: environ.get(name) for name in KEPT} == KEPT
    assert environ["PATH"] == SYSTEM_PATH
    assert environ.keys() & taken.keys() == set()
    assert set(was_set) == taken.keys()
    assert readers == [], "nothing that reads them was imported before"


def test_no_program_is_found_in_the_block_and_the_path_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.environ["PATH"]
    with pytest.raises(FileNotFoundError), no_programs():
        subprocess.run(["true"], check=False)

    assert os.environ["PATH"] == before
    assert all(folder.startswith("/") for folder in SYSTEM_PATH.split(":"))
