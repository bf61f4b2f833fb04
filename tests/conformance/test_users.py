"""People on every database: made, changed, kept out; what that does to the logins they have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mainspring import Client
from mainspring.core.access import Identity, grant_of
from mainspring.errors import InvalidName, InvalidOption, NotAllowed, NotAuthenticated, UnknownUser, UserExists
from tests.support.access import PASSWORD, quick_passwords
from tests.support.builders import Fleet, together


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with quick_passwords():
        yield


@pytest.fixture
def client(fleet: Fleet) -> Client:
    """Whoever holds the database."""
    return Client(fleet.database, namespace="test", actor="cli:root")


def make(client: Client, name: str = "ann", role: str = "operator", **options: Any) -> None:
    client.users.create(name, PASSWORD, role, **options)


def actions(client: Client, name: str = "ann") -> list[tuple[str, str]]:
    return [(entry.action, entry.actor) for entry in client.audit.list(subject=f"user:{name}").data][::-1]


def test_a_person_is_of_the_namespaces_they_were_given(client: Client) -> None:
    make(client)
    make(client, "bob", "admin", namespaces=["a", "b"])
    make(client, "cat", "viewer", namespaces=["*"])
    assert [user.grant.namespaces for user in client.users.list().data] == [{"test"}, {"a", "b"}, None]
    assert client.users.get("ann").created_by == "cli:root"
    assert actions(client) == [("user.created", "cli:root")]


def test_people_are_listed_by_name_page_by_page(client: Client) -> None:
    for name in ("b", "B", "a", "_", "c/d"):
        make(client, name)
    found = []
    cursor = None
    for _ in range(3):
        page = client.users.list(limit=2, cursor=cursor)
        found += [user.name for user in page.data]
        cursor = page.next_cursor
    assert found == ["B", "_", "a", "b", "c/d"]


def test_a_name_is_taken_once_whoever_asks_at_once(client: Client) -> None:
    def ask() -> bool:
        try:
            make(client)
        except UserExists:
            return False
        return True

    assert sorted(together(*[ask] * 4)) == [False, False, False, True]
    assert actions(client) == [("user.created", "cli:root")]


def test_another_password_ends_every_login_and_only_it_opens_one(client: Client) -> None:
    make(client)
    before = [client.logins.open("ann", PASSWORD).text for _ in range(2)]
    client.users.set_password("ann", "another horse battery")
    for text in before:
        with pytest.raises(NotAuthenticated):
            client.logins.verify(text)
    with pytest.raises(NotAuthenticated):
        client.logins.open("ann", PASSWORD)
    assert client.logins.open("ann", "another horse battery").identity.actor == "user:ann"
    assert '{"logins_ended":2}' in [entry.data for entry in client.audit.list(action="user.password_set").data]


def test_a_person_who_is_kept_out_is_out_at_once_and_comes_in_again_when_enabled(client: Client) -> None:
    make(client)
    text = client.logins.open("ann", PASSWORD).text
    assert [client.users.disable("ann"), client.users.disable("ann")] == [True, False]
    with pytest.raises(NotAuthenticated):
        client.logins.verify(text)
    with pytest.raises(NotAuthenticated, match="the name or the password is wrong"):
        client.logins.open("ann", PASSWORD)
    assert client.users.get("ann").disabled_by == "cli:root"
    assert [client.users.enable("ann"), client.users.enable("ann")] == [True, False]
    assert client.logins.open("ann", PASSWORD).identity.actor == "user:ann"
    assert [action for action, _ in actions(client)] == [
        "user.created", "login.opened", "user.disabled", "user.enabled", "login.opened",
    ]  # fmt: skip


def test_another_role_counts_in_logins_that_are_open(client: Client) -> None:
    make(client, role="admin")
    text = client.logins.open("ann", PASSWORD).text
    assert client.users.set_grant("ann", "author", namespaces=["a"], extras=["http"])
    assert client.logins.verify(text).identity.grant == grant_of("author", ["a"], ["http"])
    assert not client.users.set_grant("ann", "author", namespaces=["a"], extras=["http"])
    (told,) = client.audit.list(action="user.granted").data
    assert '"before":{"role":"admin"' in told.data


def test_people_are_administered_by_admins_of_everything_only(client: Client) -> None:
    make(client)
    for asking in (("admin", ["a"]), ("author", ["*"])):
        by = Identity(actor="user:bob", grant=grant_of(*asking))
        for act in (
            lambda by=by: client.users.create("cat", PASSWORD, "viewer", namespaces=["a"], by=by),
            lambda by=by: client.users.set_password("ann", "another horse battery", by=by),
            lambda by=by: client.users.set_grant("ann", "viewer", by=by),
            lambda by=by: client.users.disable("ann", by=by),
            lambda by=by: client.users.enable("ann", by=by),
            lambda by=by: client.logins.close_all("ann", by=by),
        ):
            with pytest.raises(NotAllowed):
                act()
    boss = Identity(actor="user:boss", grant=grant_of("admin", ["*"]))
    client.users.create("cat", PASSWORD, "admin", namespaces=["*"], by=boss)
    with pytest.raises(NotAllowed):
        client.users.create("dog", PASSWORD, "admin", extras=["shell"], by=boss)
    assert actions(client, "cat") == [("user.created", "user:boss")]


def test_a_worker_is_no_person(client: Client) -> None:
    with pytest.raises(InvalidOption, match="worker is a role of tokens"):
        make(client, role="worker")


def test_names_and_passwords_that_cannot_be_are_refused(client: Client) -> None:
    with pytest.raises(InvalidName):
        make(client, "ann at home")
    for act in (lambda: client.users.create("ann", "short", "viewer"), lambda: client.users.set_password("ann", "short")):
        with pytest.raises(InvalidOption, match="12 to 1024 characters"):
            act()


def test_nobody_is_told_apart_from_somebody_by_name(client: Client) -> None:
    for act in (client.users.get, client.users.disable, client.users.enable):
        with pytest.raises(UnknownUser, match="mainspring user list"):
            act("nobody")
    with pytest.raises(UnknownUser):
        client.users.set_password("nobody", PASSWORD)
    with pytest.raises(UnknownUser):
        client.users.set_grant("nobody", "viewer")
