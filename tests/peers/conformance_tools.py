"""The fixture tools that the MCP conformance suite calls, as tools of the gateway: they go down the one road.

Each is registered like any further tool and behind a policy of its own, so what the suite sees of errors, forms and
sealed states is what an agent sees. They touch no target.
"""

from __future__ import annotations

from typing import Any, ClassVar

from mcp_gateway.answers import Masked
from mcp_gateway.calls import HTTPFacts, JSONObject, Target, TargetKind
from mcp_gateway.errors import TargetError, TargetFailed
from mcp_gateway.registry import AnyTool
from mcp_gateway.tool import Arguments, Examination, Masker, Permit

POLICIES = """
@id("fixtures") permit (principal, action in [
  Action::"test_simple_text", Action::"test_error_handling", Action::"test_elicitation",
  Action::"test_streaming_elicitation", Action::"test_input_required_result_elicitation",
  Action::"test_input_required_result_request_state", Action::"test_input_required_result_tampered_state"
], resource);
@id("confirmed") @approval("caller") @reason("the suite confirms what its own agent asks for")
forbid (principal, action in [
  Action::"test_elicitation", Action::"test_streaming_elicitation", Action::"test_input_required_result_elicitation",
  Action::"test_input_required_result_request_state", Action::"test_input_required_result_tampered_state"
], resource) unless { context.approval.by.contains("caller") };
"""


class FixtureArguments(Arguments):
    """The suite names no target, so there is a default."""

    target: str = "api"
    message: str = ""


class Fixture:
    """A tool that answers with a sentence, or fails with one."""

    name: ClassVar[str]
    kind: ClassVar[TargetKind] = "http"
    description: ClassVar[str] = "A fixture of the conformance suite."
    read_only_hint: ClassVar[bool] = True
    Arguments: ClassVar[type[Arguments]] = FixtureArguments
    result_schema: ClassVar[JSONObject] = {"type": "object", "properties": {"text": {"type": "string"}}}

    def __init__(self, *, says: str = "", fails: str = "") -> None:
        self._says = says
        self._fails = fails

    async def examine(
        self, arguments: Any, *, target: Target, connector: Any, fresh: bool = False
    ) -> Examination[None]:
        facts = HTTPFacts(method="GET", host="fixtures", path=f"/{self.name}")
        return Examination(facts=facts, environment=target.fingerprint, shown={"fixture": self.name}, private=None)

    async def preview(self, arguments: Any, *, examination: Examination[None], connector: Any) -> str:
        return ""

    async def execute(self, arguments: Any, *, examination: Examination[None], connector: Any, permit: Permit) -> str:
        if self._fails:
            raise TargetFailed(self._fails)
        return self._says

    def size(self, raw: str) -> int:
        return len(raw)

    def mask(self, raw: str, *, examination: Examination[None], masker: Masker, call_id: str) -> Masked:
        return masker.seal({"text": masker.text(raw), "call_id": call_id})

    def mask_error(self, error: TargetError, *, examination: Examination[None], masker: Masker) -> str:
        return masker.text(error.message)


class SimpleText(Fixture):
    name = "test_simple_text"


class ErrorHandling(Fixture):
    name = "test_error_handling"


class Elicitation(Fixture):
    name = "test_elicitation"


class StreamingElicitation(Fixture):
    name = "test_streaming_elicitation"


class InputRequired(Fixture):
    name = "test_input_required_result_elicitation"


class RequestState(Fixture):
    name = "test_input_required_result_request_state"


class TamperedState(Fixture):
    name = "test_input_required_result_tampered_state"


def fixtures() -> list[AnyTool]:
    """All of them."""
    return [
        SimpleText(says="This is a simple text response for testing."),
        ErrorHandling(fails="This tool intentionally returns an error for testing"),
        Elicitation(says="confirmed"),
        StreamingElicitation(says="confirmed"),
        InputRequired(says="confirmed"),
        RequestState(says="confirmed"),
        TamperedState(says="confirmed"),
    ]
