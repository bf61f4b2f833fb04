"""A shop's books on SQLAlchemy: an order is enqueued with its row and booked once. ``python -m examples.sqlalchemy_shop``."""
