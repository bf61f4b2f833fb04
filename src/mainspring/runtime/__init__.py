"""What waits: loops, threads, event loops, user code. Every service is a ``step() -> Wake``, and one driver runs them."""
