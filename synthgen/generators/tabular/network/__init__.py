"""The generator `network`: marginals measured with DP, fitted by a neural network."""
