"""Types carry through: mypy reads a file of usage and must refuse and reveal exactly what that file says, line by line."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

USAGE = Path(__file__).with_name("usage.py.txt")
ROOT = Path(__file__).resolve().parents[2]


def test_an_editor_knows_what_a_task_takes_and_gives(tmp_path: Path) -> None:
    usage = tmp_path / "usage.py"
    shutil.copy(USAGE, usage)
    said = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(usage)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found(said.stdout) == wanted(USAGE.read_text()), said.stdout + said.stderr


def wanted(text: str) -> dict[int, str]:
    """What the comments promise, by line."""
    marks = ((number, re.search(r"# (error: [\w-]+|is .+)$", line)) for number, line in enumerate(text.splitlines(), 1))
    return {number: mark.group(1) for number, mark in marks if mark}


def found(output: str) -> dict[int, str]:
    """What mypy says, by line."""
    answers: dict[int, str] = {}
    for line in output.splitlines():
        if error := re.search(r"usage\.py:(\d+): error: .*\[([\w-]+)\]$", line):
            answers[int(error.group(1))] = f"error: {error.group(2)}"
        elif revealed := re.search(r'usage\.py:(\d+): note: Revealed type is "(.+)"$', line):
            answers[int(revealed.group(1))] = "is " + re.sub(r"\b(?:mainspring|builtins)\.(?:\w+\.)*", "", revealed.group(2))
    return answers
