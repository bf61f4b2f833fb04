"""YAML as files of schedules have it: what a reader could misread is refused, with line and column.

Here: one document of plain data, as JSON has it, with the place of every part; and writing such data. Nothing is guessed: ``yes``,
``10:30`` and ``2026-01-01`` are texts; only ``true``, ``false``, ``null`` and numbers are anything else. Not here: what the data
means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml

from mainspring.errors import FileInvalid, shown

LARGEST = 1 << 20
MOST_ALIASES = 100
DEEPEST = 64
#: Parts of a document, with those that aliases repeat.
MOST_PARTS = 200_000

_WORDS: Mapping[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}
_WHOLE = re.compile(r"[-+]?[0-9]{1,30}")
_ODD = re.compile("[\\x00-\\x09\\x0b-\\x1f\\x7f-\\xa0\\u2028\\u2029\\ufeff]")
_REAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


class Place(NamedTuple):
    """Where something is written; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says. ``places``: by path (``schedules[2].rule.cron``), where each part begins."""

    data: Any
    places: Mapping[str, Place]

    def place(self, path: str) -> Place:
        """Where the part at ``path`` is, or the nearest one around it that was written."""
        while path and path not in self.places:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.places.get(path, Place(1, 1))


def read_yaml(text: str, *, name: str) -> Document:
    """Read one document.

    Raises:
        FileInvalid: it is no YAML, or says more than data can: a doubled key, a tag, more than 100 aliases, more than 1 MiB.
    """
    if len(text.encode("utf-8", "surrogatepass")) > LARGEST:
        raise _wrong(name, Place(1, 1), "", f"a file has at most {LARGEST:,} bytes: make several")
    return _Builder(text, name).document()


def write_yaml(data: Any) -> str:
    """Write data so that ``read_yaml`` gives the same."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


def refusal(errors: list[dict[str, Any]]) -> FileInvalid:
    """The error that tells all of ``errors``, each with file, line, column, path and message."""
    told = "; ".join(f"{each['file']}:{each['line']}:{each['column']}: {each['message']}" for each in errors[:5])
    more = f"; and {len(errors) - 5} more" if len(errors) > 5 else ""
    return FileInvalid(told + more, errors=errors)


def problem(name: str, place: Place, path: str, message: str) -> dict[str, Any]:
    """One entry of such an error."""
    return {"file": name, "line": place.line, "column": place.column, "path": path, "message": message}


def _wrong(name: str, place: Place, path: str, message: str) -> FileInvalid:
    return refusal([problem(name, place, path, message)])


class _Builder:
    """From the events of a parser, which do not nest, to data; everything counted on the way."""

    def __init__(self, text: str, name: str) -> None:
        self._text, self._name = text, name
        self._events: Iterator[Any] = iter(())
        self._places: dict[str, Place] = {}
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._aliases = self._parts = 0

    def document(self) -> Document:
        try:
            self._events = yaml.parse(self._text, Loader=yaml.SafeLoader)
            self._take(yaml.StreamStartEvent)
            event = next(self._events)
            if isinstance(event, yaml.StreamEndEvent):
                raise _wrong(self._name, Place(1, 1), "", "the file is empty")
            data = self._value(next(self._events), "", 1)
            self._take(yaml.DocumentEndEvent)
            self._take(yaml.StreamEndEvent)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = Place(1, 1) if mark is None else Place(mark.line + 1, mark.column + 1)
            raise _wrong(self._name, place, "", f"this is no YAML: {error.problem or error.context}") from None
        except yaml.YAMLError as error:
            raise _wrong(self._name, Place(1, 1), "", f"this is no YAML: {str(error).splitlines()[0]}") from None
        return Document(data, self._places)

    def _take(self, kind: type) -> None:
        event = next(self._events)
        if not isinstance(event, kind):
            raise self._no(event, "", "a file holds one document: remove what follows ---")

    def _value(self, event: Any, path: str, depth: int) -> Any:
        self._places[path] = Place(event.start_mark.line + 1, event.start_mark.column + 1)
        self._count(event, path, 1)
        if depth > DEEPEST:
            raise self._no(event, path, f"a file is {DEEPEST} deep at most")
        if isinstance(event, yaml.AliasEvent):
            return self._repeated(event, path)
        if event.tag is not None:
            raise self._no(event, path, f"the tag {shown(event.tag)} says nothing here: remove it")
        before = self._parts
        value = self._built(event, path, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = value, self._parts - before + 1
        return value

    def _built(self, event: Any, path: str, depth: int) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event.value) if event.implicit[0] else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(each := next(self._events), yaml.SequenceEndEvent):
                items.append(self._value(each, f"{path}[{len(items)}]", depth + 1))
            return items
        return self._mapping(path, depth)

    def _mapping(self, path: str, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        while not isinstance(each := next(self._events), yaml.MappingEndEvent):
            if not isinstance(each, yaml.ScalarEvent):
                raise self._no(each, path, "a key is a text")
            within = f"{path}.{each.value}" if path else each.value
            if each.value in made:
                raise self._no(each, within, f"the key {shown(each.value)} is there twice")
            made[each.value] = self._value(next(self._events), within, depth + 1)
            self._places[within] = Place(each.start_mark.line + 1, each.start_mark.column + 1)
        return made

    def _repeated(self, event: Any, path: str) -> Any:
        self._aliases += 1
        if self._aliases > MOST_ALIASES:
            raise self._no(event, path, f"a file has at most {MOST_ALIASES} aliases")
        if event.anchor not in self._anchors:
            raise self._no(event, path, f"there is no anchor &{event.anchor} before this")
        value, parts = self._anchors[event.anchor]
        self._count(event, path, parts)
        return value

    def _count(self, event: Any, path: str, parts: int) -> None:
        self._parts += parts
        if self._parts > MOST_PARTS:
            raise self._no(event, path, f"a file has at most {MOST_PARTS:,} parts, those that aliases repeat included")

    def _no(self, event: Any, path: str, message: str) -> FileInvalid:
        return _wrong(self._name, Place(event.start_mark.line + 1, event.start_mark.column + 1), path, message)


def _scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _REAL.fullmatch(text) else text


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # there are no types of PyYAML
    """Quotes every text that would be read as something else, and writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: Any, text: str) -> Any:
    """Where some characters could be taken for ends of lines, all of it in double quotes, which spell them."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _ODD.search(text) else None)


_Dumper.add_representer(str, _text)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(f"^(?:{_WHOLE.pattern})$"), list("-+0123456789"))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^(?:{_REAL.pattern})$"), list("-+.0123456789"))

__all__ = ["Document", "Place", "problem", "read_yaml", "refusal", "write_yaml"]
