"""Human evaluation of two runs: turns drawn and put before judges, answers taken in (`semctl judge`)."""
