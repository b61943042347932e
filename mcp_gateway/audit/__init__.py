"""The tamper-evident record: store, chain, search."""
