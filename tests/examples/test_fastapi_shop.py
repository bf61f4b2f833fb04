"""The FastAPI example, asked as a browser asks it, with its worker in the server's own loop.

In a process of its own, for the module reads its database's URL as it is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VISIT = """
from fastapi.testclient import TestClient
from examples.fastapi_shop.api import api, app

with TestClient(api) as shop:
    placed = shop.post("/orders", json={"item": "a hat"})
    assert placed.status_code == 201, placed.text
    refused = shop.post("/orders", json={"item": "nothing"})
    assert refused.status_code == 422, refused.text
    assert shop.get("/orders/2").status_code == 404
    assert app.client.handle(placed.json()["run"]).result(timeout="20s") == "receipt for a hat"
    order = shop.get(f"/orders/{placed.json()['id']}").json()
    assert order == {"id": placed.json()["id"], "item": "a hat", "receipt": "receipt for a hat"}, order
    assert app.runs.counts() == {"succeeded": 1}, app.runs.counts()
    assert [worker.state for worker in app.workers] == ["live"]
assert [worker.state for worker in app.workers] == ["gone"]
app.close()
"""


def test_a_visit_to_the_shop(fresh_postgres: str) -> None:
    environment = os.environ | {"SHOP_DATABASE": fresh_postgres}

    def run(*arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr

    run("-m", "examples.fastapi_shop.api")
    run("-c", VISIT)
