"""Metrics of downstream utility. Each file is one metric, and its name is its key."""
