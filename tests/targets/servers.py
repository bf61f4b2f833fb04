"""A small HTTP server on loopback: it answers as it is told, and remembers who came and what was asked.

Here: the server, and an ``HttpTarget`` that may reach it. Not here: a TLS one's certificate (``test_http``).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mainspring.core.launch import Launch, Occurrence
from mainspring.core.outgoing import Rules
from mainspring.targets.guard import Guard, Resolver, system_resolver
from mainspring.targets.http import HttpTarget
from mainspring.targets.receipts import Ran
from mainspring.targets.secrets import SecretUnavailableError

NOW = 1_900_000_000_000_000
OCCURRENCE = Occurrence(
    key="0199:2030-03-17T17:46:40Z", nominal="2030-03-17T17:46:40Z", local="2030-03-17T18:46:40+01:00", due="2030-03-17T17:46:41Z"
)
LAUNCH = Launch(run_id="run-7", attempt=2, payload={"user": "ana"}, occurrence=OCCURRENCE, trace="00-aa-bb-01")


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Server:
    """Answers with ``answers`` in turn, the last one again and again; each is a status, headers and a body."""

    answers: list[bytes] = field(default_factory=list)
    connections: int = 0
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    held: asyncio.Event | None = None  # answers nothing until it is set
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            self.asked.append(await read_request(reader))
            self.arrived.set()
            if self.held is not None:
                await self.held.wait()
            writer.write(self.answers[min(len(self.asked), len(self.answers)) - 1])
            await writer.drain()
        writer.close()


async def read_request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, target, headers, body)


def answer(status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextlib.asynccontextmanager
async def served(
    *answers: bytes, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    """A server that runs for the time of a block."""
    server = Server(list(answers) or [answer()])
    listening = await asyncio.start_server(server.serve, host, port, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()


class Box:
    """A vault that is a dictionary."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self.secrets = secrets

    async def get(self, name: str) -> str:
        if name not in self.secrets:
            raise SecretUnavailableError(f"there is no secret {name}")
        return self.secrets[name]


def target(
    *servers: Server,
    secrets: Mapping[str, str] | None = None,
    resolve: Resolver = system_resolver,
    tls: ssl.SSLContext | None = None,
    allow: tuple[str, ...] = (),
) -> HttpTarget:
    """A target that may reach those servers on 127.0.0.1, and nothing else at home."""
    rules = Rules.read(allow=[*(f"127.0.0.1:{server.port}" for server in servers), *allow])
    return HttpTarget(vault=Box(secrets or {}), now=lambda: NOW, guard=Guard(rules=rules, resolve=resolve), tls=tls)


async def ran(target: HttpTarget, launch: Launch = LAUNCH, **written: Any) -> Ran:
    return await target.run(target.read({"method": "GET"} | written), launch)
