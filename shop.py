# shop.py
from mainspring import App, Context, Fail, Retry, exponential

app = App("shop")
sent: list[int] = []


@app.task(max_attempts=5, backoff=exponential("1s", max="5m"), timeout="30s")
def send_receipt(ctx: Context, order_id: int) -> str:
    if order_id < 0:
        raise Fail("no_such_order", f"there is no order {order_id}")  # no retry
    if order_id == 9 and ctx.attempt == 1:
        raise Retry(after="1m", code="busy", message="the mail server is busy")
    sent.append(order_id)
    return f"receipt of order {order_id}"
