"""The worker of ``test_transactions.py`` that is killed at a bad moment: ``python paying.py URL MOMENT``."""

from __future__ import annotations

import os
import signal
import sys

from mainspring import App, Context

app = App("shop", database=sys.argv[1])


@app.task(name="pay", max_interruptions=5)
def pay(ctx: Context) -> str:
    with ctx.transaction() as connection:
        connection.execute(f"INSERT INTO payments VALUES ({ctx.token})")
        ctx.set_result(f"paid by token {ctx.token}")
        if sys.argv[2] == "before the commit" and ctx.token == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[2] == "before the report" and ctx.token == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "not kept"


if __name__ == "__main__":
    app.worker(poll="20ms", lease="1s").run()
    app.close()
