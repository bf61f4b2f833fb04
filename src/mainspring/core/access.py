"""Who may do what: roles, namespaces and extra scopes as data, and the one decision made of them.

Not here: how somebody proves who they are (``credentials``, ``api_tokens``, ``logins``), and where the answer is asked for (the
edges: whoever serves requests asks ``require`` before it acts).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from mainspring.core.names import check_name
from mainspring.errors import InvalidOption, NotAllowed, shown

#: How "all namespaces" is written, where a name of one could stand. No namespace can be called that.
EVERY = "*"
_MOST_NAMESPACES = 100
_Named = TypeVar("_Named", bound=StrEnum)


class Role(StrEnum):
    """What somebody is here for."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    AUTHOR = "author"
    ADMIN = "admin"
    WORKER = "worker"


class Operation(StrEnum):
    """Kinds of operations: every operation that can be asked for from outside is of one of these."""

    READ = "read"  # look at anything but secrets
    ENQUEUE = "enqueue"  # create runs of tasks that are there
    OPERATE = "operate"  # act on runs, queues, limits and schedules that are there
    DEFINE = "define"  # say what shall run: schedules, graphs
    CALL_HTTP = "call_http"  # say that a run calls an address
    RUN_SHELL = "run_shell"  # say that a run starts a command
    ADMINISTER = "administer"  # tokens, people, the audit log
    WORK = "work"  # lease runs and report about them


class Extra(StrEnum):
    """What a role alone does not open, for it reaches out of the database."""

    HTTP = "http"
    SHELL = "shell"


_VIEWING = frozenset({Operation.READ})
_OPERATING = _VIEWING | {Operation.ENQUEUE, Operation.OPERATE}
_AUTHORING = _OPERATING | {Operation.DEFINE, Operation.CALL_HTTP, Operation.RUN_SHELL}

#: Which role may do which kinds of operations. A worker may do nothing else: its token lies on many machines.
ROLES: Mapping[Role, frozenset[Operation]] = {
    Role.VIEWER: _VIEWING,
    Role.OPERATOR: _OPERATING,
    Role.AUTHOR: _AUTHORING,
    Role.ADMIN: _AUTHORING | {Operation.ADMINISTER},
    Role.WORKER: frozenset({Operation.WORK}),
}

#: Which extra scope an operation needs beside the role, whoever asks: administrators too.
NEEDS: Mapping[Operation, Extra] = {Operation.CALL_HTTP: Extra.HTTP, Operation.RUN_SHELL: Extra.SHELL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a token or a person may do: a role, in these namespaces (None: in all there will ever be), with these extra scopes."""

    role: Role
    namespaces: frozenset[str] | None
    extras: frozenset[Extra] = frozenset()

    def reaches(self, namespace: str | None) -> bool:
        """Whether it is good for this namespace; None: for the whole database, which takes all of them."""
        return self.namespaces is None or namespace in self.namespaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Somebody who has proved who they are: as ledgers and the audit log name them, and what they may do."""

    actor: str
    grant: Grant


def allows(identity: Identity, operation: Operation, namespace: str | None) -> bool:
    """Whether somebody may do this in a namespace; None: to the whole database."""
    grant = identity.grant
    needed = NEEDS.get(operation)
    return operation in ROLES[grant.role] and grant.reaches(namespace) and (needed is None or needed in grant.extras)


def require(identity: Identity, operation: Operation, namespace: str | None) -> None:
    """Refuse what somebody may not do.

    Raises:
        NotAllowed: saying whether the role, the namespace or the extra scope is missing.
    """
    if not allows(identity, operation, namespace):
        raise NotAllowed(
            f"{identity.actor} may not {operation}: {_lack(identity.grant, operation, namespace)}", operation=operation
        )


def _lack(grant: Grant, operation: Operation, namespace: str | None) -> str:
    if operation not in ROLES[grant.role]:
        return f"its role is {grant.role}"
    if not grant.reaches(namespace):
        return "it is not good for all namespaces" if namespace is None else f"it is not good for namespace {namespace!r}"
    return f"it lacks the scope {NEEDS[operation]}"


def may_grant(identity: Identity, wanted: Grant) -> bool:
    """Whether somebody may give this to another: only where they administer, and no scope that they lack themselves."""
    places: Iterable[str | None] = [None] if wanted.namespaces is None else wanted.namespaces
    administers = all(allows(identity, Operation.ADMINISTER, place) for place in places)
    return administers and wanted.extras <= identity.grant.extras


def require_grant(identity: Identity, wanted: Grant) -> None:
    """Refuse to give what one may not give.

    Raises:
        NotAllowed: naming what is asked for.
    """
    if not may_grant(identity, wanted):
        where = spell_namespaces(wanted.namespaces)
        raise NotAllowed(
            f"{identity.actor} may not make somebody {wanted.role} of {where} with {spell(wanted.extras) or 'no'} extra scopes:"
            " it takes an admin of those namespaces who has those scopes",
            operation=Operation.ADMINISTER,
        )


def owner(actor: str) -> Identity:
    """Whoever holds the database itself: what no token could keep from them is not asked for."""
    return Identity(actor=actor, grant=Grant(role=Role.ADMIN, namespaces=None, extras=frozenset(Extra)))


# -- from and to texts -------------------------------------------------------------------------------------------------


def grant_of(role: str, namespaces: Iterable[str], extras: Iterable[str] = ()) -> Grant:
    """What people ask for in texts; ``"*"`` among the namespaces stands for all of them.

    Raises:
        InvalidOption: no such role or scope, no namespace at all, a scope that the role has no use for.
    """
    checked_role, checked_extras = _one_of(Role, role, "role"), frozenset(_one_of(Extra, each, "extras") for each in extras)
    unused = sorted(each for each in checked_extras if not _uses(checked_role, each))
    if unused:
        raise InvalidOption(f"the scope {unused[0]} is for authors and admins; a {checked_role} has no use for it", option="extras")
    return Grant(role=checked_role, namespaces=_namespaces(namespaces), extras=checked_extras)


def _namespaces(named: Iterable[str]) -> frozenset[str] | None:
    if isinstance(named, str):
        raise InvalidOption(f"namespaces must be a list; write [{shown(named)}]", option="namespaces")
    names = frozenset(named)
    if EVERY in names:
        return None
    if not 1 <= len(names) <= _MOST_NAMESPACES:
        raise InvalidOption(f'name 1 to {_MOST_NAMESPACES} namespaces, or "{EVERY}" for all; got {len(names)}', option="namespaces")
    return frozenset(check_name(each, "namespace") for each in names)


def _uses(role: Role, extra: Extra) -> bool:
    return any(NEEDS.get(operation) is extra for operation in ROLES[role])


def _one_of(kind: type[_Named], value: str, option: str) -> _Named:
    if value not in set(kind):
        raise InvalidOption(f"{option} must be one of {', '.join(kind)}, not {shown(value)}", option=option)
    return kind(value)


def spell_namespaces(namespaces: frozenset[str] | None) -> str:
    """Namespaces as one text, to be stored and shown."""
    return EVERY if namespaces is None else spell(namespaces)


def spell(words: Iterable[str]) -> str:
    """Words as one text. None of ours has a blank in it."""
    return " ".join(sorted(words))


def read_grant(role: str, namespaces: str, extras: str) -> Grant:
    """A grant as it is stored."""
    return Grant(
        role=Role(role),
        namespaces=None if namespaces == EVERY else frozenset(namespaces.split()),
        extras=frozenset(map(Extra, extras.split())),
    )
