"""Generators. Each public file is one; its name is its key in the config."""
