"""Metrics of membership leakage. Each file is one metric, and its name is its key."""
