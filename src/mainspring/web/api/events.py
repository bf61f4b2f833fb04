"""The endpoint of everything that happens: the entries of all ledgers of a namespace, a page at a time or live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from mainspring.core.durations import MINUTE
from mainspring.operations import feed
from mainspring.operations.feed import Place, parse_place
from mainspring.store.database import Transaction
from mainspring.web import streams
from mainspring.web.api.shapes import Id, Instant, PageQuery, at
from mainspring.web.endpoints import Asked, Nothing, reads
from mainspring.web.streams import Streams


class FeedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the ledger of a run. ``code``: why it failed, waits, or was skipped."""

    run_id: Id
    seq: int
    type: str
    state: str
    at: Instant
    actor: str
    task: str
    queue: str
    code: str | None


class Feed(msgspec.Struct, frozen=True, kw_only=True):
    """Entries, oldest first. ``next_cursor`` is always there: what comes later is after it."""

    data: list[FeedEntry]
    next_cursor: str


def list_feed(asked: Asked[PageQuery, Nothing]) -> Feed:
    """What happened to all runs, oldest first: after ``cursor``, or in the last minute. With ``Accept: text/event-stream`` it is
    followed live instead; on SQLite only the newest 5,000 runs, and those at work, are looked at."""
    query, namespace = asked.query, asked.client.namespace
    after = None if query.cursor is None else parse_place(query.cursor)

    def fn(tx: Transaction) -> tuple[Place, list[feed.Entry]]:
        place = after or Place(tx.now - MINUTE)
        return place, feed.after(tx, namespace, place, most=query.limit)

    place, found = asked.node.database.read("feed.after", fn)
    return Feed(data=[told(entry) for entry in found], next_cursor=str(found[-1].place if found else place))


async def follow_feed(following: Streams, asked: Asked[Any, Any], after: str | None) -> AsyncIterator[bytes] | None:
    """All ledgers, live, from after a place on.

    Raises:
        InvalidOption: the place is none.
    """
    wanted = after if after is not None else asked.query.cursor
    place = None if wanted is None else parse_place(wanted)
    return streams.follow(following, asked.client.namespace, place, told)


def told(entry: feed.Entry) -> FeedEntry:
    """An entry."""
    code = entry.data.get("code") or entry.data.get("reason")
    return FeedEntry(
        run_id=entry.run_id, seq=entry.seq, type=entry.type, state=entry.state, at=at(entry.at), actor=entry.actor, task=entry.task,
        queue=entry.queue, code=code if isinstance(code, str) else None,
    )  # fmt: skip


ENDPOINTS = (reads("/events", "events.list", list_feed, query=PageQuery, gives=Feed, follow=follow_feed),)
