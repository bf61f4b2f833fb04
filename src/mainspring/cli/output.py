"""How answers look: a table on a terminal, plain tab-separated lines elsewhere, one JSON document with ``--json``.

Not here: what is shown. Errors and hints go to standard error, so that standard output can be piped.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

_STYLES = {
    "succeeded": "green", "running": "cyan", "queued": "blue", "failed": "bold red", "upstream_failed": "red",
    "cancelled": "yellow", "cancelling": "yellow", "needs_attention": "bold magenta", "retrying": "yellow",
    "ok": "green", "note": "blue", "warning": "yellow", "problem": "bold red",
}  # fmt: skip


def is_terminal() -> bool:
    """Whether a person reads standard output."""
    return sys.stdout.isatty()


def tell(text: str) -> None:
    """A hint for a person, on standard error."""
    print(text, file=sys.stderr, flush=True)


def show_json(value: Any) -> None:
    """One JSON document, indented."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(plain(value)), indent=2).decode())


def show_json_line(value: Any) -> None:
    """One JSON value on one line, at once."""
    import msgspec

    print(msgspec.json.encode(plain(value)).decode(), flush=True)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Rows under headings."""
    lines = [[text_of(cell) for cell in row] for row in rows]
    if not is_terminal():
        for line in ([column.lower() for column in columns], *lines):
            print("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in line))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=column in {"ID", "AT"}, overflow="fold")
    for line in lines:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in line))
    Console().print(table)


def show_fields(fields: Mapping[str, Any]) -> None:
    """One thing, a field a line; fields without a value are left out."""
    present = {name: text_of(value) for name, value in fields.items() if value is not None and value != ""}
    if not is_terminal():
        for name, value in present.items():
            print(f"{name}\t{value}".replace("\n", "\\n"))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for name, value in present.items():
        grid.add_row(Text(name, style="dim"), Text(value, style=_STYLES.get(value, "")))
    Console().print(grid)


def text_of(value: Any) -> str:
    """A cell: texts as they are, nothing as nothing, all else as JSON."""
    import msgspec

    match value:
        case None:
            return ""
        case str():
            return str(value)
        case bool():
            return "yes" if value else "no"
        case _:
            return msgspec.json.encode(plain(value)).decode()


def plain(value: Any) -> Any:
    """Our values as JSON has them: instants (names that end in ``_at``) as RFC 3339, stored bodies decoded."""
    if isinstance(value, bytes):
        return stored(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _named(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, str) else value


def stored(body: bytes | None) -> Any:
    """What a stored body says."""
    from mainspring.client.values import stored as said

    return said(body)


def at(instant: int | None) -> str | None:
    """An instant of ours as people and programs read it."""
    from mainspring.core.durations import format_instant

    return None if instant is None else format_instant(instant)


def _named(name: str, value: Any) -> Any:
    return at(value) if name == "at" or (name.endswith("_at") and isinstance(value, int)) else plain(value)


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if a person says so, or ``--yes`` did.

    Raises:
        typer.Exit: with 2 where there is nobody to ask, with 1 when the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        tell(f"mainspring: {question} There is nobody to ask here: add --yes, or look first with --dry-run.")
        raise typer.Exit(2)
    if not typer.confirm(question):
        tell("Nothing was changed.")
        raise typer.Exit(1)
