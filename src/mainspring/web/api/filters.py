"""How runs are asked for, in a query string and in a body: the same filter as everywhere (``client/filters.py``)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from mainspring.client.filters import conditions_of
from mainspring.core import states
from mainspring.operations.searching import CLASSES
from mainspring.web.api.shapes import AskedId, Instant, Key, Name, Text
from mainspring.web.endpoints import Body, Scoped

Condition = Annotated[
    str,
    msgspec.Meta(pattern=r"^[A-Za-z0-9._/-]{1,100}((>=|<=|=|>|<)[^\x00-\x1f]{0,300})?$", description="order=7, total>=5, or order"),
]
Conditions = Annotated[list[Condition], msgspec.Meta(max_length=32)]
#: A state, or a class of states.
State = Annotated[str, msgspec.Meta(extra_json_schema={"enum": [*map(str, states.State), *CLASSES]})]
States = Annotated[list[State], msgspec.Meta(min_length=1, max_length=20)]


class Found(Scoped, frozen=True, kw_only=True):
    """A filter as query parameters; ``state`` and ``attribute`` may be repeated."""

    state: States | None = None
    task: Name | None = None
    queue: Name | None = None
    key: Key | None = None
    singleton: Key | None = None
    code: Text | None = None
    actor: Text | None = None
    batch: AskedId | None = None
    created_after: Instant | None = None
    created_before: Instant | None = None
    attribute: Conditions | None = None


class Filter(Body, frozen=True, kw_only=True):
    """A filter in a body; what is not named is not asked."""

    state: States | None = None
    task: Name | None = None
    queue: Name | None = None
    key: Key | None = None
    singleton: Key | None = None
    code: Text | None = None
    actor: Text | None = None
    batch: AskedId | None = None
    created_after: Instant | None = None
    created_before: Instant | None = None
    attribute: Conditions | None = None


def keywords(asked: Found | Filter) -> dict[str, Any]:
    """The keywords of ``runs.find`` and ``runs.preview``."""
    given: dict[str, Any] = {name: getattr(asked, name) for name in Filter.__struct_fields__}
    attributes = conditions_of(given.pop("attribute") or (), option="attribute")
    return given | {"attributes": attributes or None}
