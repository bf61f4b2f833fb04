"""The Django example as a person runs it: its commands, its routes, on PostgreSQL and on SQLite.

Not here: what ``using=`` does with each kind of Django connection (``tests/integrations/test_django.py``).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ORDER = """
import json
from django.test import Client
client = Client()
answers = [client.post("/orders", json.dumps({"item": item}), content_type="application/json") for item in ("a hat", "nothing")]
print(json.dumps([[answer.status_code, answer.json()] for answer in answers]))
"""
LOOK = """
import json
from django.test import Client
from mainspring.integrations.django import app
print(json.dumps([Client().get("/orders/1").json(), app.runs.counts()]))
"""


@pytest.fixture(params=["postgres", "sqlite"])
def manage(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., str]:
    """``manage.py`` with those arguments, on a database of this test."""
    environment = os.environ | {"SHOP_HOME": str(tmp_path), "DJANGO_SETTINGS_MODULE": "examples.django_shop.settings"}
    if request.param == "postgres":
        environment["SHOP_DATABASE"] = request.getfixturevalue("fresh_postgres")

    def run(*arguments: str, module: str = "examples.django_shop.manage") -> str:
        command = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run


def test_an_order_gets_its_receipt_and_one_that_was_taken_back_gets_none(manage: Callable[..., str]) -> None:
    manage("migrate", "--run-syncdb")
    assert "applied 0001" in manage("mainspring_migrate") or "nothing to apply" in manage("mainspring_migrate")
    assert json.loads(manage("shell", "-c", ORDER).splitlines()[-1]) == [
        [201, {"id": 1}],
        [422, {"error": "there is no such item"}],
    ]
    assert "1 attempts finished" in manage("mainspring_worker", "--drain", "--poll", "50ms")
    assert "tasks send_receipt" in manage("worker", "mainspring.integrations.django:app", "--drain", module="mainspring")
    order, counts = json.loads(manage("shell", "-c", LOOK).splitlines()[-1])
    assert order == {"id": 1, "item": "a hat", "receipt": "receipt for a hat"}
    assert counts == {"succeeded": 1}
