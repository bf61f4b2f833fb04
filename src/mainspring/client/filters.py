"""What a caller asks of runs, from keywords to a filter; and conditions on attributes as people type them."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict

import msgspec

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


# -- conditions as texts -----------------------------------------------------------------------------------------------

_CONDITION = re.compile(r"(?P<name>[A-Za-z0-9._/-]+)(?:(?P<operator>>=|<=|=|>|<)(?P<value>.*))?", re.DOTALL)


def conditions_of(texts: Sequence[str], *, option: str) -> dict[str, Any]:
    """Conditions on attributes from texts such as ``order=7``, ``total>=5`` or ``order``; several of one name must all hold.

    Raises:
        InvalidOption: one that is none; naming ``option``.
    """
    conditions: dict[str, Any] = {}
    for text in texts:
        name, condition = _condition(text, option)
        both = isinstance(condition, dict) and isinstance(conditions.get(name), dict)
        conditions[name] = conditions[name] | condition if both else condition
    return conditions


def _condition(text: str, option: str) -> tuple[str, Any]:
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise InvalidOption(f"{text!r} is no condition; write order=7, total>=5, or order", option=option)
    if found["operator"] is None:
        return found["name"], ...
    value = value_of(found["value"])
    return found["name"], value if found["operator"] == "=" else {found["operator"]: value}


def value_of(text: str) -> Any:
    """The value of an attribute: a number or truth if it looks like one; quotes make it text."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return value if isinstance(value, (bool, int, float, str)) else text
