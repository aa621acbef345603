"""Metrics of fidelity. Each file is one metric, and its name is its key."""
