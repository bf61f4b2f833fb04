"""``mainspring schedule diff|apply|export``: schedules from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.cli import output
from mainspring.cli.connecting import connected
from mainspring.cli.schedule import app
from mainspring.errors import InvalidOption

if TYPE_CHECKING:
    from mainspring.operations.schedule_files import Step

_SHOWN = 5
_SAID_FIRST = ("rule", "target")  # of a new schedule; all of it is in its file

Files = Annotated[
    list[Path],
    typer.Option("--file", "-f", metavar="PATH", help="A file, or a folder of .yaml files; may be repeated.", show_default=False),
]
Set = Annotated[str, typer.Option("--set", metavar="NAME", help="Who owns what the files name.", show_default=False)]
Prune = Annotated[bool, typer.Option("--prune", help="Delete what the set owns and the files lack.")]


@app.command("diff")
def diff(context: typer.Context, file: Files, set: Set, prune: Prune = False, json: output.Json = False) -> None:
    """What applying files would change: fields, conflicts, and the next fires before and after. Nothing is written."""
    texts = texts_of(file)
    with connected(context) as client:
        steps = client.schedule_files.diff(texts, set=set, prune=prune)
    _show(steps, json)


@app.command("apply")
def apply(
    context: typer.Context,
    file: Files,
    set: Set,
    prune: Prune = False,
    allow_large: Annotated[bool, typer.Option("--allow-large", help="Even if that is more than half of the set.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what was changed by hand, and take what others own.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show it, as diff does.")] = False,
    json: output.Json = False,
) -> None:
    """Make a set of schedules what its files say, all or nothing. No apply lifts a pause."""
    texts = texts_of(file)
    with connected(context) as client:
        files = client.schedule_files
        if dry_run:
            steps = files.diff(texts, set=set, prune=prune)
        else:
            steps = files.apply(texts, set=set, prune=prune, allow_large=allow_large, force=force)
    _show(steps, json)


@app.command("export")
def export(
    context: typer.Context,
    set: Annotated[str | None, typer.Option("--set", metavar="NAME", help="Only what this set owns.")] = None,
) -> None:
    """A file that says what the schedules say: applying it changes nothing."""
    with connected(context) as client:
        print(client.schedule_files.export(set=set), end="")


def texts_of(paths: Sequence[Path]) -> dict[str, str]:
    """What files say, by their names; a folder stands for the .yaml and .yml files in it.

    Raises:
        InvalidOption: one that cannot be read.
    """
    found: dict[str, str] = {}
    for path in paths:
        files = sorted(each for each in path.iterdir() if each.suffix in (".yaml", ".yml")) if path.is_dir() else [path]
        if not files:
            raise InvalidOption(f"there is no .yaml or .yml file in {path}", option="file")
        for each in files:
            try:
                found[str(each)] = each.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidOption(f"{each} cannot be read: {error}", option="file") from None
    return found


def _show(steps: Sequence[Step], json: bool) -> None:
    if json:
        output.show_json({"data": [_told(step) for step in steps]})
        return
    for step in steps:
        if step.is_done:
            continue
        renamed = f" (renamed from {step.renamed_from})" if step.renamed_from else ""
        print(f"{step.action} {step.name}{renamed}{' (paused, and stays so)' if step.is_paused else ''}")
        for change in step.changes:
            if change.field in _SAID_FIRST or step.action != "create":
                print(f"  {change.field}: {output.text_of(change.before) or '-'} -> {output.text_of(change.after) or '-'}")
        for conflict in step.conflicts:
            print(f"  conflict: {conflict.field} {conflict.told}")
        for told, fires in (("fired next", step.before), ("fires next", step.after)):
            if fires:
                print(f"  {told}: {', '.join(fires[:_SHOWN])}")
    unchanged = sum(step.is_done for step in steps)
    output.tell(f"{len(steps) - unchanged} changed, {unchanged} as they were")


def _told(step: Step) -> dict[str, Any]:
    told = step._asdict()
    told["changes"] = [each._asdict() for each in step.changes]
    told["conflicts"] = [each._asdict() for each in step.conflicts]
    return told
