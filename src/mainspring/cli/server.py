"""``mainspring server``: the HTTP API of a database, in this process until told to stop. It imports no code of yours."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from mainspring.cli import output
from mainspring.cli.connecting import flags_of, log_to_stderr, quiet_drivers
from mainspring.config import without_password
from mainspring.errors import ConfigurationInvalid


class Auth(StrEnum):
    """Who may come in."""

    OPEN = "open"
    REQUIRED = "required"


def server(
    context: typer.Context,
    host: Annotated[
        str, typer.Option("--host", help="The address to listen on; this machine's own without authentication.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="The port to listen on; 0 takes a free one.")] = 8710,
    auth: Annotated[
        Auth,
        typer.Option("--auth", help="open lets in this machine's own, for development; required asks for a token or a login."),
    ] = Auth.OPEN,
    upkeep: Annotated[bool, typer.Option("--upkeep/--no-upkeep", help="Make passes of maintenance, as workers do.")] = True,
) -> None:
    """Serve the HTTP API until SIGTERM or Ctrl-C: then nothing new is taken on, and what is being answered may end.

    Docs are at /api/docs. Needs: pip install 'mainspring[server]'. A SQLite file is made if it is not there.
    """
    quiet_drivers()
    log_to_stderr(context)
    try:
        from mainspring.web.access import Credentials, Open
        from mainspring.web.serving import serve
    except ImportError as error:
        raise ConfigurationInvalid(f"a server needs more packages ({error}); run: pip install 'mainspring[server]'") from None
    from mainspring.node import Node

    settings = flags_of(context).settings()
    url, namespace = settings["database"].text, settings["namespace"].text
    with Node(url, namespace=namespace, transport=settings["transport"].text, upkeep=upkeep) as node:
        serve(
            node,
            Credentials(node.client(namespace, "server")) if auth is Auth.REQUIRED else Open(namespace),
            host=host,
            port=port,
            on_listening=lambda address: output.tell(f"server of {without_password(url)}: {address}/api/docs"),
        )
    output.tell("server stopped")
