"""The document of the API as it is served, and a page of it for people. The page is whole in itself: it loads nothing."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from mainspring.web import openapi
from mainspring.web.endpoints import Answered, Asked, Endpoint, Nothing, Unscoped

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 14px/1.5 ui-monospace, monospace; } pre { background: var(--soft); padding: .75rem; overflow: auto; }
details { border-top: 1px solid var(--line); padding: .5rem 0; } summary { cursor: pointer; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .25rem .75rem .25rem 0; vertical-align: top; }
nav a { margin-right: .75rem; } .role { opacity: .7; }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def documented(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """The endpoints, and those that tell of them."""

    def openapi_json(asked: Asked[Unscoped, Nothing]) -> Answered:
        """This document: OpenAPI 3.1."""
        return Answered(value=document)

    def docs(asked: Asked[Unscoped, Nothing]) -> Answered:
        """The same for people. Loads nothing from elsewhere."""
        return Answered(value=page, headers={"Content-Security-Policy": _POLICY})

    told = (
        _page("/api/openapi.json", "docs.openapi", openapi_json, "application/json"),
        _page("/api/docs", "docs.page", docs, "text/html"),
    )
    every = (*endpoints, *told)
    described = openapi.document(every)
    document, page = msgspec.json.encode(described), written(described).encode()
    return every


def _page(path: str, operation: str, handler: Any, media: str) -> Endpoint:
    return Endpoint(
        method="GET",
        path=path,
        operation=operation,
        kind=None,
        handler=handler,
        query=Unscoped,
        body=Nothing,
        gives=None,
        media=media,
    )


def written(described: dict[str, Any]) -> str:
    """A document as one page."""
    return "\n".join(_lines(described))


def _lines(described: dict[str, Any]) -> Iterator[str]:
    info = described["info"]
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_safe(info["title"])} API</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{_STYLE}</style><h1>{_safe(info['title'])} {_safe(info['version'])}</h1><p>{_safe(info['description'])}</p>"
    operations = [(path, method, told) for path, found in described["paths"].items() for method, told in found.items()]
    tags = list(dict.fromkeys(told["tags"][0] for _, _, told in operations))
    yield "<nav>" + "".join(f'<a href="#{tag}">{tag}</a>' for tag in [*tags, "schemas"]) + "</nav>"
    for tag in tags:
        yield f'<h2 id="{tag}">{tag}</h2>'
        for path, method, told in operations:
            if told["tags"][0] == tag:
                yield from _operation(path, method, told)
    yield '<h2 id="schemas">schemas</h2>'
    for name, schema in sorted(described["components"]["schemas"].items()):
        text = msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()
        yield f'<details id="schema-{_safe(name)}"><summary><code>{_safe(name)}</code></summary><pre>{_safe(text)}</pre></details>'


def _operation(path: str, method: str, told: dict[str, Any]) -> Iterator[str]:
    role = told.get("x-mainspring-role", "anybody")
    yield f'<details id="{_safe(told["operationId"])}"><summary><code>{method.upper()} {_safe(path)}</code>'
    yield f' {_safe(told["summary"])} <span class="role">({role})</span></summary><p>{_safe(told["description"])}</p><table>'
    for each in told["parameters"]:
        about = each.get("description") or each["schema"].get("description") or each["schema"].get("type", "")
        yield f"<tr><td><code>{_safe(each['name'])}</code></td><td>{each['in']}</td><td>{_safe(str(about))}</td></tr>"
    if "requestBody" in told:
        yield f"<tr><td>body</td><td></td><td>{_link(told['requestBody']['content'])}</td></tr>"
    for status, answer in told["responses"].items():
        yield f"<tr><td>{status}</td><td></td><td>{_safe(answer['description'])} {_link(answer['content'])}</td></tr>"
    yield "</table></details>"


def _link(content: dict[str, Any]) -> str:
    names = [each["schema"]["$ref"].rpartition("/")[2] for each in content.values() if "$ref" in each["schema"]]
    return " ".join(f'<a href="#schema-{_safe(name)}"><code>{_safe(name)}</code></a>' for name in dict.fromkeys(names))


def _safe(text: str) -> str:
    return html.escape(text)
