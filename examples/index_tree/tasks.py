"""The tasks: look at one file, and sum up a batch of them. This is all the code that is durable; the rest is the show."""

import time
from dataclasses import dataclass
from pathlib import Path

from examples.index_tree.facts import FileFacts, digest, indexed, look
from examples.index_tree.tree import as_path
from mainspring import App, Context

app = App("index-tree")  # the database is named by MAINSPRING_DATABASE
files = app.queue("files")


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What one batch of files comes to."""

    files: int
    size: int
    lines: int
    digest: str


@app.task(queue=files)
def index_file(root: str, name: str, pace: float = 0.0) -> FileFacts:
    """The facts of one file. Reading twice does no harm, so this may be interrupted and run again.

    ``pace`` seconds are slept first; in a tree that is indexed in an instant there would be no half way to be killed at.
    """
    time.sleep(pace)
    return look(name, str(Path(as_path(root), as_path(name))))


@app.task(queue=files)
def summarise(ctx: Context) -> Summary:
    """Started by the end of the last file of its batch: adds up what the files' runs returned."""
    facts = indexed(FileFacts(**member.result) for member in ctx.members())
    return Summary(
        files=len(facts),
        size=sum(fact.size for fact in facts),
        lines=sum(fact.lines for fact in facts),
        digest=digest(facts),
    )
