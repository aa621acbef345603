"""Read tables of a hospital into canonical columns."""
