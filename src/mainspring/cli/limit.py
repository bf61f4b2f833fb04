"""``mainspring limit …``: look at limits and rates, and change them while everything runs."""

from __future__ import annotations

from typing import Annotated

import typer

from mainspring.cli import output
from mainspring.cli.connecting import connected

app = typer.Typer(help="Look at limits and rates; set, lift and reset them.", no_args_is_help=True, rich_markup_mode=None)

Over = Annotated[
    str,
    typer.Argument(
        metavar="SUBJECT",
        help="total, namespace, queue:NAME, each_key:QUEUE, key:QUEUE, task:NAME or pool:NAME",
        show_default=False,
    ),
]
Key = Annotated[str, typer.Option("--key", help="The concurrency key, for a limit over one key.")]
IsRate = Annotated[bool, typer.Option("--rate", help="The rate, not the limit of runs at once.")]


@app.command("list")
def list_limits(context: typer.Context, json: output.Json = False) -> None:
    """Every limit and rate that binds runs of this namespace, and what is held of it."""
    with connected(context) as client:
        found = client.limits.list()
    if json:
        output.show_json({"data": found})
        return
    output.show_table(
        ["SCOPE", "NAME", "KEY", "LIMIT", "USED", "SET BY", "OPENS"],
        [
            [
                view.scope,
                view.name,
                view.key,
                _size(view.size, view.per_us, view.burst),
                view.used,
                view.source,
                output.at(view.opens_at),
            ]
            for view in found
        ],
    )


@app.command("set")
def set_limit(
    context: typer.Context,
    subject: Over,
    size: Annotated[int, typer.Argument(metavar="N", min=0, help="so many at once, or so many in --per", show_default=False)],
    key: Key = "",
    per: Annotated[str | None, typer.Option("--per", help="Make it a rate: N begun in this span, such as 1s.")] = None,
    burst: Annotated[int, typer.Option("--burst", min=1, help="Of a rate: so many may come at once.")] = 1,
) -> None:
    """Set a limit or a rate; what runs already goes on. It holds until `limit reset`, whatever a deploy says."""
    from mainspring.core.limits import Limit, Rate

    wanted = Limit(size) if per is None else Rate(size, per=per, burst=burst)
    with connected(context) as client:
        client.limits.set(*_parts(subject), wanted, key=key)
    print(f"{_named(subject, key)}: {size} at once" if per is None else f"{_named(subject, key)}: {size} in {per}")


@app.command("lift")
def lift(
    context: typer.Context,
    subject: Over,
    key: Key = "",
    rate: IsRate = False,
    yes: output.Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be lifted, and change nothing.")] = False,
) -> None:
    """Take a limit or a rate away, until `limit reset`."""
    what = f"{'rate' if rate else 'limit'} of {_named(subject, key)}"
    if dry_run:
        print(f"would lift the {what}")
        return
    output.confirm(f"Lift the {what}?", yes=yes)
    with connected(context) as client:
        client.limits.set(*_parts(subject), None, key=key, rate=rate)
    print(f"the {what} is lifted")


@app.command("reset")
def reset(context: typer.Context, subject: Over, key: Key = "", rate: IsRate = False) -> None:
    """Let code say again what a limit or rate is, from its next start on."""
    with connected(context) as client:
        changed = client.limits.reset(*_parts(subject), key=key, rate=rate)
    print("code decides again" if changed else "no operator had changed it")


def _parts(subject: str) -> tuple[str, str]:
    scope, _, name = subject.partition(":")
    return scope, name


def _named(subject: str, key: str) -> str:
    return f"{subject} {key}" if key else subject


def _size(size: int | None, per_us: int | None, burst: int) -> str:
    from mainspring.core.durations import format_duration

    if size is None:
        return "lifted"
    return str(size) if per_us is None else f"{size} in {format_duration(per_us)}" + (f", burst {burst}" if burst > 1 else "")
