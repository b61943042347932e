"""`run_ssh_command`: one command on a registered host."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field, model_validator

from mcp_gateway.answers import Masked
from mcp_gateway.calls import JSONObject, Target, TargetKind
from mcp_gateway.errors import RequestError, TargetError
from mcp_gateway.facts.program_files import built_in
from mcp_gateway.facts.programs import Knowledge
from mcp_gateway.facts.shell import ShellError, examine_shell, quote
from mcp_gateway.targets.capture import Captured
from mcp_gateway.targets.ssh import Ran, SSHConnector
from mcp_gateway.tool import Arguments, Examination, Looked, Masker, Permit

MAX_SIGNAL = 64
"""Characters of a signal's name, which is the host's word."""


class RunSSHCommandArguments(Arguments):
    """Either an argument vector, which is quoted for the host's shell, or a command string."""

    argv: list[str] | None = Field(default=None, description="program and arguments, no shell syntax")
    command: str | None = Field(default=None, description="a shell command; prefer argv")
    stdin: str | None = None
    timeout_s: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_of(self) -> RunSSHCommandArguments:
        if (self.argv is None) == (self.command is None):
            raise ValueError("give exactly one of argv and command")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The one string that is run."""

    line: str


class RunSSHCommand:
    """Runs one command over SSH."""

    name: ClassVar[str] = "run_ssh_command"
    kind: ClassVar[TargetKind] = "ssh"
    description: ClassVar[str] = "Run one command on a registered host."
    read_only_hint: ClassVar[bool] = False
    Arguments: ClassVar[type[Arguments]] = RunSSHCommandArguments
    result_schema: ClassVar[JSONObject] = {
        "type": "object",
        "properties": {
            "exit_status": {"type": ["integer", "null"]},
            "signal": {"type": "string"},
            "stdout": {"type": "string"},
            "stderr": {"type": "string"},
            "truncated": {"type": "boolean"},
            "masked": {"type": "object"},
            "call_id": {"type": "string"},
        },
        "required": ["exit_status", "stdout", "stderr", "call_id"],
    }

    def __init__(self, *, knowledge: Callable[[], Knowledge] = built_in) -> None:
        """`knowledge`: what is known now of the programs on hosts."""
        self._knowledge = knowledge

    async def examine(
        self, arguments: RunSSHCommandArguments, *, target: Target, connector: SSHConnector, fresh: bool = False
    ) -> Examination[Prepared]:
        """Parse the command by what is known of programs now; read which host keys the target may show. Nothing is sent."""
        del fresh  # The keys are read anew each time.
        knowledge = self._knowledge()
        try:
            facts = examine_shell(argv=arguments.argv, command=arguments.command, knowledge=knowledge)
            line = quote(arguments.argv) if arguments.argv is not None else arguments.command or ""
        except ShellError as error:
            raise RequestError(str(error), next_step="mend the command") from None
        shown = {"command": line}
        if arguments.stdin is not None:
            shown["standard input"] = arguments.stdin
        if arguments.timeout_s is not None:
            shown["killed after"] = f"{arguments.timeout_s} s"
        keys = connector.host_keys()
        environment = hashlib.sha256(f"{target.fingerprint}\n{keys}\n{knowledge.version}".encode()).hexdigest()
        return Examination(
            facts=facts,
            environment=environment,
            shown=shown,
            looked=(Looked(what="known host keys"),),
            sources={"programs": knowledge.version},
            private=Prepared(line=line),
        )

    async def preview(self, arguments: Any, *, examination: Examination[Prepared], connector: Any) -> str:
        """A command cannot be tried without running it."""
        del arguments, examination, connector
        return ""

    async def execute(
        self,
        arguments: RunSSHCommandArguments,
        *,
        examination: Examination[Prepared],
        connector: SSHConnector,
        permit: Permit,
    ) -> Ran:
        """Run it, killed at the host when it takes too long or is cancelled."""
        seconds = permit.timeout.total_seconds()
        if arguments.timeout_s is not None:
            seconds = min(seconds, arguments.timeout_s)
        return await connector.run(
            examination.private.line,
            stdin=(arguments.stdin or "").encode(),
            seconds=seconds,
            max_bytes=permit.max_bytes,
        )

    def size(self, raw: Ran) -> int:
        """Both streams."""
        return sum(len(captured.head) + len(captured.tail) for captured in (raw.stdout, raw.stderr))

    def mask(self, raw: Ran, *, examination: Examination[Prepared], masker: Masker, call_id: str) -> Masked:
        """Both streams through the detectors, each as a whole."""
        del examination
        result: JSONObject = {"exit_status": raw.exit_status}
        if raw.signal is not None:
            result["signal"] = masker.text(raw.signal)[:MAX_SIGNAL]
        for name, captured in (("stdout", raw.stdout), ("stderr", raw.stderr)):
            data = _joined(captured, masker)
            try:
                result[name] = data.decode()
            except UnicodeDecodeError:
                result[name] = base64.b64encode(data).decode()
                result[f"{name}_encoding"] = "base64"
        truncated = bool(raw.stdout.dropped or raw.stderr.dropped)
        return masker.seal(result | {"truncated": truncated, "call_id": call_id}, truncated=truncated)

    def mask_error(self, error: TargetError, *, examination: Examination[Prepared], masker: Masker) -> str:
        """The connector's own sentence, which holds nothing of the host's output."""
        del examination
        return masker.text(error.message)


def _joined(captured: Captured, masker: Masker) -> bytes:
    """Mask head and tail as the cut texts that they are, and say how much is missing between them."""
    if not captured.dropped:
        return masker.raw(captured.head)
    head = masker.raw(captured.head, cut=True)[: captured.keep]
    tail = masker.raw(captured.tail, headless=True)[-captured.keep :]
    mark = f"\n[... {captured.dropped:,} bytes left out ...]\n".encode()
    return _whole_characters(head) + mark + tail.lstrip(bytes(range(0x80, 0xC0)))


def _whole_characters(data: bytes) -> bytes:
    """Without the beginning of a UTF-8 character that the cut left at the end."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if back < length else data
        if byte < 0x80:
            break
    return data
