"""Live streams: nothing is told twice or left out, whoever comes back goes on where they were, and whoever is slow is told so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mainspring import App
from mainspring.web import streams
from tests.cli.shell import wait_until
from tests.web.followed import Followed
from tests.web.inside import Inside

ABSENT = "01985f3c-7a2b-7c1d-8e4f-0123456789ab"


def test_a_run_is_followed_to_its_end(server: Inside, shop: App, work: Callable[[], None]) -> None:
    run_id = server.post("/runs", {"task": "greet", "payload": {"who": "Ada"}})["id"]
    with Followed(server, f"/runs/{run_id}/events") as followed:
        first = followed.next()
        assert first is not None
        assert (first.kind, first.data["type"], first.id) == ("event", "created", "1")
        work()
        rest = followed.rest()
    assert [frame.kind for frame in rest] == ["event"] * (len(rest) - 1) + ["end"]
    assert rest[-1].data == {"state": "succeeded"}
    assert [frame.id for frame in rest[:-1]] == [str(seq) for seq in range(2, len(rest) + 1)]


def test_whoever_comes_back_to_a_run_goes_on_where_they_were(small: Inside) -> None:
    run_id = small.post("/runs", {"task": "a", "delay": "1h"})["id"]
    small.post(f"/runs/{run_id}/reschedule", {"delay": "2h"})
    small.post(f"/runs/{run_id}/cancel")
    with Followed(small, f"/runs/{run_id}/events", after="1") as followed:
        assert [(frame.kind, frame.id) for frame in followed.rest()] == [("event", "2"), ("event", "3"), ("end", None)]
    with Followed(small, f"/runs/{run_id}/events", after="3") as over:
        assert over.rest() == []
    assert over.status == 204


def test_a_stream_of_what_is_not_there_is_refused_before_it_begins(small: Inside) -> None:
    accept = {"headers": {"Accept": "text/event-stream"}}
    assert small.ask("GET", f"/runs/{ABSENT}/events", **accept).code == "unknown_run"
    assert small.ask("GET", "/events?cursor=nowhere", **accept).code == "invalid_option"
    assert small.ask("GET", "/events?colour=red", **accept).code == "invalid_request"


def test_everything_that_happens_in_a_namespace_is_told_as_it_happens(server: Inside) -> None:
    server.post("/runs", {"task": "before"})
    with Followed(server, "/events") as followed:
        assert (ready := followed.next()) is not None
        assert ready.kind == "ready"
        elsewhere = server.post("/runs?namespace=other", {"task": "a"})["id"]
        run_id = server.post("/runs", {"task": "a"})["id"]
        server.post(f"/runs/{run_id}/cancel")
        told = [followed.next(), followed.next()]
    assert [(frame.data["run_id"], frame.data["type"]) for frame in told if frame] == [(run_id, "created"), (run_id, "cancelled")]
    assert elsewhere not in {frame.data["run_id"] for frame in told if frame}


def test_whoever_comes_back_is_told_what_came_meanwhile_and_nothing_twice(server: Inside) -> None:
    ids = [server.post("/runs", {"task": "a"})["id"] for _ in range(4)]
    page = server.get("/events?limit=2")
    assert [entry["run_id"] for entry in page["data"]] == ids[:2]
    with Followed(server, "/events", after=page["next_cursor"]) as followed:
        told = [followed.next() for _ in range(3)]
        later = server.post("/runs", {"task": "a"})["id"]
        told.append(followed.next())
    assert [frame.kind for frame in told if frame] == ["event", "event", "ready", "event"]
    assert [frame.data["run_id"] for frame in told if frame and frame.kind == "event"] == [*ids[2:], later]


def test_a_silent_stream_has_a_heartbeat(small: Inside) -> None:
    with Followed(small, "/events") as followed:
        followed.next()
        assert followed.raw() == b": still here\n\n"


def test_a_slow_reader_is_told_that_it_lost_events_and_from_where_to_resume(small: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_QUEUED", 3)
    with Followed(small, "/events", stalled=True) as slow:
        watcher = _watched(small)
        ids = [small.post("/runs", {"task": "a"})["id"] for _ in range(8)]
        wait_until(lambda: not watcher._readers, "the reader was let go")
        slow.flow()
        frames = slow.rest()
    assert frames[0].kind == "ready"
    assert frames[-1].kind == "lost"
    told = [frame.data["run_id"] for frame in frames if frame.kind == "event"]
    assert told == ids[: len(told)]
    with Followed(small, "/events", after=frames[-1].data["resume_after"]) as back:
        again = [back.next() for _ in range(len(ids) - len(told))]
    assert told + [frame.data["run_id"] for frame in again if frame] == ids


def test_more_than_can_be_read_at_once_is_passed_over_and_every_reader_is_told(
    small: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_CHUNK", 2)
    monkeypatch.setattr(streams, "_MOST_CHUNKS", 2)
    monkeypatch.setattr(streams, "_OVERLAP_US", 0)
    with Followed(small, "/events") as followed:
        assert followed.next() is not None
        client = small.node.client("default", "test")
        from mainspring.client.asking import Wish, request_by_name

        client.submit([request_by_name("default", "a", {"n": n}, Wish()) for n in range(9)])
        frames = followed.rest()
    assert frames[-1].kind == "lost"
    assert frames[-1].data["resume_after"]


def test_streams_are_bounded_in_number(small: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_STREAMS", 1)
    with Followed(small, "/events") as followed:
        followed.next()
        answer = small.ask("GET", "/events", headers={"Accept": "text/event-stream"})
        assert (answer.status, answer.code) == (503, "too_many_streams")


def test_a_reader_that_is_gone_costs_nothing_any_more(small: Inside) -> None:
    with Followed(small, "/events") as followed:
        followed.next()
        watcher = _watched(small)
    wait_until(lambda: not watcher._readers and watcher._task is not None and watcher._task.done(), "nobody watches")


def test_a_server_that_ends_ends_its_streams(small: Inside) -> None:
    run_id = small.post("/runs", {"task": "a"})["id"]
    with Followed(small, "/events") as everything, Followed(small, f"/runs/{run_id}/events") as one:
        everything.next()
        one.next()
        small._loop.call_soon_threadsafe(small.app.stop_streams)
        assert everything.rest() == []
        assert one.rest() == []


def _watched(server: Inside) -> streams.Watcher:
    """Whoever watches for the reader, once it is there."""
    assert server.app.streams is not None
    watcher = server.app.streams.watcher("default")
    wait_until(lambda: watcher._readers, "the reader is there")
    return watcher
