"""What all tests share: only markers and fixtures that no folder owns."""
