"""Index a folder tree with durable runs while a worker is killed: ``python -m examples.index_tree``, or ``make demo``."""
