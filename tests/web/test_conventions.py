"""What holds for every endpoint: how requests are read, how they are refused, how lists are paged."""

from __future__ import annotations

import logging

import pytest

from mainspring import errors
from mainspring.errors import MainspringError
from mainspring.node import Node
from mainspring.web.problems import STATUSES, status_of
from tests.core.test_errors import TREE
from tests.web.inside import Inside

JSON = {"Content-Type": "application/json"}
ABSENT = "01985f3c-7a2b-7c1d-8e4f-0123456789ab"


def test_everything_that_is_wrong_with_a_body_is_said_at_once(small: Inside) -> None:
    body = {"task": "a b", "payload": [], "priority": "high", "attributes": {"a": []}, "colour": "red"}
    answer = small.ask("POST", "/runs", body)
    assert answer.status == 422
    assert answer.code == "invalid_request"
    assert answer.wrong == ["attributes", "colour", "payload", "priority", "task"]


def test_an_unknown_field_is_refused_by_name_however_deep_it_is(small: Inside) -> None:
    answer = small.ask("POST", "/bulk-actions/preview", {"action": "retry", "runs": {"status": "failed", "task": 7}})
    assert answer.status == 422
    assert answer.wrong == ["runs.status", "runs.task"]


def test_an_unknown_a_repeated_and_a_wrong_query_parameter_are_refused_by_name(small: Inside) -> None:
    answer = small.ask("GET", "/runs?staet=failed&task=a&task=b&limit=many&total=1")
    assert answer.status == 422
    assert answer.wrong == ["limit", "staet", "task", "total"]


def test_malformed_json_is_refused_with_its_position(small: Inside) -> None:
    answer = small.ask("POST", "/runs", content=b'{"task" 7}', headers=JSON)
    assert (answer.status, answer.code) == (400, "malformed_json")
    assert "at byte 8" in answer.json["detail"]


def test_json_that_is_nested_too_deep_is_refused(small: Inside) -> None:
    deep = b'{"task": "a", "payload": {"x": ' + b"[" * 70 + b"]" * 70 + b"}}"
    assert small.ask("POST", "/runs", content=deep, headers=JSON).status == 400


def test_a_body_of_another_media_type_is_refused(small: Inside) -> None:
    answer = small.ask("POST", "/runs", content=b"task=a", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


def test_a_body_over_one_mebibyte_is_refused(small: Inside) -> None:
    answer = small.ask("POST", "/runs", content=b'{"task": "' + b"a" * 1_048_576 + b'"}', headers=JSON)
    assert (answer.status, answer.code) == (413, "request_too_large")


def test_a_payload_over_its_bound_is_too_large_too(small: Inside) -> None:
    answer = small.ask("POST", "/runs", {"task": "a", "payload": {"x": "y" * 300_000}})
    assert (answer.status, answer.code) == (413, "payload_too_large")


def test_a_request_has_an_id_which_may_be_the_callers(small: Inside) -> None:
    named = small.ask("GET", "/nowhere", headers={"X-Request-ID": "mine-7"})
    assert named.headers["x-request-id"] == named.json["request_id"] == "mine-7"
    assert small.ask("GET", "/nowhere", headers={"X-Request-ID": "no good\x7f"}).json["request_id"] != "no good\x7f"


def test_what_is_not_there_and_what_cannot_be_done_to_it_are_told_apart(small: Inside) -> None:
    assert (small.ask("GET", "/nowhere").status, small.ask("GET", "/nowhere").code) == (404, "not_found")
    wrong_method = small.ask("DELETE", "/runs")
    assert (wrong_method.status, wrong_method.code) == (405, "method_not_allowed")
    assert "POST" in wrong_method.headers["allow"]
    assert small.ask("GET", f"/runs/{ABSENT}").code == "unknown_run"
    assert small.ask("GET", "/runs/7").code == "invalid_option"


def test_a_list_is_paged_to_its_end_and_no_run_is_told_twice(small: Inside) -> None:
    made = {small.post("/runs", {"task": "a", "payload": {"n": n}})["id"] for n in range(5)}
    seen: list[str] = []
    page = small.get("/runs?limit=2")
    while True:
        seen += [run["id"] for run in page["data"]]
        if page["next_cursor"] is None:
            break
        page = small.get(f"/runs?limit=2&cursor={page['next_cursor']}")
    assert len(seen) == 5
    assert set(seen) == made
    assert seen == sorted(seen, reverse=True)


def test_a_page_is_bounded_and_a_total_is_told_only_when_asked(small: Inside) -> None:
    small.post("/runs", {"task": "a"})
    assert small.ask("GET", "/runs?limit=501").wrong == ["limit"]
    assert small.ask("GET", "/runs?cursor=elsewhere").wrong == ["cursor"]
    assert "total" not in small.get("/runs")
    assert small.get("/runs?total=true")["total"] == 1


def test_instants_and_spans_are_read_as_people_write_them(small: Inside) -> None:
    later = small.post("/runs", {"task": "a", "delay": "1h30m"})["id"]
    assert small.get(f"/runs/{later}")["state"] == "scheduled"
    then = small.post("/runs", {"task": "a", "at": "2030-05-01T09:00:00+02:00"})["id"]
    assert small.get(f"/runs/{then}")["due_at"] == "2030-05-01T07:00:00Z"
    assert small.ask("POST", "/runs", {"task": "a", "delay": "soon"}).wrong == ["delay"]
    assert small.ask("POST", "/runs", {"task": "a", "at": "2030-05-01T09:00:00"}).wrong == ["at"]


def test_a_query_and_a_path_that_are_no_text_are_refused(small: Inside) -> None:
    assert small.ask("GET", "/runs?task=%ff").code == "malformed_query"
    assert small.ask("GET", "/queues/%ff").code == "malformed_path"


def test_a_bug_of_ours_tells_the_log_and_not_the_caller(
    small: Inside, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError("the secret is 7")

    monkeypatch.setattr(Node, "client", break_down)
    with caplog.at_level(logging.ERROR, logger="mainspring"):
        answer = small.ask("GET", "/runs")
    assert (answer.status, answer.code) == (500, "internal")
    assert "secret" not in answer.text
    assert answer.json["request_id"] in caplog.text


@pytest.mark.parametrize("kind", TREE)
def test_every_error_has_a_status_that_says_whose_trouble_it_is(kind: type[MainspringError]) -> None:
    status = status_of(kind("it broke"))
    assert status in STATUSES.values()
    if issubclass(kind, errors.WorldTrouble):
        assert status in {429, 503, 504}
