"""What ``after=`` and ``on=`` of a call mean."""

from collections.abc import Sequence
from typing import Any, get_args

from mainspring.core.dependencies import Condition, EndsAs
from mainspring.core.ids import parse_run_id
from mainspring.errors import InvalidOption, shown
from mainspring.operations.dependencies import MOST_UPSTREAMS


def upstreams_of(after: Sequence[Any]) -> tuple[str, ...]:
    """The ids that ``after=`` names: of handles (of runs or batches), or given as they are.

    Raises:
        InvalidOption: it is no list, or too long.
    """
    if isinstance(after, str) or not isinstance(after, Sequence):
        raise InvalidOption(f"after= is a list of handles or ids, not {shown(after)}; write after=[...]", option="after")
    if len(after) > MOST_UPSTREAMS:
        raise InvalidOption(f"after= names {len(after):,} runs; {MOST_UPSTREAMS:,} is the most; make them a batch", option="after")
    ids = [upstream if isinstance(upstream, str) else getattr(upstream, "id", None) for upstream in after]
    if wrong := [given for given, found in zip(after, ids, strict=True) if not isinstance(found, str)]:
        raise InvalidOption(f"after= is a list of handles or ids, and has {shown(wrong[0])}", option="after")
    return tuple(dict.fromkeys(parse_run_id(str(upstream)) for upstream in ids))


def condition_of(on: str) -> Condition:
    """What ``on=`` means.

    Raises:
        InvalidOption: no such word.
    """
    if on not in get_args(EndsAs):
        raise InvalidOption(f'on= is "succeeded", "done" or "failed", not {on!r}', option="on")
    return Condition(on)
