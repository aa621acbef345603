"""Read and write files within declared limits, wherever they come from."""
