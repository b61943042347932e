"""The demonstration: real targets on this machine, a gateway before them, and a scripted agent. Only `cli` imports it."""
