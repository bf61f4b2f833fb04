"""Values too large for a row: in the blob store, found again, checked, and removed when nothing points to them any more."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import MemoryStore

from mainspring import App, Directory, Encrypted, Objects, Release, RunFailed, State
from mainspring.codec import Blob, BlobStore, Keeping, Memory
from mainspring.core.durations import DAY
from mainspring.errors import InvalidOption, PayloadTooLarge, StorageUnavailable, ValueUnreadable
from mainspring.operations.payloads import blobs_of
from mainspring.testing import invariants
from tests.api.conftest import Drain, NewApp
from tests.runtime import versioned

INLINE = 256 * 1024
HARD = 2 * 1024 * 1024
ROOM = INLINE - len('{"text":""}')


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


def echo(text: str) -> str:
    return text


def test_large_payloads_and_results_go_to_the_blob_store_and_come_back(new_app: NewApp, drain: Drain, folder: Path) -> None:
    app = new_app(blobs=Directory(folder))
    task = app.task(name="echo")(echo)
    small, large = task.enqueue("x" * ROOM), task.enqueue("y" * INLINE)
    assert len(files(folder)) == 1, "what fits a row stays in it"
    drain(app)
    assert small.result("5s") == "x" * ROOM
    assert large.result("5s") == "y" * INLINE
    payload, result = files(folder)
    assert payload.startswith(f"{large.id[:6]}/{large.id}/payload-{2 * INLINE - ROOM}-")
    assert result.startswith(f"{large.id[:6]}/{large.id}/result1-")
    assert app.client.database.read("test", lambda tx: blobs_of(tx, [small.id, large.id])) == [
        payload.partition("/")[2], result.partition("/")[2]
    ]  # fmt: skip
    for event in app.runs.events(large.id):
        assert len(event.body or b"") < 300
    invariants.check(app.client.database)


def test_there_is_a_limit_all_the_same(new_app: NewApp, drain: Drain, folder: Path) -> None:
    app = new_app(blobs=Directory(folder))

    @app.task(max_attempts=3)
    def much(size: int) -> str:
        return "x" * size

    with pytest.raises(PayloadTooLarge, match="2,097,152"):
        app.task(name="echo")(echo).enqueue("x" * HARD)
    fits, spills = much.enqueue(HARD - 2), much.enqueue(HARD - 1)
    drain(app)
    assert len(fits.result("5s")) == HARD - 2
    with pytest.raises(RunFailed, match="2,097,152"):
        spills.result("5s")
    assert (app.runs.get(spills.id).run.reason, app.runs.get(spills.id).run.failures) == ("result_too_large", 1)


def test_without_a_blob_store_the_refusal_says_that_there_could_be_one(new_app: NewApp, drain: Drain) -> None:
    app = new_app()
    task = app.task(name="echo", max_attempts=3)(echo)

    @app.task(max_attempts=3)
    def much() -> list[Any]:
        return [1, {"deep": "x" * INLINE}]

    with pytest.raises(PayloadTooLarge, match="blobs="):
        task.enqueue("x" * INLINE)
    run = much.enqueue()
    drain(app)
    with pytest.raises(RunFailed, match="blobs="):
        run.result("5s")


def test_large_sealed_values_are_sealed_in_the_blob_store_too(new_app: NewApp, drain: Drain, folder: Path) -> None:
    app = new_app(blobs=Directory(folder), codec=Encrypted(keys={"k": bytes(32)}, current="k"))
    task = app.task(name="echo")(echo)
    run = task.options(key="k").enqueue("secret" * 50_000)
    assert task.options(key="k").enqueue("secret" * 50_000).id == run.id, "compared by the keyed hash, wherever they lie"
    drain(app)
    assert run.result("5s") == "secret" * 50_000
    assert all(b"secret" not in (folder / file).read_bytes() for file in files(folder))


def test_a_large_payload_that_a_release_gives_back_goes_to_the_blob_store(new_app: NewApp, folder: Path) -> None:
    app = new_app(blobs=Directory(folder))

    @app.task
    def work(text: str) -> int:
        if len(text) == INLINE:
            raise Release(immediately=True, payload={"text": text + "more"})
        return len(text)

    run = work.enqueue("x" * INLINE)
    app.worker(poll="50ms").run(until="empty")
    assert run.result("5s") == INLINE + 4
    assert [name.rpartition("/")[2].partition("-")[0] for name in files(folder)] == ["payload", "payload1"]
    age(folder, days=2)
    assert swept(app) == 0, "the ledger holds both"


def test_a_task_in_a_process_gets_and_gives_large_values(new_app: NewApp, drain: Drain, folder: Path) -> None:
    app = new_app(blobs=Directory(folder))
    app.registry._enter(versioned.large.spec, ())
    task = app.task(name="echo")(echo)
    body = task.call("z" * 400_000).request
    (run,) = app.client.submit([body._replace(lane=versioned.large.call("z").request.lane)])
    drain(app)
    assert run.result("5s") == "z" * 400_000


def test_a_blob_that_is_gone_or_changed_parks_the_run_and_says_which(new_app: NewApp, drain: Drain, folder: Path) -> None:
    app = new_app(blobs=Directory(folder))
    task = app.task(name="echo")(echo)
    gone, changed, kept = (task.enqueue(letter * INLINE) for letter in "abc")
    for run, act in ((gone, Path.unlink), (changed, lambda path: path.write_bytes(b"something else"))):
        act(next((folder / run.id[:6] / run.id).iterdir()))
    drain(app)
    assert kept.result("5s") == "c" * INLINE
    for run, told in ((gone, "is not there"), (changed, "its hash is another")):
        view = app.runs.get(run.id).run
        assert (view.state, view.reason, view.failures) == (State.NEEDS_ATTENTION, "invalid_payload", 0)
        assert told in app.runs.events(run.id)[-1].data["message"]


def test_a_result_whose_blob_is_gone_is_an_error_that_names_it(new_app: NewApp, drain: Drain, folder: Path) -> None:
    app, other = new_app(blobs=Directory(folder)), new_app()
    task = app.task(name="echo")(echo)
    run = task.enqueue("a" * INLINE)
    drain(app)
    with pytest.raises(ValueUnreadable, match="give it blobs="):
        other.client.handle(run.id).result("5s")
    for file in (folder / run.id[:6] / run.id).glob("result*"):
        file.unlink()
    with pytest.raises(ValueUnreadable, match=f"{run.id}/result1"):
        run.result("5s")


class Flaky(Memory):
    """A store that is away for a while."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures
        self.tries = 0

    def put(self, key: str, body: bytes) -> None:
        self.tries += 1
        if self.failures:
            self.failures -= 1
            raise StorageUnavailable("the store is away")
        super().put(key, body)


def test_nothing_is_created_while_the_store_is_away(new_app: NewApp) -> None:
    app = new_app(blobs=Flaky(1))
    task = app.task(name="echo")(echo)
    with pytest.raises(StorageUnavailable, match="away"):
        task.enqueue("x" * INLINE)
    assert app.runs.counts() == {}
    task.enqueue("x" * INLINE)


def test_work_that_is_done_is_not_done_again_because_the_store_was_away_for_a_moment(new_app: NewApp, drain: Drain) -> None:
    app = new_app(blobs=Flaky(2))
    calls: list[int] = []

    @app.task
    def much() -> str:
        calls.append(1)
        return "x" * INLINE

    run = much.enqueue()
    drain(app)
    assert run.result("5s") == "x" * INLINE
    assert len(calls) == 1
    assert app.runs.get(run.id).run.interruptions == 0


# -- sweeping ----------------------------------------------------------------------------------------------------------


def age(folder: Path, *, days: int) -> None:
    """Let every blob be that old."""
    for file in folder.rglob("*"):
        if file.is_file():
            stamp = file.stat().st_mtime - days * 86_400
            os.utime(file, (stamp, stamp))


def swept(app: App) -> int:
    removed, cursor = 0, None
    while True:
        step = app.client.sweep_blobs(cursor=cursor, most=2)
        removed, cursor = removed + step.removed, step.cursor
        if cursor is None:
            return removed


def test_the_sweep_removes_old_blobs_that_nothing_points_to_and_no_others(new_app: NewApp, drain: Drain, folder: Path) -> None:
    app = new_app(blobs=Directory(folder))
    task = app.task(name="echo")(echo)
    done, waiting = task.enqueue("a" * INLINE), None
    drain(app)
    waiting = task.options(delay="1h").enqueue("b" * INLINE)
    with pytest.raises(ZeroDivisionError):
        rolled_back(app, task)
    assert len(files(folder)) == 4, "two payloads, a result, and the payload of a run that never was"
    assert swept(app) == 0, "all of them are young"
    age(folder, days=2)
    assert swept(app) == 1
    assert done.result("5s") == "a" * INLINE
    assert app.runs.prune(older_than=0).runs == 1
    assert swept(app) == 2
    assert len(files(folder)) == 1
    assert waiting.id in files(folder)[0]
    invariants.check(app.client.database)


def test_a_worker_sweeps_by_itself(new_app: NewApp, drain: Drain, folder: Path) -> None:
    store = Directory(folder)
    app = new_app(blobs=store)
    task = app.task(name="echo")(echo)
    store.put("0190aa00-0000-7000-8000-000000000000/payload", b"left behind")
    age(folder, days=2)
    run = task.enqueue("a" * INLINE)
    drain(app)
    assert run.result("5s") == "a" * INLINE
    assert len(files(folder)) == 2
    assert all(run.id in file for file in files(folder))


def test_a_payload_that_a_retry_took_over_outlives_its_first_run(new_app: NewApp, drain: Drain, folder: Path) -> None:
    app = new_app(blobs=Directory(folder))
    broken = [True]

    @app.task(max_attempts=1)
    def work(text: str) -> int:
        if broken:
            raise ValueError("not yet")
        return len(text)

    run = work.enqueue("a" * INLINE)
    drain(app)
    again = app.runs.retry(run.id)
    broken.clear()
    assert app.runs.prune(older_than=0).runs == 1
    age(folder, days=2)
    assert swept(app) == 0
    drain(app)
    assert again.result("5s") == INLINE


def rolled_back(app: App, task: Any) -> None:
    with in_transaction(app) as connection:
        task.options(using=connection).enqueue("c" * INLINE)
        raise ZeroDivisionError


def in_transaction(app: App) -> Any:
    """A transaction of the caller's, on either database."""
    database = app.client.database
    if hasattr(database, "exclusive"):
        return database.exclusive()
    import psycopg

    return psycopg.connect(database.conninfo)


# -- stores ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["directory", "objects", "memory"])
def store(request: pytest.FixtureRequest, folder: Path) -> BlobStore:
    match request.param:
        case "directory":
            return Directory(folder)
        case "objects":
            return Objects(MemoryStore(), prefix="shop")
        case _:
            return Memory()


def keys_of(listed: Sequence[Blob]) -> list[str]:
    return [blob.key for blob in listed]


def test_every_store_keeps_gives_lists_and_forgets(store: BlobStore) -> None:
    keys = [f"{run}/payload-{n}" for run in ("0190aa-1", "0190aa-2", "0190ab-1", "0290aa-1") for n in (1, 2)]
    for key in reversed(keys):
        store.put(key, key.encode())
    store.put(keys[0], keys[0].encode())
    assert [store.get(key) for key in keys] == [key.encode() for key in keys]
    assert keys_of(store.list(after="", most=100)) == keys
    assert keys_of(store.list(after=keys[2], most=3)) == keys[3:6]
    assert keys_of(store.list(after="0190aa-1/payload", most=1)) == keys[:1]
    store.delete([*keys[:7], "0190aa-9/none"])
    assert keys_of(store.list(after="", most=100)) == keys[7:]
    with pytest.raises(LookupError):
        store.get(keys[0])
    assert isinstance(store, BlobStore)


def test_an_empty_store_lists_nothing(store: BlobStore) -> None:
    assert list(store.list(after="", most=10)) == []


def test_many_who_write_and_sweep_one_folder_do_not_disturb_each_other(folder: Path) -> None:
    store = Directory(folder)
    keys = [f"0190aa-{n % 4}/payload-{n}" for n in range(80)]
    failed: list[BaseException] = []

    def work(mine: Sequence[str]) -> None:
        for key in mine:
            try:
                store.put(key, b"x" * 1000)
                assert store.get(key) == b"x" * 1000
                store.delete([key])
            except StorageUnavailable:
                continue  # the folder went between the making and the writing: the caller is told, and tries again
            except BaseException as error:
                failed.append(error)

    threads = [threading.Thread(target=work, args=(keys[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []


def test_a_write_that_fails_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Directory(folder)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageUnavailable, match="No space left"):
        store.put("0190aa-1/payload", b"x")
    assert files(folder) == []
    assert list(store.list(after="", most=10)) == []


@pytest.mark.parametrize("key", ["payload", "../../etc/passwd", "a/b/c", "a/..", "a/"])
def test_a_key_never_leads_out_of_the_folder(folder: Path, key: str) -> None:
    with pytest.raises(InvalidOption):
        Directory(folder).put(key, b"x")


def test_an_object_store_that_is_away_is_trouble_that_passes(tmp_path: Path) -> None:
    away = Objects(obstore.store.LocalStore(tmp_path))
    tmp_path.joinpath("file").write_text("in the way")
    with pytest.raises(StorageUnavailable):
        away.put("file/payload", b"x")


def test_a_blob_is_checked_when_it_is_read() -> None:
    store = Memory()
    keeping = Keeping(blobs=store, inline=10)
    stored = keeping.keep_payload(b'{"text":"long enough"}', task="t", run_id="r", keyed=False)
    (blob,) = store.list(after="", most=10)
    assert hashlib.sha256(store.get(blob.key)).hexdigest() in blob.key
    store.put(blob.key, b'{"text":"another one"}')
    with pytest.raises(ValueUnreadable, match="not what was written"):
        keeping.read_payload(stored, task="t")


def test_what_is_no_blob_store_is_refused() -> None:
    with pytest.raises(InvalidOption, match="Directory"):
        App("shop", blobs="/var/lib/shop")  # type: ignore[arg-type]
    with pytest.raises(InvalidOption):
        Directory("")


def test_a_day_is_what_a_blob_is_left_alone() -> None:
    assert DAY == 86_400_000_000
