"""A governed road from AI agents to databases, hosts and APIs."""

__version__ = "0.1.0"
