"""Attributes of a run: small values by which people find it, and the spelling that sorts as they do.

A value is stored as text that compares byte by byte as the values compare: ``b`` for truth, ``n`` for numbers (whole or broken, by
their decimal digits), ``t`` for text. So one index answers equals, in, range and exists, on every database.
Not here: rows, and who asks.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from mainspring.core.names import check_name, check_text
from mainspring.errors import InvalidOption, shown

Value = str | int | float | bool

MOST = 32
#: Bytes of all names and values of one run together, and of one text.
LARGEST = 4_096
LONGEST_TEXT = 1_024

_LONGEST_NAME = 100
_BIGGEST = 10**36
_BIAS = 500
_OPERATORS = (">=", ">", "<=", "<")


class Span(NamedTuple):
    """A stretch of stored values, ``low`` included and ``high`` not, of the attribute ``name``. Spans with one ``nth`` are
    alternatives; every ``nth`` must hold."""

    nth: int
    name: str
    low: str
    high: str


def checked(given: Mapping[str, Value]) -> tuple[tuple[str, str], ...]:
    """Attributes as they are stored, by name.

    Raises:
        InvalidOption: more than 32, more than 4 KiB, or a value that is no str, int, float or bool; naming it.
    """
    if not isinstance(given, Mapping):
        raise InvalidOption(f'attributes must be a mapping such as {{"order": 7}}, not {shown(given)}', option="attributes")
    if len(given) > MOST:
        raise InvalidOption(f"{len(given)} attributes; {MOST} is the most", option="attributes")
    stored = tuple(sorted((_name(name), encoded(value, f"attributes[{name!r}]")) for name, value in given.items()))
    size = sum(len(name.encode()) + len(value.encode()) for name, value in stored)
    if size > LARGEST:
        raise InvalidOption(f"the attributes are {size:,} bytes together; {LARGEST:,} is the most", option="attributes")
    return stored


def encoded(value: Value, what: str = "attribute") -> str:
    """A value as it is stored.

    Raises:
        InvalidOption: no str, int, float or bool; a text over 1 KiB; a number without an order, or a huge one.
    """
    match value:
        case bool():
            return "b1" if value else "b0"
        case int() if abs(value) < _BIGGEST:
            return "n" + _number(Decimal(value))
        case float() if math.isfinite(value):
            return "n" + _number(Decimal(repr(value)))
        case str() if len(value.encode(errors="replace")) <= LONGEST_TEXT:
            return "t" + check_text(value, what, most=LONGEST_TEXT)
    raise InvalidOption(
        f"{what} must be text of at most {LONGEST_TEXT:,} bytes, a finite number below 10^36, or a bool, not {shown(value)}",
        option=what,
    )


def decoded(stored: str) -> Value:
    """The value again; a whole number comes back as an int, however it was given."""
    kind, rest = stored[0], stored[1:]
    if kind == "b":
        return rest == "1"
    return rest if kind == "t" else _value(rest)


def wanted(conditions: Mapping[str, Any]) -> tuple[Span, ...]:
    """What is asked of attributes, as stretches of stored values.

    A value means equals; a list or set means one of them; ``range(5, 10)`` means from 5 and below 10; ``(">=", 5)`` and
    ``{">=": 5, "<": 10}`` compare; ``...`` means that there is one.

    Raises:
        InvalidOption: a condition that cannot be.
    """
    if not isinstance(conditions, Mapping):
        raise InvalidOption(f'attributes must be a mapping such as {{"order": 7}}, not {shown(conditions)}', option="attributes")
    found: list[Span] = []
    for nth, (name, condition) in enumerate(conditions.items()):
        found += [Span(nth, _name(name), low, high) for low, high in _stretches(condition, f"attributes[{name!r}]")]
    return tuple(found)


def _stretches(condition: Any, what: str) -> list[tuple[str, str]]:
    match condition:
        case range() if condition.step == 1:
            return [(encoded(condition.start, what), encoded(condition.stop, what))]
        case tuple() if len(condition) == 2 and condition[0] in _OPERATORS:
            return [_compared({condition[0]: condition[1]}, what)]
        case Mapping() if condition and all(operator in _OPERATORS for operator in condition):
            return [_compared(condition, what)]
        case list() | set() | frozenset() if condition:
            return [(_first(value, what), _next(_first(value, what))) for value in condition]
        case _ if condition is ...:
            return [("a", "z")]
        case str() | int() | float():
            return [(_first(condition, what), _next(_first(condition, what)))]
    raise InvalidOption(
        f'{what} must be a value, a list of values, range(5, 10), (">=", 5), {{">=": 5, "<": 10}} or ..., not {shown(condition)}',
        option="attributes",
    )


def _first(value: Value, what: str) -> str:
    return encoded(value, what)


def _next(stored: str) -> str:
    """The least text above this one, since no text of ours holds a NUL."""
    return stored + "\x01"


def _compared(bounds: Mapping[str, Value], what: str) -> tuple[str, str]:
    """One stretch of numbers, or of texts."""
    spelt = {operator: encoded(value, what) for operator, value in bounds.items()}
    kinds = {value[0] for value in spelt.values()}
    if len(kinds) != 1 or kinds == {"b"}:
        raise InvalidOption(f"{what} can be compared with numbers, or with texts, not {shown(dict(bounds))}", option="attributes")
    kind = kinds.pop()
    lows = [kind, *(_next(value) if operator == ">" else value for operator, value in spelt.items() if operator[0] == ">")]
    highs = [
        chr(ord(kind) + 1),
        *(value if operator == "<" else _next(value) for operator, value in spelt.items() if operator[0] == "<"),
    ]
    return max(lows, key=_bytes), min(highs, key=_bytes)


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


# -- numbers -----------------------------------------------------------------------------------------------------------


def _number(value: Decimal) -> str:
    """Sign, then the power of ten, then the digits; below nothing each of them the other way round."""
    if value == 0:
        return "1"
    sign, digits, _ = value.as_tuple()
    text = "".join(map(str, digits)).rstrip("0")
    power = value.adjusted() + _BIAS
    if not sign:
        return f"2{power:03d}{text}"
    return f"0{999 - power:03d}{_turned(text)}~"


def _value(text: str) -> int | float:
    if text == "1":
        return 0
    negative = text[0] == "0"
    power = int(text[1:4])
    digits = _turned(text[4:-1]) if negative else text[4:]
    exponent = (999 - power if negative else power) - _BIAS - (len(digits) - 1)
    value = Decimal((int(negative), tuple(map(int, digits)), exponent))
    return int(value) if exponent >= 0 or value == value.to_integral_value() else float(value)


def _turned(digits: Sequence[str]) -> str:
    return "".join(str(9 - int(digit)) for digit in digits)


def _name(name: str) -> str:
    named = check_name(name, "attribute")
    if len(named) > _LONGEST_NAME:
        raise InvalidOption(
            f"the name of an attribute has at most {_LONGEST_NAME} characters, not {shown(name)}", option="attributes"
        )
    return named


def readable(stored: Collection[tuple[str, str]]) -> dict[str, Value]:
    """Stored attributes as they were given."""
    return {name: decoded(value) for name, value in stored}


def by_condition(spans: Sequence[Span]) -> list[list[Span]]:
    """The alternatives of each condition."""
    found: dict[int, list[Span]] = {}
    for span in spans:
        found.setdefault(span.nth, []).append(span)
    return list(found.values())


def only_value(spans: Sequence[Span]) -> str | None:
    """The one value that a condition lets through; None where it lets through more."""
    return spans[0].low if len(spans) == 1 and spans[0].high == _next(spans[0].low) else None
