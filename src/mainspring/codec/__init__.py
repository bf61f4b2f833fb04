"""Payloads and results: from Python values to stored bytes and back, checked against a function's own annotations.

The form is JSON. A payload is an object with one member per parameter, defaults filled in, so two calls that mean the same are
stored alike. Builtins, dataclasses, TypedDicts and msgspec structs are understood by msgspec; pydantic models where pydantic is
installed. Nothing is ever pickled.

One room a topic: ``schema`` (a function's parameters), ``fingerprint`` (what tells two apart), ``upcasting`` (old payloads),
``values`` (any value as JSON), ``keeping`` (what an app does to values on their way to the database: ``encryption``, ``blobs``,
``objects``, ``redaction``). Not here: when any of it is done (``client``, ``runtime``).
"""

from mainspring.codec.blobs import Blob, BlobStore, Directory, Memory
from mainspring.codec.encryption import Encrypted
from mainspring.codec.inputs import Reference, complete, encode_around, has_inputs, references, run_of, split_inputs, with_inputs
from mainspring.codec.keeping import Codec, Keeping, blob_key, described, is_wrapped, keeping_of, payload_hash, reference
from mainspring.codec.objects import Objects
from mainspring.codec.redaction import Redactor, secrets_within
from mainspring.codec.schema import PayloadSchema, payload_schema
from mainspring.codec.upcasting import Upcasters
from mainspring.codec.values import (
    DEEPEST,
    LARGEST,
    LARGEST_STORED,
    decode_json,
    encode_json,
    encode_result,
    result_decoder,
)

__all__ = [
    "DEEPEST",
    "LARGEST",
    "LARGEST_STORED",
    "Blob",
    "BlobStore",
    "Codec",
    "Directory",
    "Encrypted",
    "Keeping",
    "Memory",
    "Objects",
    "PayloadSchema",
    "Redactor",
    "Reference",
    "Upcasters",
    "blob_key",
    "complete",
    "decode_json",
    "described",
    "encode_around",
    "encode_json",
    "encode_result",
    "has_inputs",
    "is_wrapped",
    "keeping_of",
    "payload_hash",
    "payload_schema",
    "reference",
    "references",
    "result_decoder",
    "run_of",
    "secrets_within",
    "split_inputs",
    "with_inputs",
]
