"""Real servers that are killed and started again under real work: ``python -m tests.transports``."""
