"""What a call would do, found by parsing. Pure but for the worker."""
