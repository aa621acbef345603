"""The public description of a cohort: fields, domains, privacy unit, rules."""
