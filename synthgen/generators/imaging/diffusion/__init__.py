"""The generator `diffusion` of images: a DP base model refined by DP-SGD diffusion."""
