"""Intervals, discrepancies and tests, each on arrays alone."""
