"""What a caller asks of runs, from keywords to a filter."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict

from mainspring.core.attributes import wanted
from mainspring.core.durations import parse_instant
from mainspring.core.ids import parse_run_id
from mainspring.core.names import check_key, check_name, check_text
from mainspring.core.states import State
from mainspring.errors import InvalidOption
from mainspring.operations.searching import Filter, parse_states


class Wanted(TypedDict, total=False):
    """The keywords by which runs are found; what is not named is not asked.

    ``state`` is a state, a class of states (waiting, active, parked, terminal, open), or a list of either. ``code`` (or ``error``)
    is the reason of a failure or of a waiting run. ``actor`` is who made the run. ``attributes`` maps names to conditions: ``7``,
    ``[7, 8]``, ``range(5, 10)``, ``(">=", 5)``, ``{">=": 5, "<": 10}``, and ``...`` for "there is one".
    """

    state: str | State | Sequence[str | State] | None
    task: str | None
    queue: str | None
    key: str | None
    singleton: str | None
    code: str | None
    error: str | None
    actor: str | None
    batch: str | None
    created_after: datetime | str | None
    created_before: datetime | str | None
    attributes: Mapping[str, Any] | None


def parse_filter(asked: Wanted) -> Filter:
    """The filter that keywords mean.

    Raises:
        InvalidOption: a keyword that is none, or a value it cannot have; naming it.
    """
    if strange := sorted(set(asked) - set(Wanted.__annotations__)):
        known = ", ".join(Wanted.__annotations__)
        raise InvalidOption(f"runs cannot be found by {strange[0]!r}; there are {known}", option=strange[0])
    given = {name: value for name, value in asked.items() if value is not None}
    if "code" in given and "error" in given:
        raise InvalidOption("code= and error= are two spellings of one thing; give one", option="error")
    found: dict[str, Any] = {name: _READ[name](value, name) for name, value in given.items() if name in _READ}
    if (code := given.get("code", given.get("error"))) is not None:
        found["code"] = check_text(code, "code")
    if "state" in given:
        found["states"] = parse_states(given["state"])
    if "batch" in given:
        found["batch_id"] = parse_run_id(str(given["batch"]))
    return Filter(**found, spans=wanted(asked.get("attributes") or {}))


def _instant(value: Any, option: str) -> int:
    return parse_instant(value, option=option)


_READ: Mapping[str, Any] = {
    "task": check_name,
    "queue": check_name,
    "key": check_key,
    "singleton": check_key,
    "actor": check_text,
    "created_after": _instant,
    "created_before": _instant,
}
