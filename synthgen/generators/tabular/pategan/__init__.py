"""The generator `pategan`: teachers on disjoint patients, a student on their noisy votes."""
