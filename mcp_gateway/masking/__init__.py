"""What may leave, and in which form. Pure."""
