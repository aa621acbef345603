"""Plans, accounting, noise and the ledger: all that the guarantee rests on."""
