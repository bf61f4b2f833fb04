"""Real callers and workers on a PostgreSQL whose network, or whose server, fails: nothing is lost, nothing counts twice."""
