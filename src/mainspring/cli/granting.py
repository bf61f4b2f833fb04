"""What ``token`` and ``user`` ask alike: a role, namespaces, extra scopes; and how a grant is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mainspring.core.access import Grant

RoleName = Annotated[str, typer.Option("--role", help="viewer, operator, author or admin; of a token also worker.")]
Extras = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="SCOPE", help="Let it use this kind of target: http or shell; may be repeated."),
]
Everywhere = Annotated[bool, typer.Option("--every-namespace", help="Good for all namespaces, also those to come.")]


def as_data(grant: Grant) -> dict[str, Any]:
    """A grant for programs; ``namespaces`` is ``"*"`` for all."""
    from mainspring.core.access import EVERY

    return {
        "role": grant.role,
        "namespaces": EVERY if grant.namespaces is None else sorted(grant.namespaces),
        "extras": sorted(grant.extras),
    }


def in_words(grant: Grant) -> list[str]:
    """A grant for people: role, namespaces, extra scopes."""
    from mainspring.core.access import spell, spell_namespaces

    return [grant.role, spell_namespaces(grant.namespaces), spell(grant.extras)]
