"""OpenTelemetry: one trace over HTTP and events; exported by OTLP when configured, silent when not.

Spans carry route templates and ids of ours, never addresses as typed, bodies or names.
"""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

_EXPORT_SECONDS = 2


class Telemetry:
    """The tracer of one process.

    Args:
        service: `service.name` of the resource.
        otlp_endpoint: root of a collector; None: spans are not recorded, but ids still flow, so that
            logs, problems and events of one request can be joined.
        processor: receives the spans instead of the exporter (tests).
    """

    def __init__(
        self, service: str, *, otlp_endpoint: str | None = None, processor: SpanProcessor | None = None
    ) -> None:
        self._provider: TracerProvider | None = None
        if otlp_endpoint is not None and processor is None:
            processor = BatchSpanProcessor(
                OTLPSpanExporter(endpoint=f"{otlp_endpoint}/v1/traces", timeout=_EXPORT_SECONDS)
            )
        if processor is not None:
            self._provider = TracerProvider(
                resource=Resource.create({"service.name": f"quill-{service}"}), shutdown_on_exit=False
            )
            self._provider.add_span_processor(processor)
        provider: trace.TracerProvider = self._provider or trace.NoOpTracerProvider()
        self.tracer = provider.get_tracer("quill")
        self.records = self._provider is not None

    def close(self) -> None:
        """Sends what is left. Blocks for as long as an export may take: call it in a thread."""
        if self._provider is not None:
            self._provider.shutdown()


@contextmanager
def span(
    tracer: trace.Tracer,
    name: str,
    *,
    kind: trace.SpanKind = trace.SpanKind.INTERNAL,
    context: Context | None = None,
    attributes: Mapping[str, str | int] | None = None,
) -> Iterator[trace.Span]:
    """Records a span; a failure by the type of its exception, never by its text, which may quote a record."""
    with tracer.start_as_current_span(
        name,
        kind=kind,
        context=context,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as started:
        try:
            yield started
        except BaseException as error:
            started.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


def continue_trace(headers: Mapping[str, str]) -> Context:
    """The context of the caller's `traceparent` (W3C Trace Context), or of a new trace."""
    context = extract(headers)
    if trace.get_current_span(context).get_span_context().is_valid:
        return context
    fresh = trace.SpanContext(
        trace_id=secrets.randbits(128) or 1,
        span_id=secrets.randbits(64) or 1,
        is_remote=False,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(fresh), Context())
