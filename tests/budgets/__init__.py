"""What the hot path may cost, counted and not timed: statements, waits for answers, steps of SQLite's machine, bytes of WAL.

``python -m tests.budgets`` prints what is counted now, ``--write`` makes it the budget (``budgets.json``), ``--show`` compares. The
numbers do not depend on how busy the machine is, so they can be held by a test; how long the work takes is for ``bench``.
"""
