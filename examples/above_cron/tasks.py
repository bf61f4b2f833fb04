"""The Python side of the three schedules."""

import os

from mainspring import App, Context

app = App("above-cron", database=os.environ.get("MAINSPRING_DATABASE", "sqlite:///above_cron.db"))


@app.task
def report(ctx: Context) -> str:
    """How many runs there are, and for which instant that was asked."""
    counts = app.runs.counts()
    due = ctx.occurrence.nominal if ctx.occurrence else None
    return f"{sum(counts.values())} runs ({', '.join(f'{number} {state}' for state, number in counts.items())}) for {due}"
