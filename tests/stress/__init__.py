"""Stress: many processes and threads on one database, run by hand, and in a short form by pytest.

Here: ``python -m tests.stress`` (``crowd.py``: nothing lost, nothing twice). Not here: processes that are killed (``tests/crash``),
and rates beside a long history (``bench/growth.py``).
"""
