"""What became of each entry of a source, and what the readers share: names, and commands as targets."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from mainspring.core.launch import has_placeholder
from mainspring.core.rule_reading import read_rule
from mainspring.errors import RuleInvalid

_LONGEST_NAME = 190
# A word that every shell takes as it is, quoted parts included.
_WORD = r"(?:[A-Za-z0-9_@%+=:,./-]|'[^']*'|\"[^\"$`\\]*\")+"
_PLAIN = re.compile(rf"{_WORD}(?:[ \t]+{_WORD})*")


class Imported(NamedTuple):
    """One entry of a source. ``entry``: as a schedule file has it; None where it is ``refused``, and then why. ``notes``: what is
    different, or wants a look."""

    place: str
    source: str
    entry: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    refused: str | None = None


class Names:
    """Names for schedules, each given once."""

    def __init__(self, prefix: str) -> None:
        self._prefix, self._given = prefix, set[str]()

    def new(self, wanted: str) -> str:
        """A name like ``wanted`` that nobody has yet."""
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", wanted).strip("-.")[:_LONGEST_NAME] or "entry"
        name, count = f"{self._prefix}{plain}", 1
        while name in self._given:
            count += 1
            name = f"{self._prefix}{plain}-{count}"
        self._given.add(name)
        return name


def plain_argv(command: str) -> list[str] | None:
    """A command as arguments, where no shell is needed: every word means itself, and the program is named by its whole path."""
    if not _PLAIN.fullmatch(command):
        return None
    argv = shlex.split(command)
    return argv if is_whole_path(argv[0]) else None


def is_whole_path(text: str) -> bool:
    """Whether a target takes it as a path."""
    path = PurePosixPath(text)
    return text.startswith("/") and not text.startswith("//") and str(path) == text and ".." not in path.parts


def program_of(command: str) -> str:
    """What a command may be called after: its program, without folder and ending."""
    words = [word for word in command.replace("(", " ").split() if not re.match(r"[A-Za-z_]\w*=", word)]
    while len(words) > 3 and words[0] == "cd" and "&&" in words:
        words = words[words.index("&&") + 1 :]
    return PurePosixPath(words[0]).stem if words else "entry"


def why_not(rule: Mapping[str, Any], *texts: str) -> str | None:
    """Why an entry cannot be taken over, and what to do instead; None if it can."""
    try:
        read_rule(rule)
    except RuleInvalid as error:
        return "; ".join(each["message"] for each in error.errors)
    if any(has_placeholder(text) for text in texts):
        return "{{ stands for a value in a target: put the command into a script, and import that"
    return None
