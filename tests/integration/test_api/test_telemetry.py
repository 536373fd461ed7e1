"""Traces: nothing without OpenTelemetry; with it a span a request and one a question, which tell nobody what was asked."""

import importlib.util
from typing import Any

import pytest

from api import telemetry
from gis.errors import ConfigError

THERE = importlib.util.find_spec("opentelemetry") is not None and importlib.util.find_spec("opentelemetry.sdk") is not None


def test_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_TRACES_EXPORTER", raising=False)
    assert telemetry.set_up_traces() is False
    with telemetry.span("x", headers=[], attributes={"a": 1}) as found:
        assert found is None
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with pytest.raises(ConfigError, match="otlp, console or none"):
        telemetry.set_up_traces()


if not THERE:

    def test_asked_for_and_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
        with pytest.raises(ConfigError, match="install opentelemetry-sdk"):
            telemetry.set_up_traces()

else:

    def test_a_request_and_its_questions_are_one_trace_without_what_was_asked(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        from opentelemetry import propagate
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        kept, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(kept))
        monkeypatch.setattr(telemetry, "_tracer", provider.get_tracer("baige"))
        monkeypatch.setattr(telemetry, "_extract", propagate.extract)
        trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
        key = served.keys["planner"]
        headers = {"traceparent": f"00-{trace}-{parent}-01", "X-API-Key": key}
        answer = served.client.get("/collections/kiosk/items", params={"limit": 3, "filter": "label <> 'geheim'"}, headers=headers)
        assert answer.status_code == 200
        served.client.get(f"/collections/{key}", headers={"X-API-Key": key})
        spans = kept.get_finished_spans()
        outer = next(span for span in spans if span.name == "get_items")
        assert (f"{outer.context.trace_id:032x}", f"{outer.parent.span_id:016x}") == (trace, parent)
        assert dict(outer.attributes) == {
            "http.request.method": "GET", "url.path": "/collections/kiosk/items", "baige.request_id": answer.headers["x-request-id"],
            "http.response.status_code": 200,
        }  # fmt: skip
        inner = [span for span in spans if span.name == "database" and span.parent and span.parent.span_id == outer.context.span_id]
        assert len(inner) >= 1 and all(f"{span.context.trace_id:032x}" == trace for span in inner)
        told = "".join(span.to_json() for span in spans)
        assert "geheim" not in told and key not in told and key.split("_", 2)[2] not in told
