"""Built-in things a run can do without user code: an HTTP request, a program. Nothing is imported here: most runs do neither."""
