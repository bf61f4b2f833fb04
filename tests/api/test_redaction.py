"""What is stored of a failure: without secrets, and bounded, whatever an exception says."""

from __future__ import annotations

import re
from typing import Any

import pydantic
import pytest

from mainspring import App, Context, Encrypted, Fail, PayloadInvalid, Release, RunFailed, State
from mainspring.codec import Redactor
from mainspring.errors import InvalidOption
from mainspring.runtime.outcomes import MESSAGE_BYTES
from mainspring.testing import invariants
from tests.api.conftest import Drain, NewApp
from tests.runtime import versioned

CARD = re.compile(r"\b\d{16}\b")

#: What must not be seen, in the ways in which it turns up.
LEAKS = [
    ("connecting with password=hunter22 failed", "hunter22"),
    ("PGPASSWORD='hunter 22' psql", "hunter 22"),
    ('{"api_key": "hunter22", "user": "ann"}', "hunter22"),
    ("{'client_secret': 'hunter22'}", "hunter22"),
    ("postgresql://ann:hunter22@db.example/shop refused", "hunter22"),
    ("redis://:hunter22@cache.example", "hunter22"),
    ("Authorization: Bearer hunter22hunter22", "hunter22"),
    ("headers={'Authorization': 'Basic aHVudGVyMjI='}", "aHVudGVyMjI"),
    ("got 401 for bearer hunter22.hunter22", "hunter22"),
    ("AWS_SECRET_ACCESS_KEY=hunter22 AWS_REGION=eu", "hunter22"),
    ("access_token: hunter22, expires: 3600", "hunter22"),
    ("Cookie: session=hunter22", "hunter22"),
    ("key eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.hunter22hunter22", "hunter22"),
    ("key AKIAABCDEFGHIJKLMNOP refused", "AKIAABCDEFGHIJKLMNOP"),
    ("refused mspt_hunter22hunter22", "hunter22"),
    ("-----BEGIN RSA PRIVATE KEY-----\nhunter22\n-----END RSA PRIVATE KEY-----", "hunter22"),
    ("-----BEGIN PRIVATE KEY-----\nhunter22, and cut off", "hunter22"),
    ('password="hunter22 and no closing quote', "hunter22"),
]


@pytest.mark.parametrize(("text", "secret"), LEAKS)
def test_what_looks_like_a_secret_is_hidden(text: str, secret: str) -> None:
    hidden = Redactor().text(text)
    assert secret not in hidden
    assert "***" in hidden


@pytest.mark.parametrize(
    "text",
    [
        "order 17 has no lines",
        "KeyError: 'name'",
        "tokens left: 5",
        "https://example.org/path?page=2 answered 404",
        'File "shop.py", line 3, in send\n    smtp.send(order.email)',
        "the keyboard is missing",
        "ann@example.org is no address",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert Redactor().text(text) == text


@pytest.mark.parametrize(
    "text", ["password=" * 60_000, "://" * 100_000, "-----BEGIN PRIVATE KEY-----" * 9_000, "a" * 400_000, "'" * 300_000]
)
def test_a_text_made_to_be_slow_is_not(text: str) -> None:
    Redactor().text(text)  # quadratic time would take hours, and the limit of the test run ends it


@pytest.mark.case("jobs", 54)
def test_an_exception_that_holds_a_secret_or_a_megabyte_is_stored_redacted_and_bounded(new_app: NewApp, drain: Drain) -> None:
    app = new_app(redact=["opensesame", CARD])

    @app.task(max_attempts=1)
    def work(text: str) -> None:
        raise ValueError(text)

    words = " ".join(text for text, _ in LEAKS[:7])
    texts = {
        "secrets": f"{words} opensesame 4111111111111111",
        "first": "password=hunter22" + " x" * 90_000,
        "last": "x " * 90_000 + "password=hunter22",
        "all of it": "password=" + "hunter22" * 20_000,
        "across the cut": "x" * 2600 + " token=" + "hunter22" * 300 + " " + "y" * 100_000,
    }
    runs = {name: work.enqueue(text).id for name, text in texts.items()}
    drain(app)
    for name, run_id in runs.items():
        assert app.runs.get(run_id).run.state is State.FAILED
        data = app.runs.events(run_id)[-1].data
        stored = data["message"] + data["traceback"]
        for secret in ("hunter22", "hunter 22", "opensesame", "4111111111111111"):
            assert secret not in stored, name
        assert len(data["message"].encode()) <= MESSAGE_BYTES
        assert len(data["traceback"].encode()) <= 4 * MESSAGE_BYTES
        assert "ValueError" in data["traceback"]
    invariants.check(app.client.database)


@pytest.mark.case("jobs", 54)
def test_a_megabyte_that_a_task_makes_itself_is_cut_without_cutting_into_a_secret(new_app: NewApp, drain: Drain) -> None:
    app = new_app()

    @app.task(max_attempts=1)
    def work(head: str, filler: str, times: int, tail: str) -> None:
        raise ValueError(head + filler * times + tail)

    runs = [
        work.enqueue("password=", "hunter22", 200_000, ""),
        work.enqueue("x", " y", 500_000, " password=hunter22"),
        work.enqueue("password=hunter22", " y", 1_500_000, ""),
        work.enqueue("it was ", "password=hunter22 ", 200_000, ""),
        work.enqueue("secret=", "hunter22", 1_000_000, " end"),
    ]
    drain(app)
    for run in runs:
        data = app.runs.events(run.id)[-1].data
        assert "hunter22" not in data["message"] + data["traceback"]
        assert len(data["message"].encode()) <= MESSAGE_BYTES


def test_a_progress_note_is_redacted_and_stays_json(new_app: NewApp, drain: Drain) -> None:
    app = new_app(redact=["opensesame"])

    @app.task(max_attempts=1)
    def work(ctx: Context) -> None:
        ctx.heartbeat(progress={"note": 'said "opensesame"', "password": 'hunter"22', "done": 3, "list": ["token=hunter22", 1.5]})
        raise Fail("seen")

    run = work.enqueue()
    drain(app)
    assert app.runs.get(run.id).progress == {"note": 'said "***"', "password": "***", "done": 3, "list": ["token=***", 1.5]}


def test_what_a_secret_type_hides_is_hidden_wherever_it_turns_up(new_app: NewApp, drain: Drain) -> None:
    app = new_app()

    def login(form: versioned.Login) -> None:
        raise ValueError(f"{form.user} may not come in with {form.password.get_secret_value()}")

    async def alogin(form: versioned.Login) -> None:
        login(form)

    form = versioned.Login(user="ann", password=pydantic.SecretStr("correct horse"))
    app.registry._enter(versioned.login.spec, ())
    runs = [
        app.task(name="plain", max_attempts=1)(login).enqueue(form),
        app.task(name="async", max_attempts=1)(alogin).enqueue(form),
        *app.client.submit([versioned.login.call(form).request]),
    ]
    drain(app)
    for run in runs:
        data = app.runs.events(run.id)[-1].data
        assert data["message"].startswith("ann may not come in with ***")
        assert "correct horse" not in data["traceback"]
        assert "abc123" not in data["message"]


def test_a_model_that_would_lose_its_secret_is_refused(idle: App) -> None:
    class Masked(pydantic.BaseModel):
        user: str
        password: pydantic.SecretStr

    def login(form: Masked) -> None: ...

    login.__annotations__["form"] = Masked
    task = idle.task(login)
    form = Masked(user="ann", password=pydantic.SecretStr("x"))
    with pytest.raises(PayloadInvalid, match="asterisks") as refused:
        task.call(form)
    assert refused.value.errors[0]["field"] == "form"


def test_the_reason_of_a_release_is_redacted(new_app: NewApp, drain: Drain) -> None:
    app = new_app()

    @app.task
    def work() -> None:
        raise Release(after="1h", reason="password=hunter22 is refused for now")

    run = work.enqueue()
    drain(app)
    assert app.runs.get(run.id).run.reason == "password=*** is refused for now"


# -- the code, and no more ---------------------------------------------------------------------------------------------


def test_only_the_code_and_what_the_task_said_are_kept_where_that_is_asked_for(new_app: NewApp, drain: Drain) -> None:
    app = new_app(failure_detail="code")

    @app.task(max_attempts=1)
    def chatty() -> None:
        raise ValueError("patient Smith has a cold")

    @app.task
    def measured() -> None:
        raise Fail("no_such_patient", "there is no such patient")

    @app.task(failure_detail="full", max_attempts=1)
    def open_one() -> None:
        raise ValueError("nothing private")

    @app.task(max_attempts=1)
    def impossible() -> Any:
        return object()

    runs = [task.enqueue() for task in (chatty, measured, open_one, impossible)]
    drain(app)
    first, second, third, fourth = (app.runs.events(run.id)[-1].data for run in runs)
    assert first["code"] == "error"
    assert "Smith" not in str(first)
    assert "traceback" not in first
    assert "type" not in first
    assert second["message"] == "there is no such patient"
    assert second["code"] == "no_such_patient"
    assert third["message"] == "nothing private"
    assert "traceback" in third
    assert fourth["code"] == "result_invalid"
    with pytest.raises(RunFailed, match="keeps no text"):
        runs[0].result("5s")


def test_a_timeout_is_told_in_our_own_words(new_app: NewApp, drain: Drain) -> None:
    app = new_app(failure_detail="code")

    @app.task(max_attempts=1, timeout="50ms", grace="50ms")
    async def slow() -> None:
        import asyncio

        await asyncio.Event().wait()

    run = slow.enqueue()
    drain(app)
    assert app.runs.events(run.id)[-1].data["message"] == "the attempt took longer than its timeout"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"redact": "text"}, "must be a list"),
        ({"redact": [1]}, "texts and compiled patterns"),
        ({"redact": [""]}, "texts and compiled patterns"),
        ({"redact": [re.compile(b"x")]}, "texts and compiled patterns"),
        ({"redact": [re.compile("x*")]}, "nothing everywhere"),
        ({"failure_detail": "none"}, "failure_detail must be"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidOption, match=told):
        App("shop", **options)


def test_a_detail_that_cannot_be_is_refused_at_the_task(idle: App) -> None:
    with pytest.raises(InvalidOption, match="failure_detail"):
        idle.task(failure_detail="some")(lambda: None)  # type: ignore[call-overload]


# -- what a worker's log tells of it ---------------------------------------------------------------------------------------


def test_the_log_of_a_worker_tells_why_an_attempt_failed_and_where_without_secrets(
    app: App, drain: Drain, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(name="leaky", max_attempts=1)
    def leaky() -> None:
        raise ValueError("connecting with password=hunter22 failed")

    run = leaky.enqueue()
    drain(app)
    (told,) = [record.getMessage() for record in caplog.records if run.id in record.getMessage()]
    assert told.startswith(f"run {run.id}: leaky failed (error): connecting with password=*** failed\nTraceback")
    assert "in leaky" in told
    assert "hunter22" not in told


def test_the_log_tells_nothing_but_the_code_of_what_is_sealed(
    new_app: NewApp, drain: Drain, caplog: pytest.LogCaptureFixture
) -> None:
    app = new_app(codec=Encrypted(keys={"k": b"0" * 32}, current="k"))

    @app.task(name="private", max_attempts=1)
    def private() -> None:
        raise Fail("refused", "Ann is ill")

    run = private.enqueue()
    drain(app)
    assert [record.getMessage() for record in caplog.records if run.id in record.getMessage()] == [
        f"run {run.id}: private failed (refused)"
    ]


def test_a_traceback_begins_with_the_task(app: App, drain: Drain) -> None:
    @app.task(max_attempts=1)
    def broken() -> None:
        raise LookupError("nothing")

    @app.task(max_attempts=1)
    async def abroken() -> None:
        raise LookupError("nothing")

    runs = [broken.enqueue(), abroken.enqueue()]
    drain(app)
    for run in runs:
        trace = app.runs.events(run.id)[-1].data["traceback"]
        assert trace.splitlines()[1].endswith("broken"), trace
