"""What a gateway answers about approvals, checked before anything of it is shown: any server may stand where a person says.

`approval.desk.to_json` makes these objects. What a later version adds is passed on and not looked at.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from mcp_gateway.calls import JSONObject


class NoApprovalError(ValueError):
    """An answer that is none about approvals."""


def _check_time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError
    return text


Time: TypeAlias = Annotated[str, AfterValidator(_check_time)]


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True)


class _Vote(_Answer):
    person: str
    email: str | None
    groups: list[str]
    at: Time
    channel: str = ""
    note: str = ""


class _Approval(_Answer):
    id: str
    state: str
    issuer: str
    subject: str
    email: str | None
    agent: str
    tool: str
    target: str
    shown: dict[str, str]
    facts: JSONObject
    preview: str
    reason: str
    policies: list[str]
    policy_reasons: list[str]
    needs: dict[str, int]
    missing: dict[str, int]
    votes: list[_Vote]
    deadline: Time
    claim_until: Time | None
    ended_at: Time | None
    ended_by: str
    ended_by_email: str | None = None
    why: str


def approval_of(answer: Any) -> JSONObject:
    """One approval. Raises `NoApprovalError`."""
    try:
        _Approval.model_validate(answer)
    except ValidationError:
        raise NoApprovalError from None
    found: JSONObject = answer
    return found


def approvals_of(answer: Any) -> list[JSONObject]:
    """A page of them. Raises `NoApprovalError`."""
    if not isinstance(answer, list):
        raise NoApprovalError
    return [approval_of(item) for item in answer]
