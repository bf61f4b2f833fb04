"""A shop on FastAPI and SQLAlchemy: the order and the run that follows it are one commit; the worker lives in the server."""
