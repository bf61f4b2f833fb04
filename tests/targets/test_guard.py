"""The guard with real connections: what is checked is what is connected to, whatever a name server says next."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from unittest import mock

import pytest

from mainspring.core.attempts import Failed, Succeeded
from mainspring.core.outgoing import Rules
from mainspring.errors import TargetInvalid, TargetRefused
from mainspring.targets.guard import Guard
from tests.core.test_outgoing import REFUSED
from tests.support.loops import in_loop
from tests.targets.servers import LAUNCH, answer, ran, served, target


class Rebinding:
    """A name server that answers with the next list each time it is asked, and counts."""

    def __init__(self, *answers: str | Sequence[str]) -> None:
        self.answers = [[each] if isinstance(each, str) else list(each) for each in answers]
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


@pytest.mark.case("schedules", 59)
@in_loop
async def test_a_name_that_turns_private_after_it_was_written_is_never_connected_to() -> None:
    names = Rebinding("93.184.215.14", "127.0.0.1")
    async with served() as inside:
        http = target(resolve=names, allow=(f":{inside.port}",))
        spec = http.read({"method": "GET", "url": f"http://rebinding.example:{inside.port}/"})
        await http.review(spec)
        outcome = (await http.run(spec, LAUNCH)).outcome
        assert isinstance(outcome, Failed)
        assert (outcome.code, outcome.final) == ("target_refused", True)
        assert "(rule loopback)" in outcome.message
        assert (inside.connections, names.asked) == (0, ["rebinding.example"] * 2)


@pytest.mark.case("schedules", 59)
@in_loop
async def test_an_attempt_resolves_once_and_connects_to_what_it_checked() -> None:
    names = Rebinding("127.0.0.2", "127.0.0.1")
    async with served() as inside, served(host="127.0.0.2", port=inside.port) as outside:
        http = target(resolve=names, allow=(f"127.0.0.2:{inside.port}",))
        done = await ran(http, url=f"http://rebinding.example:{inside.port}/x")
        assert isinstance(done.outcome, Succeeded)
        assert (inside.connections, outside.connections, names.asked) == (0, 1, ["rebinding.example"])
        assert outside.asked[0].headers["host"] == f"rebinding.example:{inside.port}"
        assert done.receipts[0].facts["peer"] == "127.0.0.2"


@in_loop
async def test_one_private_address_among_public_ones_refuses_all() -> None:
    names = Rebinding(["127.0.0.2", "127.0.0.1"])
    async with served() as inside, served(host="127.0.0.2", port=inside.port) as outside:
        outcome = (
            await ran(target(resolve=names, allow=(f"127.0.0.2:{inside.port}",)), url=f"http://two.example:{inside.port}/")
        ).outcome
        assert isinstance(outcome, Failed)
        assert outcome.code == "target_refused"
        assert (inside.connections, outside.connections) == (0, 0)


@in_loop
async def test_the_second_address_is_tried_when_nobody_listens_at_the_first() -> None:
    async with served() as there:
        names = Rebinding(["127.0.0.3", "127.0.0.2", "127.0.0.1"])
        http = target(resolve=names, allow=(f"127.0.0.0/8:{there.port}",))
        done = await ran(http, url=f"http://three.example:{there.port}/")
        assert isinstance(done.outcome, Succeeded)
        assert done.receipts[0].facts["peer"] == "127.0.0.1"


@pytest.mark.case("schedules", 59)
@pytest.mark.parametrize("inner", ["http://127.0.0.1:{port}/", "http://rebound.example:{port}/", "http://0x7f.1:{port}/"])
@in_loop
async def test_a_redirect_into_the_house_is_never_connected_to(inner: str) -> None:
    async with served() as inside:
        away = answer(302, headers={"Location": inner.format(port=inside.port)})
        async with served(away, host="127.0.0.2") as outside:

            async def names(host: str, port: int) -> Sequence[str]:
                return ["127.0.0.2" if host == "outside.example" else "127.0.0.1"]

            allowed = (f"127.0.0.2:{outside.port}", f":{inside.port}")
            done = await ran(target(resolve=names, allow=allowed), url=f"http://outside.example:{outside.port}/", redirects=3)
            assert isinstance(done.outcome, Failed)
            assert done.outcome.code == "target_refused"
            assert (outside.connections, inside.connections) == (1, 0)


@pytest.mark.case("schedules", 59)
@pytest.mark.parametrize(
    "location", ["FILE:///etc/passwd", "gopher://127.0.0.1:6379/_", "//user@127.0.0.1/", "http://[fe80::1%25lo]/"]
)
@in_loop
async def test_a_redirect_to_what_is_no_such_url_is_refused(location: str) -> None:
    async with served(answer(302, headers={"Location": location})) as server:
        outcome = (await ran(target(server), url=f"http://127.0.0.1:{server.port}/", redirects=5)).outcome
        assert isinstance(outcome, Failed)
        assert outcome.code == "target_refused"
        assert server.connections == 1


@pytest.mark.case("schedules", 60)
@pytest.mark.parametrize("url", [url for url in REFUSED if url.isascii()])
@in_loop
async def test_what_may_not_be_reached_is_refused_when_it_is_written(url: str) -> None:
    async def nobody(host: str, port: int) -> Sequence[str]:
        raise AssertionError(f"{host} was asked for")

    http = target(resolve=nobody)
    with pytest.raises((TargetRefused, TargetInvalid)):
        await http.review(http.read({"method": "GET", "url": url}))


@pytest.mark.case("schedules", 60)
@in_loop
async def test_what_was_allowed_when_it_was_written_is_refused_at_the_attempt() -> None:
    async with served() as server:
        spec = target(server).read({"method": "GET", "url": f"http://127.0.0.1:{server.port}/"})
        await target(server).review(spec)
        outcome = (await target().run(spec, LAUNCH)).outcome
        assert isinstance(outcome, Failed)
        assert (outcome.code, server.connections) == ("target_refused", 0)


@in_loop
async def test_a_name_that_resolves_nowhere_may_be_written_and_its_attempt_fails_with_another_try() -> None:
    async def nowhere(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    http = target(resolve=nowhere)
    spec = http.read({"method": "GET", "url": "http://later.example/"})
    await http.review(spec)
    outcome = (await http.run(spec, LAUNCH)).outcome
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.final) == ("unreachable", False)


@in_loop
async def test_a_zone_in_what_a_name_server_says_hides_nothing() -> None:
    with pytest.raises(TargetRefused) as refused:
        await Guard(rules=Rules(), resolve=Rebinding("fe80::1%eth0")).review("http://zoned.example/")
    assert refused.value.rule == "link_local"


@in_loop
async def test_proxies_of_the_environment_are_not_asked() -> None:
    async with served() as proxy, served() as server:
        proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"), f"http://127.0.0.1:{proxy.port}")
        with mock.patch.dict(os.environ, proxies):
            done = await ran(target(server), url=f"http://127.0.0.1:{server.port}/")
        assert isinstance(done.outcome, Succeeded)
        assert (proxy.connections, server.connections) == (0, 1)


@in_loop
async def test_a_host_in_other_letters_is_asked_for_in_ascii_and_lookalike_digits_are_refused() -> None:
    names = Rebinding("93.184.215.14")
    await Guard(resolve=names).review("http://bücher.example/")
    assert names.asked == ["xn--bcher-kva.example"]
    for url in ("http://１２７.0.0.1/", "http://127。0。0。1/", "http://ⓛocalhost/", "http://127.0.0.⑴/"):
        with pytest.raises(TargetRefused):
            await Guard(resolve=names).review(url)
    assert len(names.asked) == 1


def test_importing_targets_imports_no_http_client() -> None:
    code = "import sys, mainspring, mainspring.targets.http, mainspring.targets.shell; assert 'httpx2' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
