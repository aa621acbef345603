"""The values that pass from stage to stage: real and synthetic tables and images."""
