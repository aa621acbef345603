"""Per-patient gradients of single layers, computed without materialising them where possible."""
