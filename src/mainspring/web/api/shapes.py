"""What the structs of the API are made of: instants and ids as texts, pages and their cursors. Nothing of one noun."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

import msgspec

from mainspring.core.durations import format_instant
from mainspring.core.ids import is_run_id
from mainspring.errors import InvalidOption
from mainspring.web.endpoints import Scoped

T = TypeVar("T")

Instant = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
Id = Annotated[str, msgspec.Meta(extra_json_schema={"format": "uuid"})]
RUN_ID = r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
#: As they are written by whoever asks; what they mean is decided below.
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._/-]{1,200}$")]
AskedId = Annotated[str, msgspec.Meta(extra_json_schema={"format": "uuid", "pattern": RUN_ID})]
Key = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
Text = Annotated[str, msgspec.Meta(max_length=1_000)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]
Priority = Annotated[int, msgspec.Meta(ge=-1000, le=1000)]
#: A span: a number of seconds, or a text such as "1h30m".
Span = Annotated[float, msgspec.Meta(ge=0, le=315_619_200)] | Annotated[str, msgspec.Meta(min_length=2, max_length=64)]
PageSize = Annotated[int, msgspec.Meta(ge=1, le=500)]
Cursor = Annotated[str, msgspec.Meta(min_length=1, max_length=600)]


class PageQuery(Scoped, frozen=True, kw_only=True):
    """Query parameters of every list."""

    limit: PageSize = 50
    cursor: Cursor | None = None


def at(instant: int) -> str:
    """An instant of ours."""
    return format_instant(instant)


def at_or_none(instant: int | None) -> str | None:
    """An instant of ours, or none."""
    return None if instant is None else format_instant(instant)


def seconds(us: int | None) -> float | None:
    """A span of ours."""
    return None if us is None else us / 1e6


def id_cursor(cursor: str | None) -> str | None:
    """The id that a cursor of a list of ids is.

    Raises:
        InvalidOption: it is no cursor of ours.
    """
    if cursor is not None and not is_run_id(cursor):
        raise InvalidOption("cursor is none of this list; give next_cursor of the page before", option="cursor")
    return cursor


def paged(found: Sequence[T], place: Callable[[T], str], *, limit: int, cursor: str | None) -> tuple[list[T], str | None]:
    """A page of a short list, in the order of ``place``, and the cursor of the next one. The cursor is the last place told."""
    rest = sorted((each for each in found if cursor is None or place(each) > cursor), key=place)
    page = rest[:limit]
    return page, place(page[-1]) if len(rest) > limit else None
