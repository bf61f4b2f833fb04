"""Payloads of older versions: the steps that turn one of version n into one of n + 1, in order.

A step is a function of the user's from a dict to a dict. Not here: what becomes of a run whose payload cannot be read
(``runtime/outcomes.py``).
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from mainspring.errors import InvalidOption, PayloadInvalid

Step = Callable[[dict[str, Any]], dict[str, Any]]
S = TypeVar("S", bound=Step)

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class Upcasters:
    """The steps of one task. Filled at import, while its module is read."""

    def __init__(self, task: str, version: int) -> None:
        self._task = task
        self._version = version
        self._steps: dict[int, Step] = {}

    def add(self, from_version: int, step: S) -> S:
        """Register the step from a version to the next.

        Raises:
            InvalidOption: no such version, or it has a step already.
        """
        if not isinstance(from_version, int) or isinstance(from_version, bool) or not 1 <= from_version < self._version:
            raise InvalidOption(
                f"from_version of an upcaster of {self._task} must be from 1 to {self._version - 1}, for the task is at version "
                f"{self._version}; not {from_version!r}. A new payload needs @app.task(version={self._version + 1})",
                option="from_version",
            )
        if from_version in self._steps:
            raise InvalidOption(f"{self._task} has an upcaster from version {from_version} already", option="from_version")
        self._steps[from_version] = step
        return step

    def check(self) -> None:
        """See that no step is missing between the oldest version there is one for and the task's own.

        Raises:
            InvalidOption: naming the step.
        """
        if self._steps and (gap := self._gap(min(self._steps))) is not None:
            raise InvalidOption(self._missing(gap), option="upcast")

    def upcast(self, body: bytes, version: int) -> bytes:
        """A payload of an older ``version`` as one of this version, as the steps make it.

        Raises:
            PayloadInvalid: a step is missing, raised, or gave what is no dict.
        """
        if (gap := self._gap(version)) is not None:
            raise _unreadable(self._missing(gap))
        value: Any = _decode(body)
        for each in range(version, self._version):
            try:
                value = self._steps[each](value)
            except Exception as error:
                raise _unreadable(f"{self._at(each)} raised {type(error).__name__}: {error}") from error
            if not isinstance(value, dict):
                raise _unreadable(f"{self._at(each)} returned a {type(value).__name__} and not a dict")
        try:
            return _encode(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise _unreadable(f"{self._at(self._version - 1)} returned what has no JSON form: {error}") from None

    def _at(self, version: int) -> str:
        return f"the upcaster of {self._task} from version {version}"

    def _gap(self, version: int) -> int | None:
        return next((each for each in range(version, self._version) if each not in self._steps), None)

    def _missing(self, version: int) -> str:
        have: Sequence[int] = sorted(self._steps)
        return (
            f"{self._task} is at version {self._version} and has no upcaster from version {version}"
            f" (there are {', '.join(map(str, have)) or 'none'}); "
            f"write @{self._task.rpartition('.')[2]}.upcast(from_version={version})"
        )


def _unreadable(told: str) -> PayloadInvalid:
    return PayloadInvalid(told, errors=[{"field": "$", "message": told}])
