"""The HTTP server: requests become calls of a ``Client``, and what it answers becomes JSON. Needs ``mainspring[server]``.

An endpoint is a value (``endpoints.py``): its path, the role it needs, what it reads and what it answers. The table of all of them
(``api/``, a file a noun) is what is served (``app.py``), what is documented (``openapi.py``, ``pages.py``) and what is tested. On
its way a request is admitted (``access.py``), read (``reading.py``), answered once for a key (``repeating.py``, ``answering.py``)
or refused (``problems.py``). Not here: what anything does.
"""
