"""What is wrong with something a person wrote, collected so that all of it is told at once.

Here: one refusal, and the list of them with where each was found. Not here: what is refused.
"""

from __future__ import annotations

from collections.abc import Iterable

from mainspring.errors import RuleInvalid, shown


class Refused(ValueError):  # noqa: N818  (it says what happened, as our errors do)
    """What was written cannot be read; ``sentences`` say what to write instead. Never leaves ``core``."""

    def __init__(self, *sentences: str) -> None:
        super().__init__(" ".join(sentences))
        self.sentences = sentences


class Problems:
    """A list of what is wrong, each with its path, the value there, and a sentence that says what to write."""

    def __init__(self) -> None:
        self._found: list[dict[str, str]] = []

    @property
    def found(self) -> bool:
        """Whether anything is wrong."""
        return bool(self._found)

    def add(self, path: str, value: object, *sentences: str) -> None:
        """Note what is wrong at ``path``."""
        self._found += [{"path": path, "value": shown(value), "message": sentence} for sentence in sentences]

    def check(self) -> None:
        """Go on if nothing was found.

        Raises:
            RuleInvalid: with everything that was found.
        """
        if self._found:
            told = "; ".join(f"{each['path']}: {each['message']}" for each in self._found[:5])
            more = f"; and {len(self._found) - 5} more" if len(self._found) > 5 else ""
            raise RuleInvalid(told + more, errors=self._found)


def listed(words: Iterable[object], last: str = "and") -> str:
    """``a, b and c``."""
    *first, end = [str(word) for word in words]
    return f"{', '.join(first)} {last} {end}" if first else end
