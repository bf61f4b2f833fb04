"""Secrets by reference: ``{"secret": "name"}`` in a target, and what the name stands for when an attempt begins.

A target holds names only. A worker's operator says which names there are and what each refers to (``env:NAME``, ``file:PATH``), so
that whoever may write a target cannot read whatever the worker can. Not here: hiding a secret in what is told (``capture``).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard
from urllib.parse import quote

from mainspring.core.names import check_name
from mainspring.errors import ConfigurationInvalid, InvalidOption

_KEY = "secret"
_WORTH_HIDING_ALONE = 8


@dataclass(frozen=True, slots=True)
class Secret:
    """The name of a secret, in the place of a text."""

    name: str


Text = str | Secret


class SecretUnavailableError(LookupError):
    """A secret that cannot be had; the message names it and says no more."""


class Vault(Protocol):
    """Where secrets are."""

    async def get(self, name: str) -> str:
        """The secret of that name, now.

        Raises:
            SecretUnavailableError: there is none, or it cannot be read.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """A vault of references: ``named`` gives each name its ``env:`` or ``file:``, and ``follow`` looks there at every attempt."""

    named: Mapping[str, str]
    follow: Callable[[str], str]

    async def get(self, name: str) -> str:
        """See ``Vault``."""
        if name not in self.named:
            raise SecretUnavailableError(f"this worker has no secret named {name}")
        try:
            found = self.follow(self.named[name])
        except ConfigurationInvalid:
            found = ""
        if not found:
            raise SecretUnavailableError(f"the secret {name} is not where this worker was told, or empty")
        return found


# -- in what is written ----------------------------------------------------------------------------------------------


def secret(name: str) -> dict[str, str]:
    """A secret in a target: ``headers={"Authorization": secret("ping-token")}``. Fetched by the worker, at every attempt.

    Raises:
        InvalidOption: no name.
    """
    return {_KEY: check_name(name, "secret")}


def read_text(given: object) -> Text | None:
    """A text or a secret as it is written; None if it is neither."""
    return Secret(given[_KEY]) if is_reference(given) else given if isinstance(given, str) else None


def is_reference(given: object) -> TypeGuard[Mapping[str, str]]:
    """Whether something written stands for a secret."""
    if not isinstance(given, Mapping) or given.keys() != {_KEY}:
        return False
    try:
        check_name(given[_KEY], "secret")
    except InvalidOption:
        return False
    return True


def names_in(*written: Any) -> Iterator[str]:
    """The names of all secrets in texts and in trees of JSON."""
    for each in written:
        if isinstance(each, Secret):
            yield each.name
        elif is_reference(each):
            yield each[_KEY]
        elif isinstance(each, Mapping):
            yield from names_in(*each.values())
        elif isinstance(each, list | tuple):
            yield from names_in(*each)


# -- at an attempt ---------------------------------------------------------------------------------------------------


async def fetched(names: Iterator[str], get: Callable[[str], Awaitable[str]]) -> dict[str, str]:
    """Every secret of an attempt, by name.

    Raises:
        SecretUnavailableError: of the first that cannot be had.
    """
    return {name: await get(name) for name in dict.fromkeys(names)}


def disguises(secrets: Mapping[str, str]) -> tuple[str, ...]:
    """What to hide of secrets wherever it turns up, the longest first: each as it is, as URLs and JSON write it, and of
    ``Bearer abc`` the token alone."""
    bare = [*secrets.values(), *(word for each in secrets.values() if len(word := each.split(" ")[-1]) >= _WORTH_HIDING_ALONE)]
    forms = {form for each in bare for form in (each, quote(each, safe=""), json.dumps(each)[1:-1])}
    return tuple(sorted((form for form in forms if form), key=lambda form: (-len(form), form)))
