"""Interleavings: every pair of operations that write, on two PostgreSQL connections, statement by statement in many orders.

Here: ``python -m tests.interleavings`` (``__main__.py``) and a sample for pytest. Not here: threads let loose on one another
(``tests/conformance/test_races.py``, ``tests/stress``).
"""
