"""``mainspring server`` as a program on loopback, on both databases: the main walk, its address, and its end."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.conftest import on_sqlite, shell, shop
from tests.cli.shell import PATIENCE_SECONDS, Shell

__all__ = ["on_sqlite", "shell", "shop"]


@contextmanager
def served(shell: Shell, *options: str) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    """The program, and somebody who asks it."""
    process = shell.start("server", "--port", "0", *options)
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"http://[\d.]+:\d+", line):
            with httpx.Client(base_url=f"{found.group()}/api/v1", timeout=PATIENCE_SECONDS) as client:
                yield client, process
            return
    raise AssertionError(f"no server: exit code {process.wait()}")


def stopped(process: subprocess.Popen[str]) -> int:
    """Its exit code, once it has been told to end."""
    process.send_signal(signal.SIGTERM)
    return process.wait(PATIENCE_SECONDS)


def test_a_run_goes_through_its_life_and_is_followed_over_the_wire(shell: Shell) -> None:
    with served(shell) as (client, process):
        run_id = client.post("/runs", json={"task": "greet", "payload": {"who": "Ada"}}).json()["id"]
        seen: list[Any] = []

        def follow() -> None:
            with client.stream("GET", f"/runs/{run_id}/events", headers={"Accept": "text/event-stream"}) as stream:
                seen.extend(json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: "))

        reader = threading.Thread(target=follow, daemon=True)
        reader.start()
        shell.drain()
        reader.join(PATIENCE_SECONDS)
        assert seen[0]["type"] == "created"
        assert seen[-1] == {"state": "succeeded"}
        assert client.get(f"/runs/{run_id}").json()["result"] == "hello Ada "
        assert client.get("/runs", params={"state": "succeeded"}).json()["data"][0]["id"] == run_id
        assert client.post("/queues/mail/pause").json()["changed"] is True
        assert client.get("/queues/a%2Fb").json()["code"] == "unknown_queue"
        assert client.get("/../../readyz").json()["status"] == "ready"
        assert stopped(process) == 0


def test_a_server_ends_although_somebody_follows_it(on_sqlite: Shell) -> None:
    with served(on_sqlite) as (client, process):
        with client.stream("GET", "/events", headers={"Accept": "text/event-stream"}) as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("id: ")
            assert stopped(process) == 0
            assert "event: event" not in list(lines)
        assert process.stderr is not None
        told = process.stderr.read()
        assert "server stopped" in told
        assert "Traceback" not in told


def test_a_server_refuses_to_listen_to_others_without_authentication(on_sqlite: Shell) -> None:
    answer = on_sqlite.run("server", "--host", "0.0.0.0")
    assert answer.code == 2
    assert "authentication" in answer.err


def test_an_address_that_is_taken_is_said(on_sqlite: Shell) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        answer = on_sqlite.run("server", "--port", str(taken.getsockname()[1]))
    assert answer.code == 2
    assert "cannot listen" in answer.err


def test_a_server_imports_no_code_of_ours(on_sqlite: Shell, shop: Path) -> None:
    (shop / "shop.py").write_text("raise SystemExit('imported')")
    with served(on_sqlite, "--no-upkeep") as (client, process):
        made = client.post("/runs", json={"task": "greet", "payload": {"who": "Ada"}})
        assert made.status_code == 201
        assert client.get("/../../readyz").status_code == 503
        assert stopped(process) == 0


@pytest.mark.parametrize("header", [b"Content-Length: 9999999999", b"Transfer-Encoding: chunked"])
def test_a_body_without_an_end_is_not_read_without_an_end(on_sqlite: Shell, header: bytes) -> None:
    with served(on_sqlite) as (client, process):
        host, port = client.base_url.host, client.base_url.port or 0
        head = b"POST /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + header + b"\r\n\r\n"
        piece = b"a" * 65_536 if b"Length" in header else b"10000\r\n" + b"a" * 65_536 + b"\r\n"
        with socket.create_connection((host, port), PATIENCE_SECONDS) as line:
            line.sendall(head + piece * 17)  # a little over the bound, and no end
            assert line.recv(65_536).startswith(b"HTTP/1.1 413 ")
        assert stopped(process) == 0
