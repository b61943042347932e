"""Which output columns of a statement can derive from classified columns. Pure."""
