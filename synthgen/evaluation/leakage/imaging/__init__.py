"""Metrics of membership leakage by images."""
