"""Pure decisions over frozen values: no clock, no I/O, no randomness, no logging, standard library only."""
