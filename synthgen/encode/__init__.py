"""Between canonical columns and integer cells, with public bounds only."""
