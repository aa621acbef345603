"""Attacks on parts of records: single values, combinations, links between halves."""
