"""An HTTP target as it is written: ``http(...)``, reading it with all mistakes at once, and filling it in for an attempt.

Here: what a request may be. Not here: where it may go (``guard``), sending it (``http``), and what its answer means
(``core/answers.py``).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from mainspring.core.answers import Condition, Criteria, Operator
from mainspring.core.durations import MINUTE, SECOND
from mainspring.core.launch import Launch, UnfilledError, filled, has_placeholder, is_pointer
from mainspring.core.outgoing import Place
from mainspring.errors import TargetRefused
from mainspring.targets.guard import read_place
from mainspring.targets.problems import Problems
from mainspring.targets.secrets import Secret, Text, is_reference, names_in

METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
MOST_HEADERS = 64
MOST_REDIRECTS = 5
LARGEST_BODY = 1024 * 1024
_MOST_CONDITIONS = 32
_MOST_KEYS = 2
_LONGEST_VALUE = 8_192

_FIELDS = ("method", "url", "headers", "body", "success", "timeouts", "redirects", "signing")
_BODIES = {
    "json": "application/json",
    "text": "text/plain; charset=utf-8",
    "form": "application/x-www-form-urlencoded",
    "base64": None,
}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_AUTHORITY = re.compile(r"[a-z]+://[^/?#]*", re.IGNORECASE)
_CODES = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
#: Headers that we send ourselves, or that belong to the connection.
_OURS = frozenset({
    "host", "content-length", "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te",
    "trailer", "transfer-encoding", "upgrade", "expect", "accept-encoding", "idempotency-key", "traceparent",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request as it was written, names of secrets and placeholders included."""

    method: str
    url: str
    headers: tuple[tuple[str, Text], ...] = ()
    body_kind: str | None = None
    body: Any = None
    criteria: Criteria = field(default_factory=Criteria)
    connect_us: int = 5 * SECOND
    silence_us: int = 30 * SECOND
    redirects: int = 0
    signing: tuple[Secret, ...] = ()

    def secret_names(self) -> Iterator[str]:
        """Every secret that it needs."""
        return names_in(*(value for _, value in self.headers), self.body, *self.signing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A request as it will be sent, secrets and all; it lives as long as its attempt. ``is_abroad``: it left its origin."""

    place: Place
    method: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    is_abroad: bool = False


def http(
    method: str,
    url: str,
    *,
    headers: Mapping[str, Any] | None = None,
    json: Any = None,
    text: str | None = None,
    form: Mapping[str, Any] | None = None,
    success: Mapping[str, Any] | None = None,
    timeouts: Mapping[str, Any] | None = None,
    redirects: int = 0,
    signing: Sequence[Any] = (),
) -> dict[str, Any]:
    """The target of a schedule or a run: an HTTP request, as JSON-able data.

    Raises:
        TargetInvalid: naming everything that is wrong.
    """
    body = {kind: given for kind, given in {"json": json, "text": text, "form": form}.items() if given is not None}
    fields = {"headers": headers, "body": body or None, "success": success, "timeouts": timeouts, "redirects": redirects or None}
    given: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    written = {"method": method, "url": url} | given | ({"signing": list(signing)} if signing else {})
    read_request(written)
    return {"http": written}


# -- reading ---------------------------------------------------------------------------------------------------------


def read_request(written: object) -> HttpRequest:
    """A request as it is written.

    Raises:
        TargetInvalid: with every mistake at once.
    """
    problems = Problems()
    given = problems.fields("", written, _FIELDS)
    method = _method(problems, given.get("method"))
    timeouts = problems.fields("timeouts", given.get("timeouts", {}), ("connect", "silence"))
    kind, body = _body(problems, given.get("body"), method)
    request = HttpRequest(
        method=method,
        url=_url(problems, given.get("url")),
        headers=_headers(problems, given.get("headers", {})),
        body_kind=kind,
        body=body,
        criteria=_criteria(problems, given.get("success", {})),
        connect_us=_timeout(problems, timeouts, "connect", 5 * SECOND),
        silence_us=_timeout(problems, timeouts, "silence", 30 * SECOND),
        redirects=problems.whole("redirects", given.get("redirects", 0), least=0, most=MOST_REDIRECTS, otherwise=0),
        signing=_signing(problems, given.get("signing", ())),
    )
    problems.settle("http")
    return request


def _method(problems: Problems, given: object) -> str:
    method = given.upper() if isinstance(given, str) else ""
    if method not in METHODS:
        problems.add("method", given, f"write one of {', '.join(METHODS)}")
    return method


def sample(url: str) -> str:
    """A URL with something in the place of its placeholders."""
    return re.sub(r"\{\{.*?\}\}", "x", url)


def _url(problems: Problems, given: object) -> str:
    if not isinstance(given, str):
        problems.add("url", given, "write a URL such as https://api.example.com/ping")
        return ""
    authority = _AUTHORITY.match(given)
    if has_placeholder(given if authority is None else authority[0]):
        problems.add("url", given, "a placeholder may stand in the path and the query, and not in the host")
        return given
    problems.placeholders("url", given)
    try:
        read_place(sample(given))
    except TargetRefused as refused:
        problems.add("url", given, refused.message)
    return given


def _headers(problems: Problems, given: object) -> tuple[tuple[str, Text], ...]:
    if not isinstance(given, Mapping):
        problems.add("headers", given, 'write an object such as {"Accept": "application/json"}')
        return ()
    if len(given) > MOST_HEADERS:
        problems.add("headers", len(given), f"write at most {MOST_HEADERS}")
    headers = [(str(name), _header(problems, f"headers.{name}", name, value)) for name, value in given.items()]
    if len({name.lower() for name, _ in headers}) < len(headers):
        problems.add("headers", sorted(name for name, _ in headers), "write every header once, in one spelling")
    return tuple(headers)


def _header(problems: Problems, path: str, name: object, value: object) -> Text:
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        problems.add(path, name, "write a name of letters, digits and hyphens")
    elif name.lower() in _OURS or name.lower().startswith("mainspring-"):
        problems.add(path, name, "leave it out: it is set for you, or belongs to the connection")
    if isinstance(value, str) and not (_VALUE.fullmatch(value) and len(value) <= _LONGEST_VALUE):
        problems.add(path, value, "write at most 8,192 ASCII characters in one line", hide=True)
        return ""
    return problems.text(path, value)


def _body(problems: Problems, given: object, method: str) -> tuple[str | None, Any]:
    if given is None:
        return None, None
    if method in {"GET", "HEAD"}:
        problems.add("body", given, f"leave it out: {method} has none", hide=True)
    parts = problems.fields("body", given, tuple(_BODIES))
    if len(parts) != 1:
        problems.add("body", list(parts), f"write one of {', '.join(_BODIES)}")
        return None, None
    kind, body = next(iter(parts.items()))
    path = f"body.{kind}"
    match kind:
        case "json":
            _tree(problems, path, body)
        case "text":
            body = problems.text(path, body)
        case "form" if isinstance(body, Mapping):
            body = {str(name): problems.text(f"{path}.{name}", value) for name, value in body.items()}
        case "form":
            problems.add(path, body, 'write an object such as {"name": "value"}')
        case "base64":
            body = _bytes(problems, path, body)
    if _size(body) > LARGEST_BODY:
        problems.add(path, _size(body), f"write at most {LARGEST_BODY:,} bytes")
    return kind, body


def _size(body: Any) -> int:
    try:
        return len(body) if isinstance(body, bytes) else len(msgspec.json.encode(body))
    except (TypeError, ValueError, RecursionError):
        return 0


def _tree(problems: Problems, path: str, value: Any) -> None:
    """A JSON value in whose texts placeholders may stand."""
    try:
        for at, text in _texts(path, value):
            problems.placeholders(at, text)
        msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError):
        problems.add(path, type(value).__name__, "write what JSON can hold, at most 64 levels deep")


def _texts(path: str, value: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    if depth > 64:
        raise RecursionError(path)
    match value:
        case str():
            yield path, value
        case Mapping():
            for name, part in value.items():
                yield from _texts(f"{path}.{name}", part, depth + 1)
        case list() | tuple():
            for nth, part in enumerate(value):
                yield from _texts(f"{path}[{nth}]", part, depth + 1)
        case _:
            pass


def _bytes(problems: Problems, path: str, given: object) -> bytes:
    try:
        return base64.b64decode(given, validate=True)  # type: ignore[arg-type]
    except (binascii.Error, TypeError, ValueError):
        problems.add(path, type(given).__name__, "write base64")
        return b""


def _criteria(problems: Problems, given: object) -> Criteria:
    success = problems.fields("success", given, ("codes", "json"))
    written = problems.items("success.codes", success.get("codes", ["200-299"]), 32)
    codes = [_codes(problems, f"success.codes[{nth}]", each) for nth, each in enumerate(written)]
    if not codes:
        problems.add("success.codes", codes, "write at least one code, or leave it out: 200-299")
    asked = problems.items("success.json", success.get("json", ()), _MOST_CONDITIONS)
    conditions = [_condition(problems, f"success.json[{nth}]", each) for nth, each in enumerate(asked)]
    return Criteria(codes=tuple(codes), conditions=tuple(each for each in conditions if each is not None))


def _codes(problems: Problems, path: str, given: object) -> tuple[int, int]:
    found = _CODES.fullmatch(str(given)) if not isinstance(given, bool) else None
    if found is None or (found[2] or found[1]) < found[1]:
        problems.add(path, given, 'write a code such as 204, or several such as "200-299"')
        return (200, 299)
    return int(found[1]), int(found[2] or found[1])


def _condition(problems: Problems, path: str, given: object) -> Condition | None:
    known = ("at", *Operator)
    fields = problems.fields(path, given, known)
    at, asked = fields.get("at"), [name for name in fields if name in set(Operator)]
    if not isinstance(at, str) or not is_pointer(at):
        problems.add(f"{path}.at", at, 'write a JSON pointer such as "/items/0/id", or "" for the whole')
    elif len(asked) != 1:
        problems.add(path, asked, f"write exactly one of {', '.join(Operator)}")
    elif asked[0] == Operator.IN and not isinstance(fields["in"], list | tuple):
        problems.add(f"{path}.in", fields["in"], "write a list of values")
    elif asked[0] == Operator.EXISTS and not isinstance(fields["exists"], bool):
        problems.add(f"{path}.exists", fields["exists"], "write true or false")
    else:
        return Condition(at=at, operator=Operator(asked[0]), value=fields[asked[0]])
    return None


def _timeout(problems: Problems, given: Mapping[str, Any], name: str, otherwise: int) -> int:
    if name not in given:
        return otherwise
    return problems.span(f"timeouts.{name}", given[name], least=SECOND // 10, most=10 * MINUTE, otherwise=otherwise)


def _signing(problems: Problems, given: object) -> tuple[Secret, ...]:
    keys = problems.items("signing", given, _MOST_KEYS)
    wrong = [nth for nth, key in enumerate(keys) if not is_reference(key)]
    for nth in wrong:
        problems.add(f"signing[{nth}]", "", 'write {"secret": "name"}: a key is never written down', hide=True)
    return tuple(Secret(key["secret"]) for nth, key in enumerate(keys) if nth not in wrong)


# -- filling in ------------------------------------------------------------------------------------------------------


def fill(request: HttpRequest, launch: Launch, secrets: Mapping[str, str]) -> Filled:
    """The request as this attempt sends it.

    Raises:
        UnfilledError: a placeholder has no value, or one that its place cannot hold.
        TargetRefused: with its values the URL is one that no request may go to.
    """
    place = read_place(filled(request.url, launch, lambda value: quote(value, safe="")))
    headers = [(name, _in_header(name, _said(value, launch, secrets))) for name, value in request.headers]
    body, content_type = _encoded(request, launch, secrets)
    if content_type is not None and "content-type" not in {name.lower() for name, _ in headers}:
        headers.append(("Content-Type", content_type))
    if len(body) > LARGEST_BODY:
        raise UnfilledError(f"with its values the body is {len(body):,} bytes, and {LARGEST_BODY:,} is the most")
    return Filled(place=place, method=request.method, headers=tuple(headers), body=body)


def _said(text: Text, launch: Launch, secrets: Mapping[str, str], encode: Callable[[str], str] = str) -> str:
    return secrets[text.name] if isinstance(text, Secret) else filled(text, launch, encode)


def _in_header(name: str, value: str) -> str:
    if not _VALUE.fullmatch(value) or len(value) > _LONGEST_VALUE:
        raise UnfilledError(f"the value of the header {name} is no line of at most {_LONGEST_VALUE:,} ASCII characters")
    return value.strip()


def _encoded(request: HttpRequest, launch: Launch, secrets: Mapping[str, str]) -> tuple[bytes, str | None]:
    content_type = None if request.body_kind is None else _BODIES[request.body_kind]
    match request.body_kind:
        case None:
            return b"", None
        case "json":
            return msgspec.json.encode(_in_tree(request.body, launch, secrets)), content_type
        case "form":
            pairs = {name: _said(value, launch, secrets) for name, value in request.body.items()}
            return urlencode(pairs).encode(), content_type
        case "base64":
            return request.body, content_type
        case _:
            return _said(request.body, launch, secrets).encode(), content_type


def _in_tree(value: Any, launch: Launch, secrets: Mapping[str, str]) -> Any:
    if is_reference(value):
        return secrets[value["secret"]]
    match value:
        case str():
            return filled(value, launch)
        case Mapping():
            return {name: _in_tree(part, launch, secrets) for name, part in value.items()}
        case list() | tuple():
            return [_in_tree(part, launch, secrets) for part in value]
        case _:
            return value
