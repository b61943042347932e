"""What leaves of a command's output, wherever the limit cuts it."""

from __future__ import annotations

import base64
import re
from typing import Any

import orjson
import pytest
from mcp_gateway_tools.run_ssh_command import Prepared, RunSSHCommand

from mcp_gateway.facts.shell import examine_shell
from mcp_gateway.targets.capture import MARGIN_BYTES, Capture, Captured
from mcp_gateway.targets.ssh import Ran
from mcp_gateway.tool import Examination
from tests.masking.maskers import masker_with
from tests.masking.samples import CANARY, VALUES

TOOL = RunSSHCommand()
EXAMINATION = Examination(
    facts=examine_shell(argv=["true"], command=None), environment="", private=Prepared(line="true")
)
LIMIT = 4096
MARK = re.compile(r"\n\[\.\.\. ([\d,]+) bytes left out \.\.\.\]\n")


def captured(data: bytes, *, chunk: int = 1000) -> Captured:
    capture = Capture(limit=LIMIT)
    for place in range(0, len(data), chunk):
        capture.add(data[place : place + chunk])
    return capture.captured()


def told(stdout: bytes, stderr: bytes = b"") -> Any:
    """The result of a command that gave this."""
    raw = Ran(exit_status=0, signal=None, stdout=captured(stdout), stderr=captured(stderr))
    assert TOOL.size(raw) >= min(len(stdout) + len(stderr), LIMIT)
    return orjson.loads(
        TOOL.mask(raw, examination=EXAMINATION, masker=masker_with(CANARY), call_id="1").structured,
    )


def ended_by(signal: str) -> Any:
    """The signal that a result tells of a command whose host said this."""
    raw = Ran(exit_status=None, signal=signal, stdout=captured(b""), stderr=captured(b""))
    return orjson.loads(
        TOOL.mask(raw, examination=EXAMINATION, masker=masker_with(CANARY), call_id="1").structured,
    )["signal"]


def output(value: str, *, before: int, after: int) -> bytes:
    """Lines of output with a value so many bytes from the beginning, and so many from the end."""
    line = "an ordinary line of output\n"
    head, tail = (line * (before // len(line) + 1))[:before], (line * (after // len(line) + 2))[-after:]
    return f"{head} {value} {tail}".encode()


ONE_OF_EACH = [
    *(values[0] for name, values in VALUES.items() if name != "secret.private_key"),
    CANARY,
    base64.b64encode(CANARY.encode()).decode(),
    CANARY[:9] + "\n" + CANARY[9:],
]


@pytest.mark.requirement("R19")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("value", ONE_OF_EACH)
def test_a_value_that_the_cut_goes_through_leaves_no_part(stream: str, value: str) -> None:
    edge = LIMIT // 2 + MARGIN_BYTES
    for shift in range(-2, len(value.encode()) + 2, 3):
        for before, after in ((edge - shift, 50_000), (50_000, edge - shift)):
            data = output(value, before=before, after=after)
            result = told(data) if stream == "stdout" else told(b"", data)
            shown = MARK.sub(" ", result[stream])
            assert result["truncated"]
            assert all(word in "an ordinary line of output" for word in shown.split())


@pytest.mark.requirement("R19")
@pytest.mark.parametrize("value", ONE_OF_EACH)
@pytest.mark.parametrize("near", [LIMIT // 2, LIMIT // 2 - 40, LIMIT // 2 + 40])
def test_a_value_at_the_edge_of_what_is_shown_is_masked(value: str, near: int) -> None:
    for shift in range(0, len(value.encode()) + 4, 3):
        for before, after in ((near - shift, 50_000), (50_000, near - shift)):
            shown = told(output(value, before=before, after=after))["stdout"]
            masked = masker_with(CANARY).text(value)
            for start in range(len(value) - 7):
                part = value[start : start + 8]
                assert part not in shown or part in masked


def test_short_output_comes_whole_and_long_output_with_its_head_and_tail() -> None:
    lines = [f"line {number}" for number in range(10_000)]
    data = "\n".join(lines).encode()

    long = told(data)
    head, count, tail = MARK.split(long["stdout"])

    assert told(b"short")["stdout"] == "short"
    assert not told(b"short")["truncated"]
    assert long["truncated"]
    assert data.decode().startswith(head)
    assert data.decode().endswith(tail)
    assert len(head) == len(tail) == LIMIT // 2
    assert int(count.replace(",", "")) == len(data) - LIMIT


def test_a_cut_leaves_whole_characters() -> None:
    assert MARK.split(told("ä\n".encode() * 20_000)["stdout"])[0].startswith("ä\nä\n")
    assert "\ufffd" not in told("日本\n".encode() * 20_000)["stdout"]


def test_output_that_is_no_text_is_base64() -> None:
    result = told(b"\xff\xfe\x00")

    assert result["stdout_encoding"] == "base64"
    assert base64.b64decode(result["stdout"]) == b"\xff\xfe\x00"


@pytest.mark.requirement("R36")
def test_the_name_of_a_signal_is_the_hosts_word_and_is_masked() -> None:
    assert ended_by("KILL") == "KILL"
    for value in ONE_OF_EACH[:-1]:
        assert value not in ended_by(f"TERM {value}")
    assert len(ended_by("x" * 100_000)) == 64
