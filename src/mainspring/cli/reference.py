"""Prints ``docs/reference/cli.md``, made from the commands themselves: ``python -m mainspring.cli.reference``.

A test compares, so the page cannot be out of date.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from mainspring.cli.main import EXIT_CODES, app
from mainspring.config import SETTINGS

_ABOUT_SETTINGS = """A flag beats the environment, which beats `mainspring.toml` in the current folder. A value `env:NAME` or
`file:PATH` stands for what is there. A worker's App may name a database of its own."""


def page() -> str:
    """The whole page, in Markdown."""
    root = typer.main.get_command(app)
    parts = [
        "# Command line",
        "Made from the commands by `python -m mainspring.cli.reference`; do not edit.",
        *_command(root, "mainspring"),
    ]
    parts += ["## Settings", _ABOUT_SETTINGS, _settings()]
    parts += ["## Exit codes", "\n".join(f"- `{code}`: {meaning}" for code, meaning in EXIT_CODES.items())]
    return "\n\n".join(parts) + "\n"


def _command(command: Any, path: str) -> Iterator[str]:
    subcommands = getattr(command, "commands", {})
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option" and not parameter.hidden]
    usage = " ".join([path, *(_metavar(argument) for argument in arguments), *(["COMMAND"] if subcommands else [])])
    yield f"## `{usage}`" if path.count(" ") == 0 else f"### `{usage}`"
    yield _paragraphs(command.help)
    rows = [f"- `{_metavar(each)}`: {each.help}" for each in arguments if each.help]
    rows += [f"- `{_spelling(each)}`: {each.help}{_default(each)}" for each in options if each.help and each.name != "help"]
    if rows:
        yield "\n".join(rows)
    for name, subcommand in subcommands.items():
        yield from _command(subcommand, f"{path} {name}")


def _metavar(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _spelling(option: Any) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    return names if option.is_flag else f"{names} {option.metavar or option.name.upper()}"


def _default(option: Any) -> str:
    if option.required:
        return " Required."
    return "" if option.default in (None, False) or option.is_flag else f" Default: `{option.default}`."


def _paragraphs(text: str | None) -> str:
    paragraphs = (text or "").strip().split("\n\n")
    return "\n\n".join(" ".join(line.strip() for line in paragraph.splitlines()) for paragraph in paragraphs)


def _settings() -> str:
    lines = ["| name | environment | flag | default | |", "|---|---|---|---|---|"]
    for setting in SETTINGS:
        choices = f" ({', '.join(setting.choices)})" if setting.choices else ""
        flag = "" if setting.flag is None else f"`{setting.flag}`"
        lines.append(f"| `{setting.name}` | `{setting.variable}` | {flag} | `{setting.default}` | {setting.help}{choices} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(page(), end="")
