"""What became of each entry of a source, and what the readers share: names, and commands as targets."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple, TypeAlias

from mainspring.core.launch import has_placeholder
from mainspring.core.problems import Refused
from mainspring.core.rule_reading import read_rule
from mainspring.errors import RuleInvalid

_LONGEST_NAME = 190
_TASK = re.compile(r"[A-Za-z0-9._/-]{1,200}")
_DEEPEST, _MOST_VALUES = 16, 10_000
#: Why a source that goes by wall clocks may fire otherwise.
CLOCKS = (
    "a change of the clocks: the source goes on from the clock of its last fire, and leaves out or doubles what was written there"
)
# A word that every shell takes as it is, quoted parts included.
_WORD = r"(?:[A-Za-z0-9_@%+=:,./-]|'[^']*'|\"[^\"$`\\]*\")+"
_PLAIN = re.compile(rf"{_WORD}(?:[ \t]+{_WORD})*")


#: The next instants (µs) after one, so many at most.
Fires: TypeAlias = Callable[[int, int], list[int]]


class Imported(NamedTuple):
    """One entry of a source. ``entry``: as a schedule file has it; None where it is ``refused``, and then why. ``notes``: what is
    different, or wants a look. ``fires``: the next instants (µs) by the source's own rules, after one and so many; None where they
    are ours. ``cause``: why they may differ."""

    place: str
    source: str
    entry: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    refused: str | None = None
    fires: Fires | None = None
    cause: str = ""


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


def task_name(wanted: str) -> str:
    """The name of a task.

    Raises:
        Refused: none may have it.
    """
    if not _TASK.fullmatch(wanted):
        raise Refused(f"no task here is called {wanted!r}: give it a name of A-Z a-z 0-9 . _ / -")
    return wanted


def is_plain(value: Any) -> bool:
    """Whether JSON can say it, in not too many words."""
    left = _MOST_VALUES

    def plain(each: Any, depth: int) -> bool:
        nonlocal left
        left -= 1
        if left < 0 or depth > _DEEPEST:
            return False
        if isinstance(each, dict):
            return all(isinstance(name, str) and plain(part, depth + 1) for name, part in each.items())
        if isinstance(each, list | tuple):
            return all(plain(part, depth + 1) for part in each)
        return each is None or type(each) in (str, int, bool) or (type(each) is float and math.isfinite(each))

    return plain(value, 1)


def steps(first: int, every: int, after: int, most: int) -> list[int]:
    """The instants of a grid after one, from its first on."""
    count = max(0, (after - first) // every + 1)
    return [first + every * (count + each) for each in range(most)]


def bounded(fires: Fires, start: int | None, end: int | None) -> Fires:
    """Those of a source's fires that are from ``start`` to ``end``, both included."""

    def within(after: int, most: int) -> list[int]:
        found = fires(after if start is None else max(after, start - 1), most)
        return [at for at in found if end is None or at <= end]

    return within
