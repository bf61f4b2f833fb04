"""Roles, namespaces and extra scopes: who may do what, and who may give it to others."""

from __future__ import annotations

import itertools

import pytest

from mainspring.core.access import (
    NEEDS,
    ROLES,
    Extra,
    Grant,
    Identity,
    Operation,
    Role,
    allows,
    grant_of,
    may_grant,
    owner,
    read_grant,
    require,
    require_grant,
    spell,
    spell_namespaces,
)
from mainspring.errors import InvalidName, InvalidOption, NotAllowed

LADDER = (Role.VIEWER, Role.OPERATOR, Role.AUTHOR, Role.ADMIN)


def somebody(role: Role | str, *namespaces: str, extras: frozenset[Extra] = frozenset()) -> Identity:
    """Somebody of a role; without namespaces: of all."""
    return Identity(actor="user:ann", grant=Grant(role=Role(role), namespaces=frozenset(namespaces) or None, extras=extras))


def test_every_role_says_what_it_may_do_and_every_operation_is_somebodys() -> None:
    assert set(ROLES) == set(Role)
    assert frozenset().union(*ROLES.values()) == set(Operation)


def test_each_role_of_people_may_do_all_that_the_one_below_may_and_more() -> None:
    for lower, higher in itertools.pairwise(LADDER):
        assert ROLES[lower] < ROLES[higher]


def test_a_worker_may_only_lease_and_report_and_nobody_else_may() -> None:
    assert ROLES[Role.WORKER] == {Operation.WORK}
    assert [role for role in Role if Operation.WORK in ROLES[role]] == [Role.WORKER]


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (Role.VIEWER, {"read"}),
        (Role.OPERATOR, {"read", "enqueue", "operate"}),
        (Role.AUTHOR, {"read", "enqueue", "operate", "define"}),
        (Role.ADMIN, {"read", "enqueue", "operate", "define", "administer"}),
        (Role.WORKER, {"work"}),
    ],
)
def test_what_a_role_may_do_without_extra_scopes(role: Role, may: set[str]) -> None:
    assert {operation.value for operation in Operation if allows(somebody(role), operation, "default")} == may


@pytest.mark.parametrize(("operation", "extra"), NEEDS.items())
@pytest.mark.parametrize("role", Role)
def test_targets_that_reach_out_need_the_role_and_the_scope(operation: Operation, extra: Extra, role: Role) -> None:
    assert not allows(somebody(role), operation, "default")
    assert not allows(somebody(role, extras=frozenset(set(Extra) - {extra})), operation, "default")
    assert allows(somebody(role, extras=frozenset({extra})), operation, "default") is (role in {Role.AUTHOR, Role.ADMIN})


def test_nobody_reaches_out_of_their_namespaces_whatever_their_role() -> None:
    for role in Role:
        for operation in ROLES[role] - set(NEEDS):
            assert allows(somebody(role, "a", "b"), operation, "b")
            assert not allows(somebody(role, "a", "b"), operation, "c")
            assert not allows(somebody(role, "a", "b"), operation, None)
            assert allows(somebody(role), operation, None)


@pytest.mark.parametrize(
    ("identity", "operation", "namespace", "told"),
    [
        (somebody("viewer"), Operation.OPERATE, "a", "user:ann may not operate: its role is viewer"),
        (somebody("admin", "a"), Operation.READ, "b", "it is not good for namespace 'b'"),
        (somebody("admin", "a"), Operation.ADMINISTER, None, "it is not good for all namespaces"),
        (somebody("author"), Operation.RUN_SHELL, "a", "it lacks the scope shell"),
    ],
)
def test_a_refusal_says_what_is_missing(identity: Identity, operation: Operation, namespace: str | None, told: str) -> None:
    with pytest.raises(NotAllowed) as refused:
        require(identity, operation, namespace)
    assert told in refused.value.message
    assert refused.value.details == {"operation": operation}


def test_what_may_be_done_is_not_refused() -> None:
    require(somebody("viewer", "a"), Operation.READ, "a")


@pytest.mark.parametrize(
    ("identity", "wanted", "may"),
    [
        (somebody("admin", "a"), somebody("admin", "a").grant, True),
        (somebody("admin", "a"), somebody("worker", "a").grant, True),
        (somebody("admin", "a"), somebody("viewer", "a", "b").grant, False),
        (somebody("admin", "a"), somebody("viewer").grant, False),
        (somebody("admin"), somebody("admin").grant, True),
        (somebody("author"), somebody("viewer", "a").grant, False),
        (somebody("admin"), somebody("author", "a", extras=frozenset({Extra.SHELL})).grant, False),
        (somebody("admin", extras=frozenset({Extra.SHELL})), somebody("author", "a", extras=frozenset({Extra.SHELL})).grant, True),
        (owner("cli:root"), somebody("admin", extras=frozenset(Extra)).grant, True),
    ],
)
def test_nobody_gives_more_than_they_administer_and_have(identity: Identity, wanted: Grant, may: bool) -> None:
    assert may_grant(identity, wanted) is may
    if may:
        require_grant(identity, wanted)
    else:
        with pytest.raises(NotAllowed, match="it takes an admin of those namespaces"):
            require_grant(identity, wanted)


def test_a_grant_asked_for_in_words_is_the_one_that_is_stored_and_read_back() -> None:
    asked = grant_of("author", ["b", "a"], ["shell", "http"])
    assert asked == Grant(role=Role.AUTHOR, namespaces=frozenset({"a", "b"}), extras=frozenset(Extra))
    assert (spell_namespaces(asked.namespaces), spell(asked.extras)) == ("a b", "http shell")
    assert read_grant("author", "a b", "http shell") == asked
    everywhere = grant_of("viewer", ["a", "*"])
    assert everywhere.namespaces is None
    assert read_grant("viewer", spell_namespaces(None), "") == everywhere


@pytest.mark.parametrize(
    ("role", "namespaces", "extras", "told"),
    [
        ("root", ["a"], [], "role must be one of viewer, operator, author, admin, worker, not 'root'"),
        ("author", ["a"], ["files"], "extras must be one of http, shell, not 'files'"),
        ("viewer", ["a"], ["shell"], "a viewer has no use for it"),
        ("worker", ["a"], ["http"], "a worker has no use for it"),
        ("viewer", [], [], "name 1 to 100 namespaces"),
        ("viewer", [f"n{number}" for number in range(101)], [], "got 101"),
        ("viewer", "ab", [], "write ['ab']"),
    ],
)
def test_a_grant_that_cannot_be_is_refused_saying_what_to_write(
    role: str, namespaces: list[str] | str, extras: list[str], told: str
) -> None:
    with pytest.raises(InvalidOption) as refused:
        grant_of(role, namespaces, extras)
    assert told in refused.value.message


def test_a_namespace_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(InvalidName):
        grant_of("viewer", ["a b"])
