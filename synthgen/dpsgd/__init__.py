"""Train deep models with differential privacy whose unit is the patient. Needs the extra ``deep``."""
