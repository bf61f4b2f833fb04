"""The SQL files and the table of moves hold each other: what moves a run says so, and nothing else is said.

Here: headers against ``core/states.py`` and against the statement below them. Not here: that a statement does what it says
(``tests/conformance``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import mainspring
from mainspring.core.states import MOVES, State
from mainspring.store.dialect import compile_postgres, compile_sqlite
from mainspring.store.statements import Statement, load, parse

DIALECTS = ("portable", "postgres", "sqlite")
EVERY = [(dialect, statement) for dialect in DIALECTS for statement in load(dialect).values()]
TABLE = {move for moves in MOVES.values() for move in moves}

each_statement = pytest.mark.parametrize(
    ("dialect", "statement"), EVERY, ids=[f"{dialect}-{statement.name}" for dialect, statement in EVERY]
)


def text_of(statement: Statement) -> str:
    return re.sub(r"--.*", "", "\n".join(statement.commands))


def writes_state(statement: Statement) -> bool:
    """Whether it inserts runs or sets the state of some."""
    updates = re.findall(r"UPDATE\s+runs\b.*?(?=\bWHERE\b|$)", text_of(statement), re.DOTALL | re.IGNORECASE)
    return "INSERT INTO runs" in text_of(statement) or any(re.search(r"\bstate\s*=", update) for update in updates)


@each_statement
def test_a_statement_names_its_moves_exactly_if_it_moves_runs(dialect: str, statement: Statement) -> None:
    assert bool(statement.moves) == writes_state(statement), statement.name


@each_statement
def test_every_move_of_a_statement_is_in_the_table(dialect: str, statement: Statement) -> None:
    assert statement.moves <= TABLE


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_move_of_the_table_is_made_by_some_statement(dialect: str) -> None:
    made = {move for statement in load(dialect).values() for move in statement.moves}
    assert TABLE - made == set()


@each_statement
def test_a_statement_that_moves_runs_writes_events_too(dialect: str, statement: Statement) -> None:
    if statement.moves:
        assert "INSERT INTO events" in text_of(statement)


@pytest.mark.parametrize("dialect", ["postgres", "sqlite"])
def test_an_override_replaces_a_portable_statement_and_keeps_its_promise(dialect: str) -> None:
    portable, own = load("portable"), load(dialect)
    for name in portable:
        assert own[name].moves == portable[name].moves, name
        assert own[name].inputs == portable[name].inputs, name
        assert len(own[name].columns) == len(portable[name].columns), name
        assert parameters(own[name]) == parameters(portable[name]), name


def parameters(statement: Statement) -> set[str]:
    text = text_of(statement)
    lists = set(re.findall(r"\{\{\s*any\s+(\w+)", text)) | set(statement.inputs)
    return lists | set(re.findall(r"(?<![:\w]):([a-z_]+)\b", text))


@each_statement
def test_every_list_a_statement_declares_is_used_by_it(dialect: str, statement: Statement) -> None:
    for name in statement.inputs:
        assert f"{{{{{name}}}}}" in text_of(statement)


@each_statement
def test_a_statement_that_answers_rows_declares_its_columns(dialect: str, statement: Statement) -> None:
    answers = re.search(r"RETURNING[^()]*\Z", statement.commands[-1]) is not None or (
        re.match(r"\s*(SELECT|WITH)", statement.commands[-1]) is not None and "INSERT INTO" not in statement.commands[-1]
    )
    assert not answers or statement.columns, statement.name


@each_statement
def test_no_statement_reads_the_clock_of_the_connection_or_builds_a_default(dialect: str, statement: Statement) -> None:
    assert not re.search(r"\b(now\(|current_timestamp|gen_random_uuid|nextval|random\()", text_of(statement), re.IGNORECASE)


@each_statement
def test_every_statement_can_be_spelt_for_its_databases(dialect: str, statement: Statement) -> None:
    if dialect != "postgres":
        compile_sqlite(statement)
    if dialect != "sqlite":
        compiled = compile_postgres(statement, skip_locked=dialect == "postgres")
        assert not any("{{" in command or ":" in re.sub(r"::|'[^']*'", "", command) for command in compiled.commands)


# -- the reader of the files -------------------------------------------------------------------------------------------


def test_headers_commands_and_prose_are_told_apart() -> None:
    (statement,) = parse(
        "-- name: runs.try\n-- First line,\n-- second line.\n-- moves: none -> queued\n-- moves: queued, running -> failed\n"
        "-- columns: id text\n-- columns: body bytes\n-- input batch: id uuid\n-- input batch: n int\nSELECT 1;\nSELECT 2;\n"
    )
    assert (statement.name, statement.sentence, statement.commands) == (
        "runs.try",
        "First line, second line.",
        ("SELECT 1", "SELECT 2"),
    )
    assert statement.moves == {(None, State.QUEUED), (State.QUEUED, State.FAILED), (State.RUNNING, State.FAILED)}
    assert statement.columns == (("id", "text"), ("body", "bytes"))
    assert statement.inputs == {"batch": (("id", "uuid"), ("n", "int"))}


def test_a_move_to_an_unknown_state_is_refused() -> None:
    with pytest.raises(ValueError, match="no_such_state"):
        list(parse("-- name: x.y\n-- Sentence here.\n-- moves: queued -> no_such_state\nSELECT 1;\n"))


def test_a_semicolon_inside_a_line_ends_no_command() -> None:
    assert next(names("-- name: a.b\n-- Two words.\nSELECT ';' AS x;\n")) == ("SELECT ';' AS x",)


def names(text: str) -> Iterator[tuple[str, ...]]:
    return (statement.commands for statement in parse(text))


def test_every_statement_that_code_asks_for_is_there() -> None:
    asked = {
        (path.name, name)
        for path in Path(mainspring.__file__).parent.rglob("*.py")
        for name in re.findall(r'\btx\.(?:rows|one|execute|send|ask)\(\s*"([a-z_]+\.[a-z_]+)"', path.read_text(encoding="utf-8"))
    }
    assert len(asked) > 100
    known = {name for dialect in DIALECTS for name in load(dialect)}
    assert not {(where, name) for where, name in asked if name not in known}
