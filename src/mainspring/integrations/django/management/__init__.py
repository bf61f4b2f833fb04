"""Commands of ``manage.py``: one module each, with that name."""
