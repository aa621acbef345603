"""The base model of tables: select, measure and estimate marginals under DP."""
