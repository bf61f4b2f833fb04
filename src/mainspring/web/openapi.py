"""The OpenAPI 3.1 document, made from the table of endpoints: paths, schemas, and who may call what (``x-mainspring-…``).

Not here: the page for people (``pages.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from mainspring import __version__
from mainspring.core.limits import Measure, Scope
from mainspring.web import frames, problems, repeating
from mainspring.web.access import role_of
from mainspring.web.api.shapes import RUN_ID
from mainspring.web.endpoints import JSON, Endpoint
from mainspring.web.problems import STATUSES, Problem
from mainspring.web.reading import parameters

_ABOUT = (
    "Durable runs: create them, find them, act on them, and follow what happens. Instants are RFC 3339 in UTC, spans are seconds or"
    ' texts such as "1h30m". What is refused is answered as problem details (RFC 9457); branch on `code`. Unknown fields and'
    " parameters are refused by name."
)
_REF = "#/components/schemas/{name}"
_TEXT: dict[str, Any] = {"type": "string"}
_ID: dict[str, Any] = {"type": "string", "format": "uuid", "pattern": RUN_ID}
_PATH_SCHEMAS: dict[str, dict[str, Any]] = {
    "run_id": _ID,
    "action_id": _ID,
    "batch_id": _ID,
    "scope": {"type": "string", "enum": [str(scope) for scope in Scope]},
    "measure": {"type": "string", "enum": [str(measure) for measure in Measure]},
}


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The whole document."""
    known = _Schemas(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, known)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Mainspring", "version": __version__, "description": _ABOUT, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {"schemas": known.components},
    }


class _Schemas:
    """The schema of every type that the endpoints speak of."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        asked = [parameter.field.type for endpoint in endpoints for parameter in parameters(endpoint.query)]
        bodies = [endpoint.body for endpoint in endpoints if endpoint.has_body]
        given = [endpoint.gives for endpoint in endpoints if endpoint.gives is not None]
        kinds: list[Any] = [*asked, *bodies, *given, Problem]
        found, self.components = msgspec.json.schema_components(kinds, ref_template=_REF)
        self._of = [(kind, schema) for kind, schema in zip(kinds, found, strict=True)]

    def of(self, kind: Any) -> dict[str, Any]:
        """The schema of a type."""
        return next(schema for known, schema in self._of if known is kind or known == kind)


def _operation(endpoint: Endpoint, known: _Schemas) -> dict[str, Any]:
    summary, _, rest = endpoint.told.partition(". ")
    told: dict[str, Any] = {
        "operationId": endpoint.operation,
        "tags": [endpoint.tag],
        "summary": summary.rstrip("."),
        "description": endpoint.told if rest else summary,
        "parameters": [*_path_parameters(endpoint), *_query_parameters(endpoint, known), *_header_parameters(endpoint)],
        "responses": _responses(endpoint, known),
        "x-mainspring-operation": endpoint.operation,
    }
    if endpoint.kind is not None:
        told |= {"x-mainspring-kind": str(endpoint.kind), "x-mainspring-role": str(role_of(endpoint.kind))}
    if endpoint.has_body:
        required = any(field.required for field in msgspec.structs.fields(endpoint.body))
        told["requestBody"] = {"required": required, "content": {JSON: {"schema": known.of(endpoint.body)}}}
    return told


def _path_parameters(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", endpoint.path):
        schema = _PATH_SCHEMAS.get(name, {"type": "string", "minLength": 1})
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(endpoint: Endpoint, known: _Schemas) -> Iterator[dict[str, Any]]:
    for parameter in parameters(endpoint.query):
        field = parameter.field
        told = {"name": field.encode_name, "in": "query", "required": field.required, "schema": _given(known.of(field.type))}
        yield told | ({"style": "form", "explode": True} if parameter.is_list else {})


def _given(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of what a query can hold: what may be left out is not null there."""
    options = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(options) != 1:
        return schema
    rest = {name: value for name, value in schema.items() if name not in {"anyOf", "default"}}
    return {**options[0], **rest}


def _header_parameters(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    if endpoint.repeats:
        told = "A repeat with the same key is given the first answer, for a day."
        schema = {"type": "string", "pattern": r"^[!-~]([ -~]{0,253}[!-~])?$"}
        yield {"name": repeating.HEADER, "in": "header", "description": told, "schema": schema}
    if endpoint.edits:
        told = "The ETag of what the caller saw; 412 if it was changed meanwhile."
        yield {
            "name": "If-Match",
            "in": "header",
            "description": told,
            "schema": {"type": "string", "pattern": r'^"[0-9a-f]{1,32}"$'},
        }
    if endpoint.follow is not None:
        told = "When followed: go on after the event of this id."
        yield {"name": "Last-Event-ID", "in": "header", "description": told, "schema": _TEXT}


def _responses(endpoint: Endpoint, known: _Schemas) -> dict[str, Any]:
    plain = {"type": "object"} if endpoint.media == JSON else _TEXT
    schema = plain if endpoint.gives is None else known.of(endpoint.gives)
    media: dict[str, Any] = {endpoint.media.partition(";")[0]: {"schema": schema}}
    if endpoint.follow is not None:
        media[frames.MEDIA_TYPE] = {"schema": _TEXT}
    found: dict[str, Any] = {}
    for status in sorted(endpoint.statuses):
        found[str(status)] = {"description": "Done" if status < 400 else "Not ready", "content": media}
    refused = {"content": {problems.MEDIA_TYPE: {"schema": known.of(Problem)}}}
    for status, codes in _refusals(endpoint).items():
        found.setdefault(str(status), {"description": ", ".join(codes), **refused})
    return found | {"default": {"description": "Refused", **refused}}


def _refusals(endpoint: Endpoint) -> dict[int, list[str]]:
    """The codes with which an endpoint may refuse, by status."""
    found: dict[int, list[str]] = {400: ["malformed_query"], 422: ["invalid_request"], 503: ["storage_unavailable"]}
    if endpoint.kind is not None:
        found |= {401: ["not_authenticated"], 403: ["not_allowed"]}
    if endpoint.has_body:
        found |= {413: ["request_too_large"], 415: ["unsupported_media_type"]}
        found[400] = ["malformed_json", "malformed_query"]
    if endpoint.repeats:
        found[409] = ["request_under_way"]
    for error in endpoint.refusals:
        status = next(STATUSES[kind] for kind in error.__mro__ if kind in STATUSES)
        found.setdefault(status, []).append(error.code)
    return dict(sorted(found.items()))
