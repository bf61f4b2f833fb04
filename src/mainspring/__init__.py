"""Mainspring: durable jobs on SQLite and PostgreSQL. Here live the public names and nothing else."""
