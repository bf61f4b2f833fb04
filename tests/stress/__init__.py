"""Stress: many processes and threads on one database, and a long history in its tables. Run by hand, and in a short form by pytest.

Here: ``python -m tests.stress`` (``crowd.py``: nothing lost, nothing twice) and ``python -m tests.stress.history`` (rates
beside a million finished runs). Not here: processes that are killed (``tests/crash``).
"""
