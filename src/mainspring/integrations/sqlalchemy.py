"""SQLAlchemy: a session for each attempt, whose commit is the attempt's success.

Not here: enqueueing in a session (``options(using=session)``), and how a session's connection is found (``store/foreign``).
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from mainspring.context import Context

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
    from sqlalchemy.orm import Session, sessionmaker


@contextmanager
def session_of(ctx: Context, sessions: "sessionmaker[Session]") -> "Iterator[Session]":
    """``with session_of(ctx, Session) as session:``: what the block writes commits together with the success of this attempt, or
    neither does. The run's result is what ``ctx.set_result`` was given.

    On PostgreSQL, with an engine over psycopg 3 that leads to the app's database.

    Raises:
        LeaseLost, Cancelled, InvalidOption: as ``ctx.transaction``; it was rolled back.
    """
    with sessions.begin() as session, ctx.transaction(using=session):
        yield session
        session.flush()  # an error of what was written belongs to user code, before the success is written


@asynccontextmanager
async def asession_of(ctx: Context, sessions: "async_sessionmaker[AsyncSession]") -> "AsyncIterator[AsyncSession]":
    """``session_of`` for an event loop: an engine over psycopg 3 or asyncpg."""
    async with sessions.begin() as session, ctx.atransaction(using=session):
        yield session
        await session.flush()
