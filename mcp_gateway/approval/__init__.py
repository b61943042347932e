"""People's decisions on held calls."""
