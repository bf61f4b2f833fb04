"""The documentation tells the truth: its code runs, its links lead somewhere, its tables are those of the code.

Here: every page under ``docs`` and those beside it. Not here: what the code it describes promises.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from mainspring.core.states import MOVES, State
from tests.docs.pages import PAGES, ROOT, anchors, blocks, commands, links, name_of, needs, prose
from tests.support.services import nats, redis

MIGRATIONS = sorted((ROOT / "src/mainspring/store/migrations").glob("*.sql"))
DATA_MODEL = ROOT / "docs/internals/data_model.md"

every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)
page_with_code = pytest.mark.parametrize("page", [page for page in PAGES if any(block.runs for block in blocks(page))], ids=name_of)


@page_with_code
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    here = f"{ROOT / 'src'}{os.pathsep}{ROOT}"  # this checkout, whichever is installed
    environment = os.environ | {"MAINSPRING_DATABASE": f"sqlite:///{tmp_path / 'page.db'}", "PYTHONPATH": here}
    with ExitStack() as servers:
        for name in sorted(needs(page)):
            environment[f"PAGE_{name.upper()}"] = servers.enter_context({"redis": redis, "nats": nats}[name]()).url
        ended = subprocess.run(
            [sys.executable, "-m", "tests.docs.pages", name_of(page)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@every_page
def test_a_block_that_is_not_run_says_why(page: Path) -> None:
    silent = [block.line for block in blocks(page) if block.language == "python" and block.note == "no-run"]
    assert not silent, "write ```python no-run: reason"


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in links(page):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), target


COMMANDS = sorted({command for page in PAGES for command in commands(page)})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shown_exists_with_its_options(command: str) -> None:
    words = command.split()
    names = [word for word in words[:2] if re.fullmatch(r"[a-z][a-z-]*", word)]
    answers = [usage(names[:depth]) for depth in range(len(names), 0, -1)]
    told = next((text for text in answers if text), None)
    assert told, f"no such command: mainspring {command}"
    assert not [word for word in words if word.startswith("--") and word.partition("=")[0] not in told]


def usage(names: list[str]) -> str | None:
    """What a command says of itself; None if there is no such command."""
    asked = subprocess.run(
        [str(Path(sys.executable).with_name("mainspring")), *names, "--help"],
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout if asked.returncode == 0 else None


# -- tables -----------------------------------------------------------------------------------------------------------


def section(page: Path, heading: str) -> str:
    """What stands under a heading."""
    found = re.search(rf"^#+ `?{re.escape(heading)}`?$(.*?)(?=^#+ |\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{name_of(page)} has no heading {heading!r}"
    return found.group(1)


def code_words(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_the_table_of_moves_is_the_one_in_core_states() -> None:
    told: dict[str, set[tuple[str, str]]] = {}
    for line in section(DATA_MODEL, "Moves").splitlines():
        if line.startswith("| `"):
            event, origins, targets = (code_words(cell) for cell in line.strip("|").split("|")[:3])
            moves = ((origin, origin if target == "=" else target) for origin in origins for target in targets)
            told.setdefault(event[0], set()).update(moves)
    true = {event.value: {(origin or "none", target) for origin, target in moves} for event, moves in MOVES.items()}
    assert told == {event: {(str(origin), str(target)) for origin, target in moves} for event, moves in true.items()}


def test_the_states_told_are_those_there_are() -> None:
    told = [words[0] for line in section(DATA_MODEL, "States").splitlines() if (words := code_words(line))]
    assert told == [state.value for state in State]


def tables() -> dict[str, list[str]]:
    """Tables and their columns, as the migrations make them."""
    made: dict[str, list[str]] = {}
    for file in MIGRATIONS:
        for name, body in re.findall(r"^CREATE TABLE (\w+) \((.*?)^\)", file.read_text(), re.MULTILINE | re.DOTALL):
            made[name] = re.findall(r"^    ([a-z_]+) ", body, re.MULTILINE)
        for name, column in re.findall(r"^ALTER TABLE (\w+) ADD COLUMN (\w+)", file.read_text(), re.MULTILINE):
            made[name].append(column)
        for name in re.findall(r"^DROP TABLE (\w+)", file.read_text(), re.MULTILINE):
            del made[name]
    return made


@pytest.mark.parametrize("table", tables())
def test_every_table_is_told_with_all_its_columns(table: str) -> None:
    words = set(code_words(section(DATA_MODEL, table)))
    assert not [column for column in tables()[table] if column not in words]


# -- names ------------------------------------------------------------------------------------------------------------


def test_every_test_named_in_the_docs_exists() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"def (test_\w+)\(", source))
    named = {
        (name_of(page), name)
        for page in PAGES
        if page.parent != ROOT
        for name in re.findall(r"`(?:[\w/.]+::)?(test_\w+)`", prose(page))
    }
    assert not sorted(each for each in named if each[1] not in there)


def test_every_file_named_in_the_architecture_exists() -> None:
    named = {word for word in code_words(prose(ROOT / "ARCHITECTURE.md")) if re.fullmatch(r"[\w/.]+\.(py|sql|md|toml)", word)}
    places = (ROOT, ROOT / "src/mainspring", ROOT / "src/mainspring/store")
    assert not sorted(word for word in named if not any((place / word).exists() for place in places))
