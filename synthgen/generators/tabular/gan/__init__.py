"""The generator `gan` of tables: a DP marginal model refined against a private critic."""
