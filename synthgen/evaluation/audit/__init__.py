"""Empirical lower bounds of epsilon from canaries in surrogate fits."""
