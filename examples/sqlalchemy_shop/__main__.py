"""Takes orders, books them in a worker, and shows that the books are right: ``SHOP_DATABASE=postgresql://… python -m
examples.sqlalchemy_shop``.
"""

from __future__ import annotations

import os

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from sqlalchemy.pool import NullPool

from mainspring import App, Context
from mainspring.integrations.sqlalchemy import asession_of, session_of

URL = os.environ["SHOP_DATABASE"]
engine = sa.create_engine(URL.replace("postgresql://", "postgresql+psycopg://"))
awaited_engine = create_async_engine(URL.replace("postgresql://", "postgresql+asyncpg://"), poolclass=NullPool)
Sessions, AwaitedSessions = sessionmaker(engine), async_sessionmaker(awaited_engine)

app = App("books", database=URL)


class Base(DeclarativeBase):
    """Our tables."""


class Order(Base):
    """One order, and whether it was shipped."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    cents: Mapped[int]
    shipped: Mapped[bool] = mapped_column(default=False)


class Account(Base):
    """What we have earned."""

    __tablename__ = "accounts"
    name: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int]


@app.task(name="book")
def book(ctx: Context, order_id: int) -> None:
    """Add an order to the account. To add twice would be wrong, so the sum and the success are one commit."""
    with session_of(ctx, Sessions) as session:
        account = session.get_one(Account, "sales", with_for_update=True)
        account.cents += session.get_one(Order, order_id).cents
        ship.options(using=session).enqueue(order_id)  # in the same commit too


@app.task(name="ship")
async def ship(ctx: Context, order_id: int) -> None:
    """The same in an event loop."""
    async with asession_of(ctx, AwaitedSessions) as session:
        order = await session.get_one(Order, order_id)
        order.shipped = True


def take_orders() -> None:
    """Each order with its run, or neither."""
    for cents in (300, 500, 700):
        with Sessions.begin() as session:
            order = Order(cents=cents)
            session.add(order)
            session.flush()
            book.options(using=session).enqueue(order.id)


def main() -> None:
    """Do it."""
    app.migrate()
    Base.metadata.create_all(engine)
    with Sessions.begin() as session:
        session.add(Account(name="sales", cents=0))
    take_orders()
    app.worker(poll="50ms", concurrency=4).run(until="drained")
    with Sessions() as session:
        earned = session.get_one(Account, "sales").cents
        shipped = session.scalar(sa.select(sa.func.count()).where(Order.shipped))
    print(f"{earned} cents earned, {shipped} orders shipped, runs {app.runs.counts()}")
    app.close()
    engine.dispose()


if __name__ == "__main__":
    main()
