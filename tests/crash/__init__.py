"""Real processes, real kill -9, both databases: what was accepted is finished, whatever dies on the way."""
