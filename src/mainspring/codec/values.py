"""Any value as JSON: encoding, decoding, the bounds, and finding the part of a value that has no such form."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, cast

import msgspec

from mainspring.codec.redaction import secrets_within
from mainspring.errors import PayloadInvalid, PayloadTooLarge, ResultInvalid, ResultTooLarge

#: What a row of the database keeps of one value, in bytes of JSON.
LARGEST = 256 * 1024
#: What a value may have at all, where a blob store takes what is over ``LARGEST``.
LARGEST_STORED = 2 * 1024 * 1024
DEEPEST = 64

#: What encoding and decoding raise for a value that does not fit.
MISFITS = (msgspec.MsgspecError, TypeError, ValueError, RecursionError)


def _encode_hook(value: Any) -> Any:
    dump = getattr(type(value), "model_dump", None)
    if dump is not None:  # a pydantic model
        dumped, model = value.model_dump(mode="json"), type(value)
        if _may_hold_secrets(cast("Any", model)):
            _refuse_masked(value, dumped)
        return dumped
    raise TypeError(f"{type(value).__name__} has no JSON form")


@cache
def _may_hold_secrets(model: Any) -> bool:
    """Whether a model has a field that it writes as asterisks unless told otherwise."""
    return b'"writeOnly":true' in msgspec.json.encode(model.model_json_schema())


def _refuse_masked(value: Any, dumped: Any) -> None:
    """A model that writes a secret as asterisks would lose it: better no run than one that gets asterisks."""
    written = msgspec.json.encode(dumped).decode()
    if any(msgspec.json.encode(secret).decode()[1:-1] not in written for secret in secrets_within([value], shortest=1)):
        raise TypeError(
            f"{type(value).__name__} writes a secret of its own as asterisks, which would lose it; pass where the secret is, or "
            "give the model a field_serializer that writes it (and the App a codec=)"
        )


def decode_hook(kind: type, value: Any) -> Any:
    """Reads models that msgspec does not know."""
    if hasattr(kind, "model_validate"):
        if isinstance(value, kind):
            return value
        try:
            return kind.model_validate(value)
        except ValueError as error:  # pydantic's ValidationError is one
            raise msgspec.ValidationError(str(error)) from None
    raise msgspec.ValidationError(f"{kind.__name__} cannot be read from JSON; annotate with a type that can")


encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=_encode_hook).encode


def encode_result(value: Any, *, largest: int = LARGEST) -> bytes:
    """A result as JSON.

    Raises:
        ResultInvalid: no JSON form; the message has the path of what has none. ResultTooLarge: more than ``largest`` bytes.
    """
    if value is None:
        return b"null"
    try:
        body = encode(value)
    except MISFITS as error:
        told = f"{culprit(value, 'result')}: {readable(error)}"
        raise ResultInvalid(f"the result cannot be stored: {told}; return a value that has a JSON form") from None
    if problem := oddity(value, body, "result"):
        raise ResultInvalid(f"{problem}; return one that has a JSON form")
    if len(body) > largest:
        raise ResultTooLarge(
            f"the result is {len(body):,} bytes and {largest:,} is the most{largest_part(value, 'result', len(body))}; "
            f"{remedy(largest, 'return where it is')}"
        )
    return body


def result_decoder(kind: Any) -> Callable[[bytes], Any]:
    """Reads results of a task whose return annotation is ``kind``; without one, whatever JSON says."""
    return msgspec.json.Decoder(kind, dec_hook=decode_hook).decode


def encode_json(value: Any, *, what: str, largest: int) -> bytes:
    """Any JSON-able value (a checkpoint, a progress note), bounded.

    Raises:
        PayloadInvalid: no JSON form; the message has the path of what has none. PayloadTooLarge: over ``largest`` bytes.
    """
    try:
        body = encode(value)
    except MISFITS as error:
        path = culprit(value, what)
        told = readable(error)
        raise PayloadInvalid(f"the {what} cannot be stored: {path}: {told}", errors=[{"field": path, "message": told}]) from None
    if problem := oddity(value, body, what):
        raise PayloadInvalid(f"the {what} cannot be stored: {problem}", errors=[{"field": what, "message": problem}])
    if len(body) > largest:
        raise PayloadTooLarge(
            f"the {what} is {len(body):,} bytes and {largest:,} is the most{largest_part(value, what, len(body))}"
        )
    return body


def decode_json(body: bytes | str) -> Any:
    """Undo ``encode_json``."""
    return msgspec.json.decode(body)


def readable(error: Exception) -> str:
    """What msgspec says, with the path behind it."""
    message, _, path = str(error).partition(" - at `$")
    return message + (f" at {path.rstrip('`')}" if path.rstrip("`") else "")


def remedy(largest: int, otherwise: str) -> str:
    """What to do about a value that is too large."""
    if largest < LARGEST_STORED:
        return f"give the App a blob store (blobs=), or store it elsewhere and {otherwise}"
    return f"store it elsewhere and {otherwise}"


# -- where in a value it is ------------------------------------------------------------------------------------------


def oddity(value: Any, body: bytes, path: str) -> str | None:
    """What JSON took and should not have: NaN and infinity quietly become null, and nesting past the bound would burden whoever
    reads it."""
    if b"null" in body and (found := _path_of_nan(_plain(value), path)):
        return f"{found} is not a number that JSON has"
    if len(body) > DEEPEST and body.count(b"[") + body.count(b"{") > DEEPEST and _depth(body) > DEEPEST:
        return f"{path} is nested deeper than {DEEPEST} levels" if path else f"nested deeper than {DEEPEST} levels"
    return None


def culprit(value: Any, path: str) -> str:
    """The path of the innermost part of a value that cannot be encoded."""
    for _ in range(DEEPEST):
        found = next(((name, part) for name, part in _parts(value, path) if not _is_encodable(part)), None)
        if found is None:
            break
        path, value = found
    return path


def largest_part(value: Any, path: str, size: int) -> str:
    """Which part of a value makes it large: the innermost that holds more than half of it. Nothing where no part does."""
    whole = path
    for _ in range(DEEPEST):
        found = next(((name, part) for name, part in _parts(value, path) if len(encode(part)) > size // 2), None)
        if found is None:
            break
        path, value = found
    return "" if path == whole else f" ({path} alone is {len(encode(value)):,})"


def _is_encodable(value: Any) -> bool:
    try:
        encode(value)
    except MISFITS:
        return False
    return True


def _parts(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The parts of a value with their paths: members, elements, fields."""
    fields: Sequence[str]
    match value:
        case Mapping():
            yield from ((f"{path}.{key}", part) for key, part in value.items())
            return
        case list() | tuple() | set() | frozenset():
            yield from ((f"{path}[{place}]", part) for place, part in enumerate(value))
            return
        case msgspec.Struct():
            fields = value.__struct_fields__
        case _ if dataclasses.is_dataclass(value):
            fields = [field.name for field in dataclasses.fields(value)]
        case _:
            fields = list(getattr(type(value), "model_fields", ()))
    yield from ((f"{path}.{name}", getattr(value, name)) for name in fields)


def _plain(value: Any) -> Any:
    """A value as mappings, lists and numbers."""
    return msgspec.to_builtins(value, enc_hook=_encode_hook, str_keys=True)


def _path_of_nan(value: Any, path: str) -> str | None:
    if isinstance(value, float):
        return path if math.isnan(value) or math.isinf(value) else None
    if not isinstance(value, (Mapping, list, tuple, set)):
        return None
    return next((found for name, part in _parts(value, path) if (found := _path_of_nan(part, name))), None)


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
