"""For users' own tests and demos: things that stand in for a machine, never for our store.

Here: what a test suite outside this project may import. Not here: our own fixtures (those are in ``tests/support``).
"""
