"""The target ``http`` against real servers: what is sent, what is read, what it means, and what is left of it."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainspring.core import signing
from mainspring.core.attempts import Failed, GaveItselfBack, Interrupted, Outcome, Stopped, Succeeded, Unworkable
from mainspring.core.durations import SECOND
from mainspring.core.launch import Launch
from mainspring.errors import TargetInvalid
from mainspring.targets.http import MOST_JUDGED, MOST_READ, Places
from mainspring.targets.protocol import Targets
from mainspring.targets.receipts import Ran, Receipt
from mainspring.targets.requests import http as http_target
from mainspring.targets.secrets import secret
from tests.support.loops import in_loop, turns
from tests.targets.servers import LAUNCH, NOW, OCCURRENCE, Server, answer, ran, served, target

CANARY = "Bearer canary-7f3a91c2d4"


def url(server: Server, path: str = "/", host: str = "127.0.0.1") -> str:
    return f"http://{host}:{server.port}{path}"


def failed(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


def told(done: Ran) -> str:
    """Everything that is kept of an attempt, its bytes readable."""
    return repr(done.outcome) + "".join(repr(receipt) + receipt.encoded().decode() + receipt.text for receipt in done.receipts)


# -- sending ---------------------------------------------------------------------------------------------------------


@pytest.mark.case("schedules", 58)
@in_loop
async def test_a_json_body_is_sent_with_its_content_type_and_the_answer_is_read_to_its_end() -> None:
    whole = b"x" * 3_000_000
    async with served(answer(200, whole)) as server:
        done = await ran(target(server), method="post", url=url(server), body={"json": {"a": ["{{ run.id }}", 1, None]}})
        assert done.outcome == Succeeded(b'{"status":200}')
        asked = server.asked[0]
        assert (asked.method, asked.headers["content-type"], asked.body) == ("POST", "application/json", b'{"a":["run-7",1,null]}')
        assert done.receipts[0].size == len(whole)


@pytest.mark.parametrize(
    ("body", "content_type", "sent"),
    [
        ({"text": "für {{ payload./user }}"}, "text/plain; charset=utf-8", "für ana".encode()),
        ({"form": {"a b": "{{ payload./user }}&="}}, "application/x-www-form-urlencoded", b"a+b=ana%26%3D"),
        ({"base64": base64.b64encode(b"\x00\xff").decode()}, None, b"\x00\xff"),
        ({"json": None}, "application/json", b"null"),
    ],
)  # fmt: skip
@in_loop
async def test_every_kind_of_body_is_encoded_for_its_place(body: dict[str, Any], content_type: str | None, sent: bytes) -> None:
    async with served() as server:
        await ran(target(server), method="PUT", url=url(server), body=body)
        assert (server.asked[0].headers.get("content-type"), server.asked[0].body) == (content_type, sent)


@in_loop
async def test_the_authors_content_type_is_kept() -> None:
    async with served() as server:
        headers = {"content-type": "application/vnd.api+json"}
        await ran(target(server), method="POST", url=url(server), headers=headers, body={"json": {}})
        assert server.asked[0].headers["content-type"] == "application/vnd.api+json"


@in_loop
async def test_a_value_adds_no_host_no_parameter_and_no_path() -> None:
    launch = Launch(run_id="r", payload="a/b?c=d&e#f@g.example:1%2e")
    async with served() as server:
        await ran(target(server), launch, url=url(server, "/x/{{ payload. }}/y?q={{ payload. }}"))
        encoded = "a%2Fb%3Fc%3Dd%26e%23f%40g.example%3A1%252e"
        assert server.asked[0].target == f"/x/{encoded}/y?q={encoded}"


@pytest.mark.parametrize("value", ["..", ".", "%2e%2e"])
@in_loop
async def test_a_value_leads_out_of_no_folder(value: str) -> None:
    async with served() as server:
        outcome = (await ran(target(server), Launch(run_id="r", payload=value), url=url(server, "/x/{{ payload. }}/y"))).outcome
        if value == "%2e%2e":
            assert server.asked[0].target == "/x/%252e%252e/y"
        else:
            assert failed(outcome).code == "target_refused"
            assert server.connections == 0


@in_loop
async def test_a_value_adds_no_header() -> None:
    async with served() as server:
        launch = Launch(run_id="r", payload="x\r\nX-Evil: 1")
        outcome = (await ran(target(server), launch, url=url(server), headers={"X-Note": "{{ payload. }}"})).outcome
        assert isinstance(outcome, Unworkable)
        assert outcome.code == "invalid_payload"
        assert server.connections == 0


@in_loop
async def test_a_placeholder_without_a_value_parks_the_run() -> None:
    outcome = (await ran(target(), Launch(run_id="r"), url="http://example.com/{{ occurrence.key }}")).outcome
    assert isinstance(outcome, Unworkable)
    assert "occurrence.key" in outcome.message


@in_loop
async def test_what_is_sent_is_what_was_signed() -> None:
    odd = "/" + "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in "#\\{}?./%") + "?" + "a=\"<>'`|^ü"
    async with served() as server:
        http = target(server, secrets={"new": "key-one", "old": "key-two"})
        keys = [secret("new"), secret("old")]
        await ran(http, method="POST", url=url(server, odd), body={"text": "told"}, signing=keys)
        asked = server.asked[0]
        header = asked.headers["mainspring-signature"]
        assert header.startswith(f"t={NOW // 1_000_000},v1=")
        for key in (b"key-one", b"key-two"):
            genuine = signing.is_genuine(
                header, [key], now=NOW // SECOND, method="POST", target=asked.target, body=asked.body,
                idempotency_key=asked.headers["idempotency-key"],
            )  # fmt: skip
            assert genuine, asked.target


@pytest.mark.case("schedules", 61)
@in_loop
async def test_every_attempt_of_an_occurrence_carries_one_key_and_a_replay_another() -> None:
    async with served() as server:
        for attempt, run, repeat in ((1, "run-7", False), (2, "run-7", False), (1, "run-8", True)):
            launch = Launch(run_id=run, attempt=attempt, occurrence=OCCURRENCE, is_repeat=repeat, trace="00-aa-bb-01")
            await ran(target(server), launch, url=url(server))
        keys = [asked.headers["idempotency-key"] for asked in server.asked]
        assert keys == [OCCURRENCE.key, OCCURRENCE.key, f"{OCCURRENCE.key}~run-8"]
        second = server.asked[1].headers
        assert [second[f"mainspring-{name}"] for name in ("occurrence", "run", "attempt")] == [OCCURRENCE.key, "run-7", "2"]
        assert second["traceparent"] == "00-aa-bb-01"


# -- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.case("schedules", 58)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@in_loop
async def test_no_redirect_is_followed_unless_it_is_asked_for(status: int) -> None:
    async with served(answer(status, headers={"Location": "/next"})) as server:
        done = await ran(target(server), method="POST", url=url(server), body={"text": "x"})
        assert (failed(done.outcome).code, failed(done.outcome).final) == (f"http_{status}", True)
        assert len(server.asked) == 1


@pytest.mark.case("schedules", 58)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
@in_loop
async def test_a_redirected_post_is_a_post_with_its_body_and_a_signature_of_its_own(status: int) -> None:
    async with served(answer(status, headers={"Location": "/next?x=1"}), answer(200)) as server:
        http = target(server, secrets={"key": "signing-key-1"})
        done = await ran(http, method="POST", url=url(server), body={"json": [1]}, redirects=1, signing=[secret("key")])
        assert isinstance(done.outcome, Succeeded)
        second = server.asked[1]
        assert (second.method, second.target, second.body) == ("POST", "/next?x=1", b"[1]")
        assert second.headers["mainspring-signature"] != server.asked[0].headers["mainspring-signature"]
        assert done.receipts[0].facts["redirects"] == [url(server, "/next?x=1")]


@pytest.mark.case("schedules", 58)
@in_loop
async def test_a_303_after_a_post_is_the_answer() -> None:
    async with served(answer(303, headers={"Location": "/next"})) as server:
        outcome = (await ran(target(server), method="POST", url=url(server), redirects=5)).outcome
        assert (failed(outcome).code, len(server.asked)) == ("http_303", 1)


@in_loop
async def test_another_origin_gets_no_credentials_no_signature_and_no_body() -> None:
    async with served() as other:
        away = answer(307, headers={"Location": url(other, "/there")})
        async with served(away) as server:
            http = target(server, other, secrets={"token": CANARY, "key": "signing-key-1"})
            headers = {"Authorization": secret("token"), "Cookie": "a=b", "X-Api-Key": "k", "Accept": "text/plain"}
            done = await ran(
                http, method="POST", url=url(server), headers=headers, body={"json": 1}, redirects=1, signing=[secret("key")]
            )
        assert isinstance(done.outcome, Succeeded)
        assert server.asked[0].headers["authorization"] == CANARY
        assert (other.asked[0].method, other.asked[0].body) == ("POST", b"")
        assert set(other.asked[0].headers) == {
            "host", "accept", "accept-encoding", "connection", "user-agent", "content-length"
        }  # fmt: skip
        assert other.asked[0].headers["accept"] == "text/plain"


@in_loop
async def test_more_redirects_than_asked_for_end_with_the_last_answer() -> None:
    async with served(answer(302, headers={"Location": "/again"})) as server:
        outcome = (await ran(target(server), url=url(server), redirects=2)).outcome
        assert (failed(outcome).code, len(server.asked)) == ("http_302", 3)


# -- meaning ---------------------------------------------------------------------------------------------------------


@in_loop
async def test_too_many_requests_gives_the_run_back_until_the_server_is_ready() -> None:
    async with served(answer(429, headers={"Retry-After": "90"})) as server:
        assert (await ran(target(server), url=url(server))).outcome == GaveItselfBack(after_us=90 * SECOND, reason="http_429")


@in_loop
async def test_conditions_are_asked_of_the_whole_answer() -> None:
    asked = {"json": [{"at": "/ok", "equals": True}, {"at": "/n", "gt": 2}]}
    bodies = [b'{"ok": true, "n": 3}', b'{"ok": 1, "n": 3}', b'{"ok": true, "n": 2}', b"not json", b"[" * 100_000]
    async with served(*(answer(200, body) for body in bodies)) as server:
        outcomes = [(await ran(target(server), url=url(server), success=asked)).outcome for _ in bodies]
        assert isinstance(outcomes[0], Succeeded)
        assert [(failed(each).code, failed(each).final) for each in outcomes[1:]] == [("condition_failed", False)] * 4


@in_loop
async def test_an_answer_cut_short_is_no_success() -> None:
    async with served(answer(200, b"x" * 100)[:-50]) as server:
        done = await ran(target(server), url=url(server))
        assert (failed(done.outcome).code, failed(done.outcome).final) == ("broken_off", False)
        assert (done.receipts[0].size, done.receipts[0].facts["status"]) == (50, 200)


@pytest.mark.parametrize(("most", "success"), [(MOST_READ, {}), (MOST_JUDGED, {"json": [{"at": "", "exists": True}]})])
@in_loop
async def test_an_answer_without_end_is_read_so_far_and_fails(most: int, success: dict[str, Any]) -> None:
    async with served(answer(200, b"x" * (most + 200_000))) as server:
        done = await ran(target(server), url=url(server), success=success)
        assert (failed(done.outcome).code, failed(done.outcome).final) == ("answer_too_large", True)
        assert most < done.receipts[0].size < most + 200_000
        assert done.receipts[0].kept == 256 * 1024


@in_loop
async def test_a_server_that_says_nothing_is_given_up() -> None:
    async with served() as server:
        server.held = asyncio.Event()
        done = await ran(target(server), url=url(server), timeouts={"silence": "100ms"})
        server.held.set()
        assert (failed(done.outcome).code, failed(done.outcome).final) == ("silent", False)


@in_loop
async def test_nobody_at_the_door_is_tried_again() -> None:
    async with served() as server:
        pass
    done = await ran(target(server), url=url(server))
    assert (failed(done.outcome).code, failed(done.outcome).final) == ("unreachable", False)
    assert done.receipts[0].facts["peer"] == "127.0.0.1"


@in_loop
async def test_what_is_no_http_is_tried_again() -> None:
    async with served(b"SSH-2.0-OpenSSH_9.6\r\n") as server:
        assert failed((await ran(target(server), url=url(server))).outcome).code == "broken_off"


@in_loop
async def test_an_attempt_asked_to_stop_stops_and_leaves_its_receipt() -> None:
    async with served() as server:
        server.held = asyncio.Event()
        attempt = asyncio.create_task(ran(target(server), url=url(server)))
        await server.arrived.wait()
        attempt.cancel()
        done = await attempt
        server.held.set()
        assert done.outcome == Stopped()
        assert done.receipts[0].facts["status"] is None


# -- secrets ---------------------------------------------------------------------------------------------------------


@in_loop
async def test_a_secret_is_sent_and_kept_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    echo = (
        json.dumps({"you": CANARY, "token": "canary-7f3a91c2d4"}).encode() + b" canary-7f3a91c2d4 \xff Bearer%20canary-7f3a91c2d4"
    )
    answers = [answer(code, echo, {"X-Echo": CANARY, "Set-Cookie": "sid=" + CANARY[7:]}) for code in (200, 500)]
    async with served(*answers) as server:
        http = target(server, secrets={"token": CANARY})
        for success in ({}, {"codes": [500], "json": [{"at": "/you", "equals": "other"}]}):
            done = await ran(
                http, method="POST", url=url(server), headers={"Authorization": secret("token")},
                body={"json": {"deep": [secret("token")]}}, success=success,
            )  # fmt: skip
            assert "canary" not in told(done)
            assert b"\xff" in done.receipts[0].head
    assert server.asked[0].headers["authorization"] == CANARY
    assert json.loads(server.asked[0].body) == {"deep": [CANARY]}
    assert "canary" not in caplog.text


@in_loop
async def test_a_secret_is_fetched_anew_at_every_attempt() -> None:
    async with served() as server:
        secrets = {"token": "first-of-them"}
        http = target(server, secrets=secrets)
        await ran(http, url=url(server), headers={"X-Token": secret("token")})
        secrets["token"] = "second-of-them"
        await ran(http, url=url(server), headers={"X-Token": secret("token")})
        assert [asked.headers["x-token"] for asked in server.asked] == ["first-of-them", "second-of-them"]


@in_loop
async def test_a_secret_that_cannot_be_had_is_a_broken_launch_and_nothing_is_sent() -> None:
    async with served() as server:
        done = await ran(target(server), url=url(server), headers={"Authorization": secret("gone")})
        assert done.outcome == Interrupted("secret_unavailable")
        assert (done.receipts[0].kind, done.receipts[0].text) == ("log", "there is no secret gone")
        assert server.connections == 0


# -- TLS -------------------------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a server and a client of it need: a certificate for ``name``, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    chain, private = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(chain, private)
    return serving, ssl.create_default_context(cafile=str(chain))


@pytest.mark.parametrize(("host", "ok"), [("named.example", True), ("other.example", False), ("127.0.0.1", False)])
@in_loop
async def test_the_certificate_is_checked_against_the_name_and_not_the_address(tmp_path: Path, host: str, ok: bool) -> None:
    async def names(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    seen: list[str | None] = []
    serving, trusting = certificate(tmp_path, "named.example")
    serving.sni_callback = lambda _socket, name, _context: seen.append(name)
    async with served(tls=serving) as server:
        done = await ran(target(server, resolve=names, tls=trusting), url=f"https://{host}:{server.port}/")
        assert isinstance(done.outcome, Succeeded) is ok
        assert seen == [None if host == "127.0.0.1" else host]
        if not ok:
            assert failed(done.outcome).code == "unreachable"
            assert server.asked == []


# -- places ----------------------------------------------------------------------------------------------------------


@in_loop
async def test_a_host_has_so_many_places_and_holds_no_other_up() -> None:
    places, gate = Places(total=3, each=2), asyncio.Event()
    inside: list[str] = []

    async def enter(host: str) -> None:
        async with places.taken(host):
            inside.append(host)
            await gate.wait()

    entering = [asyncio.create_task(enter(host)) for host in ("slow", "slow", "slow", "quick", "quick")]
    await turns()
    assert inside == ["slow", "slow", "quick"]
    gate.set()
    await asyncio.gather(*entering)
    assert sorted(inside) == ["quick", "quick", "slow", "slow", "slow"]


# -- writing ---------------------------------------------------------------------------------------------------------


def test_every_mistake_is_named_at_once_with_what_to_write() -> None:
    written = {
        "method": "FETCH",
        "url": "ftp://x/",
        "headers": {"Host": "x", "X-A": "a\r\nb", "Mainspring-Run": "1", "é": "1", "X-B": 7},
        "body": {"json": "{{ nothing }}", "text": "x"},
        "success": {
            "codes": ["2xx", "299-200"],
            "json": [{"at": "ok", "equals": 1}, {"at": "/a", "gt": 1, "lt": 2}, {"at": "", "like": 1}],
        },
        "timeouts": {"connect": "soon", "silence": "3h", "total": 1},
        "redirects": 6,
        "signing": ["plain-key-text"],
        "verify": False,
    }  # fmt: skip
    with pytest.raises(TargetInvalid) as refused:
        target().read(written)
    paths = {error["path"] for error in refused.value.errors}
    assert paths == {
        "method", "url", "headers.Host", "headers.X-A", "headers.Mainspring-Run", "headers.é", "headers.X-B", "body",
        "success.codes[0]", "success.codes[1]", "success.json[0].at", "success.json[1]", "success.json[2].like",
        "success.json[2]", "timeouts.connect", "timeouts.silence", "timeouts.total", "redirects", "signing[0]", "verify",
    }  # fmt: skip
    assert all(error["message"] for error in refused.value.errors)
    assert "plain-key-text" not in repr(refused.value.errors)
    assert refused.value.code == "target_invalid"


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ({"url": "http://{{ payload. }}/"}, "url"),
        ({"url": "http://a:{{ payload. }}/"}, "url"),
        ({"url": "http://user:word@a/"}, "url"),
        ({"url": 7}, "url"),
        ({"body": {"text": "x"}}, "body"),
        ({"method": "HEAD", "body": {"text": "x"}}, "body"),
        ({"method": "POST", "body": {"base64": "?"}}, "body.base64"),
        ({"method": "POST", "body": {"base64": 7}}, "body.base64"),
        ({"method": "POST", "body": {"form": "x"}}, "body.form"),
        ({"method": "POST", "body": {"text": "x" * (1024 * 1024 + 1)}}, "body.text"),
        ({"method": "POST", "body": {"json": {"a": {"b": ["{{ x }}"]}}}}, "body.json.a.b[0]"),
        ({"headers": {f"X-{n}": "1" for n in range(65)}}, "headers"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "headers"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "headers.Transfer-Encoding"),
        ({"headers": {"X-A": {"secret": "no such name!"}}}, "headers.X-A"),
        ({"success": {"codes": []}}, "success.codes"),
        ({"success": {"json": [{"at": "/a", "in": 1}]}}, "success.json[0].in"),
        ({"success": {"json": [{"at": "/a", "exists": 1}]}}, "success.json[0].exists"),
        ({"signing": [secret("a"), secret("b"), secret("c")]}, "signing"),
    ],
)
def test_a_mistake_is_found_where_it_is(written: dict[str, Any], path: str) -> None:
    with pytest.raises(TargetInvalid) as refused:
        target().read({"method": "GET", "url": "http://example.com/"} | written)
    assert [error["path"] for error in refused.value.errors] == [path]


def test_a_json_value_too_deep_is_a_mistake_and_no_crash() -> None:
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(TargetInvalid) as refused:
        target().read({"method": "POST", "url": "http://example.com/", "body": {"json": deep}})
    assert refused.value.errors[0]["path"] == "body.json"


def test_what_is_written_in_code_is_what_is_stored() -> None:
    written = http_target(
        "post", "https://api.example.com/ping", headers={"A": secret("b")}, json={"x": 1}, success={"codes": [204]}
    )
    assert written == {
        "http": {
            "method": "post",
            "url": "https://api.example.com/ping",
            "headers": {"A": {"secret": "b"}},
            "body": {"json": {"x": 1}},
            "success": {"codes": [204]},
        }
    }
    with pytest.raises(TargetInvalid):
        http_target("GET", "nowhere")


# -- for the executor ------------------------------------------------------------------------------------------------


@in_loop
async def test_a_run_of_a_target_has_everything_in_its_payload() -> None:
    async with served() as server:
        body = msgspec.json.encode(
            {"target": {"method": "POST", "url": url(server), "body": {"text": "{{ payload./n }} {{ occurrence.local }}"}},
             "payload": {"n": 5}, "occurrence": OCCURRENCE, "is_repeat": True}
        )  # fmt: skip
        done = await Targets([target(server)]).run("http", body, run_id="run-9", attempt=1)
        assert isinstance(done.outcome, Succeeded)
        assert server.asked[0].body == f"5 {OCCURRENCE.local}".encode()
        assert server.asked[0].headers["idempotency-key"] == f"{OCCURRENCE.key}~run-9"


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        ("http", b"{}", "invalid_payload"),
        ("http", b"not json", "invalid_payload"),
        ("http", b'{"target": {"method": "GET"}}', "invalid_payload"),
        ("http", b'{"target": {}, "more": 1}', "invalid_payload"),
        ("ftp", b'{"target": {}}', "unknown_task"),
    ],
)
@in_loop
async def test_a_run_that_cannot_be_read_waits_for_a_person(kind: str, body: bytes, code: str) -> None:
    outcome = (await Targets([target()]).run(kind, body, run_id="r", attempt=1)).outcome
    assert isinstance(outcome, Unworkable)
    assert outcome.code == code


@in_loop
async def test_a_receipt_survives_its_encoding() -> None:
    async with served(answer(200, b"\xff\xfe told")) as server:
        receipt = (await ran(target(server), LAUNCH, url=url(server))).receipts[0]
    again = Receipt.decoded(receipt.encoded())
    assert again == receipt
    assert (again.kind, again.head, again.text, again.size, again.is_truncated) == (
        "http_response", b"\xff\xfe told", "\\xff\\xfe told", 7, False
    )  # fmt: skip
    assert again.facts["status"] == 200
    assert again.facts["request"] == {"method": "GET", "url": url(server)}
