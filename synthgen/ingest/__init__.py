"""From a hospital's files to canonical records, with errors that name lines and never values."""
