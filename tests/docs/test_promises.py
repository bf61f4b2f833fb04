"""The page of promises is true: every oracle it names exists and can speak."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_oracle_on_the_page_of_promises_is_in_the_code() -> None:
    page = (ROOT / "docs" / "promises.md").read_text()
    table = page[page.index("## Looked for at random") : page.index("## What is not promised")]
    named = set(re.findall(r"`([a-z_]{8,})`", table))
    code = "\n".join(path.read_text() for path in (ROOT / "src" / "mainspring" / "testing").rglob("*.py"))
    assert len(named) > 25
    assert not {name for name in named if f"def {name}(" not in code and f'"{name}"' not in code}
