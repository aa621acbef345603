"""What membership attacks share: scores, rates at fixed false positives, evidence."""
