"""The few things the two databases spell differently: a handful of fragments, and how a list travels as one parameter.

Fragments in ``.sql`` files::

    {{now}}                                     the database's clock, UTC microseconds
    {{lock}} {{skip_locked}}                    lock the rows read; ... passing over those locked by others
    {{by_id}}                                   reach runs by primary key, whatever statistics say
    {{any tasks text}}                          = any element of the list parameter :tasks
    {{batch}}                                   a list parameter declared by an ``-- input batch:`` line, as a table of rows
    {{blob_mark}}                               the first byte of a value that points to a blob
    {{uuid}} {{bytes}} {{int}} {{strict}} {{clustered}}   column types and table options (migrations only)
    {{bytewise}}                                text that is compared byte by byte, whatever the server's language
    {{only_postgres}}                           makes the rest of the line a comment on SQLite (migrations only)

A list travels as one text parameter whatever its length, so a statement has one plan: an array literal for each column on
PostgreSQL, one JSON array on SQLite.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from mainspring.store.statements import Statement

_FRAGMENT = re.compile(r"\{\{\s*(?P<name>\w+)(?:\s+(?P<rest>[^}]*?))?\s*\}\}")
_PARAMETER = re.compile(r"(?<![:\w]):(?P<name>[a-z_]+)\b")
_SET = re.compile(r"\b(?!NOT\b)([\w.]+)\s+IN\s+\(\s*('\w+'(?:,\s*'\w+')+)\s*\)")
_encode_json = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A statement as one database runs it: its commands, and how each list parameter is turned into driver parameters."""

    name: str
    commands: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    lists: dict[str, Callable[[Sequence[Any]], dict[str, Any]]]

    def bind(self, params: dict[str, Any]) -> dict[str, Any]:
        """Driver parameters for one call."""
        if not self.lists:
            return params
        bound = dict(params)
        for name, encode in self.lists.items():
            bound.update(encode(bound.pop(name)))
        return bound


def spell(sql: str, dialect: str) -> str:
    """A migration's text for ``postgres`` or ``sqlite``."""
    words = _SQLITE_WORDS if dialect == "sqlite" else _pg_words(True)
    spelt = _FRAGMENT.sub(lambda found: words[found["name"]], sql)
    return _without_sets(spelt) if dialect == "sqlite" else spelt


# -- PostgreSQL ------------------------------------------------------------------------------------------------------

_PG_TYPES = {"uuid": "uuid", "int": "bigint", "text": "text", "bytes": "bytea", "bool": "boolean"}
_PG_NOW = "((extract(epoch FROM transaction_timestamp()) * 1000000)::bigint)"


def compile_postgres(statement: Statement, *, skip_locked: bool) -> Compiled:
    """Spell a statement for psycopg: ``%(name)s`` parameters, array literals for lists."""
    lists: dict[str, Callable[[Sequence[Any]], dict[str, Any]]] = {}

    def fragment(found: re.Match[str]) -> str:
        rest = found["rest"] or ""
        match found["name"]:
            case "any":
                name, kind = rest.split()
                lists[name] = _array_encoder(name, kind)
                return f"= ANY(:{name}::text::{_PG_TYPES[kind]}[])"
            case name if name in statement.inputs:
                pairs = statement.inputs[name]
                lists[name] = _arrays_encoder(name, pairs)
                arrays = ", ".join(f":{name}_{column}::text::{_PG_TYPES[kind]}[]" for column, kind in pairs)
                return f"(SELECT * FROM unnest({arrays}) AS input({', '.join(column for column, _ in pairs)}))"
            case other:
                return _pg_words(skip_locked)[other]

    commands = tuple(_pg_parameters(_FRAGMENT.sub(fragment, command)) for command in statement.commands)
    return Compiled(name=statement.name, commands=commands, columns=statement.columns, lists=lists)


def _pg_words(skip_locked: bool) -> dict[str, str]:
    return {
        "now": _PG_NOW,
        "lock": "FOR UPDATE",
        "by_id": "",
        "skip_locked": "FOR UPDATE SKIP LOCKED" if skip_locked else "FOR UPDATE",
        "uuid": "UUID",
        "bytes": "BYTEA",
        "int": "BIGINT",
        "strict": "",
        "clustered": "",
        "bytewise": 'COLLATE "C"',
        "only_postgres": "",
        "blob_mark": r"'\x02'::bytea",
    }


def _pg_parameters(sql: str) -> str:
    return _PARAMETER.sub(r"%(\g<name>)s", sql.replace("%", "%%"))


def _array_encoder(name: str, kind: str) -> Callable[[Sequence[Any]], dict[str, Any]]:
    element = _PG_ELEMENTS[kind]
    return lambda values: {name: "{" + ",".join(map(element, values)) + "}"}


def _arrays_encoder(name: str, pairs: Sequence[tuple[str, str]]) -> Callable[[Sequence[Any]], dict[str, Any]]:
    literals = [(f"{name}_{column}", _pg_bytes_literal if kind == "bytes" else _literal_of(kind)) for column, kind in pairs]

    def encode(rows: Sequence[Any]) -> dict[str, Any]:
        columns: Sequence[Any] = list(zip(*rows, strict=True)) or [()] * len(literals)
        return {key: literal(values) for (key, literal), values in zip(literals, columns, strict=True)}

    return encode


def _literal_of(kind: str) -> Callable[[Sequence[Any]], str]:
    element = _PG_ELEMENTS[kind]
    return lambda values: "{" + ",".join(map(element, values)) + "}"


def _pg_bytes_literal(values: Sequence[bytes | None]) -> str:
    """Payloads by the thousand: no call of ours for each."""
    if not values or None in values:
        return "{" + ",".join(map(_pg_bytes, values)) + "}"
    return '{"\\\\x' + '","\\\\x'.join(map(bytes.hex, values)) + '"}'  # type: ignore[arg-type]


def _pg_plain(value: Any) -> str:
    return "NULL" if value is None else str(value)


def _pg_text(value: str | None) -> str:
    if value is None:
        return "NULL"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _pg_bytes(value: bytes | None) -> str:
    return "NULL" if value is None else '"\\\\x' + value.hex() + '"'


_PG_ELEMENTS: dict[str, Callable[[Any], str]] = {
    "uuid": _pg_plain,
    "int": _pg_plain,
    "bool": _pg_plain,
    "text": _pg_text,
    "bytes": _pg_bytes,
}


# -- SQLite ----------------------------------------------------------------------------------------------------------

_SQLITE_WORDS = {
    "now": ":now",
    "lock": "",
    "by_id": "INDEXED BY sqlite_autoindex_runs_1",
    "skip_locked": "",
    "uuid": "TEXT",
    "bytes": "BLOB",
    "int": "INTEGER",
    "strict": "STRICT",
    "clustered": "STRICT, WITHOUT ROWID",
    "bytewise": "",
    "only_postgres": "--",
    "blob_mark": "x'02'",
}


def compile_sqlite(statement: Statement) -> Compiled:
    """Spell a statement for apsw: ``:name`` parameters, JSON for lists.

    A statement that answers rows from a ``SELECT`` answers them as one JSON value: every step of a cursor gives up the
    interpreter's lock, and a busy thread beside it would make each of a hundred rows wait its turn.
    """
    lists: dict[str, Callable[[Sequence[Any]], dict[str, Any]]] = {}

    def fragment(found: re.Match[str]) -> str:
        rest = found["rest"] or ""
        match found["name"]:
            case "any":
                name, _ = rest.split()
                lists[name] = _json_encoder(name)
                return f"IN (SELECT value FROM json_each(:{name}))"
            case name if name in statement.inputs:
                pairs = statement.inputs[name]
                lists[name] = _json_rows_encoder(name, pairs)
                picked = ", ".join(f"{_sqlite_column(n, kind)} AS {column}" for n, (column, kind) in enumerate(pairs))
                return f"(SELECT {picked} FROM jsonb_each(:{name}))"  # whose rows need no parsing for each column
            case other:
                return _SQLITE_WORDS[other]

    commands = tuple(_without_sets(_FRAGMENT.sub(fragment, command)) for command in statement.commands)
    return Compiled(name=statement.name, commands=commands, columns=statement.columns, lists=lists)


def _without_sets(sql: str) -> str:
    """``IN ('a', 'b')`` as ``= 'a' OR = 'b'``. In a CHECK and in the condition of an index SQLite builds the set anew for every row
    that is written, which costs four times what the write does; a query uses such an index only if it says the same."""
    return _SET.sub(lambda found: "(" + " OR ".join(f"{found[1]} = {word.strip()}" for word in found[2].split(",")) + ")", sql)


def as_one_json_row(select: str, columns: tuple[tuple[str, str], ...]) -> str:
    """Wrap a SQLite ``SELECT`` so that all its rows come back as one JSON array of arrays."""
    fields = ", ".join(f"hex({name})" if kind == "bytes" else name for name, kind in columns)
    return f"SELECT json_group_array(json_array({fields})) FROM ({select})"


def from_json_rows(text: str, columns: tuple[tuple[str, str], ...]) -> list[tuple[Any, ...]]:
    """Undo ``as_one_json_row``."""
    rows: list[list[Any]] = msgspec.json.decode(text)
    blobs = [index for index, (_, kind) in enumerate(columns) if kind == "bytes"]
    for row in rows if blobs else ():
        for index in blobs:
            row[index] = bytes.fromhex(row[index]) or None
    return [tuple(row) for row in rows]


def _sqlite_column(index: int, kind: str) -> str:
    extracted = f"(value ->> {index})"
    return f"unhex({extracted})" if kind == "bytes" else extracted


def _json_encoder(name: str) -> Callable[[Sequence[Any]], dict[str, Any]]:
    return lambda values: {name: _encode_json(list(values)).decode()}


def _json_rows_encoder(name: str, pairs: Sequence[tuple[str, str]]) -> Callable[[Sequence[Any]], dict[str, Any]]:
    blobs = [index for index, (_, kind) in enumerate(pairs) if kind == "bytes"]

    def hexed(rows: Sequence[Any]) -> list[Any]:
        columns: list[Any] = list(zip(*rows, strict=True))
        for index in blobs if columns else ():
            columns[index] = [None if value is None else value.hex() for value in columns[index]]
        return list(zip(*columns, strict=True))

    def encode(rows: Sequence[Any]) -> dict[str, Any]:
        return {name: _encode_json(hexed(rows) if blobs else rows).decode()}

    return encode
