"""Payloads and results: from Python values to stored bytes and back, checked against a function's own annotations.

The form is JSON. A payload is an object with one member per parameter, defaults filled in, so two calls that mean the same are
stored alike. Builtins, dataclasses, TypedDicts and msgspec structs are understood by msgspec; pydantic models where pydantic is
installed. Nothing is ever pickled.
"""

import hashlib
import inspect
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec
import msgspec.inspect

from mainspring.errors import InvalidOption, PayloadInvalid, PayloadTooLarge, ResultInvalid, ResultTooLarge, shown

LARGEST = 256 * 1024
DEEPEST = 64


def _encode_hook(value: Any) -> Any:
    dump = getattr(type(value), "model_dump", None)
    if dump is not None:  # a pydantic model
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _decode_hook(kind: type, value: Any) -> Any:
    if hasattr(kind, "model_validate"):
        if isinstance(value, kind):
            return value
        try:
            return kind.model_validate(value)
        except ValueError as error:  # pydantic's ValidationError is one
            raise msgspec.ValidationError(str(error)) from None
    raise msgspec.ValidationError(f"{kind.__name__} cannot be read from JSON; annotate with a type that can")


_encoder = msgspec.json.Encoder(enc_hook=_encode_hook)


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadSchema:
    """The parameters of one function as a schema. ``context`` is the name of the parameter that gets the run's context."""

    function: str
    context: str | None
    context_at: int | None
    fields: tuple[str, ...]
    struct: type[msgspec.Struct]
    decoder: msgspec.json.Decoder[Any]
    signature: inspect.Signature
    getter: Callable[[Any], Any] | None

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """The payload of a call.

        Raises:
            PayloadInvalid: the arguments do not fit; every field that does not is named. Nothing was created.
            PayloadTooLarge: more than 256 KiB of JSON.
        """
        try:
            value = self.struct(*args, **kwargs)
        except TypeError as error:
            raise self._misfit(args, kwargs, error) from None
        try:
            body: bytes = _encoder.encode(value)
            self.decoder.decode(body)
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
            raise self._invalid(value, error) from None
        self._refuse_odd(value, body)
        if len(body) > LARGEST:
            raise PayloadTooLarge(
                f"the payload of {self.function} is {len(body):,} bytes and {LARGEST:,} is the most; "
                "store the data elsewhere and pass where it is"
            )
        return body

    def decode(self, body: bytes) -> tuple[Any, ...]:
        """The arguments of a stored payload, in parameter order.

        Raises:
            PayloadInvalid: the payload does not fit the function as it is now.
        """
        try:
            values = self.decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise PayloadInvalid(f"the stored payload does not fit {self.function}: {error}", errors=[_error(error)]) from None
        if self.getter is None:
            return ()
        found = self.getter(values)
        return found if len(self.fields) > 1 else (found,)

    def with_context(self, values: tuple[Any, ...], context: Any) -> Sequence[Any]:
        """``values`` with the context at its place among the parameters."""
        if self.context_at is None:
            return values
        return (*values[: self.context_at], context, *values[self.context_at :])

    def _misfit(self, args: Sequence[Any], kwargs: Mapping[str, Any], error: TypeError) -> PayloadInvalid:
        """A call that names or counts its arguments wrongly, in the words Python itself has for that."""
        told = str(error)
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as better:
            told = str(better)
        names = ", ".join(self.fields) or "no arguments"
        return PayloadInvalid(f"{self.function} takes ({names}): {told}", errors=[{"field": "$", "message": told}])

    def _invalid(self, value: msgspec.Struct, error: Exception) -> PayloadInvalid:
        values = {name: getattr(value, name) for name in self.fields}
        wrong = [found for name, given in values.items() if (found := self._wrong(name, given))] or [_error(error)]
        told = "; ".join(f"{entry['field']}: {entry['message']}" for entry in wrong)
        return PayloadInvalid(f"the payload of {self.function} does not fit: {told}", errors=wrong)

    def _wrong(self, name: str, value: Any) -> dict[str, str] | None:
        kind = self.struct.__annotations__[name]
        try:
            msgspec.json.Decoder(kind, dec_hook=_decode_hook).decode(_encoder.encode(value))
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
            return {"field": name, "message": _readable(error)}
        return None

    def _refuse_odd(self, value: msgspec.Struct, body: bytes) -> None:
        """NaN and infinity would quietly become null; nesting past the bound would burden whoever reads it."""
        if b"null" in body and (path := _path_of_nan(_plain(value), "")):
            problem = f"{path[1:]} is not a number that JSON has"
        elif body.count(b"[") + body.count(b"{") > DEEPEST and _depth(body) > DEEPEST:
            problem = f"nested deeper than {DEEPEST} levels"
        else:
            return
        raise PayloadInvalid(f"the payload of {self.function} does not fit: {problem}", errors=[{"field": "$", "message": problem}])


def payload_schema(function: Callable[..., Any], context_type: type) -> PayloadSchema:
    """Read a function's parameters. The one annotated with ``context_type`` is not part of the payload.

    Raises:
        InvalidOption: ``*args``/``**kwargs``, or an annotation that has no JSON form; the message names the parameter.
    """
    name = getattr(function, "__qualname__", repr(function))
    signature = inspect.signature(function)
    hints = get_type_hints(function, include_extras=True)
    context, context_at, fields = None, None, []
    for place, parameter in enumerate(signature.parameters.values()):
        kind = hints.get(parameter.name, Any)
        if parameter.kind is parameter.KEYWORD_ONLY:
            raise InvalidOption(f"{name} takes {parameter.name} by keyword only; drop the *, so that it has a place", option="task")
        if kind is context_type:
            if context is not None:
                raise InvalidOption(
                    f"{name} asks for its Context twice ({context}, {parameter.name}); once is enough", option="task"
                )
            context, context_at = parameter.name, place
            continue
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            raise InvalidOption(f"{name} takes *{parameter.name}; a task's parameters must be named", option=parameter.name)
        fields.append((parameter.name, kind) if parameter.default is parameter.empty else _defaulted(parameter, kind))
    try:
        struct = msgspec.defstruct("Payload", fields, forbid_unknown_fields=True, gc=False)
        decoder = msgspec.json.Decoder(struct, dec_hook=_decode_hook)
        odd = next((kind for field, kind, *_ in fields for kind in _unstorable(kind)), None)
    except TypeError as error:
        raise InvalidOption(f"the parameters of {name} cannot be stored: {error}", option="parameters") from None
    if odd is not None:
        raise InvalidOption(f"the parameters of {name} cannot be stored: {shown(odd)} has no JSON form", option="parameters")
    names = tuple(field[0] for field in fields)
    kept = [p for p in signature.parameters.values() if p.name != context]
    return PayloadSchema(
        function=name,
        context=context,
        context_at=context_at,
        fields=names,
        struct=struct,
        decoder=decoder,
        signature=signature.replace(parameters=kept),
        getter=operator.attrgetter(*names) if names else None,
    )


def _unstorable(kind: Any) -> Iterator[type]:
    """Types within an annotation that neither msgspec nor a model of their own can read from JSON."""
    waiting: list[Any] = [msgspec.inspect.type_info(kind)]
    seen: set[int] = set()
    while waiting:
        info = waiting.pop()
        if id(info) in seen or not isinstance(info, (msgspec.inspect.Type, msgspec.inspect.Field)):
            continue
        seen.add(id(info))
        if isinstance(info, msgspec.inspect.CustomType) and not hasattr(info.cls, "model_validate"):
            yield info.cls
        for name in info.__struct_fields__:
            part = getattr(info, name)
            waiting += part if isinstance(part, tuple) else [part]


def _defaulted(parameter: inspect.Parameter, kind: Any) -> tuple[str, Any, Any]:
    default = parameter.default
    if isinstance(default, (list, dict, set)):
        return parameter.name, kind, msgspec.field(default_factory=default.copy)
    return parameter.name, kind, default


def payload_hash(body: bytes) -> str:
    """What tells two payloads under one key apart."""
    return hashlib.sha256(body).hexdigest()


def encode_result(value: Any) -> bytes:
    """A result as it is stored.

    Raises:
        ResultInvalid: no JSON form. ResultTooLarge: more than 256 KiB.
    """
    if value is None:
        return b"null"
    try:
        body: bytes = _encoder.encode(value)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise ResultInvalid(f"the result {shown(value)} cannot be stored: {error}; return a value that has a JSON form") from None
    if b"null" in body and (path := _path_of_nan(_plain(value), "result")):
        raise ResultInvalid(f"{path} is not a number that JSON has; return a finite one, or None")
    if len(body) > LARGEST:
        raise ResultTooLarge(
            f"the result is {len(body):,} bytes and {LARGEST:,} is the most; store it elsewhere and return where it is"
        )
    return body


def result_decoder(kind: Any) -> Callable[[bytes], Any]:
    """Reads results of a task whose return annotation is ``kind``; without one, whatever JSON says."""
    return msgspec.json.Decoder(kind, dec_hook=_decode_hook).decode


def encode_json(value: Any, *, what: str, largest: int) -> bytes:
    """Any JSON-able value (a checkpoint, a progress note), bounded.

    Raises:
        PayloadInvalid: no JSON form. PayloadTooLarge: over ``largest`` bytes.
    """
    try:
        body: bytes = _encoder.encode(value)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise PayloadInvalid(f"the {what} cannot be stored: {error}", errors=[{"field": what, "message": str(error)}]) from None
    if len(body) > largest:
        raise PayloadTooLarge(f"the {what} is {len(body):,} bytes and {largest:,} is the most")
    return body


def decode_json(body: bytes | str) -> Any:
    """Undo ``encode_json``."""
    return msgspec.json.decode(body)


def _error(error: Exception) -> dict[str, str]:
    text = str(error)
    _, _, field = text.partition(" - at `$.")
    return {"field": field.rstrip("`") or "$", "message": _readable(error)}


def _readable(error: Exception) -> str:
    message, _, path = str(error).partition(" - at `$")
    return message + (f" at {path.rstrip('`')}" if path.rstrip("`") else "")


def _plain(value: Any) -> Any:
    """A value as mappings, lists and numbers."""
    return msgspec.to_builtins(value, enc_hook=_encode_hook, str_keys=True)


def _path_of_nan(value: Any, path: str) -> str | None:
    if isinstance(value, float):
        return path if math.isnan(value) or math.isinf(value) else None
    if isinstance(value, Mapping):
        children = ((f"{path}.{key}", child) for key, child in value.items())
    elif isinstance(value, (list, tuple, set)):
        children = ((f"{path}[{index}]", child) for index, child in enumerate(value))
    else:
        return None
    return next((found for name, child in children if (found := _path_of_nan(child, name))), None)


def _depth(body: bytes) -> int:
    deepest = depth = 0
    in_text = escaped = False
    for byte in body:
        if in_text:
            escaped, in_text = byte == 0x5C and not escaped, escaped or byte != 0x22
        elif byte == 0x22:
            in_text = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest
