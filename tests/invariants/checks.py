"""The invariants I1 to I8 of a world in which a gateway has run: one function each, giving what is violated.

Run when the gateway has stopped and the test's fixtures are gone. A violation is a sentence; none means it holds.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote, quote_plus

import orjson

from mcp_gateway.audit.verify import verify
from tests.invariants.world import Effect, Row, Store, World, open_intents, read_store, start_time, until

CLOCK_STEP = timedelta(milliseconds=1)
"""Logs have milliseconds, events microseconds."""
LEFT_OPEN_SECONDS = 5.0
SHORTEST_FORM = 8
"""Bytes: an encoded form that is shorter could stand anywhere by chance."""
STILL_LIVE = frozenset({"Asked", "Approved", "DecisionRefused"})
"""Kinds of events after which an approval may still be used."""
TROUBLE = frozenset({"internal", "audit_unavailable"})


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A world with its stores read and its witnesses heard."""

    world: World
    stores: tuple[Store, ...]
    effects: tuple[Effect, ...]

    def rows(self) -> Iterator[tuple[Store, str]]:
        """Every call with its store."""
        for store in self.stores:
            for call_id in store.calls():
                yield store, call_id

    def started(self, target: str, calls: Iterable[str] | None = None) -> list[Row]:
        """Intents on a target, in order; those of these calls, or all."""
        found = self._started.get(target, {})
        if calls is not None:
            return [row for call_id in calls for row in found.get(call_id, ())]
        return [row for rows in found.values() for row in rows]

    def finished(self, start: Row) -> bool:
        """Whether what an intent began came to its own end: a command is killed after more output than anybody reads."""
        cut = any(b'"truncated":true' in store.results.get(start.call_id or "", b"") for store in self.stores)
        return not cut and any(store.of(start.call_id, "Finished") for store in self.stores)

    @cached_property
    def _started(self) -> dict[str, dict[str | None, list[Row]]]:
        found: dict[str, dict[str | None, list[Row]]] = {}
        for store in self.stores:
            for row in store.rows:
                if row.kind == "Started":
                    found.setdefault(row.body["target"], {}).setdefault(row.call_id, []).append(row)
        return found

    @cached_property
    def looked_at(self) -> frozenset[str]:
        """Targets of which some look of the gateway's own is recorded."""
        return frozenset(row.body["target"] for store in self.stores for row in store.rows if row.kind == "Inspected")


def judge(world: World) -> list[str]:
    """All violations, each with its invariant. An intent that its gateway is still closing is waited for (I3)."""
    if not world.unfinished:
        until(lambda: not any(open_intents(data_dir) for data_dir in world.data_dirs), seconds=LEFT_OPEN_SECONDS)
    judged = Judged(
        world=world,
        stores=tuple(read_store(data_dir) for data_dir in world.data_dirs),
        effects=tuple(effect for witness in world.witnesses for effect in witness.effects()),
    )
    return [f"{name}: {violation}" for name, check in CHECKS.items() for violation in check(judged)]


def check_i1(judged: Judged) -> Iterator[str]:
    """No effect on a target without a durable intent before it, as its witnesses saw it."""
    for effect in judged.effects:
        if effect.own:
            if effect.target not in judged.looked_at:
                yield f"the gateway looked at {effect.target} and recorded no look: {effect.what[:200]!r}"
            continue
        starts = judged.started(effect.target, effect.intents if effect.call_id is None else {effect.call_id})
        if effect.intents is not None:
            starts = [row for row in starts if row.call_id in effect.intents]
        if effect.at is not None and not judged.world.moved:
            starts = [row for row in starts if datetime.fromisoformat(row.at) <= effect.at + CLOCK_STEP]
        if not starts:
            yield f"{effect.target} saw {effect.what[:200]!r} of call {effect.call_id} without an intent before it"
    unattributed = [effect for effect in judged.effects if not effect.own and effect.call_id is None]
    for target, count in Counter(effect.target for effect in unattributed if not effect.kills).items():
        intents = len(judged.started(target))
        if count > intents:
            yield f"{target} saw {count} calls, and the store holds {intents} intents"
    for target, count in Counter(effect.target for effect in unattributed if effect.kills).items():
        killed = sum(not judged.finished(row) for row in judged.started(target))
        if count > killed:
            yield f"{target} saw {count} sessions beside a call's own, and {killed} calls on it did not finish"


def check_i2(judged: Judged) -> Iterator[str]:
    """No byte of a result to the client before its outcome was durable."""
    for told in judged.world.told:
        if told.code == "audit_unavailable":
            if told.content.keys() != {"error"}:
                yield f"call {told.call_id} was answered without a record, and told more than an error"
        elif told.recorded is None:
            yield f"call {told.call_id} was answered {told.code!r} before that was durable"
        elif told.recorded != told.code:
            yield f"call {told.call_id} was answered {told.code!r}, and {told.recorded!r} is recorded"
        elif not told.is_error and told.result is not None and orjson.loads(told.result) != told.content:
            yield f"call {told.call_id} was answered with another result than the recorded one"
    for store, call_id in judged.rows():
        for row in store.of(call_id, "Finished"):
            if row.body["result_hash"] and call_id not in store.results:
                yield f"call {call_id} finished, and its result is not recorded"


def check_i3(judged: Judged) -> Iterator[str]:
    """Each intent ends in exactly one outcome."""
    for store, call_id in judged.rows():
        starts, ends = store.of(call_id, "Started"), [row for row in store.of(call_id) if row.ends]
        if len(starts) > 1:
            yield f"call {call_id} started {len(starts)} times"
        unfinished = judged.world.unfinished and not ends
        if starts and not unfinished and [row.sequence > starts[0].sequence for row in ends] != [True]:
            yield f"call {call_id} started and has the outcomes {[row.kind for row in ends]}"
    for store in judged.stores:
        for call_id in sorted(store.open_intents) if not judged.world.unfinished else ():
            yield f"call {call_id} is still open"


def check_i4(judged: Judged) -> Iterator[str]:
    """An approval is consumed at most once, by a call with its digest, after a whole and legitimate yes."""
    for store in judged.stores:
        claims = {row.sequence: row for row in store.rows if row.kind == "Claimed"}
        for approval_id, count in Counter(row.body["approval_id"] for row in claims.values()).items():
            if count > 1:
                yield f"approval {approval_id} was consumed {count} times"
        for claim in claims.values():
            yield from _claim_flaws(store, claim)
        for before, row in pairwise(store.rows):
            if row.kind == "Started" and _was_asked(store, row) and before.sequence not in claims:
                yield f"call {row.call_id} had to be approved, and started without a claim"
    claimed = {row.call_id for store in judged.stores for row in store.rows if row.kind == "Claimed"}
    for call_id, effects in _by_call(judged.effects).items():
        if call_id in claimed:
            yield from _run_flaws(judged, call_id, effects)


def _claim_flaws(store: Store, claim: Row) -> Iterator[str]:
    approval_id = claim.body["approval_id"]
    name = f"approval {approval_id}, consumed by call {claim.call_id},"
    history = [row for row in store.history(approval_id) if row.sequence < claim.sequence]
    asked = [row for row in history if row.kind == "Asked"]
    if not asked:
        yield f"{name} was never asked for"
        return
    digests = {row.body["digest"] for row in store.of(claim.call_id, "Examined")}
    if digests != {asked[0].body["digest"]}:
        yield f"{name} was given to another call"
    yes = [row for row in history if row.kind == "Approved"]
    if not any(row.body["complete"] for row in yes):
        yield f"{name} was not approved"
    if ended := [row.kind for row in history if row.kind not in STILL_LIVE]:
        yield f"{name} had ended before: {ended}"
    people = {f"{row.body['issuer']}|{row.body['subject']}" for row in store.of(claim.call_id, "Identified")}
    for row in yes:
        if row.body["approver"] in people and row.body["groups"] != ["caller"]:
            yield f"{name} was approved by its own caller, for {row.body['groups']}"


def _was_asked(store: Store, start: Row) -> bool:
    """Whether policy asked about it, where policy is enforced."""
    decided = [row.body for row in store.of(start.call_id, "Decided") if row.sequence < start.sequence]
    return any(body["decision"] == "ask" and body.get("enforced") is not False for body in decided)


def _by_call(effects: Sequence[Effect]) -> dict[str, list[Effect]]:
    found: dict[str, list[Effect]] = {}
    for effect in effects:
        if effect.call_id is not None and not effect.own:
            found.setdefault(effect.call_id, []).append(effect)
    return found


def _run_flaws(judged: Judged, call_id: str, effects: list[Effect]) -> Iterator[str]:
    """What ran of an approved call is one thing, and the one in the record, where that is not masked."""
    if len(effects) > 1:
        yield f"approved call {call_id} ran {len(effects)} times"
    for store in judged.stores:
        for row in store.of(call_id, "Received"):
            text = row.body["arguments"].get("sql")
            if text is not None and "[masked" not in text and effects[0].what.strip() != text.strip():
                yield f"approved call {call_id} ran {effects[0].what!r}, and {text!r} was asked for"


def check_i5(judged: Judged) -> Iterator[str]:
    """Credentials and masked values are nowhere in the clear, nor in a form that anybody can read back."""
    canaries = {name: _forms(value) for name, value in judged.world.canaries.items()}
    for place, content in _places(judged):
        folded = content.lower()
        for name, forms in canaries.items():
            for form, encoded in forms.items():
                if encoded.lower() in folded:
                    yield f"{name} is {form} in {place}"


def _places(judged: Judged) -> Iterator[tuple[str, bytes | bytearray]]:
    """All that left, every file, and what the stores hold compressed."""
    world = judged.world
    yield from world.left.items()
    folders = dict.fromkeys([*world.folders, *world.data_dirs])
    seen: set[Path] = set()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            belongs = path in world.sources or any(parent in world.sources for parent in path.parents)
            if path.is_file() and path not in seen and not belongs:
                seen.add(path)
                yield str(path), path.read_bytes()
    for store in judged.stores:
        for call_id, result in store.results.items():
            yield f"the recorded result of call {call_id}", result
        for row in store.rows:
            yield (
                f"event {row.sequence} {row.kind}",
                json.dumps(row.body, ensure_ascii=False).encode(errors="surrogatepass"),
            )


def _forms(value: bytes) -> dict[str, bytes]:
    """How a value could be written: as it is, and in encodings that lose nothing."""
    if not value:
        raise ValueError("an empty canary is everywhere")
    text = value.decode("utf-8", "surrogateescape")
    forms = {
        "in the clear": value,
        "as JSON": json.dumps(text)[1:-1].encode(),
        "percent-encoded": quote(value, safe="").encode(),
        "form-encoded": quote_plus(value).encode(),
        "in hexadecimal": value.hex().encode(),
        "in UTF-16": text.encode("utf-16-le", "surrogatepass"),
        "backwards": value[::-1],
    }
    for shift in range(3):
        # The first and last characters depend on what stands beside the value.
        plain = base64.b64encode(bytes(shift) + value)[(0, 2, 3)[shift] :].rstrip(b"=")
        inner = plain[: len(plain) - 1] if (len(value) + shift) % 3 else plain
        forms[f"in base64, shifted by {shift},"] = inner
        forms[f"in URL-safe base64, shifted by {shift},"] = inner.translate(bytes.maketrans(b"+/", b"-_"))
    return {form: encoded for form, encoded in forms.items() if form == "in the clear" or len(encoded) >= SHORTEST_FORM}


def check_i6(judged: Judged) -> Iterator[str]:
    """The audit chain verifies."""
    for store in judged.stores:
        found = verify(store.data_dir)
        if found.flaw is not None:
            yield f"the store in {store.data_dir}: {found.flaw}"


def check_i7(judged: Judged) -> Iterator[str]:
    """Internal trouble means no: nothing starts but by an allow without error (or observed), and nothing else is answered `ok`."""
    for store, call_id in judged.rows():
        for start in store.of(call_id, "Started"):
            decided = [row for row in store.of(call_id, "Decided") if row.sequence < start.sequence]
            last = decided[-1].body if decided else {}
            # An approved call was decided again with its approval, or asked and claimed.
            allowed = last.get("decision") == "allow" or last.get("enforced") is False
            allowed = allowed and not last.get("error")
            if not allowed:
                yield f"call {call_id} started, and was last decided {last.get('decision')!r}"
        refused = store.of(call_id, "Refused", "Denied")
        if refused and store.of(call_id, "Started", "Finished"):
            yield f"call {call_id} was refused and started"
        for answered in store.of(call_id, "Answered"):
            yield from _answer_flaws(judged, store, answered)
    for told in judged.world.told:
        if told.is_error != (told.code != "ok"):
            yield f"call {told.call_id} was answered {told.code!r} with is_error {told.is_error}"


def _answer_flaws(judged: Judged, store: Store, answered: Row) -> Iterator[str]:
    call_id, code = answered.call_id, answered.body["code"]
    listing = any(row.body["tool"] == "list_targets" for row in store.of(call_id, "Received"))
    if code == "ok" and not listing and not store.of(call_id, "Finished"):
        yield f"call {call_id} was answered 'ok' and has not finished"
    if code != "ok" and store.of(call_id, "Finished"):
        yield f"call {call_id} finished and was answered {code!r}"
    if code in TROUBLE - judged.world.expected_errors:
        cause = [row.body.get("cause") for row in store.of(call_id, "Refused", "Failed")]
        yield f"call {call_id} was answered {code!r}, which this test does not provoke: {cause}"


def check_i8(judged: Judged) -> Iterator[str]:
    """Nothing is left: no process of a gateway, no session at a target. A test's own process is `resources`' part."""
    for witness in judged.world.witnesses:
        if not until(lambda witness=witness: not witness.left_open(), seconds=LEFT_OPEN_SECONDS):  # type: ignore[misc]  # mypy infers no default of a lambda
            yield f"a target still has {', '.join(witness.left_open())} of the gateway"
    for pid, began in judged.world.processes.items():
        if began and not until(lambda pid=pid, began=began: start_time(pid) != began, seconds=LEFT_OPEN_SECONDS):  # type: ignore[misc]  # as above
            yield f"process {pid} of a gateway is still there"


CHECKS: Mapping[str, Callable[[Judged], Iterator[str]]] = {
    "I1": check_i1,
    "I2": check_i2,
    "I3": check_i3,
    "I4": check_i4,
    "I5": check_i5,
    "I6": check_i6,
    "I7": check_i7,
    "I8": check_i8,
}
