"""Decisions by Cedar. Pure but for reading the files."""
