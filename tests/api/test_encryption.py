"""Sealed values: what lies in the database tells nothing, keys come and go, and what was stored before stays readable."""

from __future__ import annotations

import base64
import hashlib
import itertools
from pathlib import Path
from typing import Any

import pytest

from mainspring import App, Context, Encrypted, Fail, KeyConflict, Release, RunFailed, State
from mainspring.codec import Keeping, payload_hash
from mainspring.errors import ConfigurationInvalid, InvalidOption, ValueUnreadable
from mainspring.testing import invariants
from mainspring.testing.sandboxing import sandbox
from tests.api.conftest import Drain, NewApp
from tests.runtime import versioned

OLD, NEW, OTHER = (bytes([fill]) * 32 for fill in (1, 2, 3))
SECRET = "the moon is made of cheese"


def sealed_by(*names: str, current: str | None = None) -> Encrypted:
    known = {"old": OLD, "new": NEW, "other": OTHER}
    return Encrypted(keys={name: known[name] for name in names}, current=current or names[-1])


def everything(app: App) -> str:
    """Every text and every body in the database, as somebody with a copy of it would read them."""
    database = app.client.database
    tables = {"events": ("data", "body"), "checkpoints": ("details", "progress"), "idempotency_keys": ("key", "payload_hash"),
              "singletons": ("key", "next_body")}  # fmt: skip
    found: list[str] = []
    for table, columns in tables.items():
        for column, row in itertools.product(columns, rows(database, table, columns)):
            value = row[columns.index(column)]
            found.append(value.decode("latin-1") if isinstance(value, bytes) else str(value))
    return "\n".join(found)


def rows(database: Any, table: str, columns: tuple[str, ...]) -> list[Any]:
    select = f"SELECT {', '.join(columns)} FROM {table}"
    if hasattr(database, "exclusive"):
        with database.exclusive() as connection:
            return list(connection.execute(select).fetchall())
    import psycopg

    with psycopg.connect(database.conninfo) as connection:
        return list(connection.execute(select).fetchall())


def test_nothing_that_a_run_holds_lies_open_in_the_database(new_app: NewApp, drain: Drain) -> None:
    app = new_app(codec=sealed_by("new"))

    @app.task(max_attempts=1)
    def work(ctx: Context, what: str) -> str:
        ctx.heartbeat({"saved": what}, now=True)
        if what.endswith("!"):
            raise ValueError(what)
        return what.upper()

    good = work.options(key="k").enqueue(SECRET)
    bad = work.enqueue(SECRET + "!")
    drain(app)
    assert good.result("5s") == SECRET.upper()
    with pytest.raises(RunFailed, match=SECRET) as failed:
        bad.result("5s")
    assert failed.value.failure is not None
    assert SECRET in failed.value.failure["traceback"]
    assert app.runs.attempts(bad.id)[0].message == SECRET + "!"
    stored = everything(app)
    assert SECRET not in stored
    assert SECRET.upper() not in stored
    assert hashlib.sha256(b'{"what":"%s"}' % SECRET.encode()).hexdigest() not in stored, "a plain hash could be guessed"
    invariants.check(app.client.database)


def test_what_was_stored_before_there_was_a_codec_stays_readable(new_app: NewApp, drain: Drain) -> None:
    def work(what: str) -> str:
        return what.upper()

    plain, sealed = new_app(), new_app(codec=sealed_by("new"))
    first = plain.task(name="work")(work).enqueue("early")
    drain(plain)
    second = plain.task(name="again")(work).enqueue("waiting")
    sealed.task(name="work")(work)
    sealed.task(name="again")(work)
    drain(sealed)
    assert sealed.client.handle(first.id).result("5s") == "EARLY"
    assert sealed.client.handle(second.id).result("5s") == "WAITING"


def test_new_values_are_sealed_with_the_current_key_and_old_ones_open_while_theirs_is_listed(new_app: NewApp, drain: Drain) -> None:
    def work(what: str) -> str:
        return what.upper()

    before, after = new_app(codec=sealed_by("old")), new_app(codec=sealed_by("old", "new"))
    waiting = before.task(name="work")(work).enqueue("one")
    task = after.task(name="work")(work)
    newer = task.enqueue("two")
    drain(after)
    assert after.client.handle(waiting.id).result("5s") == "ONE"
    assert newer.result("5s") == "TWO"
    with pytest.raises(ValueUnreadable, match="sealed with the key 'new'"):
        before.client.handle(newer.id).result("5s")


def test_a_run_whose_key_is_not_listed_is_parked_naming_it_and_goes_on_when_it_is(new_app: NewApp, drain: Drain) -> None:
    def work(what: str) -> str:
        return what.upper()

    before, without, both = new_app(codec=sealed_by("old")), new_app(codec=sealed_by("new")), new_app(codec=sealed_by("old", "new"))
    run = before.task(name="work")(work).enqueue("one")
    without.task(name="work")(work)
    both.task(name="work")(work)
    drain(without)
    view = without.runs.get(run.id).run
    assert (view.state, view.reason, view.failures) == (State.NEEDS_ATTENTION, "invalid_payload", 0)
    told = without.runs.events(run.id)[-1].data["message"]
    assert "the key 'old'" in told
    assert "list that key too" in told
    both.runs.resume(run.id, "the key is back")
    drain(both)
    assert both.client.handle(run.id).result("5s") == "ONE"


def test_an_app_without_a_codec_says_so(new_app: NewApp, drain: Drain) -> None:
    def fail(what: str) -> None:
        raise Fail("no", what)

    sealed, plain = new_app(codec=sealed_by("new")), new_app()
    done = sealed.task(name="fail")(fail).enqueue(SECRET)
    drain(sealed)
    waits = sealed.registry.get("fail")
    assert waits.version == 1
    with pytest.raises(RunFailed, match="this app has no codec") as failed:
        plain.client.handle(done.id).result("5s")
    assert SECRET not in str(failed.value)


def test_equal_payloads_under_one_key_stay_equal_while_keys_rotate(new_app: NewApp) -> None:
    def work(what: str) -> None: ...

    apps = [new_app(codec=sealed_by(*keys)) for keys in (["old"], ["old", "new"], ["old", "new", "other"])]
    first, *others = [app.task(name="work")(work).options(key="k") for app in apps]
    run = first.enqueue("same")
    for task in others:
        assert (task.enqueue("same").id, task.enqueue("same").outcome) == (run.id, "existing")
        with pytest.raises(KeyConflict):
            task.enqueue("another")


def test_a_hash_key_of_its_own_outlives_every_key(new_app: NewApp) -> None:
    def work(what: str) -> None: ...

    first = new_app(codec=Encrypted(keys={"old": OLD}, current="old", hash_key=OTHER))
    later = new_app(codec=Encrypted(keys={"new": NEW}, current="new", hash_key=OTHER))
    run = first.task(name="work")(work).options(key="k").enqueue("same")
    assert later.task(name="work")(work).options(key="k").enqueue("same").id == run.id


def test_a_failed_sealed_run_is_tried_again_with_its_payload_and_its_key(new_app: NewApp, drain: Drain) -> None:
    app = new_app(codec=sealed_by("old", "new"))
    broken = [True]

    @app.task(max_attempts=1)
    def work(what: str) -> str:
        if broken:
            raise ValueError("not yet")
        return what

    run = work.options(key="k").enqueue("x")
    drain(app)
    assert app.runs.get(run.id).run.state is State.FAILED
    broken.clear()
    again = app.runs.retry(run.id)
    drain(app)
    assert again.result("5s") == "x"
    assert work.options(key="k").enqueue("x").id == again.id
    invariants.check(app.client.database)


def test_the_next_attempt_opens_the_checkpoint_of_the_last(new_app: NewApp) -> None:
    app = new_app(codec=sealed_by("new"))

    @app.task(backoff=[0])
    def work(ctx: Context) -> Any:
        if ctx.checkpoint is None:
            ctx.heartbeat({"at": 7})
            raise ValueError("once")
        return ctx.checkpoint

    run = work.enqueue()
    app.worker(poll="50ms").run(until="empty")
    assert run.result("5s") == {"at": 7}


def test_a_result_written_with_the_tasks_own_transaction_is_sealed_too(new_app: NewApp, drain: Drain) -> None:
    app = new_app(codec=sealed_by("new"))

    @app.task
    def work(ctx: Context) -> str:
        with ctx.transaction():
            ctx.set_result(SECRET)
        return "what is returned after it is not kept"

    run = work.enqueue()
    drain(app)
    assert run.result("5s") == SECRET
    assert SECRET not in everything(app)
    invariants.check(app.client.database)


def test_a_payload_that_a_release_gives_back_is_sealed_too(new_app: NewApp) -> None:
    app = new_app(codec=sealed_by("old", "new"))

    @app.task
    def work(what: str) -> str:
        if what == "first":
            raise Release(immediately=True, payload={"what": SECRET})
        return what

    run = work.enqueue("first")
    app.worker(poll="50ms").run(until="empty")
    assert run.result("5s") == SECRET
    assert SECRET not in everything(app)
    invariants.check(app.client.database)


def test_tasks_in_processes_need_no_keys_of_their_own(new_app: NewApp, drain: Drain) -> None:
    app = new_app(codec=sealed_by("new"))
    for task in (versioned.greet, versioned.login):
        app.registry._enter(task.spec, ())
    spec, options = app.registry.get("greet"), versioned.greet.spec.options
    (greeted,) = app.client.submit([spec.request(spec.about("default", options), options, ("Ann", SECRET), {})])
    drain(app)
    assert greeted.result("5s") == f"{SECRET} Ann"
    assert SECRET not in everything(app)


def test_a_sandbox_seals_as_the_app_does() -> None:
    from mainspring.testing import drain, enqueued

    app = App("shop", codec=sealed_by("new"))

    @app.task
    def work(what: str) -> str:
        return what.upper()

    with sandbox(app):
        work.enqueue(SECRET)
        assert [run.args for run in enqueued(app)] == [{"what": SECRET}]
        assert SECRET not in everything(app)
        assert [ran.result for ran in drain(app).ran] == [SECRET.upper()]


async def result_of(run: Any) -> Any:
    return await run.aresult("5s")


def test_a_sealed_result_can_be_awaited(new_app: NewApp, drain: Drain) -> None:
    import asyncio

    app = new_app(codec=sealed_by("new"))

    @app.task
    def work(what: str) -> str:
        return what.upper()

    run = work.enqueue("x")
    drain(app)
    assert asyncio.run(result_of(run)) == "X"


# -- the cipher --------------------------------------------------------------------------------------------------------


def test_a_sealed_value_that_was_altered_or_moved_does_not_open() -> None:
    keeping = Keeping(codec=sealed_by("new"))
    stored = keeping.keep_result(b'"x"', run_id="a", token=1)
    assert keeping.read_result(stored, run_id="a") == b'"x"'
    with pytest.raises(ValueUnreadable, match="belongs to something else"):
        keeping.read_result(stored, run_id="b")
    for place in range(2, len(stored)):
        altered = stored[:place] + bytes([stored[place] ^ 1]) + stored[place + 1 :]
        with pytest.raises(ValueUnreadable):
            keeping.read_result(altered, run_id="a")


def test_the_same_value_is_sealed_differently_each_time_and_hashed_alike_only_where_it_is_compared() -> None:
    keeping = Keeping(codec=sealed_by("new"))
    keyed = [keeping.keep_payload(b"{}", task="t", run_id="r", keyed=True) for _ in range(2)]
    plain = [keeping.keep_payload(b"{}", task="t", run_id="r", keyed=False) for _ in range(2)]
    assert len({*keyed, *plain}) == 4
    assert payload_hash(keyed[0]) == payload_hash(keyed[1])
    assert payload_hash(plain[0]) != payload_hash(plain[1])


@pytest.mark.parametrize(
    ("options", "option", "told"),
    [
        ({"keys": {}, "current": "a"}, "current", "none"),
        ({"keys": {"a": OLD}, "current": "b"}, "current", "'b'"),
        ({"keys": {"a": b"short"}, "current": "a"}, "keys", "32 bytes"),
        ({"keys": {"a": base64.b64encode(b"short").decode()}, "current": "a"}, "keys", "openssl rand"),
        ({"keys": {"é": OLD}, "current": "é"}, "keys", "ASCII"),
        ({"keys": {"": OLD}, "current": ""}, "keys", "ASCII"),
    ],
)
def test_keys_that_cannot_be_are_refused_saying_what_to_write(options: dict[str, Any], option: str, told: str) -> None:
    with pytest.raises(InvalidOption, match=told) as refused:
        Encrypted(**options)
    assert refused.value.details["option"] == option


def test_keys_are_read_from_where_a_text_points(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = base64.b64encode(OLD).decode()
    (tmp_path / "key").write_text(text + "\n")
    monkeypatch.setenv("SHOP_KEY", text)
    expected = sealed_by("old").seal(b"x", "about")
    for key in (text, "env:SHOP_KEY", f"file:{tmp_path / 'key'}"):
        app = App("shop", codec=Encrypted(keys={"old": key}, current="old"))
        assert app.keeping.codec is not None
        assert app.keeping.codec.open(expected, "about") == b"x"


def test_a_key_that_is_not_there_is_refused_naming_where_it_should_be() -> None:
    codec = Encrypted(keys={"old": "env:NO_SUCH_KEY"}, current="old")
    with pytest.raises(ConfigurationInvalid, match="NO_SUCH_KEY"):
        App("shop", codec=codec)
    with pytest.raises(ConfigurationInvalid, match="give this codec to one"):
        codec.seal(b"x", "about")
    with pytest.raises(ConfigurationInvalid, match="not base64"):
        Encrypted(keys={"old": "no base64!"}, current="old")


def test_no_key_is_shown() -> None:
    assert repr(sealed_by("old", "new")) == "Encrypted(keys=['new', 'old'], current='new')"


def test_what_is_no_codec_is_refused() -> None:
    with pytest.raises(InvalidOption, match="codec="):
        App("shop", codec="aes")  # type: ignore[arg-type]
