"""Reading a target as it is written: all mistakes at once, each with its path, its value and what to write.

Here: collecting mistakes, and the checks that every target needs. Not here: what a target has (``requests``, ``programs``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mainspring.core.durations import Duration, parse_duration
from mainspring.core.launch import mistake_in
from mainspring.errors import InvalidOption, TargetInvalid, shown
from mainspring.targets.secrets import Text, read_text

_HIDDEN = "(hidden)"


class Problems:
    """What is wrong with one target. Every check returns something usable, so that reading goes on to the end."""

    def __init__(self) -> None:
        self._found: list[dict[str, Any]] = []

    def add(self, path: str, value: object, message: str, *, hide: bool = False) -> None:
        """Note a mistake. ``hide``: the value may be a secret."""
        self._found.append({"path": path, "value": _HIDDEN if hide else shown(value), "message": message})

    def settle(self, kind: str) -> None:
        """Go on if there is none.

        Raises:
            TargetInvalid: with all of them.
        """
        if self._found:
            first = self._found[0]
            more = f" (and {len(self._found) - 1} more)" if len(self._found) > 1 else ""
            raise TargetInvalid(f"the {kind} target is wrong at {first['path']}: {first['message']}{more}", errors=self._found)

    # -- checks -----------------------------------------------------------------------------------------------------

    def fields(self, path: str, given: object, known: Collection[str]) -> Mapping[str, Any]:
        """The members of an object, none of them unknown."""
        if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
            self.add(path, given, f"write an object with {', '.join(known)}")
            return {}
        for name in given:
            if name not in known:
                self.add(f"{path}.{name}" if path else name, given[name], f"there is no such field; there are {', '.join(known)}")
        return given

    def items(self, path: str, given: object, most: int) -> Sequence[Any]:
        """The items of a list that is not too long."""
        if not isinstance(given, list | tuple):
            self.add(path, given, "write a list")
            return ()
        if len(given) > most:
            self.add(path, len(given), f"write at most {most:,} items")
        return given[:most]

    def whole(self, path: str, given: object, *, least: int, most: int, otherwise: int) -> int:
        """A whole number within bounds."""
        if isinstance(given, int) and not isinstance(given, bool) and least <= given <= most:
            return given
        self.add(path, given, f"write a whole number from {least:,} to {most:,}")
        return otherwise

    def span(self, path: str, given: Duration, *, least: int, most: int, otherwise: int) -> int:
        """A span of time within bounds, in microseconds."""
        try:
            span = parse_duration(given, option=path)
        except InvalidOption as error:
            self.add(path, given, error.message)
            return otherwise
        if least <= span <= most:
            return span
        self.add(path, given, f"write a span from {least / 1e6:g}s to {most / 1e6:g}s")
        return otherwise

    def text(self, path: str, given: object) -> Text:
        """A text, its placeholders known, or a secret."""
        text = read_text(given)
        if text is None:
            self.add(path, given, 'write a text, or {"secret": "name"}')
            return ""
        self.placeholders(path, text)
        return text

    def placeholders(self, path: str, text: object) -> None:
        """See that the placeholders of a text stand for something."""
        if isinstance(text, str) and (mistake := mistake_in(text)) is not None:
            self.add(path, text, mistake)
