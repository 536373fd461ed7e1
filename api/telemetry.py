"""OpenTelemetry, where it is installed and asked for: a span for each request, and within it one for each question to the database.

Asked for by OpenTelemetry's own variables: ``OTEL_TRACES_EXPORTER=otlp`` (or ``console``), ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_SERVICE_NAME``,
``OTEL_TRACES_SAMPLER``. Baige does not depend on it: ``pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http``. Neither what is asked
for nor by whom enters a span; the request's id leads to log and audit.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from gis.errors import ConfigError

__all__ = ["set_up_traces", "span", "tracing"]

_tracer: Any = None
_extract: Any = None


def set_up_traces() -> bool:
    """Start tracing in this process, where the environment asks for it; whether it does.

    Raises
    ------
    ConfigError
        It is asked for, and OpenTelemetry or the exporter is not installed.
    """
    global _tracer, _extract
    wanted = os.environ.get("OTEL_TRACES_EXPORTER", "none").strip().lower()
    if wanted in ("", "none") or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if wanted not in ("otlp", "console"):
        en = f"OTEL_TRACES_EXPORTER: otlp, console or none, not {wanted[:40]!r}."
        raise ConfigError(en, zh="OTEL_TRACES_EXPORTER 应为 otlp、console 或 none。")
    try:
        from opentelemetry import propagate, trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

        exporter: Any
        if wanted == "otlp":
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter()
        else:
            exporter = ConsoleSpanExporter()
    except ImportError as error:
        raise ConfigError(
            "OTEL_TRACES_EXPORTER is set: install opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http.",
            zh="已设置 OTEL_TRACES_EXPORTER：请安装 opentelemetry-sdk 与 opentelemetry-exporter-otlp-proto-http。",
        ) from error
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "baige"}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    _tracer, _extract = trace.get_tracer("baige"), propagate.extract
    return True


def tracing() -> bool:
    """Whether spans are made."""
    return _tracer is not None


def span(
    name: str, *, headers: Iterable[tuple[bytes, bytes]] | None = None, attributes: Mapping[str, Any] | None = None
) -> AbstractContextManager[Any]:
    """A span around a block, or nothing where tracing is off.

    Parameters
    ----------
    headers : iterable, optional
        Of a request that comes in: a caller's ``traceparent`` makes the span part of its trace.
    attributes : mapping, optional

    Returns
    -------
    context manager
        Gives the span, or None.
    """
    if _tracer is None:
        return nullcontext()
    if headers is None:
        inner: AbstractContextManager[Any] = _tracer.start_as_current_span(name, attributes=dict(attributes or {}), record_exception=False)
        return inner
    from opentelemetry.trace import SpanKind

    carrier = {key.decode("latin-1"): value.decode("latin-1") for key, value in headers if key in (b"traceparent", b"tracestate")}
    outer: AbstractContextManager[Any] = _tracer.start_as_current_span(  # what an exception says may hold more than a span should
        name, context=_extract(carrier), kind=SpanKind.SERVER, attributes=dict(attributes or {}), record_exception=False
    )
    return outer
