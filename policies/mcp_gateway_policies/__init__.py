"""The starter policies (`*.cedar`), as package data."""

from __future__ import annotations

from pathlib import Path


def starter_policies() -> Path:
    """The folder of the starter policies."""
    return Path(__file__).resolve().parent
