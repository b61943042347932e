"""The I/O towards what is governed."""
