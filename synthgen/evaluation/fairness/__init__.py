"""Metrics of fairness. Each file is one metric, and its name is its key."""
