"""From ``settings.MAINSPRING`` to an app. Not here: which settings a program without Django has (``mainspring.config``)."""

from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

from mainspring.app import App
from mainspring.errors import ConfigurationInvalid
from mainspring.integrations.django.connections import with_connections_closed

_KNOWN = {"name", "database", "namespace", "queue", "tracing"}
_LIBPQ = {"sslmode", "sslrootcert", "sslcert", "sslkey", "service", "options", "application_name", "connect_timeout"}


def the_app() -> App:
    """The app of this Django project. Made once.

    Raises:
        ConfigurationInvalid: naming the entry of ``MAINSPRING`` and what to write.
    """
    import django
    from django.apps import apps

    if not (apps.models_ready or apps.loading):  # a command of Mainspring's own, with DJANGO_SETTINGS_MODULE set
        django.setup()
    return _made()


@cache
def _made() -> App:
    from django.conf import settings

    told = dict(getattr(settings, "MAINSPRING", {}))
    if unknown := sorted(set(told) - _KNOWN):
        raise ConfigurationInvalid(
            f"settings.MAINSPRING has an unknown entry {unknown[0]!r}; there are {', '.join(sorted(_KNOWN))}"
        )
    made = App(told.pop("name", "django"), database=database_url(told.pop("database", "default")), **told)
    made.registry.around = with_connections_closed
    return made


def database_url(database: str) -> str:
    """A URL as it is; for the alias of a PostgreSQL database of ``settings.DATABASES``, its URL.

    Raises:
        ConfigurationInvalid: it is neither, or the alias of another kind of database.
    """
    if "://" in database:
        return database
    from django.db import connections

    if database not in connections.settings:
        known = ", ".join(connections.settings)
        raise ConfigurationInvalid(f"MAINSPRING['database'] is {database!r}, which is no URL and no alias; there are {known}")
    chosen = connections[database]
    if chosen.vendor == "postgresql":
        return _postgres_url(chosen.settings_dict)
    raise ConfigurationInvalid(
        f"MAINSPRING['database'] is the alias {database!r}, a {chosen.display_name} database, which Mainspring cannot share with "
        "Django; give it a file of its own: 'sqlite:///path/to/jobs.db'"
    )


def _postgres_url(told: dict[str, Any]) -> str:
    options = {key: str(value) for key, value in told.get("OPTIONS", {}).items() if key in _LIBPQ}
    host, port = str(told.get("HOST") or ""), str(told.get("PORT") or "")
    if host.startswith("/"):  # a folder of sockets
        options["host"], host = host, ""
    if port and not host:
        options["port"], port = port, ""
    user = quote(str(told.get("USER") or ""), safe="")
    password = f":{quote(str(told['PASSWORD']), safe='')}" if told.get("PASSWORD") else ""
    place = f"{host}:{port}" if port else host
    query = f"?{urlencode(options)}" if options else ""
    return f"postgresql://{user}{password}{'@' if user else ''}{place}/{quote(str(told.get('NAME') or ''), safe='')}{query}"
