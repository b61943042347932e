from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mcp_gateway.cli.logs import places

PROGRAM = """
import logging, structlog
from mcp_gateway.cli.logs import log_to_stderr
log_to_stderr()

def fail():
    try:
        raise KeyError("canary-ssn")
    except KeyError as error:
        raise ValueError("canary-token") from error

library, own = logging.getLogger("library"), structlog.get_logger()
library.warning('session %s', 'x\\n{"level": "critical", "event": "forged"}\\x1b[2J\\u2028\\ud800')
try:
    fail()
except ValueError as error:
    library.exception("broke")
    own.error("broke", exc_info=error)
    own.exception("broke")
library.warning("x" * 1_000_000)
library.info("unheard")
"""


@pytest.mark.requirement("R37", "I5")
def test_every_line_is_one_json_object_and_no_exception_says_its_text() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, timeout=60)

    lines = [json.loads(line) for line in done.stderr.decode().split("\n")[:-1]]
    assert done.stdout == b""
    assert [line["event"][:7] for line in lines] == ["session", "broke", "broke", "broke", "xxxxxxx"]
    assert b"canary" not in done.stderr
    assert b"\x1b" not in done.stderr
    for line in lines[1:4]:
        assert [name for name in line["exception"] if "Error" in name] == ["ValueError", "KeyError"]
        assert any(" in fail" in place for place in line["exception"])
    assert len(done.stderr) < 20_000


@pytest.mark.requirement("R4", "I7")
@pytest.mark.parametrize("end", ["os.dup2(os.open('/dev/full', os.O_WRONLY), 2)", "os.close(2)"])
def test_a_line_that_cannot_be_written_breaks_nothing(end: str) -> None:
    program = (
        "import logging, os, sys, structlog\nfrom mcp_gateway.cli.logs import log_to_stderr\nlog_to_stderr()\n"
        f"log = structlog.get_logger()\nlog.info('first')\n{end}\n"
        "log.critical('second')\nlog.critical('third')\nlogging.getLogger('library').error('fourth')\n"
        "print('goes on', flush=True)\nos._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=60)

    assert (done.returncode, done.stdout) == (0, b"goes on\n"), done.stderr
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["first"]


def test_places_of_a_group_name_each_of_its_exceptions() -> None:
    found = places(ExceptionGroup("canary", [ValueError("canary"), KeyError("canary")]))

    assert found == ["ExceptionGroup", "ValueError", "KeyError"]


def test_places_of_a_ring_of_causes_come_to_an_end() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first

    assert places(first) == ["ValueError", "KeyError"]
