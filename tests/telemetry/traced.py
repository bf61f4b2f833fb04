"""The traced program of ``test_tracing.py``: an app whose spans go to a file, one a line; as a caller or as a worker.

``python traced.py URL FILE enqueue`` prints the run's id and its caller's trace; ``python traced.py URL FILE work`` drains.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from mainspring import App, Context

URL, FILE = sys.argv[1], Path(sys.argv[2])
tracer = trace.get_tracer("shop")


class Lines(SpanExporter):
    """Appends a line for each span."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with FILE.open("a") as out:
            for span in spans:
                out.write(
                    json.dumps(
                        {
                            "name": span.name,
                            "trace": f"{span.context.trace_id:032x}",
                            "id": f"{span.context.span_id:016x}",
                            "parent": f"{span.parent.span_id:016x}" if span.parent else None,
                        }
                    )
                    + "\n"
                )
        return SpanExportResult.SUCCESS


provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(Lines()))
trace.set_tracer_provider(provider)

app = App("shop", database=URL)


@app.task(name="waits")
async def waits(ctx: Context) -> str:
    with tracer.start_as_current_span("user code"):
        return "done"


@app.task(name="computes", executor="process")
def computes(ctx: Context) -> str:
    with tracer.start_as_current_span("user code"):
        return "done"


def main() -> None:
    if sys.argv[3] == "enqueue":
        with tracer.start_as_current_span("request") as span:
            handle = {"waits": waits, "computes": computes}[sys.argv[4]].enqueue()
        print(json.dumps({"run": handle.id, "trace": f"{span.get_span_context().trace_id:032x}"}))
    else:
        app.worker(poll="50ms", concurrency=2).run(until="drained")
    app.close()


if __name__ == "__main__":
    main()
