"""The base model of images: DP statistics of a fixed public embedding."""
