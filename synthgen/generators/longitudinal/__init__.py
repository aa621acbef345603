"""Several rows of one patient, modelled by any generator of tables that can sample given evidence."""
