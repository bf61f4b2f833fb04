"""The second act of the demo: three schedules, a crash in the middle, and a ledger that knows of every instant."""
