"""`inspect text`, and the detectors against the labelled corpus."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.masking.detectors import ALL, DEFAULT, SSH
from mcp_gateway.masking.inspect_text import inspect_text
from tests.corpora import cases
from tests.masking.samples import VALUES, texts

CLAIMED = {
    "EMAIL_ADDRESS": "pii.email",
    "CREDIT_CARD": "payment.card",
    "IBAN_CODE": "payment.iban",
    "IP_ADDRESS": "pii.ip_address",
    "MAC_ADDRESS": "pii.mac_address",
    "PHONE_NUMBER": "pii.phone",
    "PH_MOBILE_NUMBER": "pii.phone",
} | dict.fromkeys(
    (
        "US_SSN", "US_MBI", "UK_NINO", "UK_DRIVING_LICENCE", "CA_SIN", "AU_MEDICARE", "DE_TAX_ID", "DE_SOCIAL_SECURITY", "ES_NIF",
        "ES_NIE", "IT_FISCAL_CODE", "FI_PERSONAL_IDENTITY_CODE", "PL_PESEL", "SE_PERSONNUMMER", "KR_RRN", "KR_FRN", "ZA_ID_NUMBER",
        "TR_NATIONAL_ID",
    ),
    "pii.national_id",
)  # fmt: skip
"""What the defaults claim to find, by the corpus's names."""
CLAIMED_BARE = {"UK_NHS", "IN_AADHAAR", "TH_TNIN", "AU_TFN", "NG_NIN", "US_ITIN"}
"""Numbers without a form of their own, found behind a label or with every detector on."""
SAMPLES = [value for values in VALUES.values() for value in values]
MIN_RECALL = 0.99
MIN_PRECISION = 0.99


def overlapping(found: list[dict[str, Any]], expected: dict[str, Any], data_class: str) -> bool:
    """Whether the expected value, white space around it aside, lies within a hit of the class."""
    lead = len(expected["value"]) - len(expected["value"].lstrip())
    return any(
        hit["class"] == data_class and hit["start"] <= expected["start"] + lead and expected["end"] <= hit["end"]
        for hit in found
    )


def test_offsets_count_characters_and_the_masked_text_comes_with_them() -> None:
    assert inspect_text("für jörg@example.com 🙂 4111111111111111", DEFAULT) == {
        "found": [
            {"class": "pii.email", "detector": "email", "start": 4, "end": 20},
            {"class": "payment.card", "detector": "card", "start": 23, "end": 39},
        ],
        "masked": "für [pii.email] 🙂 [payment.card]",
    }


def test_only_the_named_detectors_look() -> None:
    text = "bob@example.com from 192.0.2.1, 415-555-0132"

    assert [hit["detector"] for hit in inspect_text(text, SSH)["found"]] == ["email"]
    assert [hit["detector"] for hit in inspect_text(text, DEFAULT)["found"]] == ["email", "ip_address", "phone"]


def test_recall_and_precision_on_the_corpus_hold() -> None:
    scores: Counter[str] = Counter()
    missed: list[str] = []
    for case in cases("text.jsonl"):
        entity = case["expected"]["entity"]
        if entity not in CLAIMED or case["strength"] == "weak" or case["expected"].get("ambiguous"):
            continue
        found = inspect_text(case["input"]["text"], DEFAULT)["found"]
        if case["expected"]["match"]:
            for expected in case["expected"]["entities"]:
                hit = overlapping(found, expected, CLAIMED[entity])
                scores["found" if hit else "missed"] += 1
                missed += [] if hit else [case["id"]]
        else:
            wrong = any(hit["class"] == CLAIMED[entity] for hit in found)
            scores["wrong" if wrong else "left alone"] += 1
            missed += [case["id"]] if wrong else []

    assert scores["found"] + scores["missed"] > 150
    assert scores["left alone"] + scores["wrong"] > 100
    assert scores["found"] / (scores["found"] + scores["missed"]) >= MIN_RECALL, missed
    assert scores["found"] / (scores["found"] + scores["wrong"]) >= MIN_PRECISION, missed


def test_bare_numbers_are_found_with_every_detector_on() -> None:
    for case in cases("text.jsonl"):
        expected = case["expected"]
        if expected["entity"] in CLAIMED_BARE and expected["match"] and case["strength"] != "weak":
            found = inspect_text(case["input"]["text"], ALL)["found"]
            assert all(overlapping(found, entity, "pii.national_id") for entity in expected["entities"]), case["id"]


@pytest.mark.requirement("R27")
def test_any_text_of_the_corpora_can_be_inspected() -> None:
    for name in ("sql.jsonl", "shell.jsonl", "mask_evasion.jsonl", "jsonrpc.jsonl"):
        for case in cases(name):
            text = str(case["input"])
            result = inspect_text(text, ALL)
            assert all(0 <= hit["start"] < hit["end"] <= len(text) for hit in result["found"])


@settings(max_examples=80, deadline=None)
@given(
    values=st.lists(st.sampled_from([*SAMPLES, "word", "12", "é", "-"]), max_size=12),
    gap=st.sampled_from([" ", ", ", "\n", " | "]),
)
def test_what_is_masked_once_stays_as_it_is(values: list[str], gap: str) -> None:
    masked = inspect_text(gap.join(values), ALL)["masked"]

    assert inspect_text(masked, ALL)["masked"] == masked


@settings(max_examples=80, deadline=None)
@given(text=texts)
def test_whatever_the_text_hits_are_apart_and_all_else_stays(text: str) -> None:
    result = inspect_text(text, ALL)
    place, kept = 0, ""
    for hit in result["found"]:
        assert place <= hit["start"] < hit["end"] <= len(text)
        kept += text[place : hit["start"]] + f"[{hit['class']}]"
        place = hit["end"]

    assert result["masked"] == kept + text[place:]
