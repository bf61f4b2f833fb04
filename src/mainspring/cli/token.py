"""``mainspring token …``: tokens with which programs come in. A new one is shown once, alone on standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.cli import granting, output
from mainspring.cli.connecting import connected

if TYPE_CHECKING:
    from mainspring.core.api_tokens import ApiToken

app = typer.Typer(help="API tokens: make, list, look at and revoke them.", no_args_is_help=True, rich_markup_mode=None)

TokenId = Annotated[
    str, typer.Argument(metavar="ID", help="the token's id, the 11 characters that `token list` shows", show_default=False)
]


@app.command("create")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="whom it is for, such as ci", show_default=False)],
    role: granting.RoleName,
    every_namespace: granting.Everywhere = False,
    allow: granting.Extras = None,
    expires: Annotated[
        str, typer.Option("--expires", metavar="SPAN", help='How long it is good, such as 30d, or "never".')
    ] = "90d",
    json: output.Json = False,
) -> None:
    """Make a token for the namespace in force and print it. It is never shown again."""
    with connected(context) as client:
        made = client.api_tokens.create(
            name,
            role,
            namespace="*" if every_namespace else None,
            extras=allow or (),
            expires_in=None if expires.lower() == "never" else expires,
        )
    if json:
        output.show_json(_data(made.token) | {"text": made.text})
        return
    until = "for ever" if made.token.expires_at is None else f"until {output.at(made.token.expires_at)}"
    output.tell(f"token {made.token.id}, good {until}; keep it now, it is not shown again:")
    print(made.text)


@app.command("list")
def list_tokens(
    context: typer.Context,
    every_namespace: Annotated[bool, typer.Option("--every-namespace", help="Those of other namespaces, and of all, too.")] = False,
    revoked: Annotated[bool, typer.Option("--revoked", help="Those that were revoked too.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many, up to 500.")] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Go on after this: next_cursor of the page before.")] = None,
    json: output.Json = False,
) -> None:
    """Tokens of the namespace in force, newest first."""
    with connected(context) as client:
        page: Any = client.api_tokens.list(namespace="*" if every_namespace else None, revoked=revoked, limit=limit, cursor=cursor)
    if json:
        output.show_json({"data": [_data(token) for token in page.data], "next_cursor": page.next_cursor})
        return
    output.show_table(
        ["ID", "NAME", "ROLE", "NAMESPACES", "ALLOWED", "EXPIRES", "USED", "REVOKED"],
        [
            [
                token.id,
                token.name,
                *granting.in_words(token.grant),
                output.at(token.expires_at) or "never",
                output.at(token.last_used_at),
                output.at(token.revoked_at),
            ]
            for token in page.data
        ],
    )
    if page.next_cursor:
        output.tell(f"there may be more: --cursor {page.next_cursor}")


@app.command("show")
def show(context: typer.Context, token_id: TokenId, json: output.Json = False) -> None:
    """What a token opens, who made it and when it was used."""
    with connected(context) as client:
        token = client.api_tokens.get(token_id)
    (output.show_json if json else output.show_fields)(_data(token))


@app.command("revoke")
def revoke(
    context: typer.Context,
    token_id: TokenId,
    yes: output.Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which token it is, and change nothing.")] = False,
) -> None:
    """Let a token open nothing from now on."""
    with connected(context) as client:
        token = client.api_tokens.get(token_id)
        if dry_run:
            print(f"would revoke {token.id}: {token.name}, {token.grant.role}")
            return
        output.confirm(f"Revoke the token {token.name} ({token.grant.role})?", yes=yes)
        changed = client.api_tokens.revoke(token_id)
    print("revoked" if changed else "it was revoked already")


def _data(token: ApiToken) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        **granting.as_data(token.grant),
        "created_at": output.at(token.created_at),
        "created_by": token.created_by,
        "expires_at": output.at(token.expires_at),
        "last_used_at": output.at(token.last_used_at),
        "revoked_at": output.at(token.revoked_at),
        "revoked_by": token.revoked_by,
    }
