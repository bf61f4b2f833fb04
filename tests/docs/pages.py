"""The pages of the documentation, taken apart: their code blocks, links and headings; and running the Python of one page.

``python -m tests.docs.pages PAGE`` runs a page's blocks in order in one namespace, in the current folder. A block whose first
line is ``# NAME.py`` is written to that file first and imported from it, as a reader would have it. A block marked
```` ```python no-run: reason ```` is left out; one marked ```` ```python needs: redis ```` runs where ``PAGE_REDIS`` names a
server, whose URL stands in for the one that the page tells.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for page in (ROOT / "docs").rglob("*.md"))], key=lambda page: page.relative_to(ROOT).as_posix()
)

_FENCE = re.compile(r"^```(?P<language>\w*)[ ]?(?P<note>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_FILE = re.compile(r"# (?P<stem>\w+)\.py\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block: its language, what stands beside it, its text and the line where the text begins."""

    language: str
    note: str
    text: str
    line: int

    @property
    def runs(self) -> bool:
        """Whether it is Python that a reader may paste."""
        return self.language == "python" and not self.note.startswith("no-run")

    @property
    def needs(self) -> str | None:
        """The server that the block talks to."""
        return self.note.removeprefix("needs:").strip() if self.note.startswith("needs:") else None


def name_of(page: Path) -> str:
    """The page as its links name it."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            language=found["language"],
            note=found["note"].strip(),
            text=found["text"],
            line=text.count("\n", 0, found.start("text")) + 1,
        )
        for found in _FENCE.finditer(text)
    ]


def prose(page: Path) -> str:
    """The page without its blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[str]:
    """Where the page's links lead."""
    for found in _LINK.finditer(prose(page)):
        yield found["target"]


def anchors(page: Path) -> set[str]:
    """What a link into the page may name after ``#``."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> Iterator[str]:
    """What a reader is told to type after ``$ mainspring``."""
    for block in blocks(page):
        if block.language == "console":
            yield from re.findall(r"^\$ (?:\S+=\S+ )*mainspring (.+?)(?: &)?$", block.text, re.MULTILINE)


#: The URLs that pages tell, by the server that they mean.
TOLD = {"redis": "redis://localhost:6379/0", "nats": "nats://localhost:4222"}


def needs(page: Path) -> set[str]:
    """The servers that the Python of a page talks to."""
    return {block.needs for block in blocks(page) if block.runs and block.needs is not None}


def _text_here(block: Block) -> str | None:
    """A block with the URLs of this machine's servers; None where one is not there."""
    if block.needs is None:
        return block.text
    url = os.environ.get(f"PAGE_{block.needs.upper()}")
    return None if url is None else block.text.replace(TOLD[block.needs], url)


def run(page: Path) -> None:
    """Run the Python of a page, in order, in one namespace."""
    namespace: dict[str, Any] = {"__name__": "page"}
    sys.path.insert(0, str(Path.cwd()))
    for block in filter(lambda block: block.runs, blocks(page)):
        text = _text_here(block)
        if text is None:
            continue
        if named := _FILE.match(text):
            Path(f"{named['stem']}.py").write_text(text)
            import_module(named["stem"])
        else:
            code = compile("\n" * (block.line - 1) + text, name_of(page), "exec", dont_inherit=True)
            exec(code, namespace)


if __name__ == "__main__":
    run(ROOT / sys.argv[1])
