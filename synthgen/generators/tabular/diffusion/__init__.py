"""The generator `diffusion` of tables: a DP marginal model refined by masked diffusion."""
