"""What happens after an order: found by ``mainspring.integrations.django`` because this module is called ``tasks``."""

from __future__ import annotations

from django.db import connection, transaction

from examples.django_shop.shop.models import Order
from mainspring.integrations.django import app


@app.task(name="send_receipt", max_attempts=5)
def send_receipt(order_id: int) -> str:
    """Send it. A second attempt writes the same again, so it does no harm."""
    order = Order.objects.get(pk=order_id)
    order.receipt = f"receipt for {order.item}"
    order.save(update_fields=["receipt"])
    return str(order.receipt)


def order_placed(order: Order) -> None:
    """Call this in the transaction that writes the order."""
    if connection.vendor == "postgresql":
        send_receipt.options(using="default").enqueue(order.pk)  # the run exists if and only if the order does
    else:
        transaction.on_commit(lambda: send_receipt.enqueue(order.pk))  # another file: after the commit, and not if we die just then
