"""Reading a request: from bytes and texts to the struct an endpoint asks for, or every wrong field at once.

Stricter than it must be, on purpose: a field or parameter that nobody knows is a typing error of somebody's, and is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import msgspec
from msgspec.inspect import Metadata, type_info

from mainspring.errors import shown
from mainspring.web.problems import FieldError, Refused, invalid

S = TypeVar("S", bound=msgspec.Struct)

_WHOLE = re.compile(r"-?[0-9]{1,18}")
_POSITION = re.compile(r"\(byte (\d+)\)")
#: How deep JSON may be nested: beyond that it is nobody's data.
DEEPEST = 64


class Told(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A body of which more is wrong than its form can be."""

    @classmethod
    def also_wrong(cls, raw: Mapping[str, Any]) -> Iterable[FieldError]:
        """What is wrong beside its form, where that is wrong already, so that all of it is told at once."""
        raise NotImplementedError


class Parameter(NamedTuple):
    """One query parameter: its field, what one value of it is, and whether it may be repeated."""

    field: msgspec.structs.FieldInfo
    kind: Literal["text", "whole", "truth"]
    is_list: bool


def read_query(wanted: type[S], pairs: Iterable[tuple[str, str]]) -> S:
    """Query parameters as the struct that is wanted.

    Raises:
        Refused: 422, naming each parameter that is unknown, repeated, missing or wrong.
    """
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        given.setdefault(name, []).append(value)
    known = {parameter.field.encode_name: parameter for parameter in parameters(wanted)}
    wrong = [_unknown(name, known, "query parameter") for name in given if name not in known]
    found: dict[str, Any] = {}
    for name, parameter in known.items():
        if name in given:
            try:
                found[parameter.field.name] = _parameter(parameter, given[name])
            except (ValueError, msgspec.ValidationError) as error:
                wrong.append(FieldError(field=name, message=_said(error)))
        elif parameter.field.required:
            wrong.append(FieldError(field=name, message="is missing"))
    if wrong:
        raise invalid(wrong)
    return wanted(**found)


def parameters(wanted: type[msgspec.Struct]) -> list[Parameter]:
    """The query parameters that a struct stands for."""
    return [_described(field) for field in msgspec.structs.fields(wanted)]


def read_body(wanted: type[S], media_type: str, body: bytes) -> S:
    """A JSON body as the struct that is wanted; none at all is an empty object.

    Raises:
        Refused: 415 for another media type, 400 for what is no JSON (with the position), 422 naming each field that is unknown,
            missing or wrong.
    """
    if not body:
        return _struct(wanted, {})
    if media_type.partition(";")[0].strip().lower() != "application/json":
        told = f"the body must be application/json, not {shown(media_type) if media_type else 'of no type'}"
        raise Refused(415, "unsupported_media_type", told, headers={"Accept": "application/json"})
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(error) from None
    if _depth(raw) > DEEPEST:
        raise Refused(400, "malformed_json", f"the body is nested deeper than {DEEPEST} levels")
    if not isinstance(raw, dict):
        raise invalid([FieldError(field="$", message="the body must be a JSON object")])
    return _struct(wanted, raw)


def _struct(wanted: type[S], raw: Mapping[str, Any]) -> S:
    wrong: list[FieldError] = []
    found = _fields(wanted, raw, "", wrong)
    if wrong and issubclass(wanted, Told):
        named = {each.field for each in wrong}
        wrong += [each for each in wanted.also_wrong(raw) if each.field.partition(".")[0] not in named]
    if wrong:
        raise invalid(wrong)
    return wanted(**found)


def _fields(wanted: type[msgspec.Struct], raw: Mapping[str, Any], path: str, wrong: list[FieldError]) -> dict[str, Any]:
    """The fields of a struct, each by itself, so that all that is wrong is found."""
    known = {field.encode_name: field for field in msgspec.structs.fields(wanted)}
    wrong += [_unknown(path + name, {path + each: None for each in known}, "field") for name in raw if name not in known]
    found: dict[str, Any] = {}
    for name, field in known.items():
        if name not in raw:
            if field.required:
                wrong.append(FieldError(field=path + name, message="is missing"))
            continue
        inner = _struct_of(field.type)
        if inner is not None and isinstance(raw[name], dict):
            before = len(wrong)
            values = _fields(inner, raw[name], f"{path}{name}.", wrong)
            if len(wrong) == before:
                found[field.name] = inner(**values)
            continue
        try:
            found[field.name] = _converted(raw[name], field.type)
        except msgspec.ValidationError as error:
            wrong.append(FieldError(field=path + name, message=_said(error)))
    return found


def _converted(value: Any, kind: Any) -> Any:
    """A value as a type; 7.0 is a whole number in JSON."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        if not isinstance(value, float) or not value.is_integer():
            raise
        return msgspec.convert(int(value), kind)


def _struct_of(kind: Any) -> type[msgspec.Struct] | None:
    """The struct that a field holds, if it holds one or none."""
    kinds = [each for each in (get_args(kind) or (kind,)) if isinstance(each, type) and issubclass(each, msgspec.Struct)]
    return kinds[0] if len(kinds) == 1 else None


def _described(field: msgspec.structs.FieldInfo) -> Parameter:
    info = type_info(field.type)
    info = info.type if isinstance(info, Metadata) else info
    kinds = [each for each in getattr(info, "types", (info,)) if not isinstance(each, msgspec.inspect.NoneType)]
    is_list = isinstance(kinds[0], msgspec.inspect.ListType)
    inner = kinds[0].item_type if isinstance(kinds[0], msgspec.inspect.ListType) else kinds[0]
    match inner:
        case msgspec.inspect.IntType():
            return Parameter(field, "whole", is_list)
        case msgspec.inspect.BoolType():
            return Parameter(field, "truth", is_list)
        case _:
            return Parameter(field, "text", is_list)


def _parameter(parameter: Parameter, values: Sequence[str]) -> Any:
    if not parameter.is_list and len(values) > 1:
        raise ValueError("is given more than once")
    read = [_value(parameter.kind, value) for value in values]
    return msgspec.convert(read if parameter.is_list else read[0], parameter.field.type)


def _value(kind: str, text: str) -> Any:
    match kind:
        case "whole":
            if not _WHOLE.fullmatch(text):
                raise ValueError(f"must be a whole number, not {shown(text)}")
            return int(text)
        case "truth":
            if text not in {"true", "false"}:
                raise ValueError(f"must be true or false, not {shown(text)}")
            return text == "true"
        case _:
            return text


def _unknown(name: str, known: Iterable[str], what: str) -> FieldError:
    return FieldError(field=name[:200], message=f"there is no such {what}; there are {', '.join(known) or 'none'}")


def _said(error: Exception) -> str:
    """What a validation says, in the words of ours: it names a place within the field where there is one."""
    text = str(error).replace("Expected", "expected").replace("Invalid", "invalid")
    place = re.search(r" - at `\$([^`]*)`$", text)
    return text if place is None else f"{text[: place.start()]} (at {place[1]})" if place[1] else text[: place.start()]


def _malformed(error: Exception) -> Refused:
    found = _POSITION.search(str(error))
    at = f" at byte {found[1]}" if found else ""
    told = _POSITION.sub("", str(error)).removeprefix("JSON is malformed:").strip() or "it cannot be read"
    return Refused(400, "malformed_json", f"the body is no JSON{at}: {told}", [FieldError(field="$", message=f"malformed{at}")])


def _depth(value: Any) -> int:
    """How deep a value is nested; counting ends a little beyond what is allowed."""
    depth, level = 0, [value]
    while level and depth <= DEEPEST:
        depth += 1
        inside: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inside += each.values()
            elif isinstance(each, list):
                inside += each
        level = inside
    return depth
