"""Metrics of fidelity of images."""
