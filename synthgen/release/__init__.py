"""Decide, report, and bundle what may leave the building."""
