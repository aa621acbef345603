"""The decision: a policy's rules on the metrics' results."""
