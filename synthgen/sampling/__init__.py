"""Draw synthetic records from a fitted model and write them."""
