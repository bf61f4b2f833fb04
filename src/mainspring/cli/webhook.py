"""``mainspring webhook …``: who is told of alerts."""

from __future__ import annotations

from typing import Annotated

import typer

from mainspring.cli import output
from mainspring.cli.connecting import connected

app = typer.Typer(help="Say who is told of alerts.", no_args_is_help=True, rich_markup_mode=None)
Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]


@app.command("put")
def put(
    context: typer.Context,
    name: Name,
    url: Annotated[str, typer.Argument(metavar="URL", show_default=False)],
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only alerts of this kind; more than once.")] = None,
    secret: Annotated[str | None, typer.Option("--secret", help="The name of the key that signs.", show_default=False)] = None,
    queue: Annotated[str, typer.Option("--queue", help="Whatever serves this queue sends it.")] = "default",
) -> None:
    """Send a request to a URL when an alert opens or recovers."""
    with connected(context) as client:
        made = client.webhooks.put(name, url, kinds=kind or None, secret=secret, queue=queue)
    print(f"told of {len(made.kinds)} kinds: {made.name}")


@app.command("list")
def list_webhooks(context: typer.Context, json: output.Json = False) -> None:
    """Who is told of alerts, by name."""
    with connected(context) as client:
        found = client.webhooks.list()
    if json:
        output.show_json({"data": found})
    else:
        output.show_table(
            ["NAME", "URL", "SECRET", "KINDS"], [[each.name, each.url, each.secret or "", ",".join(each.kinds)] for each in found]
        )


@app.command("delete")
def delete(context: typer.Context, name: Name) -> None:
    """Tell it nothing more."""
    with connected(context) as client:
        gone = client.webhooks.delete(name)
    print(f"deleted: {name}" if gone else f"there is none: {name}")
