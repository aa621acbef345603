"""Write a synthetic cohort in the formats of hospitals. Everything here is post-processing."""
