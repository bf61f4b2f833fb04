"""The whole shop. Serve it with any ASGI server: ``SHOP_DATABASE=postgresql://… uvicorn examples.fastapi_shop.api:api``.

Create the tables first: ``python -m examples.fastapi_shop.api``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated

import sqlalchemy as sa
from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from mainspring import App, Context
from mainspring.integrations.fastapi import Sender, lifespan, sender
from mainspring.integrations.sqlalchemy import session_of

URL = os.environ["SHOP_DATABASE"]
engine = sa.create_engine(URL.replace("postgresql://", "postgresql+psycopg://"))
Sessions = sessionmaker(engine)


class Base(DeclarativeBase):
    """Our tables."""


class Order(Base):
    """One order; ``receipt`` is empty until it was sent."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]
    receipt: Mapped[str] = mapped_column(default="")


# -- what happens later -----------------------------------------------------------------------------------------------------

app = App("shop", database=URL)


@app.task(name="send_receipt", max_attempts=5, timeout="30s")
def send_receipt(ctx: Context, order_id: int) -> None:
    """The receipt and the success of this attempt are one commit: it is written once, whoever dies when."""
    with session_of(ctx, Sessions) as session:
        order = session.get_one(Order, order_id)
        order.receipt += f"receipt for {order.item}"
        ctx.set_result(order.receipt)


# -- what happens now -------------------------------------------------------------------------------------------------------

api = FastAPI(title="shop", lifespan=lifespan(app, concurrency=4))


def open_session() -> Iterator[Session]:
    """A session for each request, committed if nothing was raised, before the answer is sent."""
    with Sessions.begin() as session:
        yield session


SessionDep = Annotated[Session, Depends(open_session, scope="function")]
Send = Annotated[Sender, Depends(sender(SessionDep))]


class NewOrder(BaseModel):
    """What a customer sends."""

    item: str


@api.post("/orders", status_code=201)
def place(new: NewOrder, session: SessionDep, send: Send) -> dict[str, str | int]:
    """An order, and the run that will send its receipt: both or neither."""
    order = Order(item=new.item)
    session.add(order)
    session.flush()  # gives it its id
    run = send(send_receipt).enqueue(order.id)
    if new.item == "nothing":
        raise HTTPException(422, "there is no such item")  # takes the run back too
    return {"id": order.id, "run": run.id}


@api.get("/orders/{order_id}")
def look(order_id: int, session: SessionDep) -> dict[str, str | int]:
    """One order."""
    order = session.get(Order, order_id)
    if order is None:
        raise HTTPException(404, "no such order")
    return {"id": order.id, "item": order.item, "receipt": order.receipt}


if __name__ == "__main__":
    app.migrate()
    Base.metadata.create_all(engine)
