"""Hiding secrets in what is told of a failure: passwords, tokens and keys in messages, tracebacks and progress notes.

A net, not a proof: what does not look like a secret and was not named is not known to be one. Not here: bounding texts
(``runtime/outcomes.py``).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from mainspring.errors import InvalidOption, shown

HIDDEN = "***"
_DEEPEST = 8
_SHORTEST = 4  # a secret of three letters would take half of a text with it

_NAMES = (
    r"passw(?:or)?d|passwd|pwd|passphrase|secret|token|api[_-]?key|apikey|access[_-]?key|private[_-]?key|signing[_-]?key"
    r"|encryption[_-]?key|credential|cookie|session[_-]?id"
)
_VALUE = r"""(?:"[^"\n]*"?|'[^'\n]*'?|[^\s,;&)}\]"']+)"""

#: What a text holds in which a name of ``_NAMES`` stands.
_SIGNS = (
    "passw", "passphrase", "pwd", "secret", "token", "credential", "cookie",
    *(f"{first}{dash}{last}" for dash in ("", "_", "-") for first, last in (
        ("api", "key"), ("access", "key"), ("private", "key"), ("signing", "key"), ("encryption", "key"), ("session", "id"))),
)  # fmt: skip

#: What is hidden in every app: a pattern, what stands for what it found, and what a text (in small letters) that it finds something
#: in holds: looking for that is many times quicker, and most texts hold nothing.
_DEFAULTS: tuple[tuple[re.Pattern[str], str, tuple[str, ...]], ...] = (
    (
        re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL),
        HIDDEN,
        ("private key-----",),
    ),
    (re.compile(r"(?<=://)([^\s:/@\"']{0,256}):[^\s@/\"']{1,1024}@"), rf"\1:{HIDDEN}@", ("://",)),
    (
        re.compile(
            rf"(?i)(authorization[\"']?\s{{0,4}}[:=]\s{{0,4}}[\"']?)(?:(?:bearer|basic|digest|token|negotiate)\s+)?{_VALUE}"
        ),
        rf"\1{HIDDEN}",
        ("authorization",),
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {HIDDEN}", ("bearer", "basic")),
    (
        re.compile(rf"(?i)((?:{_NAMES})[\w-]{{0,64}}[\"']?\s{{0,4}}(?:=>|[:=])\s{{0,4}}){_VALUE}"),
        rf"\1{HIDDEN}",
        _SIGNS,
    ),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}"), HIDDEN, ("eyj",)),  # a signed web token
    (re.compile(r"\b(msp[tl]_)[A-Za-z0-9]{8,}"), rf"\1{HIDDEN}", ("mspt_", "mspl_")),  # our own tokens and logins
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), HIDDEN, ("akia", "asia")),
)
_SECRET_NAME = re.compile(rf"(?i)(?:{_NAMES}|authorization)")


class Redactor:
    """Hides what looks like a secret, and what it was told to hide: patterns, and texts that are hidden wherever they stand."""

    def __init__(self, hide: Iterable[str | re.Pattern[str]] = ()) -> None:
        """Take what to hide beside the usual.

        Raises:
            InvalidOption: neither a text nor a compiled pattern, or an empty one.
        """
        if isinstance(hide, str | re.Pattern):
            raise InvalidOption(f"redact must be a list; write redact=[{shown(hide)}]", option="redact")
        self._given = [_pattern(each) for each in hide]

    def text(self, text: str, secrets: Sequence[str] = ()) -> str:
        """``text`` without secrets; ``secrets`` are further texts to hide in it."""
        for secret in secrets:
            text = text.replace(secret, HIDDEN)
        for pattern in self._given:
            text = pattern.sub(HIDDEN, text)
        small = text.lower()
        for pattern, instead, signs in _DEFAULTS:
            if any(sign in small for sign in signs):
                text = pattern.sub(instead, text)
        return text

    def json(self, body: str) -> str:
        """A JSON document with secrets hidden in its texts, and in its members whose name says that they hold one."""
        return msgspec.json.encode(self._value(msgspec.json.decode(body))).decode()

    def _value(self, value: Any) -> Any:
        match value:
            case str():
                return self.text(value)
            case dict():
                return {
                    name: HIDDEN if isinstance(part, str) and _SECRET_NAME.search(name) else self._value(part)
                    for name, part in value.items()
                }
            case list():
                return [self._value(part) for part in value]
            case _:
                return value


def secrets_within(values: Iterable[Any], *, shortest: int = _SHORTEST) -> list[str]:
    """What values of a secret type (anything with ``get_secret_value``) hide, to be hidden wherever else it turns up."""
    found = {secret for value in values for secret in _secrets(value, _DEEPEST)}
    return sorted((secret for secret in found if len(secret) >= shortest), key=len, reverse=True)


def _secrets(value: Any, levels: int) -> Iterator[str]:
    if levels == 0 or isinstance(value, str | bytes | int | float | None):
        return
    reveal = getattr(value, "get_secret_value", None)
    if callable(reveal):
        secret = reveal()
        yield secret.decode("utf-8", "replace") if isinstance(secret, bytes) else str(secret)
        return
    for part in _parts(value):
        yield from _secrets(part, levels - 1)


def _parts(value: Any) -> Iterable[Any]:
    match value:
        case Mapping():
            return list(value.values())
        case list() | tuple() | set() | frozenset():
            return list(value)
        case _:
            names = getattr(type(value), "__struct_fields__", None) or getattr(type(value), "__dataclass_fields__", None)
            names = names or getattr(type(value), "model_fields", None) or ()
            return [getattr(value, name, None) for name in names]


def _pattern(given: str | re.Pattern[str]) -> re.Pattern[str]:
    if isinstance(given, str) and given:
        return re.compile(re.escape(given))
    if isinstance(given, re.Pattern) and isinstance(given.pattern, str):
        if given.search(""):
            raise InvalidOption(f"the pattern {shown(given.pattern)} in redact= finds nothing everywhere", option="redact")
        return given
    raise InvalidOption(f"redact takes texts and compiled patterns (re.compile), not {shown(given)}", option="redact")
