"""The order of the stages; the only package that sees patients' records and also writes files."""
