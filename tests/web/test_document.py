"""The document tells of what is served, and nothing else; the page of it is whole in itself; who does not serve does not pay."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

from mainspring.web.api import ENDPOINTS
from mainspring.web.pages import documented
from tests.web.inside import Inside


def served(server: Inside) -> set[tuple[str, str]]:
    """Methods and paths, as they are routed."""
    return {
        (method, re.sub(r"\{in_(\w+):str\}", r"{\1}", route.path))
        for route in server.app.routes.routes
        for method in getattr(route, "methods", ())
        if method not in {"OPTIONS", "HEAD"}
    }


def told(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}


def test_the_document_and_the_routes_are_the_same(small: Inside) -> None:
    assert told(small.get("/api/openapi.json")) == served(small)


def test_every_operation_says_what_it_is_who_may_do_it_and_what_it_answers(small: Inside) -> None:
    document = small.get("/api/openapi.json")
    assert document["openapi"] == "3.1.0"
    names = [told["operationId"] for operations in document["paths"].values() for told in operations.values()]
    assert len(names) == len(set(names)) == len(ENDPOINTS) + 2
    for operations in document["paths"].values():
        for each in operations.values():
            assert len(each["summary"].split()) >= 2, each["operationId"]
            assert "application/problem+json" in each["responses"]["default"]["content"]


def test_every_reference_leads_somewhere_and_every_schema_is_used(small: Inside) -> None:
    text = small.ask("GET", "/api/openapi.json").text
    named = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert named == set(small.get("/api/openapi.json")["components"]["schemas"])


def test_the_page_for_people_loads_nothing_and_names_every_operation(small: Inside) -> None:
    answer = small.ask("GET", "/api/docs")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert not re.search(r"<script|<link|<img|src=|url\(|@import|https?://", answer.text)
    for endpoint in documented(ENDPOINTS):
        assert f'id="{endpoint.operation}"' in answer.text


def test_who_imports_mainspring_imports_no_server() -> None:
    servers = ("litestar", "uvicorn", "mainspring.web")
    code = f"import sys, mainspring, mainspring.cli.main; print([each for each in {servers} if each in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
