"""Numbers that metrics compute from records and images before they compare them."""
