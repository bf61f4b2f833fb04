"""The parameters of a function as a schema: a call becomes a payload by it, and a payload the arguments of a call."""

import inspect
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec
import msgspec.inspect

from mainspring.codec.fingerprint import fingerprint
from mainspring.codec.values import LARGEST, MISFITS, culprit, decode_hook, encode, largest_part, oddity, readable, remedy
from mainspring.errors import InvalidOption, PayloadInvalid, PayloadTooLarge


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadSchema:
    """The parameters of one function as a schema. ``context`` is the name of the parameter that gets the run's context.

    ``fingerprint`` is the same wherever a payload may hold the same; ``largest`` is the most bytes it may have.
    """

    function: str
    context: str | None
    context_at: int | None
    fields: tuple[str, ...]
    struct: type[msgspec.Struct]
    decoder: msgspec.json.Decoder[Any]
    signature: inspect.Signature
    getter: Callable[[Any], Any] | None
    fingerprint: str
    largest: int = LARGEST

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """The payload of a call.

        Raises:
            PayloadInvalid: the arguments do not fit; every field that does not is named. Nothing was created.
            PayloadTooLarge: more than ``largest`` bytes of JSON (256 KiB; 2 MiB where the app has a blob store).
        """
        try:
            value = self.struct(*args, **kwargs)
        except TypeError as error:
            raise self._misfit(args, kwargs, error) from None
        try:
            body = encode(value)
            self.decoder.decode(body)
        except MISFITS as error:
            raise self._invalid(value, error) from None
        if problem := oddity(value, body, ""):
            told = problem.removeprefix(".")
            raise PayloadInvalid(f"the payload of {self.function} does not fit: {told}", errors=[{"field": "$", "message": told}])
        if len(body) > self.largest:
            raise self._too_large(value, len(body))
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
        wrong = [found for name, given in values.items() if (found := self.misfit(name, given))] or [_error(error)]
        told = "; ".join(f"{entry['field']}: {entry['message']}" for entry in wrong)
        return PayloadInvalid(f"the payload of {self.function} does not fit: {told}", errors=wrong)

    def misfit(self, name: str, value: Any) -> dict[str, str] | None:
        """Why a value cannot be the argument ``name``; None if it can."""
        kind = self.struct.__annotations__[name]
        try:
            body = encode(value)
        except MISFITS as error:
            path = culprit(value, name)
            return {"field": name, "message": readable(error) + (f" at {path[len(name) :]}" if path != name else "")}
        try:
            msgspec.json.Decoder(kind, dec_hook=decode_hook).decode(body)
        except MISFITS as error:
            return {"field": name, "message": oddity(value, body, name) or readable(error)}
        return None

    def _too_large(self, value: msgspec.Struct, size: int) -> PayloadTooLarge:
        part = largest_part(value, "", size).replace("(.", "(")
        return PayloadTooLarge(
            f"the payload of {self.function} is {size:,} bytes and {self.largest:,} is the most{part}; "
            f"{remedy(self.largest, 'pass where it is')}"
        )


def payload_schema(function: Callable[..., Any], context_type: type, *, largest: int = LARGEST) -> PayloadSchema:
    """Read a function's parameters. The one annotated with ``context_type`` is not part of the payload.

    Raises:
        InvalidOption: ``*args``/``**kwargs``, or an annotation that has no JSON form; the message names the parameter.
    """
    name = getattr(function, "__qualname__", repr(function))
    signature = inspect.signature(function)
    context, context_at, fields = _parameters(name, function, signature, context_type)
    try:
        struct = msgspec.defstruct("Payload", fields, forbid_unknown_fields=True, gc=False)
        decoder = msgspec.json.Decoder(struct, dec_hook=decode_hook)
        odd = next(((field, odd) for field, kind, *_ in fields for odd in _unstorable(kind)), None)
    except TypeError as error:
        raise InvalidOption(f"the parameters of {name} cannot be stored: {error}", option="parameters") from None
    if odd is not None:
        told = f"{odd[0]} is a {odd[1].__qualname__}, which has no JSON form; make that a dataclass, or pass its id"
        raise InvalidOption(f"the parameters of {name} cannot be stored: {told}", option="parameters")
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
        fingerprint=fingerprint(struct),
        largest=largest,
    )


def _parameters(
    name: str, function: Callable[..., Any], signature: inspect.Signature, context_type: type
) -> tuple[str | None, int | None, list[Any]]:
    """Which parameter is the context and where it stands, and the others as fields of a struct."""
    hints = get_type_hints(function, include_extras=True)
    context: str | None = None
    context_at: int | None = None
    fields: list[Any] = []
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
    return context, context_at, fields


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


def _error(error: Exception) -> dict[str, str]:
    text = str(error)
    _, _, field = text.partition(" - at `$.")
    return {"field": field.rstrip("`") or "$", "message": readable(error)}
