"""Commands of ``manage.py``: ``mainspring_worker`` and ``mainspring_migrate``; a module each."""
