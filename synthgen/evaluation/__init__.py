"""Metrics of the four heads: fidelity, utility, fairness, leakage. Each is one file."""
