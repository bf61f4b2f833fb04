"""Webhooks: an alert reaches whoever wants to know of it, signed, and again if it was not taken."""

from __future__ import annotations

import asyncio
import json

import pytest

from mainspring import App
from mainspring.core import signing
from mainspring.core.durations import SECOND
from mainspring.errors import InvalidOption, TargetRefused
from tests.api.test_targets import ended, put, triggered
from tests.support.loops import in_loop
from tests.targets.servers import answer, served

Monkey = pytest.MonkeyPatch


@in_loop
async def test_a_webhook_is_signed_and_sent_again_under_its_key_until_it_is_taken(app: App, monkeypatch: Monkey) -> None:
    monkeypatch.setenv("OPS_KEY", "k3y-of-ops")
    monkeypatch.setenv("MAINSPRING_SECRETS", "ops=env:OPS_KEY")
    async with served(answer(503, b"", {"Retry-After": "0"}), answer(200)) as server, served(answer(404)) as failing:
        monkeypatch.setenv("MAINSPRING_HTTP_ALLOW", f"127.0.0.1:{server.port},127.0.0.1:{failing.port}")
        url = f"http://127.0.0.1:{server.port}/hooks"
        await asyncio.to_thread(lambda: app.client.webhooks.put("ops", url, kinds=["dead_letter"], secret="ops"))
        broken = {"http": {"method": "POST", "url": f"http://127.0.0.1:{failing.port}/"}}
        await put(app, "ping", broken, max_attempts=1, alerts={"kinds": ["dead_letter"]})
        async with app.running(poll="50ms"):
            run_id = await triggered(app, "ping")
            await ended(app, run_id)
            while len(server.asked) < 2:
                server.arrived.clear()
                await asyncio.wait_for(server.arrived.wait(), 20)
    first, again = server.asked
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"]
    told = json.loads(again.body)
    assert (told["transition"], told["kind"], told["schedule"], told["run_id"]) == ("opened", "dead_letter", "ping", run_id)
    (alert,) = app.client.alerts.list()
    assert (told["alert"], alert.run_id) == (alert.id, run_id)
    at = int(again.headers[signing.HEADER.lower()].partition(",")[0].removeprefix("t="))
    expected = signing.signature(
        [b"k3y-of-ops"], at=at, method="POST", target="/hooks", idempotency_key=again.headers["idempotency-key"], body=again.body
    )
    assert again.headers[signing.HEADER.lower()] == expected
    assert abs(at - app.client.system.now() // SECOND) < 60


def test_a_webhook_to_where_nothing_may_be_sent_is_refused_and_not_written(app: App) -> None:
    with pytest.raises(TargetRefused):
        app.client.webhooks.put("ops", "http://169.254.169.254/")
    with pytest.raises(InvalidOption, match="no kind of alert"):
        app.client.webhooks.put("ops", "http://192.0.2.1/", kinds=["tired"])
    assert app.client.webhooks.list() == []
