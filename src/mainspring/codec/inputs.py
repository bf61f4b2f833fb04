"""Arguments that are the results of other runs: known by their run when a call is made, by their value when it begins.

Here: how such a payload is encoded and completed. One that begins with 3 names the parameters that are still to come and the runs
they come from, in a line of JSON before the rest; all of it may be sealed, or lie in a blob store, as any payload. Not here: when
results are fetched (``runtime``), and what waits for whom (``operations/dependencies``).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from mainspring.codec.schema import PayloadSchema
from mainspring.codec.values import MISFITS, encode, oddity
from mainspring.errors import InvalidOption, PayloadInvalid, PayloadTooLarge, shown

INPUTS = b"\x03"

_decode_inputs = msgspec.json.Decoder(dict[str, str]).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Reference:
    """An argument that is the result of a run: of a handle, or of a call in the same chain."""

    __slots__ = ("source",)

    def __init__(self, source: Any) -> None:
        self.source = source

    def __repr__(self) -> str:
        return f"result_of({self.source!r})"


def references(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether any argument is a result to come."""
    return any(isinstance(value, Reference) for value in args) or any(isinstance(value, Reference) for value in kwargs.values())


def encode_around(
    schema: PayloadSchema, args: Sequence[Any], kwargs: Mapping[str, Any], find: Callable[[Any], str]
) -> tuple[bytes, dict[str, str]]:
    """The payload of a call without the arguments that are results to come, and the runs those come from, by parameter.

    ``find`` gives the id of a reference's run.

    Raises:
        PayloadInvalid, PayloadTooLarge: the other arguments do not fit; nothing was created.
    """
    try:
        bound = schema.signature.bind(*args, **kwargs)
    except TypeError as error:
        told = f"{schema.function} takes ({', '.join(schema.fields) or 'no arguments'}): {error}"
        raise PayloadInvalid(told, errors=[{"field": "$", "message": str(error)}]) from None
    bound.apply_defaults()
    inputs = {name: find(value.source) for name, value in bound.arguments.items() if isinstance(value, Reference)}
    plain = {name: value for name, value in bound.arguments.items() if name not in inputs}
    wrong = [found for name, value in plain.items() if (found := schema.misfit(name, value))]
    if wrong:
        told = "; ".join(f"{entry['field']}: {entry['message']}" for entry in wrong)
        raise PayloadInvalid(f"the payload of {schema.function} does not fit: {told}", errors=wrong)
    body = encode(plain)
    if problem := oddity(plain, body, ""):
        told = problem.removeprefix(".")
        raise PayloadInvalid(f"the payload of {schema.function} does not fit: {told}", errors=[{"field": "$", "message": told}])
    if len(body) > schema.largest:
        raise PayloadTooLarge(f"the payload of {schema.function} is {len(body):,} bytes and {schema.largest:,} is the most")
    return body, inputs


def with_inputs(body: bytes, inputs: Mapping[str, str]) -> bytes:
    """A payload that says which results are to come into it."""
    return INPUTS + msgspec.json.encode(inputs) + b"\n" + body if inputs else body


def has_inputs(body: bytes | None) -> bool:
    """Whether results are to come into a payload."""
    return body is not None and body[:1] == INPUTS


def split_inputs(body: bytes) -> tuple[dict[str, str], bytes]:
    """The runs whose results are to come into a payload, by parameter, and the rest of it."""
    if body[:1] != INPUTS:
        return {}, body
    line, _, rest = body[1:].partition(b"\n")
    return _decode_inputs(line), rest


def complete(body: bytes, results: Mapping[str, bytes]) -> bytes:
    """A payload with results in their places, all as JSON.

    Raises:
        PayloadInvalid: one of them is no JSON.
    """
    try:
        members = _decode_members(body) | {name: msgspec.Raw(result) for name, result in results.items()}
        return msgspec.json.encode(members)
    except MISFITS as error:
        raise PayloadInvalid(f"the payload cannot be completed: {error}", errors=[{"field": "$", "message": str(error)}]) from None


def run_of(source: Any) -> str:
    """The id of the run whose result is wanted: of a handle, of a call that was enqueued in this chain, or the id itself.

    Raises:
        InvalidOption: it is none of them.
    """
    run_id = source if isinstance(source, str) else getattr(source, "id", None)
    if not isinstance(run_id, str):
        raise InvalidOption(
            f"result_of() takes a handle, or an earlier call of the same chain, not {shown(source)}", option="result_of"
        )
    return run_id
