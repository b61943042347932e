"""The starter policies (`*.cedar`), as package data."""
