"""``runs.apply_policy``: which options change a captured policy, and going through the runs of a task in bounded pages."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from mainspring.client.writing import write_again
from mainspring.core import retry
from mainspring.core.durations import parse_duration
from mainspring.core.ids import parse_run_id
from mainspring.core.names import check_name
from mainspring.core.policy import Policy
from mainspring.errors import InvalidOption
from mainspring.operations import policies
from mainspring.store.database import Transaction

if TYPE_CHECKING:
    from mainspring.client.client import Client

T = TypeVar("T")

_PAGE = 500
_BUDGETS = ("max_attempts", "max_interruptions", "max_releases")
_SPANS = ("timeout", "grace", "heartbeat_timeout")


def apply_policy(client: "Client", target: str | Sequence[str], options: Mapping[str, Any]) -> int:
    """See ``Runs.apply_policy``."""
    given = {name: value for name, value in options.items() if value is not None}
    if not given:
        raise InvalidOption("name what to change, such as max_attempts=5", option="max_attempts")
    changed(Policy(), given)  # refused now, and not halfway
    change = partial(changed, given=given)
    who: dict[str, Any] = {"namespace": client.namespace, "actor": client.actor}
    if not isinstance(target, str):
        ids = sorted({parse_run_id(run_id) for run_id in target})
        pages = [ids[start : start + _PAGE] for start in range(0, len(ids), _PAGE)]
        return sum(_write(client, partial(policies.apply_to, ids=page, change=change, **who)) for page in pages)
    count, page = 0, policies.Applied(0, None)
    whole = partial(policies.apply_to_task, task=check_name(target, "task"), change=change, most=_PAGE, **who)
    while True:
        page = _write(client, partial(whole, cursor=page.cursor))
        count += page.runs
        if page.cursor is None:
            return count


def changed(policy: Policy, given: Mapping[str, Any]) -> Policy:
    """A policy with what is given changed.

    Raises:
        InvalidOption: naming the option and what to write.
    """
    fresh: dict[str, Any] = {}
    if budgets := {name: given[name] for name in _BUDGETS if name in given}:
        fresh["budgets"] = replace(policy.budgets, **budgets)
    if "backoff" in given:
        fresh["backoff"] = retry.parse_backoff(given["backoff"])
    if "jitter" in given:
        fresh["jitter"] = retry.check_jitter(given["jitter"])
    for name in _SPANS:
        if name in given:
            fresh[f"{name}_us"] = parse_duration(given[name], option=name)
    return replace(policy, **fresh)


def _write(client: "Client", fn: Callable[[Transaction], T]) -> T:
    return write_again(client.database, "policies.apply", fn)
