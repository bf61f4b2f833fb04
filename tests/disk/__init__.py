"""A disk that fails on purpose under SQLite: failing writes and syncs, no space, power cuts."""
