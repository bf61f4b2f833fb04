"""Apps on both databases, and the spans that this process makes, in memory.

Here: ``spans``. Not here: the apps themselves (``tests/api/conftest.py``), and spans of other processes (``test_tracing.py``).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.api.conftest import NewApp, app, drain, idle, new_app, pytest_generate_tests, url

__all__ = ["NewApp", "app", "drain", "exporting", "idle", "new_app", "pytest_generate_tests", "spans", "url"]


@pytest.fixture(scope="session")
def exporting() -> Iterator[tuple[TracerProvider, InMemorySpanExporter]]:
    """A tracer provider and what it exports. One for all tests: a tracer keeps the first that it meets."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider, exporter
    provider.shutdown()


@pytest.fixture
def spans(exporting: tuple[TracerProvider, InMemorySpanExporter], monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What was exported during this test. Outside such tests this process has no tracer provider; the library lets it be set only
    once."""
    provider, exporter = exporting
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    exporter.clear()
    return exporter
