"""Differential: one random sequence of operations on SQLite, on PostgreSQL and on its portable profile must be answered alike.

Here: ``python -m tests.differential --examples 20000 --steps 50 --seed 1``, and a short form for pytest. Not here: what several
callers do at once (``tests/conformance``, ``tests/crash``), and what each operation ought to answer.
"""
