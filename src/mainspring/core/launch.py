"""What a target is told about the attempt it is run for, and what it may put into its texts.

Here: ``Launch``, the key by which a receiver knows an attempt again, and placeholders (``{{ run.id }}``). A placeholder is a name
and no expression; its value is encoded for its place, and never expanded again. Not here: secrets (``targets/secrets.py``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mainspring.errors import shown

#: The kinds of runs without user code: the tasks of their lanes.
TARGETS = ("http", "shell")

_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*", re.DOTALL)
_NAMES = ("occurrence.key", "occurrence.nominal", "occurrence.local", "occurrence.due", "run.id", "attempt")
_KNOWN = ", ".join(f"{{{{ {name} }}}}" for name in _NAMES) + " and {{ payload./pointer }}"
_PAYLOAD = "payload."


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """The instant of a schedule for which a run is: its key, and when it was meant, was written and was due."""

    key: str
    nominal: str
    local: str
    due: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One attempt of a run. ``is_repeat``: the run does again what another was for (a rerun, a replay, a backfill)."""

    run_id: str
    attempt: int = 1
    payload: Any = None
    occurrence: Occurrence | None = None
    is_repeat: bool = False
    trace: str | None = None

    @property
    def idempotency_key(self) -> str:
        """The same on every attempt of an occurrence, and another on every repeat."""
        if self.occurrence is None:
            return self.run_id
        return f"{self.occurrence.key}~{self.run_id}" if self.is_repeat else self.occurrence.key


class UnfilledError(LookupError):
    """A placeholder for which this launch has no value."""


# -- placeholders ----------------------------------------------------------------------------------------------------


def has_placeholder(text: str) -> bool:
    """Whether anything in ``text`` stands for something else."""
    return "{{" in text


def mistake_in(text: str) -> str | None:
    """What is wrong with the placeholders of ``text``, and what to write; None if nothing is."""
    for found in _PLACEHOLDER.finditer(text):
        name = found[1].strip()
        if name not in _NAMES and not (name.startswith(_PAYLOAD) and is_pointer(name.removeprefix(_PAYLOAD))):
            return f"{shown(found[0])} stands for nothing; there are {_KNOWN}"
    if has_placeholder(_PLACEHOLDER.sub("", text)):
        return f"a {{{{ without its }}}}; there are {_KNOWN}"
    return None


def filled(text: str, launch: Launch, encode: Callable[[str], str] = str) -> str:
    """``text`` with the values of its placeholders, each as ``encode`` writes it for that place.

    Raises:
        UnfilledError: naming the placeholder that has no value.
    """
    return _PLACEHOLDER.sub(lambda found: encode(_value(found[1].strip(), launch)), text)


def _value(name: str, launch: Launch) -> str:
    match name.split(".", 1):
        case ["occurrence", field] if launch.occurrence is not None:
            return str(getattr(launch.occurrence, field))
        case ["run", _]:
            return launch.run_id
        case ["attempt"]:
            return str(launch.attempt)
        case ["payload", pointer]:
            found = pointed(launch.payload, pointer)
            return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, separators=(",", ":"))
        case _:
            raise UnfilledError(f"{{{{ {name} }}}} has no value: the run is for no occurrence")


# -- JSON pointers ---------------------------------------------------------------------------------------------------


def is_pointer(text: str) -> bool:
    """Whether ``text`` is a JSON pointer (RFC 6901): empty, or ``/`` before each part."""
    return _POINTER.fullmatch(text) is not None


def pointed(document: Any, pointer: str) -> Any:
    """What ``pointer`` leads to.

    Raises:
        UnfilledError: to nothing.
    """
    found = document
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        match found:
            case Mapping() if name in found:
                found = found[name]
            case list() if name.isascii() and name.isdigit() and str(int(name[:9])) == name and int(name) < len(found):
                found = found[int(name)]
            case _:
                raise UnfilledError(f"there is nothing at {shown(pointer)}")
    return found
