"""What tells two payload schemas apart: a hash of what may be in the JSON, and of nothing else.

The same for the same schema in every process, on every Python, and whatever classes, docstrings, titles and defaults are called
or say: only names, types, bounds and whether a member may be missing count. The order of members does not, unless they are
stored as an array.
"""

import hashlib
from typing import Any

import msgspec
import msgspec.inspect

_LENGTH = 32
_FIELD_LISTS = ("fields",)
#: What a type's description holds that says nothing about its JSON.
_SILENT = frozenset({"cls", "default", "default_factory", "extra", "extra_json_schema"})
_SILENT_IN_MODELS = frozenset({"title", "description", "examples", "example", "default", "$comment"})


def fingerprint(kind: Any) -> str:
    """SHA-256 of the canonical form of a type, in 32 hexadecimal digits."""
    form = _canonical(msgspec.inspect.type_info(kind), ())
    return hashlib.sha256(_text(form)).hexdigest()[:_LENGTH]


def _canonical(info: Any, within: tuple[type, ...]) -> Any:
    match info:
        case msgspec.inspect.Metadata():
            return _canonical(info.type, within)
        case msgspec.inspect.UnionType():
            return ["union", *sorted((_canonical(part, within) for part in info.types), key=_text)]
        case msgspec.inspect.EnumType():
            return ["enum", *sorted((member.value for member in info.cls), key=_text)]
        case msgspec.inspect.LiteralType():
            return ["literal", *sorted(info.values, key=_text)]
        case msgspec.inspect.CustomType():
            return _model(info.cls)
        case msgspec.inspect.Type() if hasattr(info, "cls"):
            if info.cls in within:  # a type that holds itself: how many levels up it is, for its name says nothing
                return ["above", len(within) - within.index(info.cls)]
            within = (*within, info.cls)
    return [type(info).__name__, *_details(info, within)]


def _details(info: Any, within: tuple[type, ...]) -> list[Any]:
    found: list[Any] = []
    for name in sorted(set(info.__struct_fields__) - _SILENT):
        value = getattr(info, name)
        if name in _FIELD_LISTS:
            fields = [_field(field, within) for field in value]
            found.append([name, fields if getattr(info, "array_like", True) else sorted(fields, key=lambda each: each[0])])
        elif isinstance(value, msgspec.inspect.Type):
            found.append([name, _canonical(value, within)])
        elif isinstance(value, tuple):
            found.append([name, [_canonical(part, within) for part in value]])
        elif value is not None and value is not False:
            found.append([name, value])
    return found


def _field(field: msgspec.inspect.Field, within: tuple[type, ...]) -> list[Any]:
    return [field.encode_name, field.required, _canonical(field.type, within)]


def _model(cls: type) -> Any:
    """A model that msgspec does not know, as the JSON schema it has of itself."""
    describe = getattr(cls, "model_json_schema", None)
    return ["model", _without_prose(describe())] if describe is not None else ["custom", cls.__qualname__]


def _without_prose(schema: Any, *, names: bool = False) -> Any:
    """A JSON schema without what is written for people. The names of the user's members all stay."""
    if isinstance(schema, dict):
        kept = schema if names else {key: value for key, value in schema.items() if key not in _SILENT_IN_MODELS}
        return {
            key: sorted(value) if key == "required" and not names else _without_prose(value, names=key in {"properties", "$defs"})
            for key, value in sorted(kept.items())
        }
    if isinstance(schema, list):
        return [_without_prose(part) for part in schema]
    return schema


def _text(form: Any) -> bytes:
    return msgspec.json.encode(form, order="sorted")
