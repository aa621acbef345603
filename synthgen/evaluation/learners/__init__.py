"""Models that metrics train on real and synthetic records."""
