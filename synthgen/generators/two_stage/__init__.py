"""Two-stage generators: a DP base model, then a refiner trained with DP-SGD."""
