"""``mainspring user …``: people with passwords. A password comes from a prompt or a pipe, never from the command line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.cli import granting, output
from mainspring.cli.connecting import connected
from mainspring.errors import InvalidOption

if TYPE_CHECKING:
    from mainspring.operations.users import User

app = typer.Typer(help="People: make them, change them, keep them out.", no_args_is_help=True, rich_markup_mode=None)

UserName = Annotated[str, typer.Argument(metavar="NAME", help="the person's name", show_default=False)]
Namespaces = Annotated[
    list[str] | None, typer.Option("--in", metavar="NAME", help="A namespace; may be repeated. Without it the one in force.")
]


@app.command("create")
def create(
    context: typer.Context,
    name: UserName,
    role: granting.RoleName,
    namespaces: Namespaces = None,
    every_namespace: granting.Everywhere = False,
    allow: granting.Extras = None,
) -> None:
    """Make a person. The password is asked for, or is the first line of standard input."""
    password = _password(f"Password of {name}")
    with connected(context) as client:
        client.users.create(name, password, role, namespaces=["*"] if every_namespace else namespaces, extras=allow or ())
    print(f"{name} can log in")


@app.command("list")
def list_users(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many, up to 500.")] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Go on after this: next_cursor of the page before.")] = None,
    json: output.Json = False,
) -> None:
    """People, in the order of their names."""
    with connected(context) as client:
        page: Any = client.users.list(limit=limit, cursor=cursor)
    if json:
        output.show_json({"data": [_data(user) for user in page.data], "next_cursor": page.next_cursor})
        return
    output.show_table(
        ["NAME", "ROLE", "NAMESPACES", "ALLOWED", "PASSWORD SET", "DISABLED"],
        [
            [user.name, *granting.in_words(user.grant), output.at(user.changed_at), output.at(user.disabled_at)]
            for user in page.data
        ],
    )
    if page.next_cursor:
        output.tell(f"there may be more: --cursor {page.next_cursor}")


@app.command("password")
def password(context: typer.Context, name: UserName) -> None:
    """Give a person another password, and end all their logins. It is asked for, or is the first line of standard input."""
    given = _password(f"New password of {name}")
    with connected(context) as client:
        client.users.set_password(name, given)
    print(f"{name} has another password, and must log in again")


@app.command("grant")
def grant(
    context: typer.Context,
    name: UserName,
    role: granting.RoleName,
    namespaces: Namespaces = None,
    every_namespace: granting.Everywhere = False,
    allow: granting.Extras = None,
) -> None:
    """Let a person do something else from now on, in logins that are open too."""
    with connected(context) as client:
        changed = client.users.set_grant(name, role, namespaces=["*"] if every_namespace else namespaces, extras=allow or ())
    print(f"{name} is {role} now" if changed else "they may do exactly that already")


@app.command("disable")
def disable(
    context: typer.Context,
    name: UserName,
    yes: output.Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many logins would end, and change nothing.")] = False,
) -> None:
    """Keep a person out, and end all their logins."""
    with connected(context) as client:
        user = client.users.get(name)
        if dry_run:
            print(f"would keep {user.name} ({user.grant.role}) out and end {len(client.logins.list(name))} logins")
            return
        output.confirm(f"Keep {user.name} ({user.grant.role}) out?", yes=yes)
        changed = client.users.disable(name)
    print(f"{name} is kept out" if changed else f"{name} was kept out already")


@app.command("enable")
def enable(context: typer.Context, name: UserName) -> None:
    """Let a person in again."""
    with connected(context) as client:
        changed = client.users.enable(name)
    print(f"{name} can log in" if changed else f"{name} was not kept out")


def _password(question: str) -> str:
    """A password from whoever sits there, asked twice; else the first line of standard input.

    Raises:
        InvalidOption: there is none.
    """
    if sys.stdin.isatty():
        asked: str = typer.prompt(question, hide_input=True, confirmation_prompt=True, err=True)
        return asked
    given = sys.stdin.readline().rstrip("\r\n")
    if not given:
        raise InvalidOption("there is nobody to ask for a password: give it as the first line of standard input", option="password")
    return given


def _data(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        **granting.as_data(user.grant),
        "created_at": output.at(user.created_at),
        "created_by": user.created_by,
        "changed_at": output.at(user.changed_at),
        "disabled_at": output.at(user.disabled_at),
        "disabled_by": user.disabled_by,
    }
