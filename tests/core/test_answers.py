"""What an answer over HTTP means, and signatures and placeholders that go with a request."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core import signing
from mainspring.core.answers import Condition, Criteria, Operator, broken_condition, is_followed, judged, retry_after
from mainspring.core.attempts import Failed, GaveItselfBack, Outcome, Succeeded
from mainspring.core.durations import MINUTE, SECOND
from mainspring.core.launch import Launch, Occurrence, UnfilledError, filled, mistake_in, pointed

NOW = 1_900_000_000_000_000
OCCURRENCE = Occurrence(key="s:2030", nominal="2030Z", local="2030+01", due="2030.1Z")


def of(status: int, *, after: int | None = None, broken: str | None = None, criteria: Criteria | None = None) -> Outcome:
    return judged(status, criteria or Criteria(), retry_after_us=after, broken=broken, result=b"{}")


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_codes_of_success_succeed(status: int) -> None:
    assert of(status) == Succeeded(b"{}")


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 599])
def test_trouble_that_passes_is_tried_again(status: int) -> None:
    outcome = of(status, after=7 * SECOND)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.final, outcome.after_us) == (f"http_{status}", False, 7 * SECOND)


@pytest.mark.parametrize("status", [301, 302, 304, 400, 401, 403, 404, 409, 410, 422, 451])
def test_other_codes_end_the_run(status: int) -> None:
    outcome = of(status, after=7 * SECOND)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.final, outcome.after_us) == (f"http_{status}", True, None)


def test_too_many_requests_is_not_yet_and_spends_no_failure() -> None:
    assert of(429, after=90 * SECOND) == GaveItselfBack(after_us=90 * SECOND, reason="http_429")
    assert of(429) == GaveItselfBack(after_us=30 * SECOND, reason="http_429")


def test_a_wait_that_the_server_asks_for_is_bounded() -> None:
    assert of(429, after=10_000 * SECOND) == GaveItselfBack(after_us=15 * MINUTE, reason="http_429")
    outcome = of(503, after=10_000 * SECOND)
    assert isinstance(outcome, Failed)
    assert outcome.after_us == 15 * MINUTE


def test_codes_are_what_the_author_says_they_are() -> None:
    criteria = Criteria(codes=((404, 404), (500, 502)))
    assert isinstance(of(404, criteria=criteria), Succeeded)
    assert isinstance(of(501, criteria=criteria), Succeeded)
    assert isinstance(of(200, criteria=criteria), Failed)


def test_a_failed_condition_is_tried_again() -> None:
    outcome = of(200, broken="at '/ok' is False")
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.final) == ("condition_failed", False)
    assert "/ok" in outcome.message


@pytest.mark.parametrize(
    ("operator", "value", "document", "holds"),
    [
        ("equals", True, {"a": True}, True),
        ("equals", True, {"a": 1}, False),
        ("equals", 1, {"a": True}, False),
        ("equals", 1, {"a": 1.0}, True),
        ("equals", [1, {"b": None}], {"a": [1, {"b": None}]}, True),
        ("equals", [True], {"a": [1]}, False),
        ("equals", None, {}, False),
        ("not_equals", "x", {"a": "y"}, True),
        ("not_equals", "x", {}, True),
        ("not_equals", "x", {"a": "x"}, False),
        ("in", ["x", 2], {"a": 2}, True),
        ("in", ["x", 1], {"a": True}, False),
        ("exists", True, {"a": None}, True),
        ("exists", True, {}, False),
        ("exists", False, {}, True),
        ("gt", 3, {"a": 4}, True),
        ("gt", 3, {"a": 3}, False),
        ("gt", 0, {"a": True}, False),
        ("gt", 3, {"a": "4"}, False),
        ("lt", "2031", {"a": "2030"}, True),
        ("lt", 3, {}, False),
        ("contains", "b", {"a": "abc"}, True),
        ("contains", 2, {"a": [1, 2]}, True),
        ("contains", "k", {"a": {"k": 1}}, True),
        ("contains", 1, {"a": 1}, False),
    ],
)
def test_a_condition_asks_what_json_says(operator: str, value: Any, document: Any, holds: bool) -> None:
    criteria = Criteria(conditions=(Condition(at="/a", operator=Operator(operator), value=value),))
    assert (broken_condition(criteria, document) is None) is holds


@pytest.mark.parametrize(
    ("value", "microseconds"),
    [
        ("0", 0),
        ("120", 120 * SECOND),
        (" 7 ", 7 * SECOND),
        ("Sun, 17 Mar 2030 17:47:00 GMT", 20 * SECOND),
        ("Sun, 17 Mar 2030 17:40:00 GMT", 0),
        ("-5", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("9" * 5_000, 999_999_999 * SECOND),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, microseconds: int | None) -> None:
    assert retry_after(value, NOW) == microseconds


@pytest.mark.case("schedules", 58)
def test_no_redirect_turns_a_request_into_another() -> None:
    assert [status for status in range(300, 309) if is_followed("POST", status)] == [301, 302, 307, 308]
    assert [status for status in range(300, 309) if is_followed("GET", status)] == [301, 302, 303, 307, 308]


# -- signatures ------------------------------------------------------------------------------------------------------

SIGNED: dict[str, Any] = {"method": "POST", "target": "/a?b=c", "idempotency_key": "k", "body": b"{}"}


def test_a_signature_is_genuine_for_five_minutes_and_with_either_key() -> None:
    header = signing.signature([b"new", b"old"], at=1_000, **SIGNED)
    assert header.startswith("t=1000,v1=")
    assert header.count("v1=") == 2
    for keys in ([b"new"], [b"old"], [b"other", b"old"]):
        assert signing.is_genuine(header, keys, now=1_300, **SIGNED)
    assert not signing.is_genuine(header, [b"other"], now=1_000, **SIGNED)
    assert not signing.is_genuine(header, [b"new"], now=1_301, **SIGNED)
    assert not signing.is_genuine(header, [b"new"], now=699, **SIGNED)


@pytest.mark.parametrize("change", [{"method": "PUT"}, {"target": "/a?b=d"}, {"idempotency_key": "l"}, {"body": b"[]"}])
def test_a_signature_is_for_one_request(change: dict[str, Any]) -> None:
    header = signing.signature([b"key"], at=1_000, **SIGNED)
    assert not signing.is_genuine(header, [b"key"], now=1_000, **(SIGNED | change))


@pytest.mark.parametrize("header", ["", "t=1000", "v1=00", "t=x,v1=00", "t=1000,t=1000,v1=00", "t=9999999999999,v1=00", "t=1,v1=ä"])
def test_what_is_no_signature_is_not_genuine(header: str) -> None:
    assert not signing.is_genuine(header, [b"key"], now=1_000, **SIGNED)


# -- placeholders ----------------------------------------------------------------------------------------------------


def test_placeholders_stand_for_what_the_attempt_is_about() -> None:
    launch = Launch(run_id="r", attempt=3, payload={"a/b": [{"~": "x"}], "n": 1.5}, occurrence=OCCURRENCE)
    told = "{{ occurrence.key }} {{occurrence.due}} {{ run.id }} {{ attempt }} {{ payload./a~1b/0/~0 }} {{ payload./n }}"
    assert filled(told, launch) == "s:2030 2030.1Z r 3 x 1.5"
    assert filled("{{ payload. }}", launch) == '{"a/b":[{"~":"x"}],"n":1.5}'


def test_a_value_is_not_expanded_again() -> None:
    assert filled("{{ payload. }}", Launch(run_id="r", payload="{{ run.id }}")) == "{{ run.id }}"


@pytest.mark.parametrize("text", ["{{ run.ID }}", "{{ run.id", "{{ }}", "{{ payload.x }}", "{{ 1 + 1 }}", "{{ payload./a~2 }}"])
def test_what_stands_for_nothing_is_a_mistake(text: str) -> None:
    assert "there are {{ occurrence.key }}" in (mistake_in(text) or "")


def test_a_text_without_placeholders_has_no_mistake() -> None:
    assert mistake_in("} { }} is as it is") is None


@pytest.mark.parametrize("pointer", ["/missing", "/list/2", "/list/-", "/list/01", "/text/0", "/list/x"])
def test_a_pointer_to_nothing_says_so(pointer: str) -> None:
    with pytest.raises(UnfilledError):
        pointed({"list": [1, 2], "text": "abc"}, pointer)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_every_part_of_a_document_can_be_pointed_at(document: Any) -> None:
    def walk(value: Any, pointer: str) -> None:
        assert pointed(document, pointer) is value
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for name, part in parts:
            walk(part, f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}")

    walk(document, "")


@pytest.mark.case("schedules", 61)
def test_attempts_share_a_key_and_a_repeat_has_another() -> None:
    first = Launch(run_id="r", attempt=1, occurrence=OCCURRENCE)
    again = Launch(run_id="r", attempt=2, occurrence=OCCURRENCE)
    replayed = Launch(run_id="r2", attempt=1, occurrence=OCCURRENCE, is_repeat=True)
    assert first.idempotency_key == again.idempotency_key == "s:2030"
    assert replayed.idempotency_key == "s:2030~r2"
    assert Launch(run_id="r").idempotency_key == "r"
