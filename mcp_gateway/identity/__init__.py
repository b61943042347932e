"""Who calls, proved from a token."""
