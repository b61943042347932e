"""`inspect text`: what the detectors make of one text, for people who choose them and for test suites."""

from __future__ import annotations

from mcp_gateway.calls import JSONObject
from mcp_gateway.masking.scan import scanner_for


def inspect_text(text: str, detectors: frozenset[str]) -> JSONObject:
    """`found` (`[{"class", "detector", "start", "end"}]`, offsets in characters) and `masked`.

    `detectors` is what `detectors.resolve` gives.
    """
    data = text.encode("utf-8", "surrogatepass")
    found: list[JSONObject] = []
    pieces: list[str] = []
    place = size = 0
    for start, end, rule in scanner_for(detectors=detectors, revealed=frozenset()).hits(data):
        before = data[place:start].decode("utf-8", "surrogatepass")
        value = data[start:end].decode("utf-8", "surrogatepass")
        size += len(before)
        found.append({"class": rule.data_class, "detector": rule.detector, "start": size, "end": size + len(value)})
        size += len(value)
        pieces += [before, f"[{rule.data_class}]"]
        place = end
    return {"found": found, "masked": "".join(pieces) + data[place:].decode("utf-8", "surrogatepass")}
