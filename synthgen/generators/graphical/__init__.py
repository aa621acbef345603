"""Graphical models over discrete columns: junction trees, inference, conditional sampling."""
