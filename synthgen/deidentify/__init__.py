"""Take identifiers off before anything else sees a record."""
