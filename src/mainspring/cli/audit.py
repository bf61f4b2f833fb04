"""``mainspring audit …``: who did what, and whether the record of it still holds."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mainspring.cli import output
from mainspring.cli.connecting import connected, flags_of

app = typer.Typer(help="The audit log: read it, verify it, prune it.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_entries(
    context: typer.Context,
    subject: Annotated[str, typer.Option("--subject", help="Only about this, such as user:ada or api_token:ID.")] = "",
    actor: Annotated[str, typer.Option("--actor", help="Only by this one, such as user:ada.")] = "",
    action: Annotated[str, typer.Option("--action", help="Only this, such as api_token.created.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many, up to 500.")] = 50,
    cursor: Annotated[int | None, typer.Option("--cursor", help="Go on after this: next_cursor of the page before.")] = None,
    json: output.Json = False,
) -> None:
    """Entries, newest first: of all namespaces, or of one that --namespace names."""
    with connected(context) as client:
        page: Any = client.audit.list(
            namespace=flags_of(context).namespace or "*", subject=subject, actor=actor, action=action, limit=limit, cursor=cursor
        )
    if json:
        output.show_json({"data": page.data, "next_cursor": page.next_cursor})
        return
    output.show_table(
        ["SEQ", "AT", "ACTOR", "NAMESPACE", "ACTION", "SUBJECT", "DATA"],
        [
            [entry.seq, output.at(entry.at), entry.actor, entry.namespace, entry.action, entry.subject, entry.data]
            for entry in page.data
        ],
    )
    if page.next_cursor:
        output.tell(f"there may be more: --cursor {page.next_cursor}")


@app.command("verify")
def verify(
    context: typer.Context,
    anchor: Annotated[
        str | None,
        typer.Option("--anchor", metavar="NUMBER:HASH", help="An end that an earlier verify printed: it must still be there."),
    ] = None,
    json: output.Json = False,
) -> None:
    """Follow the chain from its first entry to its last. 1 if an entry does not hold.

    Keep the end that it prints somewhere else: whoever can write the database can make a whole chain anew, and only --anchor tells.
    """
    with connected(context) as client:
        verdict = client.audit.verify(anchor=anchor)
    if json:
        output.show_json(
            {
                "holds": verdict.broken is None,
                "checked": verdict.checked,
                "start": str(verdict.start),
                "end": str(verdict.end),
                "broken": verdict.broken,
            }
        )
    elif verdict.broken is None:
        print(f"{verdict.checked} entries hold; the end is {verdict.end}")
    else:
        print(f"entry {verdict.broken.seq} does not hold: {verdict.broken.why}")
        output.tell(f"the {verdict.checked} entries before it do; they end with {verdict.end}")
    if verdict.broken is not None:
        raise typer.Exit(1)


@app.command("prune")
def prune(
    context: typer.Context,
    older_than: Annotated[str, typer.Option("--older-than", metavar="SPAN", help="Remove what is older than this, such as 400d.")],
    yes: output.Yes = False,
) -> None:
    """Remove old entries, and put that on record; the rest can still be verified."""
    output.confirm(f"Remove the audit entries older than {older_than}?", yes=yes)
    with connected(context) as client:
        removed = client.audit.prune(older_than=older_than)
    print(f"{removed} entries removed")
